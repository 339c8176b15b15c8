"""Row 6: an own projection made again from all events."""

from collections.abc import AsyncIterator, Sequence
from typing import Any
from uuid import UUID

import asyncpg

from tests.bench.commands import EVENTS_A_STREAM, rooms_with_history
from tests.bench.rounds import AtLeast, Figures, Row, Segment, Watch, compare
from tests.bench.world import World, pool, settled
from tests.shared.conftest import APP, READER, Dsns
from tests.shared.example.aggregates import EVENTS
from tests.shared.example.domain.room import RoomOpened, SeatFreed, SeatTaken
from upwell_shared.database import Connection
from upwell_shared.event_store import EventStore
from upwell_shared.events import Recorded
from upwell_shared.projecting import Projector, ensure

_STREAMS = 3_000
_PAGE = 5_000

_SCAN = """
SELECT tx, position, stream_id, version, type, data FROM events WHERE (tx, position) > ($1, $2)
ORDER BY tx, position LIMIT $3
"""

_SEATS = """
SELECT stream_id, (data ->> 'booking_id')::uuid FROM events WHERE type = 'SeatTaken' ORDER BY tx, position
"""


class Seats:
    """The example's `who_sits_where` as a projection that has to be fast: two statements a page, not one an event."""

    name = "bench_seats"
    version = 1
    tables = "CREATE TABLE bench_seats (room_id uuid, booking_id uuid, PRIMARY KEY (room_id, booking_id))"

    async def project(self, connection: Connection, events: Sequence[Recorded[Any]]) -> None:
        last: dict[tuple[UUID, UUID], bool] = {}
        for recorded in events:
            match recorded.event:
                case SeatTaken(booking_id=booking_id):
                    last[recorded.stream_id, booking_id] = True
                case SeatFreed(booking_id=booking_id):
                    last[recorded.stream_id, booking_id] = False
                case RoomOpened():
                    pass
        taken = [seat for seat, held in last.items() if held]
        freed = [seat for seat, held in last.items() if not held]
        if freed:
            await connection.execute(
                "DELETE FROM bench_seats WHERE (room_id, booking_id) IN (SELECT * FROM unnest($1::uuid[], $2::uuid[]))",
                *zip(*freed, strict=True),
            )
        if taken:
            await connection.execute(
                "INSERT INTO bench_seats SELECT * FROM unnest($1::uuid[], $2::uuid[])",
                *zip(*taken, strict=True),
            )


async def rows(world: World) -> AsyncIterator[Row]:
    """One row: events a second, from the beginning of the rebuild to the switch."""
    async with world.database() as dsns, pool(dsns.app) as app, pool(dsns.owner, 3) as owner:
        await ensure(owner, [Seats()], app_role=APP, reader_role=READER)
        await rooms_with_history(EventStore(app, EVENTS), _STREAMS)
        readings = await world.rounds.measure(floor=floor(dsns), ours=ours(dsns, app, owner))
    yield compare(
        "projection rebuild",
        readings["floor"],
        readings["ours"],
        floor_is="scan of the events + COPY of the final rows",
        goal=AtLeast(0.4, 25_000),
    )


def ours(dsns: Dsns, app: asyncpg.Pool, owner: asyncpg.Pool) -> Segment:
    async def segment(watch: Watch) -> Figures:
        await settled(dsns.superuser)
        projector = Projector(app, EVENTS, Seats())
        with watch:
            await projector.rebuild(owner, app_role=APP, reader_role=READER)
        seats = await app.fetchval("SELECT count(*) FROM bench_seats")
        if seats != _STREAMS * (EVENTS_A_STREAM - 1):
            raise AssertionError("every seat is there")
        return watch.rate(_STREAMS * EVENTS_A_STREAM)

    return segment


def floor(dsns: Dsns) -> Segment:
    async def segment(watch: Watch) -> Figures:
        connection = await asyncpg.connect(dsns.owner)
        seats = [tuple(row) for row in await connection.fetch(_SEATS)]
        await settled(dsns.superuser)
        read = 0
        with watch:
            async with connection.transaction():
                await connection.execute("DROP TABLE IF EXISTS floor_seats")
                await connection.execute(Seats.tables.replace("bench_seats", "floor_seats"))
                at: tuple[int, int] = (0, 0)
                while page := await connection.fetch(_SCAN, *at, _PAGE):
                    at = page[-1][0], page[-1][1]
                    read += len(page)
                await connection.copy_records_to_table("floor_seats", records=seats)
        await connection.close()
        return watch.rate(read)

    return segment
