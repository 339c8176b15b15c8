"""What an operator does about dead letters: look at them, have a sequence tried again at once, pass one over for good.

Nothing is applied here. A retry makes the sequence due, and the retrier of a process that consumes takes it; a discard
moves the stream's progress past the letter, and what waits behind it is made due likewise. So both need nothing but
the database, and who consumes meanwhile finds out by the stream's own row, as any two consumers do (docs/decisions/0005).
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

import asyncpg
import orjson

from upwell_shared.consuming import dead_letters
from upwell_shared.consuming.sequencing import Reason
from upwell_shared.database import Connection, one
from upwell_shared.decider import DomainError
from upwell_shared.errors import IdempotencyKeyReused, NotFound

# What fails or stops its stream; and the first of what waits where nothing does that: then an event is missing. The
# letters of a rebuild at work, whose consumer has an @ in its name, are its own concern.
_OPEN = """
SELECT l.letter_id, l.consumer, l.channel, l.stream_id, l.sequence, l.event_id, l.type, l.reason, l.error, l.location,
       l.attempts, l.parked_at, l.next_try_at,
       (SELECT count(*) FROM dead_letters w
        WHERE w.consumer = l.consumer AND w.channel = l.channel AND w.stream_id = l.stream_id
          AND w.reason = 'waiting' AND w.letter_id <> l.letter_id) AS behind
FROM dead_letters l
WHERE l.consumer NOT LIKE '%@%'
  AND (l.reason <> 'waiting' OR NOT EXISTS (
      SELECT FROM dead_letters f
      WHERE f.consumer = l.consumer AND f.channel = l.channel AND f.stream_id = l.stream_id
        AND (f.sequence < l.sequence OR f.reason <> 'waiting')))
  AND ($1::timestamptz IS NULL OR (l.parked_at, l.letter_id) > ($1, $2::uuid))
ORDER BY l.parked_at, l.letter_id LIMIT $3
"""

_ONE = """
SELECT letter_id, consumer, channel, stream_id, sequence, event_id, type, reason, error, location, attempts, parked_at,
       next_try_at, log_id, partition, record_offset, key, headers, body
FROM dead_letters WHERE letter_id = $1
"""

_DISCARDED = """
SELECT letter_id, consumer, channel, letter_reason, stream_id, sequence, event_id, type, reason, actor, discarded_at
FROM discards
WHERE $1::timestamptz IS NULL OR (discarded_at, letter_id) > ($1, $2::uuid)
ORDER BY discarded_at, letter_id LIMIT $3
"""

_IS_DISCARDED = "SELECT EXISTS (SELECT FROM discards WHERE letter_id = $1)"
_HEAD = """
SELECT consumer, channel, stream_id, reason, sequence FROM dead_letters WHERE letter_id = $1
"""
# Held until the transaction ends: consumers and retriers wait here, and find the row changed.
_HOLD = """
SELECT sequence FROM progress WHERE consumer = $1 AND channel = $2 AND stream_id = $3 FOR UPDATE
"""
_FORKED = """
SELECT EXISTS (
    SELECT FROM dead_letters WHERE consumer = $1 AND channel = $2 AND stream_id = $3 AND reason = 'fork'
)
"""
_NEXT = """
SELECT letter_id, attempts FROM dead_letters
WHERE consumer = $1 AND channel = $2 AND stream_id = $3 AND sequence = $4 AND reason <> 'fork'
"""
# Before whatever became due since it was parked.
_MAKE_DUE = "UPDATE dead_letters SET next_try_at = parked_at WHERE letter_id = $1"
_ATTEMPTS = "SELECT attempts FROM dead_letters WHERE letter_id = $1"
_MOVE_ON = """
UPDATE progress SET sequence = $4, event_id = $5, letters = letters - 1
WHERE consumer = $1 AND channel = $2 AND stream_id = $3
"""
_LESSEN = "UPDATE progress SET letters = letters - 1 WHERE consumer = $1 AND channel = $2 AND stream_id = $3"
_DISCARD = """
WITH gone AS (DELETE FROM dead_letters WHERE letter_id = $1 RETURNING *)
INSERT INTO discards (letter_id, consumer, channel, letter_reason, stream_id, sequence, event_id, type, log_id,
                      partition, record_offset, reason, actor, command_id)
SELECT letter_id, consumer, channel, reason, stream_id, sequence, event_id, type, log_id, partition, record_offset,
       $2, $3, $4
FROM gone
RETURNING sequence, event_id
"""

# First of all: the same command in another process waits here until this one is done.
_CLAIM = "INSERT INTO commands (command_id, fingerprint, result) VALUES ($1, $2, 'null') ON CONFLICT DO NOTHING RETURNING true"
_ANSWER = "SELECT fingerprint, result FROM commands WHERE command_id = $1"
_REMEMBER = "UPDATE commands SET result = $2 WHERE command_id = $1"


class LetterDiscarded(DomainError):
    """This dead letter was discarded, for good: the list of discards says by whom and why."""


class LetterWaits(DomainError):
    """Nothing is wrong with this letter: it waits for another one of its stream, which is what to deal with."""


class StreamForked(DomainError):
    """Two different events bear one number in this stream, and no retry cures that: discard the one that is wrong."""


class PredecessorMissing(DomainError):
    """An event before this one has never come, so nothing can be tried: have its owner publish its stream again."""


class NobodysEvent(DomainError):
    """The record does not say whose event it is, so no retry can do anything with it: discard it."""


@dataclass(frozen=True, slots=True)
class By:
    """Who asks, by which command: the same command again is answered as before."""

    actor: str
    command_id: UUID
    fingerprint: bytes


@dataclass(frozen=True, slots=True)
class Retry:
    """The letter at the head of a sequence that was made due, and how often it had been tried before."""

    letter_id: UUID
    attempts: int


async def open_letters(
    pool: asyncpg.Pool, after: tuple[datetime, UUID] | None, limit: int
) -> list[asyncpg.Record]:
    """What stands at the head of each parked sequence, the oldest first, and how many letters wait behind it."""
    found: list[asyncpg.Record] = await pool.fetch(_OPEN, *(after or (None, None)), limit)
    return found


async def discards(
    pool: asyncpg.Pool, after: tuple[datetime, UUID] | None, limit: int
) -> list[asyncpg.Record]:
    """What was discarded, the oldest first."""
    found: list[asyncpg.Record] = await pool.fetch(_DISCARDED, *(after or (None, None)), limit)
    return found


async def letter(pool: asyncpg.Pool, letter_id: UUID) -> asyncpg.Record:
    """A letter with its record as it came. Raises LetterDiscarded, and NotFound, also for one applied meanwhile."""
    row = await pool.fetchrow(_ONE, letter_id)
    if row is None:
        raise await _gone(pool, letter_id)
    return row


async def retry(pool: asyncpg.Pool, letter_id: UUID, by: By) -> Retry:
    """Makes the sequence that a letter belongs to due at once, from its first event on.

    Raises LetterDiscarded, NotFound, NobodysEvent, StreamForked, PredecessorMissing, IdempotencyKeyReused.
    """
    async with pool.acquire() as connection, connection.transaction():
        if (told := await _told(connection, by)) is not None:
            return Retry(UUID(told["tried"]), told["attempts"])
        stream, sequence, _, _ = await _held(connection, letter_id)
        if stream is None:
            raise NobodysEvent
        if await connection.fetchval(_FORKED, *stream):
            raise StreamForked
        head = await connection.fetchrow(_NEXT, *stream, sequence + 1)
        if head is None:
            raise PredecessorMissing
        await connection.execute(_MAKE_DUE, head["letter_id"])
        await _tell(connection, by, {"tried": str(head["letter_id"]), "attempts": head["attempts"]})
        return Retry(head["letter_id"], head["attempts"])


async def outcome(pool: asyncpg.Pool, tried: Retry) -> Literal["applied", "failed"] | None:
    """What came of a retry: `applied` (or gone in another way), `failed` again, or None while it is under way."""
    attempts = await pool.fetchval(_ATTEMPTS, tried.letter_id)
    if attempts is None:
        return "applied"
    return "failed" if attempts > tried.attempts else None


async def discard(pool: asyncpg.Pool, letter_id: UUID, reason: str, by: By) -> bool:
    """Passes over one event for good: it counts as seen, here and in every rebuild, and what waited behind it is tried.

    Returns whether anything did. Raises LetterDiscarded, NotFound, LetterWaits, IdempotencyKeyReused.
    """
    async with pool.acquire() as connection, connection.transaction():
        if (told := await _told(connection, by)) is not None:
            return bool(told["released"])
        stream, sequence, why, number = await _held(connection, letter_id)
        if why is Reason.WAITING or (stream and why is not Reason.FORK and number != sequence + 1):
            raise LetterWaits
        gone = await connection.fetchrow(_DISCARD, letter_id, reason, by.actor, by.command_id)
        if gone is None:
            raise NotFound
        released = False
        if stream is not None:
            if why is Reason.FORK:
                await connection.execute(_LESSEN, *stream)
            else:
                sequence += 1
                await connection.execute(_MOVE_ON, *stream, sequence, gone["event_id"])
            head = await connection.fetchrow(_NEXT, *stream, sequence + 1)
            if head is not None and not await connection.fetchval(_FORKED, *stream):
                await connection.execute(_MAKE_DUE, head["letter_id"])
                released = True
        await _tell(connection, by, {"released": released})
        return released


_Stream = tuple[str, str, UUID]
"""Consumer, channel, stream."""


async def _held(connection: Connection, letter_id: UUID) -> tuple[_Stream | None, int, Reason, int | None]:
    """The letter's stream, if it says one, held; how far it has come; what the letter is for, and its number."""
    found = await connection.fetchrow(_HEAD, letter_id)
    if found is None:
        raise await _gone(connection, letter_id)
    if found["stream_id"] is None:
        return None, 0, Reason(found["reason"]), None
    stream = (found["consumer"], found["channel"], found["stream_id"])
    sequence = await connection.fetchval(_HOLD, *stream)
    # Whoever held the stream until now may have dealt with the letter.
    found = await connection.fetchrow(_HEAD, letter_id)
    if found is None:
        raise await _gone(connection, letter_id)
    return stream, sequence, Reason(found["reason"]), found["sequence"]


async def _gone(connection: Connection | asyncpg.Pool, letter_id: UUID) -> Exception:
    return LetterDiscarded() if await connection.fetchval(_IS_DISCARDED, letter_id) else NotFound()


async def _told(connection: Connection, by: By) -> Any:
    """What this command was answered when it was carried out before, if it was; else it is carried out now."""
    if await connection.fetchval(_CLAIM, by.command_id, by.fingerprint):
        return None
    row = await one(connection, _ANSWER, by.command_id)
    if row["fingerprint"] != by.fingerprint:
        raise IdempotencyKeyReused
    return orjson.loads(row["result"])[2]


async def _tell(connection: Connection, by: By, body: dict[str, Any]) -> None:
    # In the form of every command's answer; these have no position.
    await connection.execute(_REMEMBER, by.command_id, orjson.dumps(["", 0, body]).decode())


def headers_of(row: asyncpg.Record) -> list[tuple[str, bytes | None]]:
    """Headers of a letter's record as they came."""
    return dead_letters.load_headers(row["headers"])
