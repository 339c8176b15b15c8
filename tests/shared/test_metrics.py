"""Every metric moves when what it tells of does, and tells nothing else."""

import asyncio
import math
from datetime import timedelta
from uuid import UUID, uuid4

import asyncpg
import pytest
from fastapi import FastAPI
from httpx2 import ASGITransport, AsyncClient

from tests.shared.conftest import APP, READER, Dsns
from tests.shared.consuming_world import CHANNEL, make_tables, publish, records, stream
from tests.shared.consuming_world import World as Consuming
from tests.shared.example.app import BOOKING, EVENTS, Example, handler
from tests.shared.example.domain.booking import RequestBooking
from tests.shared.example.domain.room import OpenRoom
from tests.shared.example.projections import how_bookings_stand, who_sits_where
from tests.shared.example.settings import ExampleSettings
from tests.shared.relay_world import drain, world, write
from tests.shared.world import NOW, asked, open_room, request_booking
from upwell.servers.testing import SharedBroker
from upwell_shared.database import create_pool
from upwell_shared.errors import StaleVersion
from upwell_shared.handling import Handler, Intent
from upwell_shared.lease import Lease
from upwell_shared.metrics import REGISTRY
from upwell_shared.projecting import Projector, create_generation
from upwell_shared.service import served
from upwell_shared.settings import Dsn
from upwell_shared.standing import Standing
from upwell_shared.testing import FixedClock
from upwell_shared.web.policies import Nobody

ROLES = {"app_role": APP, "reader_role": READER}


def value(name: str, **labels: str) -> float:
    """0 for one that nobody has set yet."""
    return REGISTRY.get_sample_value(name, labels) or 0.0


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock(NOW)


@pytest.fixture
def here(pool: asyncpg.Pool, clock: FixedClock) -> Handler:
    return handler(pool, clock)


@pytest.fixture
def standing(pool: asyncpg.Pool, clock: FixedClock) -> Standing:
    return Standing(pool, clock)


async def test_commands_are_timed_by_type_and_conflicts_counted(
    here: Handler, pool: asyncpg.Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    timed = ("upwell_command_seconds_count", "upwell_append_conflicts_total")
    rooms, conflicts = value(timed[0], command="OpenRoom"), value(timed[1])
    room = await open_room(here, seats=2)
    assert value(timed[0], command="OpenRoom") == rooms + 1
    assert value(timed[1]) == conflicts
    refused = value(timed[0], command="RequestBooking")
    booking = RequestBooking(room_id=room, now=NOW)
    with pytest.raises(StaleVersion):
        await here.handle(Intent(BOOKING, uuid4(), booking, if_match=7), envelope=asked())
    assert value(timed[0], command="RequestBooking") == refused + 1
    # Somebody else is faster between load and append, once.
    booking_id, load, overtaken = uuid4(), here._store.load, False  # noqa: SLF001

    async def slow(*ids: UUID) -> object:
        nonlocal overtaken
        found = await load(*ids)
        if not overtaken:
            overtaken = True
            await handler(pool, FixedClock(NOW)).send(booking_id, booking, asked())
        return found

    monkeypatch.setattr(here._store, "load", slow)  # noqa: SLF001
    with pytest.raises(Exception, match="booking"):
        await here.send(booking_id, booking, asked())
    assert value(timed[1]) == conflicts + 1


async def test_the_lag_of_each_own_read_model_in_seconds_of_the_services_clock(
    here: Handler, pool: asyncpg.Pool, clock: FixedClock, standing: Standing
) -> None:
    projector = Projector(pool, EVENTS, who_sits_where)
    assert await Lease(pool, f"projector-{who_sits_where.name}").acquire() is not None
    await open_room(here, seats=2)
    clock.forward(timedelta(seconds=90))
    lag = ("upwell_projection_lag_seconds", {"projection": who_sits_where.name})
    await standing.observe()
    assert REGISTRY.get_sample_value(*lag) == 90.0
    while await projector.step():
        pass
    await standing.observe()
    assert REGISTRY.get_sample_value(*lag) == 0.0
    # One that is fed by others has no lag of this kind.
    assert (
        REGISTRY.get_sample_value("upwell_projection_lag_seconds", {"projection": how_bookings_stand.name})
        is None
    )


async def test_the_age_of_the_oldest_unpublished_event_also_without_a_relay(
    here: Handler, clock: FixedClock, standing: Standing, pool: asyncpg.Pool
) -> None:
    await standing.observe()
    assert value("upwell_relay_oldest_unpublished_seconds") == 0.0
    await request_booking(here, await open_room(here, seats=2))
    clock.forward(timedelta(minutes=5))
    await standing.observe()
    assert value("upwell_relay_oldest_unpublished_seconds") == 300.0
    await pool.execute(
        "INSERT INTO cursors (name, epoch, tx, position, acknowledged)"
        " SELECT 'relay', 1, tx, position, '{}' FROM ledger ORDER BY tx DESC, position DESC LIMIT 1"
    )
    await standing.observe()
    assert value("upwell_relay_oldest_unpublished_seconds") == 0.0


async def test_dead_letters_and_the_oldest_of_them(
    pool: asyncpg.Pool, owner_pool: asyncpg.Pool, standing: Standing
) -> None:
    await standing.observe()
    assert value("upwell_dead_letters") == 0
    assert value("upwell_dead_letters_oldest_seconds") == 0
    consuming = Consuming(pool)
    await make_tables(owner_pool)
    first = publish(stream(1), 1)
    consuming.trail.failing.add(first.event_id)
    await consuming.read(records([first, publish(stream(1), 2), publish(stream(2), 1)]))
    await pool.execute("UPDATE dead_letters SET parked_at = parked_at - interval '1 hour'")
    await standing.observe()
    assert value("upwell_dead_letters") == 2
    assert value("upwell_dead_letters_oldest_seconds") >= 3600
    consuming.trail.failing.clear()
    await consuming.applier.retry(CHANNEL, stream(1))
    await standing.observe()
    assert value("upwell_dead_letters") == 0
    assert value("upwell_dead_letters_oldest_seconds") == 0


async def test_the_oldest_writer_is_seen_for_as_long_as_it_writes(
    pool: asyncpg.Pool, dsns: Dsns, standing: Standing
) -> None:
    writer = await asyncpg.connect(dsns.owner)
    try:
        transaction = writer.transaction()
        await transaction.start()
        mine = await writer.fetchval("SELECT pg_current_xact_id()")

        async def seen() -> float:
            await standing.observe()
            return value("upwell_oldest_writer_seconds")

        later = "INSERT INTO leases VALUES ($1, $2, 1, now())"
        await pool.execute(later, "somebody else's", uuid4())
        # Writers of other tests on the same cluster are seen too; from some moment on ours is the oldest.
        async with asyncio.timeout(20):
            while await pool.fetchval("SELECT pg_snapshot_xmin(pg_current_snapshot())") != mine:
                await asyncio.sleep(0.01)
        await seen()
        earlier = await seen()
        assert 0 < earlier < await seen()
        await transaction.rollback()
    finally:
        await writer.close()
    async with asyncio.timeout(20):
        while await seen() > earlier:
            await asyncio.sleep(0.01)


async def test_how_far_a_rebuild_is(
    here: Handler, pool: asyncpg.Pool, owner_pool: asyncpg.Pool, standing: Standing
) -> None:
    projector = Projector(pool, EVENTS, who_sits_where)
    assert await Lease(pool, f"projector-{who_sits_where.name}").acquire() is not None
    for _ in range(4):
        await open_room(here, seats=2)
    while await projector.step():
        pass
    ratio = ("upwell_projection_rebuild_ratio", {"projection": who_sits_where.name})
    await standing.observe()
    assert REGISTRY.get_sample_value(*ratio) is None
    generation = await create_generation(owner_pool, who_sits_where, **ROLES)
    await standing.observe()
    assert REGISTRY.get_sample_value(*ratio) == 0.0
    halfway = "SELECT tx, position FROM events ORDER BY tx, position OFFSET 1 LIMIT 1"
    await owner_pool.execute(
        f"UPDATE projections p SET tx = e.tx, position = e.position FROM ({halfway}) e"
        " WHERE p.name = $1 AND p.generation = $2",
        *(who_sits_where.name, generation),
    )
    await standing.observe()
    assert 0.0 < (REGISTRY.get_sample_value(*ratio) or 0.0) < 1.0
    await projector.rebuild(owner_pool, **ROLES)
    await standing.observe()
    assert REGISTRY.get_sample_value(*ratio) is None


async def test_how_far_the_rebuild_of_one_fed_by_others_is(
    pool: asyncpg.Pool, owner_pool: asyncpg.Pool, standing: Standing
) -> None:
    name = how_bookings_stand.name
    progress = "INSERT INTO progress VALUES ($1, $2, $3, $4, $5, 0)"
    await pool.execute(progress, "example", CHANNEL, stream(1), 8, uuid4())
    generation = await create_generation(owner_pool, how_bookings_stand, **ROLES)
    await standing.observe()
    assert REGISTRY.get_sample_value("upwell_projection_rebuild_ratio", {"projection": name}) == 0.0
    await pool.execute(progress, f"example@{name}.{generation}", CHANNEL, stream(1), 2, uuid4())
    await standing.observe()
    assert REGISTRY.get_sample_value("upwell_projection_rebuild_ratio", {"projection": name}) == 0.25


async def test_pages_of_the_relay_are_timed_and_producers_counted(
    pool: asyncpg.Pool, broker: SharedBroker
) -> None:
    here = world(pool, broker.bootstrap)
    pages, producers = value("upwell_relay_page_seconds_count"), value("upwell_relay_producers_total")
    await write(pool, here.public, keys=3, each=5)
    async with here.relaying(page=5) as (relay, term):
        await drain(relay, term)
    assert value("upwell_relay_page_seconds_count") == pages + 3
    assert value("upwell_relay_producers_total") == producers + 1
    async with here.relaying() as (relay, term):
        await drain(relay, term)
    assert value("upwell_relay_producers_total") == producers + 2


async def test_without_a_database_the_rest_is_told_and_what_is_not_known_is_nan(
    dsns: Dsns, clock: FixedClock
) -> None:
    pool = await create_pool(dsns.app, application_name="test")
    app = _app(pool, clock)
    async with AsyncClient(transport=ASGITransport(app), base_url="http://example") as http:
        assert "upwell_dead_letters 0.0" in (await http.get("/metrics")).text
        await pool.close()
        told = (await http.get("/metrics")).text
    assert "upwell_dead_letters NaN" in told
    assert "upwell_command_seconds" in told
    assert math.isnan(value("upwell_relay_oldest_unpublished_seconds"))


async def test_labels_name_things_of_ours_alone(here: Handler, standing: Standing) -> None:
    room = await open_room(here, seats=2)
    await standing.observe()
    allowed = {"command", "consumer", "projection", "worker", "reason", "le"}
    samples = [sample for family in REGISTRY.collect() for sample in family.samples]
    assert any(sample.labels.get("command") == OpenRoom.__name__ for sample in samples)
    for sample in samples:
        assert set(sample.labels) <= allowed, sample.name
        assert str(room) not in sample.labels.values()


def _app(pool: asyncpg.Pool, clock: FixedClock) -> FastAPI:
    settings = ExampleSettings(database_url=Dsn("postgresql://nobody@127.0.0.1:1/nothing"))
    return served(Example(settings, pool, clock=clock), pool, Nobody(), clock)
