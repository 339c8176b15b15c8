"""The relay: from the ledger to the log, in commit order, nothing left out.

One page is outstanding at a time, and the cursor moves past it only when the broker has acknowledged all of it. So a
record is sent only after every earlier one of its partition is in the log, by whatever relay and however often: the
first copies of a partition's records stand in their order, and later copies are all that a crash, a time-out or a
relay that does not know yet that it was replaced can add. Readers drop those by their sequence.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import zip_longest
from typing import Any, NoReturn
from uuid import UUID, uuid4

import asyncpg
import orjson
import structlog
from aiokafka import AIOKafkaProducer
from aiokafka import errors as kafka
from aiokafka.client import ConnectionGroup
from aiokafka.structs import TopicPartition

from upwell_shared.clock import Clock, WallClock
from upwell_shared.contracts import ChannelSpec
from upwell_shared.contracts.headers import LOG_ID
from upwell_shared.errors import UpwellError
from upwell_shared.events import START, Position
from upwell_shared.lease import Fenced, Term
from upwell_shared.log_identity import (
    ClusterClient,
    UnreadableLogIdentity,
    encode_log_id,
    meta_channel,
    read_log_id,
)
from upwell_shared.metrics import RELAY_OLDEST_UNPUBLISHED_SECONDS, RELAY_PAGE_SECONDS, RELAY_PRODUCERS
from upwell_shared.tail import LedgerRow, ledger_after

# Not only below one's own epoch: after a failure the same term reads again how far it really came.
_CLAIM = """
INSERT INTO cursors AS c (name, epoch, tx, position, acknowledged) VALUES ($1, $2, '0', 0, '{}')
ON CONFLICT (name) DO UPDATE SET epoch = excluded.epoch WHERE c.epoch <= excluded.epoch
RETURNING tx, position, log_id, cluster_id, acknowledged
"""

_ADVANCE = """
UPDATE cursors SET tx = $3, position = $4, acknowledged = $5 WHERE name = $1 AND epoch = $2 RETURNING true
"""

_BEGIN_LOG = """
UPDATE cursors SET tx = '0', position = 0, log_id = $3, cluster_id = $4, acknowledged = '{}'
WHERE name = $1 AND epoch = $2
RETURNING true
"""

CURSOR = "relay"
"""The name of its row in `cursors`; a service has one relay."""

_BATCH_BYTES = 256 * 1024
_WALL_CLOCK = WallClock()

_log = structlog.get_logger()


class RecordRefused(UpwellError):
    """The broker refuses a record the ledger holds, most likely for its size: raise the broker's limit."""


class AcknowledgementLost(UpwellError):
    """The broker took records without saying where: they are sent again."""


class ConnectionReplaced(kafka.KafkaError):  # type: ignore[misc]
    """A broker was reached over a new connection: what it holds has to be looked at before anything is sent."""

    # For the producer this ends the batch; for us it is a reason to connect anew.
    retriable = False


class _Lost(Exception):
    """The log no longer holds what it acknowledged."""


@dataclass(slots=True)
class _Cursor:
    """How far this relay came, in which log.

    `acknowledged`: the offset at which the last batch of each partition begins. Kafka truncates whole batches, so it
    tells as much as the offset after the batch; and Tansu takes every batch for one record when it tells that one.
    """

    epoch: int
    at: Position
    log_id: UUID | None
    cluster_id: str | None
    acknowledged: dict[TopicPartition, int]


@dataclass(slots=True)
class _Link:
    """Connections to the broker, made and thrown away together."""

    client: ClusterClient
    producer: Any
    checked_at: float = float("-inf")


class Relay:
    """Sends an owner's ledger to its channels. `step` is for a `Worker` with a lease.

    It begins a new log, from the start of the ledger, whenever the one it finds is not the one it filled.
    """

    def __init__(
        self,
        pool: asyncpg.Pool,
        owner: str,
        bootstrap: str,
        *,
        idempotent: bool,
        channels: Sequence[ChannelSpec],
        page: int = 1000,
        check_every: float = 2.0,
        broker_limit: float = 10.0,
        clock: Clock = _WALL_CLOCK,
    ) -> None:
        """`channels` are all of the owner's, the meta channel included.

        `broker_limit`: after so many seconds without all acknowledgements of a page (or without a connection) the
        producer is given up. `check_every`: seconds between two looks at the log's identity. `clock` is the one of `recorded_at`.
        """
        self._pool = pool
        self._owner = owner
        self._bootstrap = bootstrap
        self._idempotent = idempotent
        self._channels = tuple(channels)
        self._page = page
        self._check_every = check_every
        self._limit = broker_limit
        self._clock = clock
        self._cursor: _Cursor | None = None
        self._link: _Link | None = None
        self._buried: set[asyncio.Task[None]] = set()

    async def step(self, term: Term | None) -> bool:
        """Publish the next page; True when there was one. Whatever fails, the next call starts from the cursor.

        Raises Fenced when a later term has claimed the cursor, WrongPartitionCount and RecordRefused, which need a
        person, and errors of database and broker, which need time.
        """
        if term is None:
            raise ValueError("the relay works under a lease only")
        try:
            return await self._step(term)
        except BaseException:
            # Nothing in memory is trusted after a failure: not the cursor, not a producer with records in flight.
            self._cursor = None
            self._drop()
            raise

    async def close(self) -> None:
        """Let go of the broker."""
        self._drop()
        if self._buried:
            await asyncio.wait(self._buried, timeout=self._limit)

    async def _step(self, term: Term) -> bool:
        cursor = self._cursor
        if cursor is None or cursor.epoch != term.epoch:
            cursor = self._cursor = await self._claim(term)
        link = self._link
        if link is None:
            await self._read(cursor, 1)  # so that the age of what waits is seen while no broker answers
            link = self._link = await self._connect()
        if time.monotonic() - link.checked_at > self._check_every and await self._restarted(link, cursor):
            return True
        started = time.perf_counter()
        rows = await self._read(cursor, self._page)
        if not rows:
            return False
        try:
            acknowledged = await self._send(link.producer, cursor, rows)
        except _Lost as lost:
            await self._begin_log(link, cursor, str(lost))
            return True
        await self._advance(cursor, rows[-1].at, acknowledged)
        RELAY_PAGE_SECONDS.observe(time.perf_counter() - started)
        return True

    async def _read(self, cursor: _Cursor, limit: int) -> Sequence[LedgerRow]:
        async with self._pool.acquire() as connection:
            rows = await ledger_after(connection, cursor.at, limit)
        age = (self._clock.now() - rows[0].recorded_at).total_seconds() if rows else 0.0
        RELAY_OLDEST_UNPUBLISHED_SECONDS.set(max(0.0, age))
        return rows

    # The cursor.

    async def _claim(self, term: Term) -> _Cursor:
        row = await self._pool.fetchrow(_CLAIM, CURSOR, term.epoch)
        if row is None:
            self._fenced(term.epoch)
        acknowledged = {
            TopicPartition(channel, int(partition)): offset
            for channel, offsets in orjson.loads(row["acknowledged"]).items()
            for partition, offset in offsets.items()
        }
        at = Position(row["tx"], row["position"])
        return _Cursor(term.epoch, at, row["log_id"], row["cluster_id"], acknowledged)

    async def _advance(self, cursor: _Cursor, at: Position, acknowledged: dict[TopicPartition, int]) -> None:
        merged = cursor.acknowledged | acknowledged
        stored: dict[str, dict[str, int]] = defaultdict(dict)
        for place, offset in merged.items():
            stored[place.topic][str(place.partition)] = offset
        text = orjson.dumps(stored).decode()
        if not await self._pool.fetchval(_ADVANCE, CURSOR, cursor.epoch, *at, text):
            self._fenced(cursor.epoch)
        cursor.at, cursor.acknowledged = at, merged

    def _fenced(self, epoch: int) -> NoReturn:
        raise Fenced(f"epoch {epoch} of {self._owner}'s relay is over: a later one holds its cursor")

    # The log.

    async def _restarted(self, link: _Link, cursor: _Cursor) -> bool:
        """Whether the log is not the cursor's, so that a new one was begun. Raises WrongPartitionCount."""
        async with asyncio.timeout(self._limit):
            reason = await self._why_not(link.client, cursor)
        if reason is None:
            link.checked_at = time.monotonic()
            return False
        await self._begin_log(link, cursor, reason)
        return True

    async def _why_not(self, client: ClusterClient, cursor: _Cursor) -> str | None:
        """Why the log at the broker is not the one the cursor counts in; None if it is."""
        seen = await client.look(spec.name for spec in self._channels)
        if cursor.cluster_id != seen.cluster_id:
            return "another cluster" if cursor.cluster_id is not None else "first start"
        missing = {spec.name for spec in self._channels} - set(seen.partitions)
        missing.update(await client.wrong_counts(seen, self._channels))
        if missing:
            return f"channel {min(missing)} is gone"
        try:
            if await read_log_id(client, seen, self._owner) != cursor.log_id:
                return "another log"
        except UnreadableLogIdentity:
            return "the meta channel names no log"
        ends = await client.end_offsets({spec.name: spec.partitions for spec in self._channels})
        for place, offset in cursor.acknowledged.items():
            if ends.get(place, offset + 1) <= offset:
                return f"records of {place.topic} are gone"
        return None

    async def _begin_log(self, link: _Link, cursor: _Cursor, reason: str) -> None:
        """Make the broker's log a new one, to be filled from the start of the ledger.

        A crash between any two of these steps leaves cursor and meta channel naming different logs, and the next
        start begins another one. The cursor is first, because it tells a relay that was replaced to stop here.
        """
        link.checked_at = float("-inf")
        log_id = uuid4()
        async with asyncio.timeout(self._limit):
            seen = await link.client.look([])
        if not await self._pool.fetchval(_BEGIN_LOG, CURSOR, cursor.epoch, log_id, seen.cluster_id):
            self._fenced(cursor.epoch)
        async with asyncio.timeout(2 * self._limit):
            await link.client.create(self._channels)
            link.client.tell(link.producer.client)
            named = encode_log_id(log_id, datetime.now(UTC).isoformat())
            await link.producer.send_and_wait(meta_channel(self._owner), named, key=b"log_id", partition=0)
        cursor.at, cursor.log_id, cursor.cluster_id, cursor.acknowledged = START, log_id, seen.cluster_id, {}
        _log.info("log_begun", owner=self._owner, log_id=str(log_id), cluster=seen.cluster_id, reason=reason)

    # The broker.

    async def _connect(self) -> _Link:
        client = ClusterClient(
            self._bootstrap, client_id=f"relay-{self._owner}", request_timeout=self._limit / 2
        )
        producer = AIOKafkaProducer(
            bootstrap_servers=self._bootstrap,
            client_id=f"relay-{self._owner}",
            acks="all",
            enable_idempotence=self._idempotent,
            linger_ms=5,
            max_batch_size=_BATCH_BYTES,
            compression_type="lz4",
            request_timeout_ms=int(self._limit * 500),
        )
        link = _Link(client, producer)
        try:
            async with asyncio.timeout(self._limit):
                await client.start()
                await producer.start()
                await client.look(spec.name for spec in self._channels)
                client.tell(producer.client)
                await _hold_to_connections(producer)
        except BaseException:
            self._bury(link)
            raise
        RELAY_PRODUCERS.inc()
        return link

    def _drop(self) -> None:
        if self._link is not None:
            self._bury(self._link)
            self._link = None

    def _bury(self, link: _Link) -> None:
        """Close in the background: it can take as long as a request, and nothing waits for what it still does."""
        task = asyncio.create_task(_close(link), name=f"relay of {self._owner} closes its connections")
        self._buried.add(task)
        task.add_done_callback(self._buried.discard)

    async def _send(
        self, producer: Any, cursor: _Cursor, rows: Sequence[LedgerRow]
    ) -> dict[TopicPartition, int]:
        """All rows acknowledged; gives where the last batch of each partition that got some lies. Raises _Lost."""
        header = (LOG_ID, str(cursor.log_id).encode())
        chains = _batches(producer, rows, header)
        reached: dict[TopicPartition, int] = {}
        async with asyncio.timeout(self._limit):
            # The n-th batches of all partitions together, then the next ones: one batch a partition in flight.
            for batches in zip_longest(*chains.values()):
                sent = {
                    place: await producer.send_batch(batch, place.topic, partition=place.partition)
                    for place, batch in zip(chains, batches, strict=True)
                    if batch is not None
                }
                answers = await asyncio.gather(*sent.values(), return_exceptions=True)
                for place, answer in zip(sent, answers, strict=True):
                    before = reached.get(place, cursor.acknowledged.get(place, -1))
                    reached[place] = _offset(answer, place, after=before)
        return reached


def _offset(answer: Any, place: TopicPartition, *, after: int) -> int:
    """Where a batch lies, by the broker's answer. Raises what the answer is, if that is an error, or _Lost."""
    if isinstance(answer, (kafka.MessageSizeTooLargeError, kafka.RecordListTooLargeError)):
        raise RecordRefused(
            f"a record for {place.topic} is too large for the broker: raise its limit"
        ) from answer
    if isinstance(answer, BaseException):
        raise answer
    if answer.offset < 0:
        raise AcknowledgementLost
    if answer.offset <= after:
        raise _Lost(f"records of {place.topic} are gone")
    return int(answer.offset)


def _batches(
    producer: Any, rows: Iterable[LedgerRow], log_id: tuple[str, bytes]
) -> dict[TopicPartition, list[Any]]:
    """The rows as batches, by partition and in order."""
    by_place: dict[tuple[str, int], list[LedgerRow]] = defaultdict(list)
    for row in rows:
        by_place[row.channel, row.partition].append(row)
    return {TopicPartition(*place): list(_pack(producer, own, log_id)) for place, own in by_place.items()}


def _pack(producer: Any, rows: Iterable[LedgerRow], log_id: tuple[str, bytes]) -> Iterator[Any]:
    batch = producer.create_batch()
    for row in rows:
        headers = [(name, value.encode()) for name, value in orjson.loads(row.headers)]
        record = {"key": str(row.key).encode(), "value": row.body, "headers": [*headers, log_id]}
        # The broker's time, not recorded_at: by the simulated clock that may lie further ahead than a broker allows.
        if batch.append(timestamp=None, **record) is None:
            batch.close()
            yield batch
            batch = producer.create_batch()
            batch.append(timestamp=None, **record)
    batch.close()
    yield batch


async def _hold_to_connections(producer: Any) -> None:
    """Connect to all brokers, and fail whatever would be sent over another connection than these.

    A producer reconnects by itself and goes on sending, to whatever it finds: a log that was emptied meanwhile, or
    channels that are gone, which Tansu takes records for nevertheless. Who connects anew has to look first.
    """
    client = producer.client
    held: dict[tuple[int, Any], Any] = {}
    send = client.send

    async def send_over_held(node_id: int, request: Any, *, group: Any = ConnectionGroup.DEFAULT) -> Any:
        await client.ready(node_id, group=group)
        if client._conns.get((node_id, group)) is not held.get((node_id, group)):  # noqa: SLF001
            raise ConnectionReplaced
        return await send(node_id, request, group=group)

    for broker in client.cluster.brokers():
        if await client.ready(broker.nodeId):
            key = (broker.nodeId, ConnectionGroup.DEFAULT)
            held[key] = client._conns[key]  # noqa: SLF001
    client.send = send_over_held


async def _close(link: _Link) -> None:
    """End a producer, whatever it waits for. What it has sent may still arrive, and is then one copy more."""
    producer = link.producer
    with suppress(Exception):
        sender = producer._sender.sender_task  # noqa: SLF001  (stop() alone waits for every record, for ever)
        if sender is not None:
            sender.cancel()
            for connection in list(producer.client._conns.values()):  # noqa: SLF001
                connection.close()
            await asyncio.wait([sender])
            producer._message_accumulator.fail_all(kafka.ProducerClosed())  # noqa: SLF001
        await producer.stop()
    with suppress(Exception):
        await link.client.close()
