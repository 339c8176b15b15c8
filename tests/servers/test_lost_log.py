"""What clients that are connected already see when a broker comes back empty under its old address and id.

None of it tells them: that is why a log has an identity of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from upwell.servers.apache_kafka import ApacheKafka
from upwell.servers.tansu import Tansu

HERE = TopicPartition("channel", 0)


class Broker:
    """A broker that loses its log."""

    def __init__(self, server: Tansu | ApacheKafka) -> None:
        self.server = server
        self.bootstrap = ""

    async def begin(self) -> None:
        self.bootstrap = await self.server.start()
        admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap)
        await admin.start()
        await admin.create_topics([NewTopic(HERE.topic, 1, replication_factor=1)])
        await admin.close()

    async def lose_its_log(self) -> None:
        if isinstance(self.server, ApacheKafka):
            await self.server.lose_log()
        else:
            await self.server.kill()
        await self.begin()

    async def cluster_id(self) -> str:
        admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap)
        await admin.start()
        described = await admin.describe_cluster()
        await admin.close()
        return str(described["cluster_id"])

    async def producer(self, *, idempotent: bool = False) -> AIOKafkaProducer:
        producer = AIOKafkaProducer(
            bootstrap_servers=self.bootstrap,
            acks="all",
            enable_idempotence=idempotent,
            request_timeout_ms=20_000,
        )
        await producer.start()
        return producer

    async def consumer(self, offset: int) -> AIOKafkaConsumer:
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self.bootstrap,
            auto_offset_reset="none",
            enable_auto_commit=False,
            fetch_max_wait_ms=20,
        )
        await consumer.start()
        consumer.assign([HERE])
        consumer.seek(HERE, offset)
        return consumer


@pytest.fixture(params=["tansu", pytest.param("apache_kafka", marks=pytest.mark.kafka)])
async def broker(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Broker]:
    server = Tansu(log=tmp_path / "log") if request.param == "tansu" else ApacheKafka(tmp_path / "kafka")
    broker = Broker(server)
    await broker.begin()
    yield broker
    await server.stop()


async def test_the_cluster_id_is_the_same(broker: Broker) -> None:
    before = await broker.cluster_id()
    await broker.lose_its_log()
    assert await broker.cluster_id() == before


async def test_a_connected_producer_goes_on_and_only_its_offsets_tell(broker: Broker) -> None:
    producer = await broker.producer()
    before = [(await producer.send_and_wait(HERE.topic, b"before", partition=0)).offset for _ in range(3)]
    await broker.lose_its_log()
    after = (await producer.send_and_wait(HERE.topic, b"after", partition=0)).offset
    await producer.stop()
    assert (before, after) == ([0, 1, 2], 0)


async def test_a_consumer_seeking_to_its_old_position_misses_the_start_of_the_new_log(broker: Broker) -> None:
    producer = await broker.producer()
    for _ in range(3):
        await producer.send_and_wait(HERE.topic, b"before", partition=0)
    await broker.lose_its_log()
    for n in range(5):
        await producer.send_and_wait(HERE.topic, f"after {n}".encode(), partition=0)
    await producer.stop()
    consumer = await broker.consumer(offset=3)
    async with asyncio.timeout(10):
        record = await consumer.getone()
    await consumer.stop()
    assert record.value == b"after 3"


@pytest.mark.parametrize("broker", [pytest.param("apache_kafka", marks=pytest.mark.kafka)], indirect=True)
async def test_an_idempotent_producer_of_the_new_log_can_be_acknowledged_for_what_an_old_one_wrote(
    broker: Broker,
) -> None:
    # Producer ids are counted from 0 in every new log. The old producer still uses the one it was given; the
    # new one is given the same, numbers its batches from 0 as well, and is taken for the old one's retry.
    old = await broker.producer(idempotent=True)
    await broker.lose_its_log()
    first = await old.send_and_wait(HERE.topic, b"of the old producer", partition=0)
    new = await broker.producer(idempotent=True)
    second = await new.send_and_wait(HERE.topic, b"of the new producer", partition=0)
    await old.stop()
    await new.stop()
    assert (first.offset, second.offset) == (0, 0)
    consumer = await broker.consumer(offset=0)
    assert await consumer.end_offsets([HERE]) == {HERE: 1}
    await consumer.stop()
