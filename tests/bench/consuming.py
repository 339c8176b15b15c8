"""Row 4: pages of records applied to a projection, without a broker."""

from collections import Counter
from collections.abc import AsyncIterator
from itertools import islice
from typing import NamedTuple
from uuid import UUID, uuid4

import asyncpg

from tests.bench.rounds import AtLeast, Figures, Row, Segment, Watch, compare
from tests.bench.world import World, pool, settled
from tests.shared.conftest import Dsns
from tests.shared.consuming_world import CHANNEL, EXAMPLE, LOG, Raw, publish, record
from tests.shared.example.projections import how_bookings_stand
from upwell_shared.consuming import Applier, Batch, Handlers

PAGES = (500, 1000)
_EVENTS_A_SECOND = 16_000
_EVENTS_A_STREAM = 4
_CONSUMER = "bench"
_STANDINGS = ("ended", "requested", "confirmed")

_FLOOR_TABLES = """
CREATE TABLE floor_bookings (
    booking_id uuid PRIMARY KEY, room_id uuid NOT NULL, standing text NOT NULL, changes int NOT NULL
);
CREATE TABLE floor_checkpoint (name text PRIMARY KEY, next_offset bigint NOT NULL);
INSERT INTO floor_checkpoint VALUES ('bench', 0);
GRANT SELECT, INSERT, UPDATE ON floor_bookings, floor_checkpoint TO example_app;
"""

_FLOOR = """
WITH checkpoint AS (UPDATE floor_checkpoint SET next_offset = next_offset + $1 WHERE name = 'bench')
INSERT INTO floor_bookings AS held (booking_id, room_id, standing, changes)
SELECT * FROM unnest($2::uuid[], $3::uuid[], $4::text[], $5::int[])
ON CONFLICT (booking_id) DO UPDATE SET standing = excluded.standing, changes = held.changes + excluded.changes
"""


class Page(NamedTuple):
    """One page as it comes from the broker, and the rows it leads to."""

    records: list[Raw]
    rows: list[tuple[UUID, UUID, str, int]]


async def rows(world: World) -> AsyncIterator[Row]:
    """One row for each size of page."""
    async with world.database() as dsns, pool(dsns.app) as app:
        owner = await asyncpg.connect(dsns.owner)
        await owner.execute(_FLOOR_TABLES)
        await owner.close()
        for size in PAGES:
            count = max(4, int(_EVENTS_A_SECOND * world.rounds.seconds / size))
            readings = await world.rounds.measure(
                floor=floor(dsns, size, count), ours=ours(dsns, app, size, count)
            )
            yield compare(
                f"consumer → projection, pages of {size}",
                readings["floor"],
                readings["ours"],
                floor_is="unnest upsert + checkpoint of ready rows",
                goal=AtLeast(0.6, 15_000),
            )


def pages(size: int, count: int) -> list[Page]:
    """Every record of a page is of another stream, so that folding saves nothing; one in four begins a stream."""
    streams = [uuid4() for _ in range(size // _EVENTS_A_STREAM * (count + _EVENTS_A_STREAM - 1))]
    told: Counter[UUID] = Counter()
    made = []
    for number in range(count):
        records: list[Raw] = []
        rows: list[tuple[UUID, UUID, str, int]] = []
        for stream_id in islice(streams, number * size // _EVENTS_A_STREAM, None):
            if len(records) == size:
                break
            told[stream_id] += 1
            sequence = told[stream_id]
            records.append(record(publish(stream_id, sequence), number * size + len(records)))
            rows.append((stream_id, stream_id, _STANDINGS[sequence % 3], 1))
        made.append(Page(records, rows))
    return made


def ours(dsns: Dsns, app: asyncpg.Pool, size: int, count: int) -> Segment:
    async def segment(watch: Watch) -> Figures:
        ready = pages(size, count)
        await app.execute("DELETE FROM consumer_offsets")
        await app.execute("INSERT INTO consumer_offsets VALUES ($1, $2, $3, 0, 0)", _CONSUMER, LOG, CHANNEL)
        await settled(dsns.superuser)
        applier = Applier(_CONSUMER, app, [EXAMPLE], Handlers((how_bookings_stand,)))
        applied = 0
        with watch:
            for number, page in enumerate(ready):
                batch = Batch(
                    log_id=LOG,
                    channel=CHANNEL,
                    partition=0,
                    first_offset=number * size,
                    records=page.records,
                )
                applied += (await applier.apply(batch)).applied
        if applied != size * count:
            raise AssertionError("every record is new and in order")
        return watch.rate(applied)

    return segment


def floor(dsns: Dsns, size: int, count: int) -> Segment:
    async def segment(watch: Watch) -> Figures:
        ready = pages(size, count)
        connection = await asyncpg.connect(dsns.app)
        statement = await connection.prepare(_FLOOR)
        await settled(dsns.superuser)
        with watch:
            for page in ready:
                await statement.fetch(size, *zip(*page.rows, strict=True))
        await connection.close()
        return watch.rate(size * count)

    return segment
