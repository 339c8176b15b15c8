"""The Kafka side of consuming: membership, positions, and the identity of the logs that are read.

Where reading goes on is decided by the database alone: each assignment is followed by a seek, and nothing is applied
from a partition before that. Whatever is in doubt (an error of the client, another identity) ends in a new client,
which takes nothing over from the old one.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import asyncpg
import structlog
from aiokafka import AIOKafkaConsumer
from aiokafka import errors as kafka
from aiokafka.structs import TopicPartition

from upwell_shared.clock import Clock
from upwell_shared.consuming.applying import Applied, Applier, Batch, Overtaken
from upwell_shared.consuming.dead_letters import DeadLettersFull, Limits
from upwell_shared.consuming.handlers import Handlers
from upwell_shared.consuming.membership import Assignments, Pace, Reading, leave
from upwell_shared.consuming.offsets import Offsets, Part
from upwell_shared.consuming.salvaging import of_records, salvage
from upwell_shared.contracts import Contract
from upwell_shared.log_identity import (
    Cluster,
    ClusterClient,
    LogIdentity,
    UnreadableLogIdentity,
    meta_channel,
    read_log_id,
)
from upwell_shared.metrics import CONSUMER_LAG_SECONDS

_log = structlog.get_logger()

_IDENTITY_SECONDS = 2.0
_NO_LOG_SECONDS = 0.2
_COMMIT_SECONDS = 1.0
_FETCH_SECONDS = 0.2
_JOIN_SECONDS = 30.0
_OFFSETS_SECONDS = 10.0
_FULL_SECONDS = 5.0

# Keeps transactions short.
_PAGE_RECORDS = 500
_FETCH_RECORDS = 2_000
_PARTITION_BYTES = 1024 * 1024
_FETCH_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsumerSettings:
    """What differs between brokers: the embedded one needs 1,000, 200 and 20 to 50 ms, see docs/decisions/0002.

    With `instance`, a name that outlives restarts, membership is static: a restart within the session moves no
    partition, and neither does leaving.
    """

    session_timeout_ms: int = 10_000
    heartbeat_interval_ms: int = 3_000
    fetch_max_wait_ms: int = 500
    instance: str | None = None


class Consumer:
    """Reads the channels of some contracts for the handlers of one service. Its name is its group and its rows' key.

    `step` is for a `Worker`, without a lease: the group divides the partitions among the members. It waits for
    records by itself, and returns False only while there is no log yet. `close` follows the worker's end.
    """

    def __init__(
        self,
        name: str,
        pool: asyncpg.Pool,
        bootstrap: str,
        contracts: Sequence[Contract],
        handlers: Handlers,
        *,
        settings: ConsumerSettings,
        clock: Clock,
        limits: Limits = Limits(),  # noqa: B008  (immutable)
    ) -> None:
        self.applier = Applier(name, pool, contracts, handlers, limits)
        self._name = name
        self._bootstrap = bootstrap
        self._settings = settings
        self._clock = clock
        self._channels = {c.owner: [c.channel("public"), c.channel("internal")] for c in contracts}
        self._owners = {channel: owner for owner, channels in self._channels.items() for channel in channels}
        self._offsets = Offsets(pool, name)
        self._client: ClusterClient | None = None
        self._group: Any = None
        self._logs: dict[str, LogIdentity] = {}
        self._reading = Reading()
        self._fetching: asyncio.Task[dict[TopicPartition, list[Any]]] | None = None
        self._committing: asyncio.Task[None] | None = None
        self._pace = Pace(settings.fetch_max_wait_ms)
        self._looked_at = self._committed_at = float("-inf")
        self._passed_over: set[UUID] = set()
        self._waiting = False
        self._unnamed: set[str] = set()

    @property
    def assignment(self) -> frozenset[tuple[str, int]]:
        """The (channel, partition) this member reads now; empty while the group is being divided."""
        return frozenset(self._reading.next)

    async def step(self, _: object = None) -> bool:
        """Looks at the logs when it is time, places what is newly assigned, applies what has come."""
        self._observe()
        if time.monotonic() - self._looked_at >= (
            _NO_LOG_SECONDS if self._group is None else _IDENTITY_SECONDS
        ):
            async with self._broker():
                await self._look()
        if self._group is None:
            return False
        await self._place()
        async with self._broker():
            fetched = await self._fetch()
        self._pace.note(self._group, came=bool(fetched))
        await self._apply(fetched)
        self._commit()
        return True

    async def close(self) -> None:
        """Leaves the group and lets go of all connections, within seconds. Safe at any time and more than once."""
        group, client, self._group, self._client = self._group, self._client, None, None
        self._looked_at = float("-inf")
        self._reading.forget()
        await self._drop_fetch()
        if self._committing is not None:
            self._committing.cancel()
        if group is not None:
            await leave(group)
        if client is not None:
            with suppress(Exception):
                await client.close()

    @asynccontextmanager
    async def _broker(self) -> AsyncIterator[None]:
        """After any trouble with the broker everything is made anew."""
        try:
            yield
        except Exception:
            await self.close()
            raise

    async def _drop_fetch(self) -> None:
        fetching, self._fetching = self._fetching, None
        if fetching is not None:
            fetching.cancel()
            await asyncio.gather(fetching, return_exceptions=True)

    async def _look(self) -> None:
        """Finds out which logs there are; when they are others than those being read, reads those from now on."""
        if self._client is None:
            self._client = ClusterClient(self._bootstrap, client_id=self._name)
            await self._client.start()
        seen = await self._client.look()
        logs = {}
        for owner, channels in self._channels.items():
            if all(channel in seen.partitions for channel in channels) and (
                log_id := await self._log_of(owner, self._client, seen)
            ):
                logs[owner] = LogIdentity(seen.cluster_id, log_id)
        self._looked_at = time.monotonic()
        if self._group is not None and logs == self._logs:
            return
        if self._group is not None:
            _log.warning("log_changed", consumer=self._name, owners=sorted(logs))
            await self.close()
        if not logs and not self._waiting:
            _log.info("no_log_yet", consumer=self._name, owners=sorted(self._channels))
        self._waiting = not logs
        self._logs = logs
        self._passed_over.clear()
        if logs:
            await self._join([channel for owner in logs for channel in self._channels[owner]])
            self._looked_at = time.monotonic()

    async def _log_of(self, owner: str, client: ClusterClient, seen: Cluster) -> UUID | None:
        """None also while something else than a log's name lies in the meta channel, which the relay will answer."""
        try:
            log_id = await read_log_id(client, seen, owner)
        except UnreadableLogIdentity:
            if owner not in self._unnamed:
                _log.warning("log_not_named", consumer=self._name, channel=meta_channel(owner))
            self._unnamed.add(owner)
            return None
        self._unnamed.discard(owner)
        return log_id

    async def _join(self, channels: Sequence[str]) -> None:
        group = AIOKafkaConsumer(
            bootstrap_servers=self._bootstrap,
            client_id=self._name,
            group_id=self._name,
            group_instance_id=self._settings.instance,
            enable_auto_commit=False,
            auto_offset_reset="none",
            session_timeout_ms=self._settings.session_timeout_ms,
            heartbeat_interval_ms=self._settings.heartbeat_interval_ms,
            fetch_max_wait_ms=self._settings.fetch_max_wait_ms,
            max_partition_fetch_bytes=_PARTITION_BYTES,
            fetch_max_bytes=_FETCH_BYTES,
        )
        group.subscribe(channels, listener=Assignments(group, self._reading))
        try:
            async with asyncio.timeout(_JOIN_SECONDS):
                await group.start()
        except BaseException:
            await leave(group)
            raise
        self._group = group
        _log.info("joined", consumer=self._name, channels=list(channels))

    async def _place(self) -> None:
        """Seeks what is assigned and not yet placed to where the database says."""
        now = time.monotonic()
        reading, assignment = self._reading, self._reading.assignment
        unplaced = [
            part
            for part in self._group.assignment()
            if part not in reading.next and reading.stopped.get(part, 0.0) <= now
        ]
        if not unplaced:
            return
        # A fetch under way may have taken records from before the seek, or past it: none of them may be used.
        if self._fetching is not None:
            await self._drop_fetch()
            unplaced = list({*unplaced, *reading.next})
            reading.next.clear()
        known = await self._offsets.known([self._part(part) for part in unplaced])
        if fresh := [part for part in unplaced if part not in known]:
            async with self._broker(), asyncio.timeout(_OFFSETS_SECONDS):
                beginnings = await self._group.beginning_offsets(fresh)
            await self._offsets.begin({self._part(part): offset for part, offset in beginnings.items()})
            known |= beginnings
        if reading.assignment == assignment:
            for part in unplaced:
                reading.stopped.pop(part, None)
                reading.next[part] = known[part]
                self._group.seek(part, known[part])
                self._group.resume(part)

    async def _fetch(self) -> Mapping[TopicPartition, list[Any]]:
        """What has come, after a short wait at most; nothing while the group is being divided anew."""
        if self._fetching is None:
            self._fetching = asyncio.create_task(
                self._group.getmany(timeout_ms=int(_FETCH_SECONDS * 1000), max_records=_FETCH_RECORDS)
            )
        # Never cancelled for taking long: it may hold records, and the client's position is past them.
        done, _ = await asyncio.wait([self._fetching], timeout=2 * _FETCH_SECONDS)
        if not done:
            return {}
        fetching, self._fetching = self._fetching, None
        try:
            return fetching.result()
        except kafka.OffsetOutOfRangeError as error:
            await self._restart(error.args[0])
            return {}
        except Exception as error:
            if not of_records(error):
                raise
            return await self._salvage(error)

    async def _salvage(self, error: Exception) -> Mapping[TopicPartition, list[Any]]:
        """What the client should have fetched instead of this error. Raises it when there is nothing it cannot read."""
        reading, assignment, places = self._reading, self._reading.assignment, dict(self._reading.next)
        # It has lost what it held of other partitions too: they are placed anew.
        reading.next.clear()
        found = {} if self._client is None else await salvage(self._client, places)
        if not found:
            raise error
        if reading.assignment != assignment:
            return {}
        for part, records in found.items():
            _log.error(
                "records_not_readable",
                consumer=self._name,
                channel=part.topic,
                partition=part.partition,
                offset=places[part],
                error=type(error).__name__,
            )
            reading.next[part] = places[part]
            self._group.seek(part, records[-1].offset + 1)
        return found

    async def _restart(self, places: Mapping[TopicPartition, int]) -> None:
        """What to read next is not there. Unless the log is another one, everything there is comes again."""
        await self._look()
        for part, offset in places.items():
            if self._group is not None and part in self._reading.next:
                _log.error(
                    "offset_not_there", consumer=self._name, channel=part.topic, partition=part.partition
                )
                async with asyncio.timeout(_OFFSETS_SECONDS):
                    beginnings = await self._group.beginning_offsets([part])
                await self._offsets.restart(self._part(part), seen=offset, at=beginnings[part])
                self._reading.next.pop(part, None)

    async def _apply(self, fetched: Mapping[TopicPartition, list[Any]]) -> None:
        """One partition after the other. Where it fails, a partition is placed anew; raises the first error.

        Not side by side: with two cores for us and the database that is slower, see docs/decisions/0005.
        """
        errors: list[Exception] = []
        for part, records in fetched.items():
            try:
                await self._apply_part(part, records)
            except Exception as error:  # noqa: BLE001  (raised below, when the others have had their turn)
                errors.append(error)
        if errors:
            raise errors[0]

    async def _apply_part(self, part: TopicPartition, records: list[Any]) -> None:
        reading, assignment = self._reading, self._reading.assignment
        log_id = self._part(part).log_id if part in reading.next else None
        for start in range(0, len(records), _PAGE_RECORDS):
            if log_id is None or assignment != reading.assignment or part not in reading.next:
                return
            batch = Batch(
                log_id=log_id,
                channel=part.topic,
                partition=part.partition,
                first_offset=reading.next[part],
                records=records[start : start + _PAGE_RECORDS],
            )
            # Until it is applied, the partition counts as not placed: whatever happens, it is looked up again.
            del reading.next[part]
            try:
                applied = await self.applier.apply(batch)
            except Overtaken:
                _log.warning("overtaken", consumer=self._name, channel=part.topic, partition=part.partition)
                self._looked_at = float("-inf")
                return
            except DeadLettersFull:
                _log.error(
                    "dead_letters_full", consumer=self._name, channel=part.topic, partition=part.partition
                )
                if assignment == reading.assignment:
                    self._group.pause(part)
                    reading.stopped[part] = time.monotonic() + _FULL_SECONDS
                return
            if assignment == reading.assignment:
                reading.next[part] = batch.next_offset
                self._note(part, batch, applied)

    def _note(self, part: TopicPartition, batch: Batch, applied: Applied) -> None:
        end = self._group.highwater(part)
        if end is None or batch.next_offset >= end:
            self._reading.behind.pop(part, None)
        elif applied.last is not None:
            self._reading.behind[part] = applied.last.recorded_at
        if not self._passed_over.issuperset(applied.other_logs):
            # Somebody writes for another log. Either we do not know the present one yet, or they do not.
            _log.warning("records_of_another_log", consumer=self._name, channel=part.topic)
            self._passed_over |= set(applied.other_logs)
            self._looked_at = float("-inf")

    def _part(self, part: TopicPartition) -> Part:
        log_id = self._logs[self._owners[part.topic]].log_id
        if log_id is None:
            raise AssertionError("a log without a name is not read")
        return Part(log_id, part.topic, part.partition)

    def _observe(self) -> None:
        now, behind = self._clock.now(), self._reading.behind.values()
        lag = max(((now - recorded_at).total_seconds() for recorded_at in behind), default=0.0)
        CONSUMER_LAG_SECONDS.labels(self._name).set(max(lag, 0.0))

    def _commit(self) -> None:
        """Tells the broker, for tools that show the lag of a group; nobody here ever asks it."""
        now = time.monotonic()
        if (
            now - self._committed_at < _COMMIT_SECONDS
            or self._committing is not None
            or not self._reading.next
        ):
            return
        self._committed_at = now
        self._committing = asyncio.create_task(self._tell(self._group, dict(self._reading.next)))

    async def _tell(self, group: Any, offsets: dict[TopicPartition, int]) -> None:
        try:
            async with asyncio.timeout(_COMMIT_SECONDS):
                await group.commit(offsets)
        except Exception as error:  # noqa: BLE001  (of no consequence)
            _log.debug("commit_failed", consumer=self._name, error=type(error).__name__)
        finally:
            self._committing = None
