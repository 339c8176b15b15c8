"""The relay: from the ledger to the log, in commit order, nothing left out.

One page is outstanding at a time, and the cursor moves past it only when the broker has acknowledged all of it. So a
record is sent only after every earlier one of its partition is in the log, by whatever relay and however often: the
first copies of a partition's records stand in their order, and later copies are all that a crash, a time-out or a
relay that does not know yet that it was replaced can add. Readers drop those by their sequence.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple, NoReturn
from uuid import UUID, uuid4

import asyncpg
import orjson
import structlog
from aiokafka import errors as kafka
from aiokafka.structs import TopicPartition

from upwell_shared import tracing
from upwell_shared.clock import Clock, WallClock
from upwell_shared.contracts import ChannelSpec
from upwell_shared.contracts.headers import traceparent_of
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
from upwell_shared.producing import ConnectionReplaced, PageProducer, RecordsGone
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

_HOLDS = "SELECT true FROM cursors WHERE name = $1 AND epoch = $2"

CURSOR = "relay"
"""The name of its row in `cursors`; a service has one relay."""

_WALL_CLOCK = WallClock()

_log = structlog.get_logger()


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


class _Ahead(NamedTuple):
    """A page that is being read before it is its turn."""

    after: Position
    rows: asyncio.Task[Sequence[LedgerRow]]


@dataclass(slots=True)
class _Link:
    """Connections to the broker, made and thrown away together."""

    cluster: ClusterClient
    producer: PageProducer
    checked_at: float = float("-inf")

    async def close(self) -> None:
        await self.producer.close()
        with suppress(Exception):
            await self.cluster.close()


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
        self._channels = tuple(channels)
        self._names = {spec.name for spec in channels}
        self._page = page
        self._check_every = check_every
        self._limit = broker_limit
        self._clock = clock
        self._cursor: _Cursor | None = None
        self._link: _Link | None = None
        self._ahead: _Ahead | None = None
        self._buried: set[asyncio.Task[Any]] = set()

    async def step(self, term: Term | None) -> bool:
        """Publish the next page; True when there was one. Whatever fails, the next call starts from the cursor.

        Raises Fenced when a later term has claimed the cursor, WrongPartitionCount and RecordRefused, which need a
        person, and errors of database and broker, which need time.
        """
        if term is None:
            raise ValueError("the relay works under a lease only")
        try:
            return await self._step(term)
        except BaseException as error:
            # Nothing in memory is trusted after a failure: not the cursor, not a producer with records in flight.
            self._cursor = None
            self._drop()
            if isinstance(error, ConnectionReplaced):
                raise kafka.KafkaConnectionError("the connection to a broker was lost") from None
            raise

    async def close(self) -> None:
        """Let go of the broker and the database; waits for what still runs, for as long as a page may take."""
        self._drop()
        if self._buried:
            await asyncio.wait(self._buried, timeout=self._limit)

    async def _step(self, term: Term) -> bool:
        cursor = self._cursor
        if cursor is None or cursor.epoch != term.epoch:
            cursor = self._cursor = await self._claim(term)
        if self._link is not None and not self._link.producer.whole:
            self._drop()
        link = self._link
        if link is None:
            self._show_age(
                await self._read(cursor.at, 1)
            )  # so that the age of what waits is seen while no broker answers
            link = self._link = await self._connect()
        if time.monotonic() - link.checked_at > self._check_every and await self._restarted(link, cursor):
            return True
        started = time.perf_counter()
        rows = await self._next_page(cursor)
        if not rows:
            return False
        links = (traceparent_of(row.headers) for row in rows)
        with tracing.span("relay page", kind="producer", links=links, owner=self._owner, records=len(rows)):
            try:
                acknowledged = await link.producer.send(rows, cursor.log_id, cursor.acknowledged)
            except RecordsGone as lost:
                await self._begin_log(link, cursor, str(lost))
                return True
            await self._advance(cursor, rows[-1].at, acknowledged)
        RELAY_PAGE_SECONDS.observe(time.perf_counter() - started)
        return True

    async def _next_page(self, cursor: _Cursor) -> Sequence[LedgerRow]:
        """The rows to send now; while they are under way, the next page is read."""
        ahead, self._ahead = self._ahead, None
        if ahead is not None and ahead.after == cursor.at:
            rows = await ahead.rows
        else:
            rows = await self._read(cursor.at, self._page)
        self._show_age(rows)
        if len(rows) == self._page:
            # It stays right however old it gets: no row can come to stand before one that was readable.
            reading = asyncio.create_task(self._read(rows[-1].at, self._page))
            # If it fails and is never asked for, the failure that prevented that is the one to report.
            reading.add_done_callback(lambda task: task.cancelled() or task.exception())
            self._ahead = _Ahead(rows[-1].at, reading)
        return rows

    async def _read(self, after: Position, limit: int) -> Sequence[LedgerRow]:
        async with self._pool.acquire() as connection:
            return await ledger_after(connection, after, limit)

    def _show_age(self, rows: Sequence[LedgerRow]) -> None:
        age = (self._clock.now() - rows[0].recorded_at).total_seconds() if rows else 0.0
        RELAY_OLDEST_UNPUBLISHED_SECONDS.set(max(0.0, age))

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
            reason = await self._why_not(link.cluster, cursor)
        if reason is None:
            link.checked_at = time.monotonic()
            return False
        await self._begin_log(link, cursor, reason)
        return True

    async def _why_not(self, cluster: ClusterClient, cursor: _Cursor) -> str | None:
        """Why the log at the broker is not the one the cursor counts in, in a word a log line shows; None if it is."""
        seen = await cluster.look(self._names)
        if cursor.cluster_id != seen.cluster_id:
            return "another_cluster" if cursor.cluster_id is not None else "first_start"
        missing = self._names - set(seen.partitions)
        missing.update(await cluster.wrong_counts(seen, self._channels))
        if missing:
            return f"channel_gone:{min(missing)}"
        try:
            if await read_log_id(cluster, seen, self._owner) != cursor.log_id:
                return "another_log"
        except UnreadableLogIdentity:
            return "log_not_named"
        ends = await cluster.end_offsets({spec.name: spec.partitions for spec in self._channels})
        for place, offset in cursor.acknowledged.items():
            if ends.get(place, offset + 1) <= offset:
                return f"records_gone:{place.topic}"
        return None

    async def _begin_log(self, link: _Link, cursor: _Cursor, reason: str) -> None:
        """Make the broker's log a new one, to be filled from the start of the ledger.

        A crash between any two of these steps leaves cursor and meta channel naming different logs, and the next
        start begins another one. The cursor is first, because it tells a relay that was replaced to stop here.
        """
        link.checked_at = float("-inf")
        log_id = uuid4()
        async with asyncio.timeout(self._limit):
            seen = await link.cluster.look([])
        if not await self._pool.fetchval(_BEGIN_LOG, CURSOR, cursor.epoch, log_id, seen.cluster_id):
            self._fenced(cursor.epoch)
        async with asyncio.timeout(2 * self._limit):
            await self._make_channels(link.cluster, cursor)
            link.producer.know(link.cluster)
            named = encode_log_id(log_id, datetime.now(UTC).isoformat())
            await link.producer.say(meta_channel(self._owner), b"log_id", named)
        cursor.at, cursor.log_id, cursor.cluster_id, cursor.acknowledged = START, log_id, seen.cluster_id, {}
        _log.info("log_begun", owner=self._owner, log_id=str(log_id), cluster=seen.cluster_id, reason=reason)

    async def _make_channels(self, cluster: ClusterClient, cursor: _Cursor) -> None:
        """Channels for the log that was just begun; those made now are empty in the end.

        Tansu takes records for channels that do not exist, and they turn up, with the partitions' state in disorder,
        in a channel that is made later. In one that was just made only the relay that holds the cursor knows that
        there is nothing to lose yet.
        """
        made = await cluster.create(self._channels)
        own = [spec for spec in self._channels if spec.name in made]
        while own and (full := await cluster.not_empty(own)):
            if not await self._pool.fetchval(_HOLDS, CURSOR, cursor.epoch):
                self._fenced(cursor.epoch)
            await cluster.make_anew(full)
            await cluster.create(self._channels)

    # The broker.

    async def _connect(self) -> _Link:
        name = f"relay-{self._owner}"
        link = _Link(
            ClusterClient(self._bootstrap, client_id=name, request_timeout=self._limit / 2),
            PageProducer(self._bootstrap, client_id=name, limit=self._limit),
        )
        try:
            async with asyncio.timeout(self._limit):
                await link.cluster.start()
                await link.cluster.look(self._names)
                await link.producer.start(link.cluster)
        except BaseException:
            self._bury(link)
            raise
        RELAY_PRODUCERS.inc()
        return link

    def _drop(self) -> None:
        if self._ahead is not None:
            self._ahead.rows.cancel()
            self._ending(self._ahead.rows)
            self._ahead = None
        if self._link is not None:
            self._bury(self._link)
            self._link = None

    def _bury(self, link: _Link) -> None:
        """Close in the background: it can take as long as a request, and nothing waits for what it still does."""
        self._ending(asyncio.create_task(link.close(), name=f"relay of {self._owner} closes its connections"))

    def _ending(self, task: asyncio.Task[Any]) -> None:
        """Remember what is ending, so that `close` waits for it."""
        self._buried.add(task)
        task.add_done_callback(self._buried.discard)
