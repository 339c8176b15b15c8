"""Row 1: an append of one event with its ledger row, its stream's version and its command's id."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import datetime
from uuid import UUID, uuid4

import asyncpg
from uuid_utils.compat import uuid7

from tests.bench.rounds import AtLeast, Figures, Row, Segment, Watch, compare
from tests.bench.world import World, pool
from tests.shared.example.aggregates import EVENTS
from tests.shared.example.contract import BookingOpened, contract
from tests.shared.example.domain.booking import BookingRequested
from upwell_shared.clock import WallClock
from upwell_shared.contracts import Publication
from upwell_shared.event_store import Append, Appended, EventStore, StreamAppend
from upwell_shared.events import Envelope

GOALS = {1: 0.7, 8: 1.0, 32: 1.7}
_EVENTS_A_STREAM = 20
_MOST_A_SECOND = 16_000
"""More than any variant does: so many are made ready for each second that is measured."""

# What an event store without a ledger, versions and command ids needs at the least.
FLOOR_TABLE = """
CREATE TABLE floor_events (
    position bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    stream_id uuid NOT NULL, version int NOT NULL, event_id uuid NOT NULL, type text NOT NULL,
    schema_version smallint NOT NULL, data json NOT NULL, command_id uuid NOT NULL, correlation_id uuid NOT NULL,
    causation_id uuid, actor text, traceparent text, recorded_at timestamptz NOT NULL,
    UNIQUE (stream_id, version)
);
GRANT SELECT, INSERT ON floor_events TO example_app;
"""

FLOOR_INSERT = """
INSERT INTO floor_events (stream_id, version, event_id, type, schema_version, data, command_id, correlation_id,
                          causation_id, actor, traceparent, recorded_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
"""

Ready = Iterator[tuple[Append, tuple[object, ...]]]


async def rows(world: World) -> AsyncIterator[Row]:
    """One row for each number of concurrent commands."""
    async with world.database() as dsns, pool(dsns.app) as app:
        owner = await asyncpg.connect(dsns.owner)
        await owner.execute(FLOOR_TABLE)
        await owner.close()
        store = EventStore(app, EVENTS)
        for concurrency, goal in GOALS.items():
            async with dedicated(dsns.app, concurrency) as connections:
                readings = await world.rounds.measure(
                    floor=floor(connections, world.rounds.seconds),
                    ours=ours(store, concurrency, world.rounds.seconds),
                )
            yield compare(
                "append",
                readings["floor"],
                readings["ours"],
                floor_is="one INSERT a transaction, a connection each",
                concurrency=concurrency,
                goal=AtLeast(goal),
            )


@asynccontextmanager
async def dedicated(dsn: str, count: int) -> AsyncIterator[list[asyncpg.Connection]]:
    """So many connections, each of one worker alone."""
    connections = [await asyncpg.connect(dsn) for _ in range(count)]
    yield connections
    for connection in connections:
        await connection.close()


def floor(connections: list[asyncpg.Connection], seconds: float) -> Segment:
    async def segment(watch: Watch) -> Figures:
        work = made_ready(len(connections), seconds)
        inserts = [await connection.prepare(FLOOR_INSERT) for connection in connections]

        async def worker(number: int, until: float) -> int:
            done, insert = 0, inserts[number].fetchval
            for _, event in work[number]:
                await insert(*event)
                done += 1
                if now() >= until:
                    break
            return done

        now = asyncio.get_running_loop().time
        with watch:
            until = now() + seconds
            done = await asyncio.gather(*(worker(n, until) for n in range(len(connections))))
        return watch.rate(sum(done))

    return segment


def ours(store: EventStore, concurrency: int, seconds: float) -> Segment:
    async def segment(watch: Watch) -> Figures:
        work = made_ready(concurrency, seconds)

        async def worker(number: int, until: float) -> int:
            done = 0
            for append, _ in work[number]:
                if await store.append(append) is not Appended.WRITTEN:
                    raise AssertionError("nobody else writes to this stream")
                done += 1
                if now() >= until:
                    break
            return done

        now = asyncio.get_running_loop().time
        with watch:
            until = now() + seconds
            done = await asyncio.gather(*(worker(n, until) for n in range(concurrency)))
        return watch.rate(sum(done))

    return segment


def made_ready(workers: int, seconds: float) -> list[list[tuple[Append, tuple[object, ...]]]]:
    """What each worker appends, one after another: the same event as an append of ours and as a row.

    What is ready costs nothing while it is measured. Streams are of twenty events, as real ones are: one append in
    twenty makes a stream, the others move one on.
    """
    return [list(_appends(int(_MOST_A_SECOND * seconds / workers**0.5 / 4) + 1)) for _ in range(workers)]


def _appends(count: int) -> Ready:
    now = WallClock().now()
    event = EVENTS.encode(BookingRequested(room_id=uuid4(), expires_at=now))
    stream_id, publication = _stream(now)
    for number in range(count):
        version = number % _EVENTS_A_STREAM
        if number and version == 0:
            stream_id, publication = _stream(now)
        event_id, envelope = uuid7(), Envelope(command_id=uuid4(), correlation_id=uuid4())
        append = Append(
            envelope=envelope,
            recorded_at=now,
            result=f'["example/{stream_id}@{version + 1}.{version + 1}.0",{version + 1},{{}}]',
            fingerprint=stream_id.bytes * 2,
            streams=[
                StreamAppend(
                    stream_id=stream_id,
                    type="booking",
                    expected=version,
                    events=[(event_id, event)],
                    publications=[publication._replace(event_id=uuid4(), sequence=version + 1)],
                    public_sequence=version + 1,
                )
            ],
        )
        place = (stream_id, version + 1, event_id)
        source = (envelope.command_id, envelope.correlation_id, None, None, None, now)
        yield append, (*place, *event, *source)


def _stream(now: datetime) -> tuple[UUID, Publication]:
    """A stream's id, and what is told of each of its events but for id and number."""
    stream_id = uuid4()
    publication = contract().publish(
        BookingOpened(booking_id=stream_id, room_id=uuid4()),
        source_event_id=stream_id,
        stream_id=stream_id,
        sequence=1,
        recorded_at=now,
        envelope=Envelope(command_id=uuid4(), correlation_id=uuid4()),
    )
    return stream_id, publication
