"""Parked records in their table, in the transaction of whoever parks or releases them."""

import base64
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple
from uuid import UUID, uuid5

import asyncpg
import orjson

from upwell_shared.consuming.sequencing import Letter, Page, Parked, Reason, Stream
from upwell_shared.database import Connection
from upwell_shared.errors import UpwellError

_NAMESPACE = UUID("b2f4f3c1-6f0a-5d0e-8e57-5d1c53a1f0de")

# What a page loads of letters to release; the rest is released page by page.
_PAGE_BYTES = 4_000_000
_PAGE_LETTERS = 500

_OF_STREAMS = """
SELECT letter_id, stream_id, sequence, event_id, reason, fits, record_offset,
       CASE WHEN fits THEN key END AS key, CASE WHEN fits THEN headers END AS headers,
       CASE WHEN fits THEN body END AS body
FROM (
    SELECT *, row_number() OVER before <= $4
              AND sum(octet_length(headers) + coalesce(octet_length(body), 0)) OVER before
                  - octet_length(headers) - coalesce(octet_length(body), 0) < $5 AS fits
    FROM dead_letters
    WHERE consumer = $1 AND channel = $2 AND stream_id = ANY ($3)
    WINDOW before AS (ORDER BY stream_id, sequence ROWS UNBOUNDED PRECEDING)
) AS letters
"""

_COUNT = "SELECT count(*) FROM dead_letters WHERE consumer = $1"

# The wait doubles from a second to ten minutes.
_INSERT = """
INSERT INTO dead_letters (consumer, log_id, channel, partition, letter_id, reason, stream_id, sequence, event_id, type,
                          error, location, record_offset, key, headers, body, attempts, next_try_at)
SELECT $1, $2, $3, $4, l.letter_id, l.reason, l.stream_id, l.sequence, l.event_id, l.type, l.error, l.location,
       l.record_offset, l.key, l.headers, l.body, CASE WHEN l.error IS NULL THEN 0 ELSE 1 END,
       CASE WHEN l.error IS NOT NULL AND l.stream_id IS NOT NULL THEN now() + interval '1 second' END
FROM unnest($5::uuid[], $6::text[], $7::uuid[], $8::int[], $9::uuid[], $10::text[], $11::text[], $12::text[],
            $13::bigint[], $14::bytea[], $15::bytea[], $16::bytea[])
    AS l (letter_id, reason, stream_id, sequence, event_id, type, error, location, record_offset, key, headers, body)
ON CONFLICT (letter_id) DO NOTHING
"""

_SPOIL = """
UPDATE dead_letters
SET reason = $2, error = $3, location = $4, attempts = attempts + 1,
    next_try_at = now() + least(600, 2 ^ least(attempts, 10)) * interval '1 second'
WHERE letter_id = $1
"""

_LEAVE = "UPDATE dead_letters SET next_try_at = now() WHERE letter_id = ANY ($1)"

_OPEN = "DELETE FROM dead_letters WHERE letter_id = ANY ($1)"

# Taking a letter up postpones it, so that replicas, and a crash during the try, leave it alone for a while.
_TAKE_UP = """
UPDATE dead_letters SET next_try_at = now() + interval '15 seconds'
WHERE letter_id = (
    SELECT letter_id FROM dead_letters WHERE consumer = $1 AND next_try_at <= now()
    ORDER BY next_try_at LIMIT 1 FOR UPDATE SKIP LOCKED
)
RETURNING channel, stream_id
"""


class DeadLettersFull(UpwellError):
    """The dead letters are full: this partition stands still until some of them are dealt with."""


class Limits(NamedTuple):
    """How many letters are kept: of one stream, and of one consumer in all."""

    stream: int = 1_000
    consumer: int = 20_000


class Place(NamedTuple):
    """Where a consumer meets records."""

    consumer: str
    log_id: UUID
    channel: str
    partition: int


class _Stored(NamedTuple):
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]]


async def load(connection: Connection, consumer: str, channel: str, streams: Mapping[UUID, Stream]) -> None:
    """Adds to the streams that have letters what these are; the records of as many as one page releases."""
    wanted = [stream.stream_id for stream in streams.values() if stream.letters]
    if not wanted:
        return
    for row in await connection.fetch(_OF_STREAMS, consumer, channel, wanted, _PAGE_LETTERS, _PAGE_BYTES):
        stream, reason = streams[row["stream_id"]], Reason(row["reason"])
        if reason is Reason.FORK:
            stream.forks.add(row["event_id"])
        else:
            stream.held[row["sequence"]] = Letter(
                row["letter_id"], row["event_id"], reason, _record(row) if row["fits"] else None
            )


async def park(
    connection: Connection, place: Place, letters: Sequence[Parked], streams: Iterable[Stream], limits: Limits
) -> None:
    """Adds letters of some streams met in one place; one that is there already stays. Raises DeadLettersFull."""
    if not letters:
        return
    stored = await connection.fetchval(_COUNT, place.consumer)
    grown = (s.letters for s in streams if s.letters > (s.before or (0, 0))[1])
    if stored + len(letters) > limits.consumer or max(grown, default=0) > limits.stream:
        raise DeadLettersFull
    columns = zip(*(_columns(place, letter) for letter in letters), strict=True)
    await connection.execute(_INSERT, *place, *columns)


async def settle(connection: Connection, page: Page) -> None:
    """Writes what a page changed about letters that were there."""
    for letter_id, failure in page.spoiled:
        await connection.execute(_SPOIL, letter_id, failure.reason, failure.error, failure.location)
    if page.left:
        await connection.execute(_LEAVE, page.left)
    if page.opened:
        await connection.execute(_OPEN, page.opened)


async def take_up(pool: asyncpg.Pool, consumer: str) -> tuple[str, UUID] | None:
    """Channel and stream of the failed letter that has been due longest; it is left alone by others for 15 s."""
    row = await pool.fetchrow(_TAKE_UP, consumer)
    return None if row is None else (row["channel"], row["stream_id"])


def _columns(place: Place, letter: Parked) -> tuple[Any, ...]:
    record, failure = letter.record, letter.failure
    # What says what it is, is the same letter wherever it is met; of anything else only the place is known.
    identity: tuple[object, ...] = (*place, record.offset)
    if letter.stream_id is not None:
        identity = (place.consumer, place.channel, letter.stream_id, letter.sequence, letter.event_id)
    return (
        uuid5(_NAMESPACE, "/".join(map(str, identity))),
        *(letter.reason, letter.stream_id, letter.sequence, letter.event_id, letter.type),
        *((failure.error, failure.location) if failure else (None, None)),
        *(record.offset, record.key, _dump(record.headers), record.value),
    )


def _dump(headers: Iterable[tuple[str, bytes | None]]) -> bytes:
    # Values may be any bytes.
    return orjson.dumps([(n, None if v is None else base64.b64encode(v).decode()) for n, v in headers])


def load_headers(stored: bytes) -> list[tuple[str, bytes | None]]:
    """Headers of a letter as the record had them."""
    return [(n, None if v is None else base64.b64decode(v)) for n, v in orjson.loads(stored)]


def _record(row: asyncpg.Record) -> _Stored:
    return _Stored(row["record_offset"], row["key"], row["body"], load_headers(row["headers"]))
