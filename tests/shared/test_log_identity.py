"""The identity of a log, as a reader sees it, on both brokers."""

from collections.abc import AsyncIterator, Iterable
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaProducer

from tests.shared.test_salvaging import renamed
from upwell.servers.testing import SharedBroker
from upwell_shared.contracts import ChannelSpec, Contract
from upwell_shared.log_identity import (
    Cluster,
    ClusterClient,
    UnreadableLogIdentity,
    encode_log_id,
    meta_channel,
    read_identities,
    read_identity,
)


@pytest.fixture
def contract() -> Contract:
    return Contract(f"identity{uuid4().hex[:10]}")


@pytest.fixture
async def client(broker: SharedBroker) -> AsyncIterator[ClusterClient]:
    async with ClusterClient(broker.bootstrap) as client:
        yield client


async def say(broker: SharedBroker, channel: str, *values: bytes) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=broker.bootstrap, acks="all")
    await producer.start()
    try:
        for value in values:
            await producer.send_and_wait(channel, value, partition=0)
    finally:
        await producer.stop()


def test_the_meta_channel_is_the_contracts(contract: Contract) -> None:
    assert meta_channel(contract.owner) == contract.meta_channel


async def test_before_a_relay_has_begun_a_log_there_is_none(
    client: ClusterClient, contract: Contract
) -> None:
    assert (await read_identity(client, contract.owner)).log_id is None
    await client.create(contract.channels)
    assert (await read_identity(client, contract.owner)).log_id is None


async def test_the_last_record_names_the_log(
    client: ClusterClient, contract: Contract, broker: SharedBroker
) -> None:
    await client.create(contract.channels)
    ids = [uuid4() for _ in range(3)]
    await say(broker, contract.meta_channel, *(encode_log_id(one, "2030-01-01T00:00:00Z") for one in ids))
    identity = await read_identity(client, contract.owner)
    assert identity.log_id == ids[-1]
    assert identity.cluster_id == (await client.look()).cluster_id


async def test_several_owners_are_asked_for_together(client: ClusterClient, contract: Contract) -> None:
    found = await read_identities(client, [contract.owner, "nobody"])
    assert set(found) == {contract.owner, "nobody"}


@pytest.mark.parametrize("garbage", [b"", b"{}", b"[]", b'{"log_id": 7}', b'{"log_id": "x"}', b"\xff"])
async def test_garbage_in_the_meta_channel_is_named_as_such(
    client: ClusterClient, contract: Contract, broker: SharedBroker, garbage: bytes
) -> None:
    await client.create(contract.channels)
    await say(broker, contract.meta_channel, garbage)
    with pytest.raises(UnreadableLogIdentity, match=contract.meta_channel):
        await read_identity(client, contract.owner)


async def test_asking_creates_no_channel(client: ClusterClient, contract: Contract) -> None:
    await read_identity(client, contract.owner)
    assert not {spec.name for spec in contract.channels} & set((await client.look()).partitions)


async def test_creating_twice_changes_nothing(
    client: ClusterClient, contract: Contract, broker: SharedBroker
) -> None:
    await client.create(contract.channels)
    await say(broker, contract.channel("public"), b"kept")
    await client.create(contract.channels)
    ends = await client.end_offsets({contract.channel("public"): 12})
    assert sum(ends.values()) == 1
    assert (await client.look()).partitions[contract.channel("public")] == 12


async def test_settings_of_a_channel_are_accepted(client: ClusterClient, contract: Contract) -> None:
    name = contract.channel("internal")
    await client.create([ChannelSpec(name, 3, {"retention.ms": "-1"})])
    assert (await client.look()).partitions[name] == 3


@pytest.mark.parametrize("garbage", [None, b"\xff" * 70_000])
async def test_a_last_record_without_a_value_or_with_a_long_one_is_garbage_too(
    client: ClusterClient, contract: Contract, broker: SharedBroker, garbage: bytes | None
) -> None:
    await client.create(contract.channels)
    async with AIOKafkaProducer(bootstrap_servers=broker.bootstrap, acks="all") as producer:
        await producer.send_and_wait(contract.meta_channel, garbage, key=b"log_id", partition=0)
    with pytest.raises(UnreadableLogIdentity, match=contract.meta_channel):
        await read_identity(client, contract.owner)


async def test_a_last_record_the_client_cannot_read_is_garbage_too(
    client: ClusterClient, contract: Contract, broker: SharedBroker
) -> None:
    await client.create(contract.channels)
    async with AIOKafkaProducer(bootstrap_servers=broker.bootstrap, acks="all") as producer:
        batch = producer.create_batch()
        batch.append(timestamp=None, key=None, value=b"{}", headers=[("zzzz", b"1")])
        batch._build()  # noqa: SLF001
        batch._buffer = renamed(bytearray(batch._buffer), b"zzzz", b"\xff\xff\xff\xff")  # noqa: SLF001
        await (await producer.send_batch(batch, contract.meta_channel, partition=0))
    with pytest.raises(UnreadableLogIdentity, match=contract.meta_channel):
        await read_identity(client, contract.owner)


async def test_what_a_relay_writes_while_channels_are_made_is_left_alone(
    contract: Contract, broker: SharedBroker
) -> None:
    public = contract.channel("public")

    class Overtaken(ClusterClient):
        async def look(self, channels: Iterable[str] | None = None) -> Cluster:
            seen = await super().look(channels)
            if public in seen.partitions and not written:
                written.append(public)
                await say(broker, public, b"kept")
            return seen

    written: list[str] = []
    async with Overtaken(broker.bootstrap) as client:
        assert await client.create(contract.channels) == {spec.name for spec in contract.channels}
        assert written
        assert sum((await client.end_offsets({public: 12})).values()) == 1
