"""The directory as its relay leaves it on a broker, in a log of its own: every third record comes twice."""

from collections import Counter
from datetime import UTC, datetime
from uuid import UUID, uuid4

from aiokafka import AIOKafkaProducer

from upwell.servers.testing import SharedBroker
from upwell_shared.contracts import PublishedEvent, partition_of, record_headers
from upwell_shared.contracts.directory import CONTRACT
from upwell_shared.events import Envelope
from upwell_shared.log_identity import ClusterClient, encode_log_id

WHENEVER = datetime(2026, 3, 2, 9, tzinfo=UTC)


class Directory:
    """Tells what happens to units and people, in this order, each on its own stream."""

    def __init__(self, broker: SharedBroker) -> None:
        self._broker = broker
        self._log_id = uuid4()
        self._sequences: Counter[tuple[str, UUID]] = Counter()
        self._told = 0

    async def begin(self) -> None:
        """What was told to other suites on this broker is not heard any more."""
        async with ClusterClient(self._broker.bootstrap) as cluster:
            await cluster.create(CONTRACT.channels)
        async with self._producer() as producer:
            named = encode_log_id(self._log_id, "now")
            await producer.send_and_wait(CONTRACT.meta_channel, named, b"log_id", 0)

    async def tell(self, *told: PublishedEvent) -> None:
        async with self._producer() as producer:
            for event in told:
                key: UUID = getattr(event, "person_id", None) or event.model_dump()["organisation_id"]
                self._sequences[event.audience, key] += 1
                self._told += 1
                publication = CONTRACT.publish(
                    event,
                    source_event_id=uuid4(),
                    stream_id=key,
                    sequence=self._sequences[event.audience, key],
                    recorded_at=WHENEVER,
                    envelope=Envelope(command_id=uuid4(), correlation_id=uuid4()),
                )
                for _ in range(1 + (self._told % 3 == 0)):
                    await producer.send_and_wait(
                        publication.channel,
                        publication.body,
                        str(key).encode(),
                        partition_of(key),
                        headers=record_headers(publication.headers, self._log_id),
                    )

    def _producer(self) -> AIOKafkaProducer:
        return AIOKafkaProducer(bootstrap_servers=self._broker.bootstrap, acks="all")
