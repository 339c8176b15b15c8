"""The log as a reader finds it, fetched by hand: no group, no client that reads ahead, so a program is its steps."""

from collections.abc import Mapping
from typing import Self
from uuid import UUID, uuid4

from aiokafka import AIOKafkaProducer
from aiokafka.protocol.admin import DeleteTopicsRequest
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.record.memory_records import MemoryRecords

from tests.shared.consuming_world import Raw
from tests.shared.relay_world import delete_channels
from upwell_shared.contracts import PARTITIONS, Contract
from upwell_shared.log_identity import ClusterClient, LogIdentity, encode_log_id, meta_channel, read_identity

_WAIT_MS = 4
"""Tansu answers nothing to a fetch that may not wait, and looks again after half of the time."""

_EMPTY_PAGES = 100
"""A busy broker may answer with nothing although there is something: so often it may before that is believed."""

_BYTES = 8 * 1024 * 1024

Place = tuple[str, int]
"""A channel and a partition."""


class Log:
    """An owner's two channels and its meta channel."""

    def __init__(self, bootstrap: str, contract: Contract) -> None:
        self._bootstrap = bootstrap
        self._contract = contract
        self._client = ClusterClient(bootstrap)
        self._names = [spec.name for spec in contract.channels]
        self.channels = (contract.channel("public"), contract.channel("internal"))
        self.places: tuple[Place, ...] = tuple((c, n) for c in self.channels for n in range(PARTITIONS))

    async def __aenter__(self) -> Self:
        await self._client.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        # Nobody waits for it; but with ever more topics each look at them would take longer.
        await self._client._controller(DeleteTopicsRequest(self._names, 1_000))  # noqa: SLF001
        await self._client.close()

    async def identity(self) -> LogIdentity:
        return await read_identity(self._client, self._contract.owner)

    async def fetch(self, positions: Mapping[Place, int]) -> dict[Place, list[Raw]]:
        """What lies at and after the positions, once; nothing of channels that are not there."""
        client = self._client._client  # noqa: SLF001  (a broker of one node, asked for a page)
        topics = [
            (channel, [(n, positions[channel, n], _BYTES) for name, n in positions if name == channel])
            for channel in {name for name, _ in positions}
        ]
        answer = await client.send(client.get_random_node(), FetchRequest(_WAIT_MS, 1, _BYTES, 0, topics))
        found: dict[Place, list[Raw]] = {}
        for topic, partitions in answer.topics:
            for partition, error_code, *rest in partitions:
                place = topic, partition
                if error_code == 0 and (records := _records(rest[-1], positions[place])):
                    found[place] = records
        return found

    async def everything(self, expected: int) -> dict[Place, list[Raw]]:
        """Every record there is, waiting a while for `expected` different ones of the present log."""
        log_id = (await self.identity()).log_id
        found: dict[Place, list[Raw]] = {place: [] for place in self.places}
        different: set[tuple[bytes | None, ...]] = set()
        for _ in range(_EMPTY_PAGES):
            while page := await self.fetch({p: r[-1].offset + 1 if r else 0 for p, r in found.items()}):
                for place, records in page.items():
                    found[place] += records
                    different |= {
                        (r.key, dict(r.headers)["ce_id"]) for r in records if log_id_of(r) == log_id
                    }
            if len(different) >= expected:
                break
        return found

    async def delete(self) -> None:
        """The topics are gone, with all there is in them."""
        await delete_channels(self._client, *self._names)

    async def rename(self) -> None:
        """Somebody writes another identity over the log's."""
        if meta_channel(self._contract.owner) not in (await self._client.look()).partitions:
            return
        producer = AIOKafkaProducer(bootstrap_servers=self._bootstrap, acks="all")
        await producer.start()
        try:
            await producer.send_and_wait(
                meta_channel(self._contract.owner), encode_log_id(uuid4(), ""), partition=0
            )
        finally:
            await producer.stop()


def _records(data: bytes | None, position: int) -> list[Raw]:
    found: list[Raw] = []
    batches = MemoryRecords(data or b"")
    while batches.has_next():
        found += [
            Raw(record.offset, record.key, record.value, record.headers)
            for record in batches.next_batch()
            if record.offset >= position
        ]
    return found


def log_id_of(record: Raw) -> UUID:
    """The log a record says it was written for."""
    return UUID((dict(record.headers)["ce_logid"] or b"").decode())
