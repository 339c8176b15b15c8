"""Consumers on real brokers of both kinds: members that come, leave and die, and logs that are lost."""

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from types import SimpleNamespace
from uuid import UUID, uuid4

import asyncpg
import pytest
from aiokafka import AIOKafkaProducer
from structlog.testing import capture_logs

from tests.shared.conftest import Dsns
from tests.shared.consuming_broker import Scene, at_work, in_a_process, scene, until
from tests.shared.consuming_world import make_tables, stream
from tests.shared.relay_world import World as Publisher
from tests.shared.relay_world import drain
from tests.shared.test_relay_faults import (
    Server,
    all_channels_deleted,
    emptied_disks,
    new_cluster,
    one_data_channel_deleted,
    server,
    working,
)
from upwell.servers.apache_kafka import ApacheKafka
from upwell.servers.testing import SharedBroker
from upwell_shared.consuming import Consumer, ConsumerSettings, Limits
from upwell_shared.consuming.membership import Pace
from upwell_shared.log_identity import ClusterClient, encode_log_id
from upwell_shared.worker import Worker

__all__ = ["server"]

A, B = stream(1), stream(2)
STREAMS = [stream(n) for n in range(30)]


def settings(broker: SharedBroker) -> ConsumerSettings:
    return ConsumerSettings(
        session_timeout_ms=broker.session_timeout_ms,
        heartbeat_interval_ms=broker.heartbeat_interval_ms,
        fetch_max_wait_ms=broker.fetch_max_wait_ms,
    )


@pytest.fixture
async def here(pool: asyncpg.Pool, owner_pool: asyncpg.Pool, dsns: Dsns, broker: SharedBroker) -> Scene:
    """A scene on the broker that all tests share."""
    await make_tables(owner_pool)
    return scene(pool, broker.bootstrap, settings(broker), dsns.app)


@pytest.fixture
async def alone(pool: asyncpg.Pool, owner_pool: asyncpg.Pool, dsns: Dsns, server: Server) -> Scene:
    """A scene on a broker of its own."""
    await make_tables(owner_pool)
    real = isinstance(server, ApacheKafka)
    short = (
        ConsumerSettings(session_timeout_ms=3_000, heartbeat_interval_ms=500, fetch_max_wait_ms=500)
        if real
        else ConsumerSettings(session_timeout_ms=1_000, heartbeat_interval_ms=200, fetch_max_wait_ms=20)
    )
    return scene(pool, await server.start(), short, dsns.app)


async def publish(here: Scene) -> None:
    async with here.publisher.relaying() as (relay, term):
        await drain(relay, term)
    await here.pool.execute("UPDATE leases SET expires_at = '-infinity'")


async def write(here: Scene, *sequences: int) -> None:
    await here.write([p for n in sequences for s in STREAMS for p in here.told(s, n)])


def upto(last: int) -> dict[UUID, list[int]]:
    """Everything of every stream, once and in order."""
    return {s: list(range(1, last + 1)) for s in STREAMS}


async def assigned(consumer: Consumer, count: int) -> None:
    async def is_so() -> bool:
        return len(consumer.assignment) == count

    await until(is_so)


async def test_reads_from_the_beginning_and_goes_on_where_the_database_says(here: Scene) -> None:
    await write(here, 1, 2)
    await publish(here)
    async with at_work(here.consumer()):
        await here.arrived(upto(2))
        await write(here, 3)
        await publish(here)
        await here.arrived(upto(3))
    await write(here, 4)
    await publish(here)
    # Were it to read from anywhere else, it would meet duplicates, or a gap.
    await here.pool.execute("UPDATE progress SET sequence = 0, event_id = NULL")
    async with at_work(here.consumer()):
        await until(lambda: _letters(here, 30))


async def test_a_reader_that_rests_asks_less_often_until_something_comes(
    here: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("upwell_shared.consuming.membership._REST_AFTER_SECONDS", 0.5)
    longer = here.settings.fetch_max_wait_ms + 100
    monkeypatch.setattr("upwell_shared.consuming.membership._RESTING_WAIT_MS", longer)
    await write(here, 1)
    await publish(here)
    consumer = here.consumer()

    async def waits(wait_ms: int) -> bool:
        group = consumer._group  # noqa: SLF001
        return group is not None and group._fetcher._fetch_max_wait_ms == wait_ms  # noqa: SLF001

    async with at_work(consumer):
        await here.arrived(upto(1))
        await until(lambda: waits(longer))
        await write(here, 2)
        await publish(here)
        await here.arrived(upto(2))


def test_the_first_record_after_a_rest_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1_000.0
    monkeypatch.setattr("upwell_shared.consuming.membership.time.monotonic", lambda: now)
    pace, fetcher = Pace(20), SimpleNamespace(_fetch_max_wait_ms=20)
    group = SimpleNamespace(_fetcher=fetcher)

    def waits(*, came: bool) -> int:
        pace.note(group, came=came)
        return int(fetcher._fetch_max_wait_ms)  # noqa: SLF001

    assert waits(came=False) == 20
    now += 61
    assert waits(came=False) == 250
    assert waits(came=True) == 20
    assert waits(came=False) == 20
    pace.note(None, came=False)  # a group that has just been given up


async def _letters(here: Scene, count: int) -> bool:
    return bool(
        await here.pool.fetchval("SELECT count(*) = $1 FROM dead_letters WHERE reason = 'waiting'", count)
    )


async def test_waits_for_a_log_that_is_not_there_with_one_line(here: Scene) -> None:
    with capture_logs() as lines:
        consumer = here.consumer()
        async with at_work(consumer) as worker:
            for _ in range(3):
                before = worker.progressed_at
                await until(lambda: _progressed(worker, before))  # noqa: B023
            assert worker.healthy
            await write(here, 1)
            await publish(here)
            await here.arrived(upto(1))
    assert [line["event"] for line in lines if line["log_level"] != "debug"].count("no_log_yet") == 1


async def _progressed(worker: Worker, before: float | None) -> bool:
    return worker.progressed_at != before


async def test_members_share_the_partitions_and_take_over_from_one_that_leaves(here: Scene) -> None:
    await write(here, 1)
    await publish(here)
    stays, leaves = here.consumer(), here.consumer()
    async with at_work(stays):
        await assigned(stays, 24)
        async with at_work(leaves):
            await assigned(leaves, 12)
            await assigned(stays, 12)
            await write(here, 2)
            await publish(here)
            await here.arrived(upto(2))
        await write(here, 3)
        await publish(here)
        await here.arrived(upto(3))
    assert await here.pool.fetchval("SELECT count(*) FROM dead_letters") == 0


async def test_a_killed_member_is_replaced_and_nothing_is_done_twice(here: Scene) -> None:
    await write(here, 1)
    await publish(here)
    survivor = here.consumer()
    async with in_a_process(here) as victim:
        await here.arrived(upto(1))
        async with at_work(survivor):
            await assigned(survivor, 12)
            async with working(here.publisher):
                await write(here, 2, 3, 4)
                victim.kill()
                await write(here, 5)
                await here.arrived(upto(5))
    assert await here.pool.fetchval("SELECT count(*) FROM dead_letters") == 0


async def test_a_member_that_slept_through_its_replacement_changes_nothing(here: Scene) -> None:
    await write(here, 1)
    await publish(here)
    survivor = here.consumer()
    async with in_a_process(here) as zombie:
        await here.arrived(upto(1))
        zombie.send_signal(signal.SIGSTOP)
        async with at_work(survivor):
            await assigned(survivor, 24)
            await write(here, 2)
            await publish(here)
            await here.arrived(upto(2))
            zombie.send_signal(signal.SIGCONT)
            await assigned(survivor, 12)
            await write(here, 3)
            await publish(here)
            await here.arrived(upto(3))
    assert await here.pool.fetchval("SELECT count(*) FROM dead_letters") == 0


async def test_the_database_away_for_a_while_costs_nothing(here: Scene, dsns: Dsns) -> None:
    await write(here, 1)
    await publish(here)
    async with at_work(here.consumer()) as worker:
        await here.arrived(upto(1))
        async with closed(dsns):
            await here.send([p for s in STREAMS for p in here.told(s, 2)])
            await until(lambda: _failing(worker))
        await here.arrived(upto(2))
        await until(lambda: _healthy(worker))
    assert await here.pool.fetchval("SELECT count(*) FROM dead_letters") == 0


async def _failing(worker: Worker) -> bool:
    return worker.failing_since is not None


async def _healthy(worker: Worker) -> bool:
    return worker.healthy


@asynccontextmanager
async def closed(dsns: Dsns) -> AsyncIterator[None]:
    """Nobody reaches the database, and who was connected no longer is."""
    superuser = await asyncpg.connect(dsns.superuser.rpartition("/")[0] + "/postgres")
    name = dsns.superuser.rpartition("/")[2]
    await superuser.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
    await superuser.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", name)
    try:
        yield
    finally:
        await superuser.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')
        await superuser.close()


async def test_full_dead_letters_stop_their_partition_alone_until_there_is_room(here: Scene) -> None:
    apart = next(
        s for s in STREAMS[1:] if here.told(s, 1)[0].partition != here.told(STREAMS[0], 1)[0].partition
    )
    await here.write([*here.told(STREAMS[0], 2, 3), *here.told(apart, 1)])
    await publish(here)
    async with at_work(here.consumer(limits=Limits(consumer=1))) as worker:
        await here.arrived({apart: [1]})
        await here.write(here.told(apart, 2))
        await publish(here)
        await here.arrived({apart: [1, 2]})
        assert worker.healthy
    assert await here.pool.fetchval("SELECT count(*) FROM dead_letters") == 0
    async with at_work(here.consumer()):
        await until(lambda: _letters(here, 2))


@pytest.mark.kafka
async def test_an_offset_that_is_not_there_begins_the_partition_again(
    pool: asyncpg.Pool, owner_pool: asyncpg.Pool, dsns: Dsns, apache_kafka: SharedBroker
) -> None:
    # Tansu lets such a reader wait in silence; there a lost log always shows as another identity.
    await make_tables(owner_pool)
    here = scene(pool, apache_kafka.bootstrap, settings(apache_kafka), dsns.app)
    await write(here, 1)
    await publish(here)
    async with at_work(here.consumer()):
        await here.arrived(upto(1))
    await pool.execute("UPDATE consumer_offsets SET next_offset = next_offset + 1000")
    await write(here, 2)
    await publish(here)
    async with at_work(here.consumer()):
        await here.arrived(upto(2))


async def test_garbage_in_one_owner_s_meta_channel_stops_that_owner_alone(here: Scene) -> None:
    other = scene(here.pool, here.publisher.bootstrap, here.settings, here.dsn)
    await write(here, 1)
    await publish(here)
    async with ClusterClient(here.publisher.bootstrap) as client:
        await client.create(other.publisher.contract.channels)
    meta, consumer = other.publisher.contract.meta_channel, here.consumer(also=[other.publisher.contract])
    async with AIOKafkaProducer(bootstrap_servers=here.publisher.bootstrap) as producer:
        await producer.send_and_wait(meta, b"garbage", partition=0)
        with capture_logs() as lines:
            async with at_work(consumer) as worker:
                await here.arrived(upto(1))
                await write(here, 2)
                await publish(here)
                await here.arrived(upto(2))
                assert worker.healthy
                await producer.send_and_wait(meta, encode_log_id(uuid4(), "now"), partition=0)
                await assigned(consumer, 48)
    assert [line["event"] for line in lines].count("log_not_named") == 1


@pytest.mark.parametrize(
    "lose",
    [new_cluster, emptied_disks, all_channels_deleted, one_data_channel_deleted],
    ids=lambda lose: lose.__name__,
)
async def test_a_log_lost_while_it_is_read_is_read_again_without_doing_anything_twice(
    alone: Scene, server: Server, lose: Callable[[Server, Publisher], Awaitable[None]]
) -> None:
    async with working(alone.publisher), at_work(alone.consumer()):
        await write(alone, 1, 2)
        await alone.arrived(upto(2))
        former = await alone.publisher.log_id()
        await lose(server, alone.publisher)
        await write(alone, 3)
        await alone.arrived(upto(3))
        assert await alone.publisher.log_id() != former
        await until(
            lambda: _only_of(alone, former, 0), lambda: alone.pool.fetch("SELECT * FROM consumer_offsets")
        )
    assert await alone.pool.fetchval("SELECT count(*) FROM dead_letters") == 0


async def _only_of(here: Scene, log_id: UUID | None, count: int) -> bool:
    """Whether that many offsets in that log are kept."""
    return bool(
        await here.pool.fetchval(
            "SELECT count(*) = $2 FROM consumer_offsets WHERE log_id = $1", log_id, count
        )
    )


async def test_a_broker_absent_at_the_start_is_waited_for(alone: Scene, server: Server) -> None:
    await server.stop()
    await write(alone, 1)
    async with at_work(alone.consumer()) as worker:
        await until(lambda: _failing(worker))
        await server.start()
        async with working(alone.publisher):
            await alone.arrived(upto(1))


async def test_a_broker_killed_while_it_is_read_costs_nothing(alone: Scene, server: Server) -> None:
    async with working(alone.publisher), at_work(alone.consumer()):
        await write(alone, 1)
        await alone.arrived(upto(1))
        await server.kill()
        await write(alone, 2)
        await server.start()
        await alone.arrived(upto(2))
    assert await alone.pool.fetchval("SELECT count(*) FROM dead_letters") == 0


async def test_closing_takes_seconds_even_when_the_broker_is_gone(alone: Scene, server: Server) -> None:
    await write(alone, 1)
    await publish(alone)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(at_work(alone.consumer()))
        await alone.arrived(upto(1))
        await server.kill()
        async with asyncio.timeout(15):
            await stack.aclose()
