"""The relay and a broker of its own that is away, dies or forgets; on both kinds."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from aiokafka import errors as kafka
from structlog.testing import capture_logs

from tests.shared.relay_world import (
    PATIENCE,
    Sent,
    World,
    delete_channels,
    drain,
    in_order,
    world,
    write,
)
from upwell.servers.apache_kafka import ApacheKafka
from upwell.servers.tansu import Tansu
from upwell_shared.lease import Lease
from upwell_shared.log_identity import ClusterClient
from upwell_shared.relay import Relay
from upwell_shared.retrying import Backoff
from upwell_shared.worker import Worker

Server = ApacheKafka | Tansu


@pytest.fixture(params=["tansu", pytest.param("apache_kafka", marks=pytest.mark.kafka)])
async def server(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Server]:
    """A broker of the test's own, running."""
    made: Server = (
        Tansu(log=tmp_path / "tansu.log")
        if request.param == "tansu"
        else ApacheKafka(tmp_path / "kafka", cluster_id="the_cluster_abcdefghij")
    )
    try:
        await made.start()
        yield made
    finally:
        await made.stop()


@pytest.fixture
async def here(pool: asyncpg.Pool, server: Server) -> World:
    return world(pool, await server.start())


@asynccontextmanager
async def working(here: World, **options: Any) -> AsyncIterator[Relay]:
    """A relay at work as in a service, with short limits."""
    relay = here.relay(check_every=0.1, broker_limit=4.0, **options)
    worker = Worker("relay", relay.step, lease=Lease(here.pool, "relay"), backoff=Backoff(cap=0.5))
    running = asyncio.create_task(worker.run())
    try:
        yield relay
    finally:
        await worker.stop()
        await running
        await relay.close()


async def arrived(here: World, rows: list[Sent], *, other_than: object = None) -> None:
    """Waits for a log, another than the given one, that holds all rows in order."""
    found: list[Sent] = []
    async with asyncio.timeout(PATIENCE):
        while not found:
            with suppress(kafka.KafkaError, OSError):
                if await here.log_id() not in (None, other_than):
                    found = await here.read(len(rows), within=3)  # the log may change once more
            await asyncio.sleep(0.02)
    assert in_order(found, rows)


async def new_cluster(server: Server, _: World) -> None:
    if isinstance(server, ApacheKafka):
        await server.lose_log(cluster_id="another_cluster_abcdef")
    else:
        await server.kill()
        server._cluster_id = "another"  # noqa: SLF001
    await server.start()


async def emptied_disks(server: Server, _: World) -> None:
    if isinstance(server, ApacheKafka):
        await server.lose_log()
    else:
        await server.kill()
    await server.start()


async def all_channels_deleted(_: Server, here: World) -> None:
    async with ClusterClient(here.bootstrap) as client:
        await delete_channels(client, *(spec.name for spec in here.contract.channels))


async def one_data_channel_deleted(_: Server, here: World) -> None:
    async with ClusterClient(here.bootstrap) as client:
        await delete_channels(client, here.public)


async def only_the_meta_channel_deleted(_: Server, here: World) -> None:
    async with ClusterClient(here.bootstrap) as client:
        await delete_channels(client, here.contract.meta_channel)


LOSSES = [
    new_cluster,
    emptied_disks,
    all_channels_deleted,
    one_data_channel_deleted,
    only_the_meta_channel_deleted,
]


@pytest.mark.parametrize("lose", LOSSES, ids=lambda lose: lose.__name__)
async def test_a_log_lost_while_the_relay_runs_is_filled_again(
    here: World, server: Server, lose: Callable[[Server, World], Coroutine[Any, Any, None]]
) -> None:
    async with working(here):
        rows = await write(here.pool, here.public, keys=20, each=10)
        await arrived(here, rows)
        former = await here.log_id()
        async with asyncio.TaskGroup() as group:
            group.create_task(lose(server, here))
            later = [await write(here.pool, here.public, keys=2, each=5, seed=seed) for seed in range(10, 20)]
        await arrived(here, rows + [row for some in later for row in some], other_than=former)


@pytest.mark.parametrize("lose", LOSSES, ids=lambda lose: lose.__name__)
async def test_a_log_lost_while_no_relay_runs_is_filled_again(
    here: World, server: Server, lose: Callable[[Server, World], Coroutine[Any, Any, None]]
) -> None:
    rows = await write(here.pool, here.public, keys=20, each=10)
    async with here.relaying() as (relay, term):
        await drain(relay, term)
    former = await here.log_id()
    await lose(server, here)
    async with working(here):
        await arrived(here, rows, other_than=former)


async def test_a_broker_absent_at_the_start_is_waited_for_with_one_line_in_the_log(
    here: World, server: Server
) -> None:
    await server.stop()
    rows = await write(here.pool, here.public, keys=5, each=5)
    with capture_logs() as lines:
        async with working(here):
            async with asyncio.timeout(PATIENCE):
                while len(lines) < 2:  # the lease, and that it waits
                    await asyncio.sleep(0.02)
            await server.start()
            await arrived(here, rows)
    assert [line["event"] for line in lines if line["log_level"] in ("warning", "error")] == ["worker_waits"]


async def test_a_broker_killed_in_the_middle_of_a_page_costs_nothing(here: World, server: Server) -> None:
    rows = await write(here.pool, here.public, keys=50, each=40)
    async with working(here, page=100):
        async with asyncio.timeout(PATIENCE):
            while not await here.pool.fetchval("SELECT count(*) FROM cursors WHERE position > 0"):
                await asyncio.sleep(0.001)
        await server.kill()
        await server.start()
        await arrived(here, rows)


async def test_a_broker_stopped_for_longer_than_a_page_may_take_costs_nothing(
    here: World, server: Server
) -> None:
    rows = await write(here.pool, here.public, keys=5, each=5)
    async with working(here):
        await arrived(here, rows)
        await server.stop()
        rows += await write(here.pool, here.public, keys=5, each=5, seed=2)
        await asyncio.sleep(5)  # the outage itself: longer than the limit of 4 s
        await server.start()
        await arrived(here, rows)
