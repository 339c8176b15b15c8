"""What the relay and the consumers rely on, proven with aiokafka on both brokers.

Where the brokers differ, a test says so: docs/decisions/0002-brokers.md draws the conclusions.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from aiokafka import (
    AIOKafkaConsumer,
    AIOKafkaProducer,
    ConsumerRebalanceListener,
    ConsumerRecord,
    TopicPartition,
)
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError, OffsetOutOfRangeError, TopicAlreadyExistsError, UnknownError

from upwell.servers.testing import SharedBroker

PARTITIONS = 12
CreateTopic = Callable[[str], Awaitable[str]]


@asynccontextmanager
async def admin(broker: SharedBroker) -> AsyncIterator[AIOKafkaAdminClient]:
    client = AIOKafkaAdminClient(bootstrap_servers=broker.bootstrap)
    await client.start()
    try:
        yield client
    finally:
        await client.close()


@asynccontextmanager
async def producing(broker: SharedBroker, **settings: object) -> AsyncIterator[AIOKafkaProducer]:
    """The relay's producer."""
    chosen = {
        "enable_idempotence": broker.idempotent,
        "acks": "all",
        "linger_ms": 5,
        "max_batch_size": 256 * 1024,
        "compression_type": "lz4",
        "request_timeout_ms": 5_000,
    }
    producer = AIOKafkaProducer(bootstrap_servers=broker.bootstrap, **(chosen | settings))
    try:
        await producer.start()
        yield producer
    finally:
        await producer.stop()


@asynccontextmanager
async def consuming(broker: SharedBroker, **settings: object) -> AsyncIterator[AIOKafkaConsumer]:
    """The consumer class's client; the offsets it starts from are always given by `seek`."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=broker.bootstrap,
        auto_offset_reset="none",
        enable_auto_commit=False,
        fetch_max_wait_ms=broker.fetch_max_wait_ms,
        **settings,
    )
    await consumer.start()
    try:
        yield consumer
    finally:
        await consumer.stop()


async def read(consumer: AIOKafkaConsumer, count: int, *, within: float = 15) -> list[ConsumerRecord]:
    """Exactly so many records, or a TimeoutError."""
    records: list[ConsumerRecord] = []
    async with asyncio.timeout(within):
        while len(records) < count:
            for batch in (await consumer.getmany(timeout_ms=200)).values():
                records += batch
    assert len(records) == count
    return records


async def partitions_of(broker: SharedBroker, topic: str) -> int:
    async with admin(broker) as client:
        [described] = await client.describe_topics([topic])
    return len(described["partitions"])


async def known(client: AIOKafkaAdminClient, topic: str, *, present: bool) -> None:
    """Wait for what was asked: Apache Kafka's controller answers before its broker has learned of it."""
    async with asyncio.timeout(10):
        while (topic in await client.list_topics()) is not present:
            await asyncio.sleep(0.02)


async def delete(broker: SharedBroker, topic: str) -> None:
    async with admin(broker) as client:
        answer = await client.delete_topics([topic])
        assert [code for _, code in answer.topic_error_codes] == [0]
        await known(client, topic, present=False)


async def create(broker: SharedBroker, topic: str) -> str:
    """A channel as `migrate` makes it."""
    wanted = NewTopic(topic, PARTITIONS, replication_factor=1, topic_configs={"retention.ms": "-1"})
    async with admin(broker) as client:
        answer = await client.create_topics([wanted])
        assert [error[1] for error in answer.topic_errors] == [0]
        await known(client, topic, present=True)
    return topic


@pytest.fixture
async def topic(broker: SharedBroker) -> str:
    return await create(broker, broker.name("channel"))


async def test_the_cluster_id_is_read_with_the_admin_client(broker: SharedBroker) -> None:
    async with admin(broker) as client:
        first = (await client.describe_cluster())["cluster_id"]
    async with admin(broker) as client:
        assert (await client.describe_cluster())["cluster_id"] == first
    assert isinstance(first, str)
    assert first


async def test_a_channel_has_the_partitions_it_was_created_with(broker: SharedBroker, topic: str) -> None:
    assert await partitions_of(broker, topic) == PARTITIONS


@pytest.mark.kafka
async def test_on_apache_kafka_a_channel_keeps_its_records_for_ever(apache_kafka: SharedBroker) -> None:
    topic = await create(apache_kafka, apache_kafka.name("channel"))
    async with admin(apache_kafka) as client:
        [answer] = await client.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])
    [(error, _, _, _, entries)] = answer.resources
    assert error == 0
    settings = {entry[0]: entry[1] for entry in entries}
    assert settings["retention.ms"] == "-1"


async def test_creating_a_channel_again_leaves_it_as_it_is(broker: SharedBroker, topic: str) -> None:
    async with producing(broker) as producer:
        await producer.send_and_wait(topic, b"kept", partition=0)
    async with admin(broker) as client:
        answer = await client.create_topics([NewTopic(topic, PARTITIONS, replication_factor=1)])
        assert answer.topic_errors[0][1] == TopicAlreadyExistsError.errno
    here = TopicPartition(topic, 0)
    async with consuming(broker) as consumer:
        assert await consumer.end_offsets([here]) == {here: 1}


@pytest.mark.kafka
async def test_apache_kafka_takes_the_idempotent_producer(apache_kafka: SharedBroker) -> None:
    topic = await create(apache_kafka, apache_kafka.name("channel"))
    async with producing(apache_kafka, enable_idempotence=True) as producer:
        sent = await producer.send_and_wait(topic, b"once", partition=0)
    assert sent.offset == 0


async def test_tansu_refuses_the_idempotent_producer(tansu: SharedBroker) -> None:
    with pytest.raises(UnknownError):
        async with producing(tansu, enable_idempotence=True):
            pass


async def test_batches_by_partition_keep_keys_headers_and_order(broker: SharedBroker, topic: str) -> None:
    here = [TopicPartition(topic, partition) for partition in range(PARTITIONS)]
    count = 200
    async with producing(broker) as producer:
        acknowledged = []
        for there in here:
            batch = producer.create_batch()
            for n in range(count):
                headers = [
                    ("ce_sequence", str(n).encode()),
                    ("ce_type", b"a"),
                    ("ce_type", b""),
                    ("\u00fc", b"\x00"),
                ]
                added = batch.append(
                    key=f"{n % 7}".encode(), value=f"{n}".encode(), timestamp=None, headers=headers
                )
                assert added is not None
            batch.close()
            acknowledged.append(await producer.send_batch(batch, there.topic, partition=there.partition))
        assert [(await future).offset for future in acknowledged] == [0] * PARTITIONS
    async with consuming(broker) as consumer:
        consumer.assign(here)
        for there in here:
            consumer.seek(there, 0)
        records = await read(consumer, PARTITIONS * count)
        assert await consumer.beginning_offsets(here) == dict.fromkeys(here, 0)
        # The high-water mark that comes with fetched records is right on both. Asked for the end, Tansu
        # answers one more than the first offset of the last batch.
        assert {there: consumer.highwater(there) for there in here} == dict.fromkeys(here, count)
        end = 1 if broker.kind == "tansu" else count
        assert await consumer.end_offsets(here) == dict.fromkeys(here, end)
    for there in here:
        mine = [record for record in records if record.partition == there.partition]
        assert [(record.offset, record.key, record.value) for record in mine] == [
            (n, f"{n % 7}".encode(), f"{n}".encode()) for n in range(count)
        ]
        for record in mine:
            sequence = str(record.offset).encode()
            assert record.headers == (
                ("ce_sequence", sequence),
                ("ce_type", b"a"),
                ("ce_type", b""),
                ("\u00fc", b"\x00"),
            )


async def test_a_full_batch_says_so_and_takes_nothing_more(broker: SharedBroker, topic: str) -> None:
    async with producing(broker, compression_type=None) as producer:
        batch = producer.create_batch()
        taken = 0
        while batch.append(key=b"k", value=bytes(10_000), timestamp=None, headers=[]) is not None:
            taken += 1
        assert taken == 256 * 1024 // 10_000
        await (await producer.send_batch(batch, topic, partition=0))


async def test_reading_starts_where_seek_says(broker: SharedBroker, topic: str) -> None:
    here = TopicPartition(topic, 3)
    async with producing(broker) as producer:
        for n in range(10):
            await producer.send_and_wait(topic, f"{n}".encode(), partition=3)
    async with consuming(broker) as consumer:
        consumer.assign([here])
        consumer.seek(here, 7)
        assert [record.value for record in await read(consumer, 3)] == [b"7", b"8", b"9"]
        assert await consumer.position(here) == 10
        consumer.seek(here, 0)
        assert (await read(consumer, 10))[0].value == b"0"


@pytest.mark.kafka
async def test_on_apache_kafka_reading_past_the_end_is_an_error(apache_kafka: SharedBroker) -> None:
    here = TopicPartition(await create(apache_kafka, apache_kafka.name("channel")), 0)
    async with consuming(apache_kafka) as consumer:
        consumer.assign([here])
        consumer.seek(here, 1_000)
        with pytest.raises(OffsetOutOfRangeError):
            await read(consumer, 1)


async def test_on_tansu_reading_past_the_end_waits_in_silence(tansu: SharedBroker) -> None:
    here = TopicPartition(await create(tansu, tansu.name("channel")), 0)
    async with consuming(tansu) as consumer:
        consumer.assign([here])
        consumer.seek(here, 1_000)
        with pytest.raises(TimeoutError):
            await read(consumer, 1, within=1)


async def test_a_deleted_channel_made_again_starts_at_zero(broker: SharedBroker, topic: str) -> None:
    here = TopicPartition(topic, 0)
    async with producing(broker) as producer:
        await producer.send_and_wait(topic, b"before", partition=0)
    await delete(broker, topic)
    await create(broker, topic)
    async with consuming(broker) as consumer:
        assert await consumer.end_offsets([here]) == {here: 0}
    async with producing(broker) as producer:
        assert (await producer.send_and_wait(topic, b"after", partition=0)).offset == 0


@pytest.mark.kafka
async def test_on_apache_kafka_an_unknown_channel_is_refused_in_bounded_time(
    apache_kafka: SharedBroker,
) -> None:
    async with producing(apache_kafka) as producer, asyncio.timeout(10):
        with pytest.raises(KafkaError):
            await producer.send_and_wait(apache_kafka.name("nowhere"), b"lost", partition=0)


async def test_on_tansu_an_unknown_channel_is_made_by_whoever_names_it(tansu: SharedBroker) -> None:
    topic = tansu.name("nowhere")
    async with producing(tansu) as producer:
        await producer.send_and_wait(topic, b"taken", partition=0)
    async with admin(tansu) as client:
        assert topic in await client.list_topics()


class Assignments(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka has no types
    """Starts every partition it is given from the beginning, as one does that keeps no offsets."""

    def __init__(self, consumer: AIOKafkaConsumer) -> None:
        self.consumer = consumer
        self.partitions: set[int] = set()
        self.changed = asyncio.Event()

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        self.partitions -= {there.partition for there in revoked}

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        for there in assigned:
            self.consumer.seek(there, 0)
        self.partitions = {there.partition for there in assigned}
        self.changed.set()

    async def settled(self, count: int) -> None:
        """Wait until this member holds so many partitions."""
        async with asyncio.timeout(20):
            while len(self.partitions) != count:
                self.changed.clear()
                await self.changed.wait()


async def test_who_leaves_a_group_is_succeeded_by_who_stays(broker: SharedBroker, topic: str) -> None:
    settings = {
        "group_id": broker.name("group"),
        "session_timeout_ms": broker.session_timeout_ms,
        "heartbeat_interval_ms": broker.heartbeat_interval_ms,
    }
    async with producing(broker) as producer:
        for partition in range(PARTITIONS):
            await producer.send_and_wait(topic, f"{partition}".encode(), partition=partition)
    async with consuming(broker, **settings) as staying:
        stays = Assignments(staying)
        staying.subscribe([topic], listener=stays)
        await stays.settled(PARTITIONS)
        assert {r.partition for r in await read(staying, PARTITIONS)} == set(range(PARTITIONS))
        async with consuming(broker, **settings) as leaving:
            leaves = Assignments(leaving)
            leaving.subscribe([topic], listener=leaves)
            await asyncio.gather(stays.settled(PARTITIONS // 2), leaves.settled(PARTITIONS // 2))
            assert not stays.partitions & leaves.partitions
            assert {r.partition for r in await read(leaving, PARTITIONS // 2)} == leaves.partitions
        await stays.settled(PARTITIONS)
        assert stays.partitions == set(range(PARTITIONS))
