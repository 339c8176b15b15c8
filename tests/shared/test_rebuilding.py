"""A projection fed by Kafka, made again from zero while the service goes on."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from copy import copy
from typing import Any, Self
from uuid import uuid4

import asyncpg
import pytest
from structlog.testing import capture_logs

from tests.shared.conftest import APP, READER, Dsns
from tests.shared.example.app import BOOKING, Example
from tests.shared.example.domain.booking import RequestBooking
from tests.shared.example.projections import how_bookings_stand
from tests.shared.example.settings import ExampleSettings
from tests.shared.relay_world import delete_channels
from upwell.servers.testing import SharedBroker
from upwell_shared import projecting
from upwell_shared.consuming.rebuilding import LettersOpen, RebuildFailed, rebuild
from upwell_shared.database import Connection
from upwell_shared.events import Envelope, Position
from upwell_shared.handling import Intent
from upwell_shared.log_identity import ClusterClient
from upwell_shared.projecting import ProjectionSuperseded, ensure, enter
from upwell_shared.running import run_until
from upwell_shared.service import Role
from upwell_shared.settings import Dsn

PATIENCE = 30.0
ALL: tuple[Role, ...] = ("relay", "consume", "work")


async def until(reached: Callable[[], Awaitable[bool]]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not await reached():
        assert time.monotonic() < deadline, "waited in vain"
        await asyncio.sleep(0.02)


class Running:
    """The example inside the test's own process."""

    def __init__(
        self, dsns: Dsns, pool: asyncpg.Pool, broker: SharedBroker, roles: Sequence[Role] = ALL
    ) -> None:
        settings = ExampleSettings(
            database_url=Dsn(dsns.app),
            owner=f"example{uuid4().hex[:8]}",
            kafka_bootstrap=broker.bootstrap,
            consumer_session_ms=broker.session_timeout_ms,
            consumer_heartbeat_ms=broker.heartbeat_interval_ms,
        )
        self.example = Example(settings, pool)
        self.roles = roles
        self.pool = pool
        self.stop = asyncio.Event()
        self.task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        async with ClusterClient(self.example.settings.kafka_bootstrap) as cluster:
            await cluster.create(self.example.contract.channels)
        workers = self.example.workers(self.roles)
        self.task = asyncio.create_task(run_until(self.stop, *workers, closing=self.example.closing))
        return self

    async def __aexit__(self, *_: object) -> None:
        self.stop.set()
        assert self.task is not None
        await self.task

    async def request(self, count: int) -> None:
        now = self.example.clock.now()
        for _ in range(count):
            await self.example.handler.handle(
                Intent(BOOKING, uuid4(), RequestBooking(room_id=uuid4(), now=now)),
                envelope=Envelope(command_id=uuid4(), correlation_id=uuid4()),
            )

    async def caught_up(self, count: int) -> None:
        async def shown() -> bool:
            return bool(await self.pool.fetchval("SELECT count(*) FROM bookings") >= count)

        await until(shown)

    def another(self, roles: Sequence[Role]) -> "Running":
        """The same service, started again in other roles."""
        other = copy(self)
        other.example = Example(self.example.settings, self.pool)
        other.stop = asyncio.Event()
        other.roles = roles
        return other

    async def rebuild(
        self, owner_pool: asyncpg.Pool, projection: Any = how_bookings_stand, patience: float = 20.0
    ) -> int:
        return await rebuild(
            self.example.settings.owner,
            projection,
            [self.example.contract],
            self.example.settings.kafka_bootstrap,
            pool=self.pool,
            owner=owner_pool,
            app_role=APP,
            reader_role=READER,
            patience=patience,
        )


async def rows(pool: asyncpg.Pool, schema: str) -> set[tuple[Any, ...]]:
    return {tuple(row) for row in await pool.fetch(f"SELECT * FROM {schema}.bookings")}


async def test_the_new_rows_are_the_old_ones_and_reads_never_find_less(
    dsns: Dsns, pool: asyncpg.Pool, owner_pool: asyncpg.Pool, broker: SharedBroker
) -> None:
    async with Running(dsns, pool, broker) as running:
        await running.request(40)
        await running.caught_up(40)
        rebuilt = asyncio.create_task(running.rebuild(owner_pool))
        more = asyncio.create_task(running.request(60))
        seen = [40]
        while not rebuilt.done():
            seen.append(await pool.fetchval("SELECT count(*) FROM bookings"))
        assert await rebuilt == 2
        await more
        await running.caught_up(100)
        assert seen == sorted(seen)
        # The retired generation stands where the switch found it; the new one holds all of it, and what came since.
        assert await rows(owner_pool, "projection_how_bookings_stand_1") <= await rows(pool, "public")
        assert await pool.fetchval("SELECT max(changes) FROM bookings") == 1
        assert await pool.fetchval("SELECT count(*) FROM consumer_offsets WHERE consumer LIKE '%@%'") == 0
        assert await pool.fetchval("SELECT count(*) FROM progress WHERE consumer LIKE '%@%'") == 0


class Failing:
    name = how_bookings_stand.name
    version = how_bookings_stand.version
    tables = how_bookings_stand.tables

    async def project(self, connection: Connection, events: Any) -> None:
        raise ValueError("somebody's words")


async def test_a_rebuild_that_fails_leaves_the_live_rows_as_they_were(
    dsns: Dsns, pool: asyncpg.Pool, owner_pool: asyncpg.Pool, tansu: SharedBroker
) -> None:
    async with Running(dsns, pool, tansu) as running:
        await running.request(5)
        await running.caught_up(5)
        before = await rows(pool, "public")
        with pytest.raises(RebuildFailed, match="failed") as failed:
            await running.rebuild(owner_pool, Failing())
        assert "somebody" not in str(failed.value)
        assert await rows(pool, "public") == before
        assert await pool.fetchval("SELECT count(*) FROM dead_letters") == 0
        # The next one begins anew.
        assert await running.rebuild(owner_pool) > 1
        assert await rows(pool, "public") == before


async def test_a_rebuild_does_not_start_over_open_dead_letters(
    dsns: Dsns, pool: asyncpg.Pool, owner_pool: asyncpg.Pool, tansu: SharedBroker
) -> None:
    async with Running(dsns, pool, tansu) as running:
        await running.request(1)
        await running.caught_up(1)
        await pool.execute(
            "INSERT INTO dead_letters (letter_id, consumer, channel, reason, log_id, partition, record_offset, headers,"
            " attempts) VALUES (gen_random_uuid(), $1, 'upwell.example.v1', 'unreadable', gen_random_uuid(), 0, 7, '[]', 0)",
            running.example.settings.owner,
        )
        with pytest.raises(LettersOpen):
            await running.rebuild(owner_pool)


async def lose_the_log(running: Running) -> None:
    async with ClusterClient(running.example.settings.kafka_bootstrap) as client:
        await delete_channels(client, *(spec.name for spec in running.example.contract.channels))


async def test_a_rebuild_from_a_log_that_is_being_filled_again_waits_for_it_and_loses_nothing(
    dsns: Dsns, pool: asyncpg.Pool, owner_pool: asyncpg.Pool, broker: SharedBroker
) -> None:
    """The live consumer has not come to the new log, so its offsets there say nothing, and its rows are all there."""
    async with Running(dsns, pool, broker) as first:
        await first.request(40)
        await first.caught_up(40)
    before = await rows(pool, "public")
    former = await pool.fetchval("SELECT log_id FROM cursors")
    await lose_the_log(first)
    await first.request(10)  # which the live consumer does not know of
    async with first.another(["relay"]):

        async def begun_anew() -> bool:
            return bool(await pool.fetchval("SELECT log_id <> $1 FROM cursors", former))

        await until(begun_anew)
        assert await first.rebuild(owner_pool) == 2
    assert await rows(pool, "public") == before
    async with first.another(ALL) as again:
        await again.caught_up(50)
        await again.request(10)
        await again.caught_up(60)
    assert before <= await rows(pool, "public")
    assert await pool.fetchval("SELECT max(changes) FROM bookings") == 1
    assert await pool.fetchval("SELECT count(*) FROM dead_letters") == 0


async def test_a_rebuild_during_which_the_log_is_lost_says_so(
    dsns: Dsns, pool: asyncpg.Pool, owner_pool: asyncpg.Pool, tansu: SharedBroker
) -> None:
    async with Running(dsns, pool, tansu) as running:
        await running.request(5)
        await running.caught_up(5)
    # So that it cannot end before.
    await pool.execute("UPDATE progress SET sequence = 2")
    rebuilt = asyncio.create_task(running.rebuild(owner_pool))

    async def reading() -> bool:
        return bool(await pool.fetchval("SELECT count(*) FROM progress WHERE consumer LIKE '%@%'"))

    await until(reading)
    await lose_the_log(running)
    with pytest.raises(RebuildFailed, match=f"the log of {running.example.settings.owner} is another one"):
        await rebuilt
    assert len(await rows(pool, "public")) == 5


@pytest.mark.parametrize(
    ("beyond", "why"),
    [
        ("UPDATE consumer_offsets SET next_offset = next_offset + 3 WHERE next_offset > 0", "not in the log"),
        ("UPDATE progress SET event_id = gen_random_uuid()", "5 streams are not as the log has them"),
        ("UPDATE progress SET sequence = 2", "5 streams are not as the log has them"),
    ],
    ids=["offsets", "another history", "progress"],
)
async def test_a_rebuild_does_not_wait_for_ever_for_what_the_log_does_not_hold(
    dsns: Dsns, pool: asyncpg.Pool, owner_pool: asyncpg.Pool, tansu: SharedBroker, beyond: str, why: str
) -> None:
    async with Running(dsns, pool, tansu) as running:
        await running.request(5)
        await running.caught_up(5)
    await pool.execute(beyond)
    with pytest.raises(RebuildFailed, match=f"nothing moved for .*{why}"):
        await running.rebuild(owner_pool, patience=1.0)
    assert len(await rows(pool, "public")) == 5
    assert await pool.fetchval("SELECT count(*) FROM progress WHERE consumer LIKE '%@%'") == 0


class Later:
    """A projection that comes with a later release."""

    name = "bookings_again"
    version = 1
    tables = how_bookings_stand.tables.replace("bookings", "bookings_again")

    async def project(self, connection: Connection, events: Any) -> None:
        await connection.executemany(
            "INSERT INTO bookings_again VALUES ($1, $2, '', 1)",
            [(consumed.stream_id, consumed.event_id) for consumed in events],
        )


async def test_a_projection_that_comes_after_its_consumer_has_begun_is_refused_until_it_is_rebuilt(
    dsns: Dsns, pool: asyncpg.Pool, owner_pool: asyncpg.Pool, tansu: SharedBroker
) -> None:
    later = Later()
    async with Running(dsns, pool, tansu) as running:
        await running.request(5)
        await running.caught_up(5)
        await ensure(owner_pool, [later], app_role=APP, reader_role=READER)
        assert await pool.fetch("SELECT * FROM bookings_again") == []
        async with pool.acquire() as connection, connection.transaction():
            with pytest.raises(ProjectionSuperseded, match="rebuild it"):
                await enter(connection, later)
        await running.rebuild(owner_pool, later)
        assert await pool.fetchval("SELECT count(*) FROM bookings_again") == 5
        async with pool.acquire() as connection, connection.transaction():
            await enter(connection, later)


async def test_a_rebuild_overtaken_by_the_live_consumer_before_the_switch_misses_nothing(
    dsns: Dsns,
    pool: asyncpg.Pool,
    owner_pool: asyncpg.Pool,
    tansu: SharedBroker,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """All streams were compared before, and the live consumer moves on before it is held."""
    async with Running(dsns, pool, tansu) as running:
        await running.request(5)
        await running.caught_up(5)
        real, held = projecting.hold_live, 0

        async def hold_late(connection: Connection, name: str) -> Position:
            nonlocal held
            held += 1
            if held <= 3:
                await running.request(5)
                await running.caught_up(5 + 5 * held)
            return await real(connection, name)

        monkeypatch.setattr(projecting, "hold_live", hold_late)
        await running.rebuild(owner_pool)
        assert held == 4
        before = await rows(owner_pool, "projection_how_bookings_stand_1")
        assert len(before) == 20
        assert await rows(pool, "public") == before


async def test_nobody_waits_for_the_log_while_the_live_generation_is_held(
    dsns: Dsns, pool: asyncpg.Pool, owner_pool: asyncpg.Pool, tansu: SharedBroker
) -> None:
    """Rebuilds under load: what is held is let go soon, for all tail readers of the cluster wait for it."""
    async with Running(dsns, pool, tansu) as running:
        await running.request(20)
        await running.caught_up(20)
        more = asyncio.create_task(running.request(400))
        with capture_logs() as logs:
            for _ in range(3):
                await running.rebuild(owner_pool)
        await more
        await running.caught_up(420)
        held = [entry["held_ms"] for entry in logs if entry["event"] == "switched"]
        print(f"held for {held} ms")
        assert len(held) == 3
        assert await pool.fetchval("SELECT max(changes) FROM bookings") == 1
