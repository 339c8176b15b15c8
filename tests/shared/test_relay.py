"""The relay on both brokers: order, completeness, fencing, crashes at every wait."""

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from functools import partial
from uuid import uuid4

import asyncpg
import pytest
from aiokafka import AIOKafkaProducer
from aiokafka import errors as kafka

from tests.shared.conftest import Dsns
from tests.shared.relay_world import (
    PATIENCE,
    Sent,
    World,
    crash_at,
    delete_channels,
    drain,
    forget_all,
    in_order,
    next_term,
    world,
    write,
    write_rows,
)
from upwell.servers.testing import SharedBroker
from upwell_shared.contracts import ChannelSpec
from upwell_shared.lease import Fenced, Lease
from upwell_shared.log_identity import ClusterClient, WrongPartitionCount
from upwell_shared.relay import CURSOR
from upwell_shared.retrying import retry
from upwell_shared.worker import Worker


@pytest.fixture
def here(pool: asyncpg.Pool, broker: SharedBroker) -> World:
    return world(pool, broker.bootstrap)


async def position(here: World) -> tuple[int, int]:
    row = await here.pool.fetchrow("SELECT tx, position FROM cursors WHERE name = $1", CURSOR)
    assert row is not None
    return row["tx"], row["position"]


async def test_publishes_every_row_once_in_ledger_order_per_key(here: World) -> None:
    public = await write(here.pool, here.public, keys=40, each=25)
    internal = await write(here.pool, here.internal, keys=20, each=10, seed=2)
    async with here.relaying(page=300) as (relay, term):
        await drain(relay, term)
    found = await here.read(len(public))
    assert len(found) == len(public)
    assert in_order(found, public)
    assert in_order(await here.read(len(internal), here.internal), internal)


async def test_a_key_whose_rows_fill_many_batches_keeps_its_order(here: World) -> None:
    key = uuid4()
    rows = [Sent(key, n, uuid4()) for n in range(1, 9)]
    await write_rows(here.pool, here.public, rows)
    # 800 KB each that no compression makes small: a batch of its own for every row, all in one partition.
    async with here.relaying() as (relay, term):
        large = await here.pool.fetchval(
            "SELECT string_agg(gen_random_uuid()::text, '') FROM generate_series(1, 9000)"
        )
        later = [Sent(key, n, uuid4()) for n in range(9, 17)]
        await here.pool.executemany(
            "INSERT INTO ledger (event_id, channel, key, partition, sequence, type, headers, body, recorded_at) "
            "SELECT $1, channel, key, partition, $2, type, convert_to($3, 'UTF8'), convert_to($4, 'UTF8'), now() "
            "FROM ledger WHERE sequence = 1",
            [
                (r.event_id, r.sequence, f'[["ce_id","{r.event_id}"],["ce_sequence","{r.sequence}"]]', large)
                for r in later
            ],
        )
        await drain(relay, term)
    assert await here.read(16) == rows + later


async def test_a_row_of_an_open_transaction_holds_back_itself_and_all_later_ones(here: World) -> None:
    early, late = Sent(uuid4(), 1, uuid4()), Sent(uuid4(), 1, uuid4())
    async with here.relaying() as (relay, term), here.pool.acquire() as connection:
        await drain(relay, term)
        async with connection.transaction():
            await write_rows(connection, here.public, [early])
            await write_rows(here.pool, here.public, [late])
            assert await relay.step(term) is False
        await drain(relay, term)
    assert set(await here.read(2)) == {early, late}


async def test_a_relay_of_an_earlier_epoch_cannot_move_the_cursor(here: World) -> None:
    rows = await write(here.pool, here.public, keys=10, each=30)
    async with here.relaying(page=100) as (former, old), here.relaying(page=100) as (present, new):
        assert await former.step(old)
        assert await former.step(old)
        await drain(present, new)
        reached = await position(here)
        with pytest.raises(Fenced):
            await former.step(old)
        with pytest.raises(Fenced):  # neither with what it remembers nor by claiming again
            await former.step(old)
        assert await position(here) == reached
    found = await here.read(len(rows))
    assert len(found) > len(rows), "what the former one sent is in the log a second time"
    assert in_order(found, rows)


async def test_a_replaced_relay_cannot_begin_another_log(here: World) -> None:
    async with (
        here.relaying(check_every=0) as (former, old),
        here.relaying() as (present, new),
        ClusterClient(here.bootstrap) as client,
    ):
        await drain(former, old)
        await drain(present, new)
        log_id = await here.log_id()
        await delete_channels(client, here.internal)
        with pytest.raises(Fenced):
            await former.step(old)
        assert await here.log_id() == log_id
        assert here.internal not in (await client.look()).partitions


@pytest.mark.timeout(300)
@pytest.mark.parametrize("answered", [False, True], ids=["unanswered", "answered"])
async def test_a_crash_at_any_wait_loses_nothing_and_keeps_the_order(
    here: World, dsns: Dsns, *, answered: bool
) -> None:
    k, struck = 0, True
    while struck:
        await forget_all(dsns.superuser)
        fresh = world(here.pool, here.bootstrap)
        rows = await write(here.pool, fresh.public, keys=6, each=5)
        async with fresh.relaying(page=12, check_every=0) as (relay, term):
            struck = await crash_at(k, partial(drain, relay, term), answered=answered)
        async with fresh.relaying(page=12) as (relay, term):
            await retry(partial(drain, relay, term), attempts=10)  # as a worker would
        assert in_order(await fresh.read(len(rows)), rows), f"crashed at wait {k}"
        k += 1
    assert k > 30


async def test_refuses_to_run_over_a_channel_with_a_wrong_partition_count_until_it_is_repaired(
    here: World,
) -> None:
    rows = await write(here.pool, here.public, keys=5, each=2)
    async with here.relaying() as (relay, term):
        await drain(relay, term)
    wrong = [
        ChannelSpec(s.name, 7 if s.name == here.public else s.partitions, {}) for s in here.contract.channels
    ]
    async with here.relaying(channels=wrong) as (relay, term):
        with pytest.raises(WrongPartitionCount, match=f"{here.public} has 12 partitions instead of 7"):
            await relay.step(term)
        relay._channels = here.contract.channels  # noqa: SLF001  (as if the channel had been repaired)
        await drain(relay, term)
    assert in_order(await here.read(len(rows)), rows)


async def test_an_empty_channel_that_auto_creation_made_is_made_anew(here: World) -> None:
    async with ClusterClient(here.bootstrap) as client:
        await client.create([ChannelSpec(here.public, 4, {})])
        rows = await write(here.pool, here.public, keys=5, each=2)
        async with here.relaying() as (relay, term):
            await drain(relay, term)
        assert (await client.look()).partitions[here.public] == 12
    assert in_order(await here.read(len(rows)), rows)


async def test_records_that_turn_up_in_a_channel_just_made_are_not_in_the_new_log(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with here.relaying() as (relay, term):
        make = ClusterClient.create

        async def turn_up(client: ClusterClient, channels: Iterable[ChannelSpec]) -> set[str]:
            made = await make(client, channels)
            if here.public in made:
                async with AIOKafkaProducer(bootstrap_servers=here.bootstrap) as producer:
                    await producer.send_and_wait(here.public, b"of nobody", partition=0)
            return made

        monkeypatch.setattr(ClusterClient, "create", turn_up)
        await relay.step(term)
    async with ClusterClient(here.bootstrap) as client:
        await client.look([here.public])
        assert sum((await client.end_offsets({here.public: 12})).values()) == 0


async def test_a_relay_replaced_while_it_makes_channels_deletes_none(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = await write(here.pool, here.public, keys=5, each=5)
    async with here.relaying() as (former, old), here.relaying() as (present, new):
        make = ClusterClient.create

        async def overtaken(client: ClusterClient, channels: Iterable[ChannelSpec]) -> set[str]:
            made = await make(client, channels)
            monkeypatch.undo()
            await drain(present, new)
            return made

        monkeypatch.setattr(ClusterClient, "create", overtaken)
        with pytest.raises(Fenced):
            await former.step(old)
        log_id = await here.log_id()
        assert in_order(await here.read(len(rows)), rows)
        await drain(present, new)
        assert await here.log_id() == log_id


async def test_closing_waits_for_the_page_that_is_read_ahead(here: World) -> None:
    await write(here.pool, here.public, keys=4, each=10)
    async with here.relaying(page=5) as (relay, term):
        while relay._ahead is None:  # noqa: SLF001
            await relay.step(term)
        reading = relay._ahead.rows  # noqa: SLF001
        await relay.close()
        assert reading.done()


async def test_garbage_in_the_meta_channel_is_answered_with_a_new_log(here: World) -> None:
    rows = await write(here.pool, here.public, keys=5, each=5)
    async with here.relaying(check_every=0) as (relay, term):
        await drain(relay, term)
        producer = AIOKafkaProducer(bootstrap_servers=here.bootstrap, acks="all")
        await producer.start()
        await producer.send_and_wait(here.contract.meta_channel, b"garbage", partition=0)
        await producer.stop()
        await drain(relay, term)
    assert in_order(await here.read(len(rows)), rows)


async def test_setting_the_cursor_back_publishes_again_in_the_same_log(here: World) -> None:
    rows = await write(here.pool, here.public, keys=5, each=5)
    async with here.relaying() as (relay, term):
        await drain(relay, term)
        log_id = await here.log_id()
        await here.pool.execute("UPDATE cursors SET tx = '0', position = 0, epoch = epoch + 1")
        await write(here.pool, here.public, keys=1, each=1, seed=3)
        with pytest.raises(Fenced):
            await relay.step(term)
    async with here.relaying() as (relay, _):
        await drain(relay, await next_term(here.pool))
    assert await here.log_id() == log_id
    found = await here.read(len(rows) + 1)
    assert len(found) > 2 * len(rows)
    assert set(rows) < set(found)


async def test_a_stand_by_takes_over_when_the_active_one_stops(here: World, dsns: Dsns) -> None:
    active, stand_by = here.relay(), here.relay()
    workers = [
        Worker(name, relay.step, lease=Lease(here.pool, "relay", ttl=3))
        for name, relay in (("a", active), ("b", stand_by))
    ]
    rows = await write(here.pool, here.public, keys=5, each=5)
    async with asyncio.TaskGroup() as group:
        group.create_task(workers[0].run())
        await here_has(here, rows)
        group.create_task(workers[1].run())
        await workers[0].stop()
        rows += await write(here.pool, here.public, keys=5, each=5, seed=2)
        async with asyncio.timeout(2.5):  # less than the lease lasts
            await here_has(here, rows)
        await workers[1].stop()
    await active.close()
    await stand_by.close()


async def here_has(here: World, rows: list[Sent]) -> None:
    """Waits until a log is there and holds all rows in order."""
    found: list[Sent] = []
    async with asyncio.timeout(PATIENCE):
        while not found:
            with suppress(kafka.KafkaError):  # channels that were made just now
                if await here.log_id() is not None:
                    found = await here.read(len(rows))
    assert in_order(found, rows)
