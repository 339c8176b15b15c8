"""What tests of consuming share: published events as records, a projection that shows order, and what is in the tables."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from uuid import UUID, uuid5

import asyncpg

from tests.shared.conftest import APP, READER
from tests.shared.example.app import COMMANDS
from tests.shared.example.contract import BookingAgreed, BookingEnded, BookingOpened, contract
from tests.shared.example.projections import how_bookings_stand
from tests.shared.example.reactions import free_the_seat
from upwell_shared.consuming import Applied, Applier, Batch, ForeignProjection, Handlers, Limits
from upwell_shared.contracts import Consumed, Contract, Publication, PublishedEvent, record_headers
from upwell_shared.database import Connection
from upwell_shared.events import Envelope
from upwell_shared.projecting import ensure

EXAMPLE = contract()
CHANNEL = EXAMPLE.channel("public")
LOG = UUID(int=0xA)
OTHER_LOG = UUID(int=0xB)
NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)


class Raw(NamedTuple):
    """A record without a broker."""

    offset: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]]


class Trail:
    """A projection that keeps every event of a stream in the order it came: twice or out of order would show.

    It raises `error` on the events in `failing`.
    """

    name = "trail"
    version = 1
    tables = "CREATE TABLE trails (stream_id uuid PRIMARY KEY, trail text[] NOT NULL)"

    def __init__(self) -> None:
        self.failing: set[UUID] = set()
        self.error: Exception = ValueError("somebody's words")
        self.pages: list[int] = []

    async def project(self, connection: Connection, events: Sequence[Consumed]) -> None:
        trails: defaultdict[UUID, list[str]] = defaultdict(list)
        for consumed in events:
            if consumed.event_id in self.failing:
                raise self.error
            trails[consumed.stream_id].append(f"{consumed.sequence} {consumed.event_id}")
        self.pages.append(len(events))
        for stream_id, trail in trails.items():
            await connection.execute(
                "INSERT INTO trails AS t VALUES ($1, $2) ON CONFLICT (stream_id) DO UPDATE SET trail = t.trail || $2",
                stream_id,
                trail,
            )


def stream(number: int) -> UUID:
    return uuid5(LOG, f"stream {number}")


def event(stream_id: UUID, sequence: int) -> PublishedEvent:
    room = uuid5(stream_id, "room")
    match sequence % 3:
        case 1:
            return BookingOpened(booking_id=stream_id, room_id=room)
        case 2:
            return BookingAgreed(booking_id=stream_id, room_id=room, confirmed_at=NOON)
        case _:
            return BookingEnded(booking_id=stream_id, room_id=room)


def publish(
    stream_id: UUID,
    sequence: int,
    *,
    branch: str = "",
    what: PublishedEvent | None = None,
    by: Contract = EXAMPLE,
) -> Publication:
    """The event of that number in the stream's history; another `branch` is another history."""
    return by.publish(
        what or event(stream_id, sequence),
        source_event_id=uuid5(stream_id, f"{branch}{sequence}"),
        stream_id=stream_id,
        sequence=sequence,
        recorded_at=NOON + timedelta(seconds=sequence),
        envelope=Envelope(
            command_id=uuid5(stream_id, "command"), correlation_id=uuid5(stream_id, "correlation")
        ),
    )


def record(publication: Publication, offset: int = 0, log_id: UUID = LOG) -> Raw:
    headers = record_headers(publication.headers, log_id)
    return Raw(offset, str(publication.key).encode(), publication.body, headers)


def records(publications: Iterable[Publication | Raw], log_id: UUID = LOG) -> list[Raw]:
    """As they follow one another in a partition."""
    return [
        p._replace(offset=n) if isinstance(p, Raw) else record(p, n, log_id)
        for n, p in enumerate(publications)
    ]


class World:
    """One consumer on one database, and a look at what it has done."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        name: str = "reader",
        *,
        limits: Limits | None = None,
        trail: Trail | None = None,
    ) -> None:
        self.pool = pool
        self.trail = trail or Trail()
        projections: tuple[ForeignProjection, ...] = (self.trail, how_bookings_stand)
        handlers = Handlers(projections, (free_the_seat,), COMMANDS)
        self.applier = Applier(name, pool, [EXAMPLE], handlers, limits or Limits())
        self.name = name

    async def next_offset(self, log_id: UUID = LOG) -> int:
        """Where the database says to read on; begins the partition if it is unknown."""
        await self.pool.execute(
            "INSERT INTO consumer_offsets VALUES ($1, $2, $3, 0, 0) ON CONFLICT DO NOTHING",
            self.name,
            log_id,
            CHANNEL,
        )
        found = await self.pool.fetchval(
            "SELECT next_offset FROM consumer_offsets WHERE consumer = $1 AND log_id = $2", self.name, log_id
        )
        return int(found)

    def batch(self, page: Sequence[Raw], first_offset: int, log_id: UUID = LOG) -> Batch:
        return Batch(log_id=log_id, channel=CHANNEL, partition=0, first_offset=first_offset, records=page)

    async def read(self, log: Sequence[Raw], log_id: UUID = LOG, cuts: Iterable[int] = ()) -> list[Applied]:
        """Reads a log from where the database says to its end, in pages that end at `cuts`."""
        at = await self.next_offset(log_id)
        ends = sorted({cut for cut in cuts if at < cut < len(log)} | {len(log)})
        applied = []
        for end in ends:
            if at < end:
                applied.append(await self.applier.apply(self.batch(log[at:end], at, log_id)))
                at = end
        return applied

    async def tables(self) -> dict[str, list[tuple[object, ...]]]:
        """Everything the consumer is there for, and what it knows of each stream."""
        queries = {
            "trails": "SELECT * FROM trails ORDER BY stream_id",
            "bookings": "SELECT * FROM bookings ORDER BY booking_id",
            "todos": "SELECT command_id, stream_id, type, command::text, correlation_id, causation_id, traceparent"
            " FROM todos ORDER BY command_id",
            "progress": "SELECT channel, stream_id, sequence, event_id, letters FROM progress ORDER BY stream_id",
        }
        return {name: [tuple(row) for row in await self.pool.fetch(query)] for name, query in queries.items()}

    async def letters(self) -> list[tuple[str, int | None]]:
        """(reason, sequence) of every dead letter."""
        rows = await self.pool.fetch(
            "SELECT reason, sequence FROM dead_letters ORDER BY stream_id, sequence, parked_at"
        )
        return [(row["reason"], row["sequence"]) for row in rows]

    async def trails(self) -> dict[UUID, list[int]]:
        """The sequences applied, by stream, in the order they were."""
        rows = await self.pool.fetch("SELECT stream_id, trail FROM trails")
        return {row["stream_id"]: [int(step.split()[0]) for step in row["trail"]] for row in rows}


async def make_tables(owner_pool: asyncpg.Pool) -> None:
    await ensure(owner_pool, [Trail()], app_role=APP, reader_role=READER)


# DELETE, not TRUNCATE: that syncs files, fifty times as slow for a few rows.
_WIPE = """
DELETE FROM consumer_offsets; DELETE FROM progress; DELETE FROM dead_letters; DELETE FROM todos;
DELETE FROM projection_trail_1.trails; DELETE FROM projection_how_bookings_stand_1.bookings;
"""


async def wipe(pool: asyncpg.Pool) -> None:
    """As before anything was read."""
    await pool.execute(_WIPE)
