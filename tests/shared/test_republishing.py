"""A ledger written once more for one subscriber, on both brokers."""

import asyncio

import asyncpg
import pytest
from aiokafka import AIOKafkaConsumer

from tests.shared.conftest import Dsns
from tests.shared.relay_world import World, drain, in_order, read_channel, world, write
from upwell.servers.testing import SharedBroker
from upwell_shared.database import create_pool
from upwell_shared.log_identity import ClusterClient
from upwell_shared.relay import CURSOR
from upwell_shared.republishing import (
    BadSubscriberName,
    Republished,
    RepublishFailed,
    RepublishRunning,
    republish,
)


@pytest.fixture
def here(pool: asyncpg.Pool, broker: SharedBroker) -> World:
    return world(pool, broker.bootstrap)


async def cursor(here: World) -> tuple[object, ...]:
    row = await here.pool.fetchrow("SELECT * FROM cursors WHERE name = $1", CURSOR)
    assert row is not None
    return tuple(row)


async def again(here: World, name: str = "dashboard") -> Republished:
    return await republish(here.pool, here.contract, name, here.bootstrap)


async def test_what_is_public_is_there_once_more_in_order_and_the_relay_stays_where_it_is(
    here: World, dsns: Dsns
) -> None:
    public = await write(here.pool, here.public, keys=60, each=40)
    await write(here.pool, here.internal, keys=20, each=10, seed=2)
    async with here.relaying() as (relay, term):
        await drain(relay, term)
        before, live = await cursor(here), await here.read(len(public))
        heard: list[int] = []
        # A role that may only read is enough.
        readers = await create_pool(dsns.reader, application_name="test-reader", size=3)
        try:
            done = await republish(readers, here.contract, "dashboard", here.bootstrap, heard.append)
        finally:
            await readers.close()
        assert await cursor(here) == before
        assert await relay.step(term) is False
    assert done.channel == f"upwell.{here.contract.owner}.replay.dashboard"
    assert (done.records, heard[-1], heard == sorted(heard)) == (2400, 2400, True)
    found = await read_channel(here.bootstrap, done.channel, str(done.log_id).encode(), 2400, 20)
    assert in_order(found, public)
    assert len(found) == 2400
    assert sorted(await here.read(len(public))) == sorted(live)


async def test_an_earlier_replay_of_that_name_is_replaced_and_others_are_left(here: World) -> None:
    public = await write(here.pool, here.public, keys=5, each=4)
    first, other = await again(here), await again(here, "another")
    more = await write(here.pool, here.public, keys=3, each=1, seed=9)
    second = await again(here)
    assert (first.records, second.records) == (20, 23)
    for each, rows in ((second, [*public, *more]), (other, public)):
        found = await read_channel(here.bootstrap, each.channel, str(each.log_id).encode(), len(rows), 20)
        assert len(found) == len(rows)
        assert in_order(found, rows)
    async with ClusterClient(here.bootstrap) as cluster:
        await cluster.look([second.channel])
        ends = await cluster.end_offsets({second.channel: 12})
    consumer = AIOKafkaConsumer(bootstrap_servers=here.bootstrap, enable_auto_commit=False)
    await consumer.start()
    consumer.assign([*ends])
    await consumer.seek_to_beginning()
    log_ids = set()
    count = 0
    async with asyncio.timeout(20):
        while count < 23:
            for records in (await consumer.getmany(timeout_ms=100)).values():
                count += len(records)
                log_ids |= {dict(record.headers)["ce_logid"] for record in records}
    await consumer.stop()
    assert (count, log_ids) == (23, {str(second.log_id).encode()})


async def test_an_empty_ledger_makes_an_empty_channel(here: World) -> None:
    done = await again(here)
    assert done.records == 0
    async with ClusterClient(here.bootstrap) as cluster:
        assert (await cluster.look([done.channel])).partitions == {done.channel: 12}


async def test_cut_short_it_begins_anew(here: World) -> None:
    """Also where it was killed in the middle: what is there then is a beginning."""
    public = await write(here.pool, here.public, keys=50, each=50)

    class Killed(BaseException):
        pass

    def die(_: int) -> None:
        raise Killed

    with pytest.raises(Killed):
        await republish(here.pool, here.contract, "dashboard", here.bootstrap, die)
    done = await again(here)
    found = await read_channel(here.bootstrap, done.channel, str(done.log_id).encode(), len(public), 20)
    assert (done.records, len(found)) == (2500, 2500)
    assert in_order(found, public)


async def test_two_at_once_for_one_subscriber_are_one(here: World) -> None:
    await write(here.pool, here.public, keys=50, each=50)
    refused: list[str] = []

    async def second() -> None:
        try:
            await again(here)
        except RepublishRunning as error:
            refused.append(str(error))

    tried: list[asyncio.Task[None]] = []

    def told(_: int) -> None:
        tried.append(asyncio.create_task(second()))

    done = await republish(here.pool, here.contract, "dashboard", here.bootstrap, told)
    await asyncio.gather(*tried)
    assert done.records == 2500
    assert len(tried) == 3
    assert refused
    assert all("already" in each for each in refused)


async def test_rows_of_an_open_transaction_are_waited_for(here: World) -> None:
    async with here.pool.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        await write(connection, here.public, keys=1, each=1)
        late = await write(here.pool, here.public, keys=2, each=1, seed=3)
        running = asyncio.create_task(again(here))
        async with ClusterClient(here.bootstrap) as cluster:
            while not (await cluster.look([f"upwell.{here.contract.owner}.replay.dashboard"])).partitions:
                await asyncio.sleep(0.02)
        assert not running.done()
        await transaction.commit()
    assert (await running).records == 1 + len(late)


@pytest.mark.parametrize("name", ["", "Dashboard", "a b", "-a", "a-", "a.b", "ä", "a" * 41, "a\n"])
async def test_a_name_no_channel_can_have(pool: asyncpg.Pool, name: str) -> None:
    with pytest.raises(BadSubscriberName):
        await republish(pool, world(pool, "127.0.0.1:1").contract, name, "127.0.0.1:1")


async def test_where_no_broker_answers_it_is_said(pool: asyncpg.Pool) -> None:
    with pytest.raises(RepublishFailed, match="begins anew"):
        await republish(pool, world(pool, "127.0.0.1:1").contract, "dashboard", "127.0.0.1:1")
