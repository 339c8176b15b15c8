"""Pages of ledger rows to the broker: packed by partition, in order, all acknowledged or an error.

What is known about aiokafka's producer lives here: that it retries for ever what it may not lose, that cancelling a
wait does not cancel the sending, that `stop()` waits for both, and that it reconnects to whatever it finds.
"""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import zip_longest
from typing import Any
from uuid import UUID

import orjson
from aiokafka import AIOKafkaProducer
from aiokafka import errors as kafka
from aiokafka.client import ConnectionGroup
from aiokafka.structs import TopicPartition

from upwell_shared.contracts.headers import LOG_ID
from upwell_shared.errors import UpwellError
from upwell_shared.log_identity import ClusterClient
from upwell_shared.tail import LedgerRow

_BATCH_BYTES = 256 * 1024


class RecordRefused(UpwellError):
    """The broker refuses a record the ledger holds, most likely for its size: raise the broker's limit."""


class AcknowledgementLost(UpwellError):
    """The broker took records without saying where: they are sent again."""


class RecordsGone(UpwellError):
    """The broker gave an offset out a second time: it no longer holds what it acknowledged."""


class ConnectionReplaced(kafka.KafkaError):  # type: ignore[misc]
    """A broker was reached over a new connection: what it holds has to be looked at before anything is sent."""

    # What the producer would retry, it would send.
    retriable = False


class PageProducer:
    """A producer that lives no longer than the connections it began with.

    An ordinary one reconnects and goes on sending to whatever it finds: a log that was emptied meanwhile, or channels
    that are gone, for which Tansu takes records nevertheless. Who connects anew has to look first; so this one fails
    instead, with ConnectionReplaced. After any error only `close()` is left to call.
    """

    def __init__(self, bootstrap: str, *, client_id: str, limit: float) -> None:
        """`limit`: how many seconds a page may take."""
        self._limit = limit
        self._producer: Any = AIOKafkaProducer(
            bootstrap_servers=bootstrap,
            client_id=client_id,
            acks="all",
            # It could not protect against loss or doubling, and in a new log can cause loss: docs/decisions/0002.
            enable_idempotence=False,
            linger_ms=5,
            max_batch_size=_BATCH_BYTES,
            compression_type="lz4",
            request_timeout_ms=int(limit * 500),
        )
        self._held: dict[tuple[int, Any], Any] = {}

    @property
    def whole(self) -> bool:
        """Whether all connections are still those it began with; brokers close what was idle for long."""
        return all(connection.connected() for connection in self._held.values())

    async def start(self, cluster: ClusterClient) -> None:
        """Connect to all brokers, knowing of the channels what `cluster` saw last. The caller bounds the time."""
        await self._producer.start()
        self.know(cluster)
        client = self._producer.client
        for broker in client.cluster.brokers():
            if await client.ready(broker.nodeId):
                key = (broker.nodeId, ConnectionGroup.DEFAULT)
                self._held[key] = client._conns[key]  # noqa: SLF001
        send = client.send

        async def send_over_held(node_id: int, request: Any, *, group: Any = ConnectionGroup.DEFAULT) -> Any:
            await client.ready(node_id, group=group)
            if client._conns.get((node_id, group)) is not self._held.get((node_id, group)):  # noqa: SLF001
                raise ConnectionReplaced
            return await send(node_id, request, group=group)

        client.send = send_over_held

    def know(self, cluster: ClusterClient) -> None:
        """Take over what `cluster` saw last: asking by itself, it would make the broker create what is missing."""
        cluster.tell(self._producer.client)

    async def say(self, channel: str, key: bytes, value: bytes) -> None:
        """One record to partition 0, acknowledged. The caller bounds the time."""
        await self._producer.send_and_wait(channel, value, key=key, partition=0)

    async def send(
        self, rows: Sequence[LedgerRow], log_id: UUID | None, acknowledged: Mapping[TopicPartition, int]
    ) -> dict[TopicPartition, int]:
        """Where the last batch of each partition that got some of `rows` begins, once all are acknowledged.

        `acknowledged` says that of earlier rows. A batch of a partition is sent when the one before it is
        acknowledged. Raises RecordsGone, RecordRefused, AcknowledgementLost, KafkaError, or TimeoutError after `limit`.
        """
        chains = self._batches(rows, (LOG_ID, str(log_id).encode()))
        reached: dict[TopicPartition, int] = {}
        async with asyncio.timeout(self._limit):
            # The n-th batches of all partitions together, then the next ones.
            for batches in zip_longest(*chains.values()):
                sent = {
                    place: await self._producer.send_batch(batch, place.topic, partition=place.partition)
                    for place, batch in zip(chains, batches, strict=True)
                    if batch is not None
                }
                answers = await asyncio.gather(*sent.values(), return_exceptions=True)
                for place, answer in zip(sent, answers, strict=True):
                    after = reached.get(place, acknowledged.get(place, -1))
                    reached[place] = _offset(answer, place, after=after)
        return reached

    async def close(self) -> None:
        """End it, whatever it waits for. What it has sent may still arrive, and is then one copy more."""
        producer = self._producer
        with suppress(Exception):
            sender = producer._sender.sender_task  # noqa: SLF001  (stop() alone waits for every record, for ever)
            if sender is not None:
                sender.cancel()
                for connection in list(producer.client._conns.values()):  # noqa: SLF001
                    connection.close()
                await asyncio.wait([sender])
                producer._message_accumulator.fail_all(kafka.ProducerClosed())  # noqa: SLF001
            await producer.stop()

    def _batches(
        self, rows: Iterable[LedgerRow], log_id: tuple[str, bytes]
    ) -> dict[TopicPartition, list[Any]]:
        by_place: dict[tuple[str, int], list[LedgerRow]] = defaultdict(list)
        for row in rows:
            by_place[row.channel, row.partition].append(row)
        return {TopicPartition(*place): list(self._pack(own, log_id)) for place, own in by_place.items()}

    def _pack(self, rows: Iterable[LedgerRow], log_id: tuple[str, bytes]) -> Iterator[Any]:
        batch = self._producer.create_batch()
        for row in rows:
            headers = [(name, value.encode()) for name, value in orjson.loads(row.headers)]
            record = {"key": str(row.key).encode(), "value": row.body, "headers": [*headers, log_id]}
            # Kafka's time, not recorded_at: by the simulated clock that may lie further ahead than a broker allows.
            if batch.append(timestamp=None, **record) is None:
                batch.close()
                yield batch
                batch = self._producer.create_batch()
                batch.append(timestamp=None, **record)
        batch.close()
        yield batch


def _offset(answer: Any, place: TopicPartition, *, after: int) -> int:
    """Where a batch begins, by the broker's answer; raises that answer if it is an error."""
    if isinstance(answer, (kafka.MessageSizeTooLargeError, kafka.RecordListTooLargeError)):
        raise RecordRefused(
            f"a record for {place.topic} is too large for the broker: raise its limit"
        ) from answer
    if isinstance(answer, BaseException):
        raise answer
    if answer.offset < 0:
        raise AcknowledgementLost
    if answer.offset <= after:
        raise RecordsGone(f"records_gone:{place.topic}")
    return int(answer.offset)
