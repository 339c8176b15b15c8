"""Which log this is: the cluster's own id, and the `log_id` an owner's relay writes when it begins to fill a log.

A broker can lose what it acknowledged: another cluster behind the same address, emptied disks, deleted topics. All of
them show as an identity other than the one remembered. The last record of the owner's meta channel names its log;
every record of the owner's other channels carries that name in `ce_logid`, so that what somebody still writes for an
earlier log is recognised and skipped.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, NamedTuple, Self
from uuid import UUID

import orjson
import structlog
from aiokafka import errors as kafka
from aiokafka.client import AIOKafkaClient
from aiokafka.protocol.admin import CreateTopicsRequest, DeleteTopicsRequest
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.protocol.metadata import MetadataRequest
from aiokafka.protocol.offset import OffsetRequest
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.structs import TopicPartition

from upwell_shared.contracts import ChannelSpec
from upwell_shared.errors import UpwellError

_log = structlog.get_logger()

_END = -1
_NOBODY = -1
_BROKERS_DEFAULT = -1
_META_BYTES = 65_536
_FETCH_WAIT_MS = (
    500  # nobody waits, the record is there; but Tansu answers nothing to a fetch that may not wait
)
_NOT_YET = (
    kafka.LeaderNotAvailableError,
    kafka.NotLeaderForPartitionError,
    kafka.UnknownTopicOrPartitionError,
)
_CREATION_SECONDS = 10.0
_CREATION_POLL_SECONDS = 0.02


class WrongPartitionCount(UpwellError):
    """A channel has another number of partitions than its contract says: recreate it, or order per key is lost."""


class UnreadableLogIdentity(UpwellError):
    """The last record of a meta channel is not what a relay writes: something else writes there."""


def meta_channel(owner: str) -> str:
    """Where the owner's relay says which log this is: one partition, the last record counts."""
    return f"upwell.{owner}.meta"


@dataclass(frozen=True, slots=True)
class LogIdentity:
    """`log_id` is None as long as no relay has begun a log of this owner in this cluster."""

    cluster_id: str
    log_id: UUID | None


@dataclass(frozen=True, slots=True)
class Cluster:
    """What a cluster said at one moment: its id, and its channels with their numbers of partitions."""

    cluster_id: str
    partitions: Mapping[str, int]


class Fetched(NamedTuple):
    """Batches of a partition as the broker keeps them, the last perhaps cut off, and the offset after its last record."""

    data: bytes
    end: int


class ClusterClient:
    """Questions to a cluster that change nothing in it, and the making of channels.

    Asked for a topic by an ordinary client, a broker with auto-creation makes it, with as many partitions as it likes;
    this client forbids that. No method retries; each raises KafkaError, or OSError
    when nobody answers, within a few times `request_timeout` s. After an error: `close()`, and make another one.
    """

    def __init__(self, bootstrap: str, *, client_id: str = "upwell", request_timeout: float = 5.0) -> None:
        """Nothing is connected before `start()`. To be made inside a running event loop."""
        self._client = AIOKafkaClient(
            bootstrap_servers=bootstrap, client_id=client_id, request_timeout_ms=int(request_timeout * 1000)
        )
        self._seen: Any = None

    async def start(self) -> None:
        """Connect."""
        await self._client.bootstrap()

    async def close(self) -> None:
        """Safe at any time, also twice and after a failed start."""
        await self._client.close()

    async def __aenter__(self) -> Self:
        try:
            await self.start()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def look(self, channels: Iterable[str] | None = None) -> Cluster:
        """The cluster as it is now, with those of `channels` that exist, or all there are."""
        names = None if channels is None else sorted(channels)
        request = MetadataRequest(names, allow_auto_topic_creation=False)
        self._seen = await self._client.send(self._client.get_random_node(), request)
        self._client.cluster.update_metadata(self._seen)
        described = self._seen.to_object()
        return Cluster(
            described["cluster_id"] or "",
            {
                topic["topic"]: len(topic["partitions"])
                for topic in described["topics"]
                if topic["partitions"]
            },
        )

    def tell(self, other: Any) -> None:
        """Let another client of aiokafka know what the last `look()` saw, so that it need not ask by itself."""
        other.cluster.update_metadata(self._seen)

    async def end_offsets(self, channels: Mapping[str, int]) -> dict[TopicPartition, int]:
        """The offset after the last record of every partition of `channels` (name → number of partitions).

        As of the last `look()`, which must have shown them. Tansu answers with less: the offset at which the last
        batch begins, plus one.
        """
        places = [TopicPartition(name, n) for name, count in channels.items() for n in range(count)]
        ends: dict[TopicPartition, int] = {}
        for node, topics in self._by_leader(places, lambda _: _END).items():
            answer = await self._client.send(node, OffsetRequest(_NOBODY, 0, topics))
            for topic, partitions in answer.topics:
                for partition, error_code, _, offset in partitions:
                    _raise_for(error_code, topic)
                    ends[TopicPartition(topic, partition)] = offset
        return ends

    async def fetch(
        self, places: Mapping[TopicPartition, int], *, each: int, total: int
    ) -> dict[TopicPartition, Fetched]:
        """What lies at those offsets of some partitions, which the last `look()` must have shown; waits half a second for it.

        About `each` bytes of a partition and `total` of all, but one whole batch at least. A partition that has
        nothing there, or for which no room was left, is not among the answers. Raises OffsetOutOfRangeError for an
        offset outside of a partition.
        """
        found = {}
        for node, topics in self._by_leader(places, places.__getitem__, each).items():
            answer = await self._client.send(node, FetchRequest(_FETCH_WAIT_MS, 1, total, 0, topics))
            for topic, partitions in answer.topics:
                for partition, error_code, end, *_, data in partitions:
                    _raise_for(error_code, topic)
                    if data:
                        found[TopicPartition(topic, partition)] = Fetched(bytes(data), end)
        return found

    async def last_value(self, channel: str) -> bytes | None:
        """The value of the last record of a channel of one partition; None when there is no record.

        Empty when the record has none, or is none that can be read.
        """
        place = TopicPartition(channel, 0)
        end = (await self.end_offsets({channel: 1}))[place]
        if end == 0:
            return None
        try:
            found = await self.fetch({place: end - 1}, each=_META_BYTES, total=_META_BYTES)
        except kafka.OffsetOutOfRangeError:
            return None  # deleted by hand
        if place not in found:
            raise kafka.KafkaTimeoutError(f"{channel} did not give its last record")
        value = b""
        with suppress(Exception):  # anything: aiokafka lets through what its decoders raise
            batches = MemoryRecords(found[place].data)
            while batches.has_next():
                value = b""
                for record in batches.next_batch():
                    value = record.value or b""
        return value

    async def create(self, channels: Iterable[ChannelSpec]) -> set[str]:
        """Makes those that do not exist, and waits until all have the right number of partitions, each with a leader.

        One with the wrong number is made anew if it is empty: a broker with auto-creation makes such channels when a
        consumer asks for them first. Raises WrongPartitionCount if it holds records. Returns the names of those made.
        """
        wanted = {spec.name: spec for spec in channels}
        made: set[str] = set()
        deadline = time.monotonic() + _CREATION_SECONDS
        while True:
            seen = await self.look(wanted)
            try:
                again = await self.wrong_counts(seen, wanted.values())
                missing = [spec for spec in wanted.values() if spec.name not in seen.partitions]
                if not missing and not again:
                    await self.end_offsets({spec.name: spec.partitions for spec in wanted.values()})
                    return made
                made |= await self._make([*missing, *(wanted[name] for name in again)], instead_of=again)
            except _NOT_YET as error:
                _log.debug("channels_not_ready", error=repr(error))
            if time.monotonic() > deadline:
                raise kafka.KafkaTimeoutError(f"{', '.join(wanted)} are still not there")
            await asyncio.sleep(_CREATION_POLL_SECONDS)

    async def not_empty(self, channels: Collection[ChannelSpec]) -> list[ChannelSpec]:
        """Those that hold records, as of the last `look()`, which must have shown them all."""
        ends = await self.end_offsets({spec.name: spec.partitions for spec in channels})
        full = {place.topic for place, end in ends.items() if end > 0}
        return [spec for spec in channels if spec.name in full]

    async def make_anew(self, channels: Collection[ChannelSpec]) -> None:
        """Deletes channels with all they hold, and makes them; `create` waits until they are there."""
        await self._make(channels, instead_of=[spec.name for spec in channels])

    async def _make(self, channels: Iterable[ChannelSpec], *, instead_of: Sequence[str]) -> set[str]:
        """The names of those that did not exist until now."""
        limit = int(_CREATION_SECONDS * 1000)
        if instead_of:
            await self._controller(DeleteTopicsRequest(instead_of, limit))
        topics: list[Any] = [
            (spec.name, spec.partitions, _BROKERS_DEFAULT, [], list(spec.config.items())) for spec in channels
        ]
        answer = await self._controller(CreateTopicsRequest(topics, limit, validate_only=False))
        made = set()
        for name, error_code, *_ in answer.topic_errors:
            if kafka.for_code(error_code) is not kafka.TopicAlreadyExistsError:
                _raise_for(error_code, name)
                made.add(name)
        return made

    async def wrong_counts(self, seen: Cluster, channels: Collection[ChannelSpec]) -> list[str]:
        """The empty ones among `channels` with a wrong number of partitions; raises WrongPartitionCount for others."""
        found = {s.name: s for s in channels if seen.partitions.get(s.name, s.partitions) != s.partitions}
        if found:
            ends = await self.end_offsets({name: seen.partitions[name] for name in found})
            for place, end in ends.items():
                if end > 0:
                    has, spec = seen.partitions[place.topic], found[place.topic]
                    raise WrongPartitionCount(
                        f"{spec.name} has {has} partitions instead of {spec.partitions}: delete it, it will be refilled"
                    )
        return list(found)

    async def _controller(self, request: Any) -> Any:
        controller = self._client.cluster.controller
        if controller is None:
            raise kafka.NodeNotReadyError("the cluster has no controller")
        return await self._client.send(controller.nodeId, request)

    def _by_leader(self, places: Iterable[TopicPartition], offset: Any, *rest: int) -> dict[int, list[Any]]:
        """By leader: [(topic, [(partition, offset, *rest)])], as requests want it."""
        grouped: dict[int, dict[str, list[tuple[int, ...]]]] = defaultdict(lambda: defaultdict(list))
        for place in places:
            leader = self._client.cluster.leader_for_partition(place)
            if leader is None or leader == _NOBODY:
                raise kafka.LeaderNotAvailableError(str(place))
            grouped[leader][place.topic].append((place.partition, offset(place), *rest))
        return {leader: list(topics.items()) for leader, topics in grouped.items()}


def _raise_for(error_code: int, what: str) -> None:
    error = kafka.for_code(error_code)
    if error is not kafka.NoError:
        raise error(what)


def encode_log_id(log_id: UUID, begun_at: str) -> bytes:
    """What a relay writes to the meta channel; `begun_at` is for people."""
    return orjson.dumps({"log_id": str(log_id), "begun_at": begun_at})


async def read_identity(client: ClusterClient, owner: str) -> LogIdentity:
    """The identity of the owner's log."""
    return (await read_identities(client, [owner]))[owner]


async def read_identities(client: ClusterClient, owners: Sequence[str]) -> dict[str, LogIdentity]:
    """The identity of each owner's log. Raises UnreadableLogIdentity and what `client` raises."""
    seen = await client.look(map(meta_channel, owners))
    return {owner: LogIdentity(seen.cluster_id, await read_log_id(client, seen, owner)) for owner in owners}


async def read_log_id(client: ClusterClient, seen: Cluster, owner: str) -> UUID | None:
    """The name of the owner's log in the cluster just `seen` by `client`."""
    channel = meta_channel(owner)
    if channel not in seen.partitions:
        return None
    value = await client.last_value(channel)
    if value is None:
        return None
    try:
        return UUID(str(orjson.loads(value)["log_id"]))
    except (ValueError, TypeError, KeyError) as error:
        raise UnreadableLogIdentity(f"the last record of {channel} does not name a log") from error
