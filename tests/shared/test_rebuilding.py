"""A projection fed by Kafka, made again from zero while the service goes on."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, Self
from uuid import uuid4

import asyncpg
import pytest

from tests.shared.conftest import APP, READER, Dsns
from tests.shared.example.app import BOOKING, Example
from tests.shared.example.domain.booking import RequestBooking
from tests.shared.example.projections import how_bookings_stand
from tests.shared.example.settings import ExampleSettings
from upwell.servers.testing import SharedBroker
from upwell_shared.consuming.rebuilding import LettersOpen, RebuildFailed, rebuild
from upwell_shared.database import Connection
from upwell_shared.events import Envelope
from upwell_shared.handling import Intent
from upwell_shared.log_identity import ClusterClient
from upwell_shared.running import run_until
from upwell_shared.settings import Dsn

PATIENCE = 30.0


async def until(reached: Callable[[], Awaitable[bool]]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not await reached():
        assert time.monotonic() < deadline, "waited in vain"
        await asyncio.sleep(0.02)


class Running:
    """The example inside the test's own process."""

    def __init__(self, dsns: Dsns, pool: asyncpg.Pool, broker: SharedBroker) -> None:
        settings = ExampleSettings(
            database_url=Dsn(dsns.app),
            owner=f"example{uuid4().hex[:8]}",
            kafka_bootstrap=broker.bootstrap,
            consumer_session_ms=broker.session_timeout_ms,
            consumer_heartbeat_ms=broker.heartbeat_interval_ms,
        )
        self.example = Example(settings, pool)
        self.pool = pool
        self.stop = asyncio.Event()
        self.task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        async with ClusterClient(self.example.settings.kafka_bootstrap) as cluster:
            await cluster.create(self.example.contract.channels)
        workers = self.example.workers(["relay", "consume", "work"])
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

    async def rebuild(self, owner_pool: asyncpg.Pool, projection: Any = how_bookings_stand) -> int:
        return await rebuild(
            self.example.settings.owner,
            projection,
            [self.example.contract],
            self.example.settings.kafka_bootstrap,
            pool=self.pool,
            owner=owner_pool,
            app_role=APP,
            reader_role=READER,
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
