"""Published events as they come, whatever becomes of the broker meanwhile."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import orjson
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from upwell_shared.consuming.membership import leave
from upwell_shared.contracts import split_channel
from upwell_shared.contracts.shipped import shipped
from upwell_shared.errors import UpwellError
from upwell_shared.log_identity import ClusterClient, read_log_id

_WAIT_MS: Final = 200
_IDENTITY_SECONDS: Final = 1.0
_AWAY_SECONDS: Final = 0.5


class UnknownChannel(UpwellError):
    """There is no such channel."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A published event as it stands in a log."""

    channel: str
    key: str
    sequence: int
    type: str
    time: str
    id: str
    body: Any

    def as_json(self) -> dict[str, Any]:
        """All of it."""
        return {name: getattr(self, name) for name in self.__slots__}


class _AnotherLog(Exception):
    """The owner of a channel has begun a new log."""


def channels_named(names: Sequence[str]) -> list[str]:
    """These channels, or all there are. Raises UnknownChannel, naming them."""
    known = [
        spec.name for contract in shipped() for spec in contract.channels if not spec.name.endswith(".meta")
    ]
    if unknown := sorted(set(names) - set(known)):
        raise UnknownChannel(f"there is no channel {unknown[0]}; there are {', '.join(known)}")
    return list(names) or known


class Tail:
    """Reads some channels for as long as it is asked, each event once, in order per key."""

    def __init__(self, bootstrap: str, channels: Sequence[str], *, since: datetime | None) -> None:
        """`since`: by the services' clock; what was recorded before is passed over. None: from the beginning."""
        self._bootstrap = bootstrap
        self._channels = channels
        self._owners = sorted({split_channel(channel)[0] for channel in channels})
        self._since = since
        self._from_start = since is None
        self._seen: dict[tuple[str, bytes], int] = {}

    async def events(self) -> AsyncIterator[Shown]:
        """Without end. A broker that is away is waited for; a log that was lost is read again, and told once."""
        while True:
            try:
                async with aclosing(self._one_log()) as events:
                    async for event in events:
                        yield event
            except (_AnotherLog, KafkaError, OSError):
                # What is new may lie anywhere by now: a lost log is filled again from its beginning.
                self._from_start = True
                await asyncio.sleep(_AWAY_SECONDS)

    async def _one_log(self) -> AsyncGenerator[Shown]:
        async with ClusterClient(self._bootstrap) as cluster:
            logs = await self._logs(cluster)
            consumer = AIOKafkaConsumer(
                bootstrap_servers=self._bootstrap, enable_auto_commit=False, fetch_max_wait_ms=50
            )
            try:
                await consumer.start()
                await self._place(consumer, cluster)
                looked_at = time.monotonic()
                while True:
                    for records in (await consumer.getmany(timeout_ms=_WAIT_MS)).values():
                        for record in records:
                            if (event := self._new(record)) is not None:
                                yield event
                    if time.monotonic() - looked_at > _IDENTITY_SECONDS:
                        if await self._logs(cluster) != logs:
                            raise _AnotherLog
                        looked_at = time.monotonic()
            finally:
                await leave(consumer)

    async def _logs(self, cluster: ClusterClient) -> tuple[str, dict[str, UUID | None]]:
        seen = await cluster.look()
        missing = set(self._channels) - set(seen.partitions)
        if missing:
            raise KafkaError(f"{len(missing)} channels are not there")
        return seen.cluster_id, {owner: await read_log_id(cluster, seen, owner) for owner in self._owners}

    async def _place(self, consumer: Any, cluster: ClusterClient) -> None:
        seen = await cluster.look(self._channels)
        places = [TopicPartition(name, n) for name, count in seen.partitions.items() for n in range(count)]
        consumer.assign(places)
        await (consumer.seek_to_beginning() if self._from_start else consumer.seek_to_end())

    def _new(self, record: Any) -> Shown | None:
        """None for what was shown before, was recorded too early, or is no event of ours."""
        headers: Mapping[str, bytes] = {name: value or b"" for name, value in record.headers}
        try:
            sequence = int(headers["ce_sequence"])
            at = headers["ce_time"].decode()
            recorded_at = datetime.fromisoformat(at)
            event = Shown(
                channel=record.topic,
                key=record.key.decode(),
                sequence=sequence,
                type=headers["ce_type"].decode(),
                time=at,
                id=headers["ce_id"].decode(),
                body=orjson.loads(record.value),
            )
        except (KeyError, ValueError, AttributeError, TypeError):
            return None
        if (self._since is not None and recorded_at < self._since) or (
            sequence <= self._seen.get((record.topic, record.key), 0)
        ):
            return None
        self._seen[record.topic, record.key] = sequence
        return event
