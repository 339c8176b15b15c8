"""What lies in the log: every record of every channel, from offset 0."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import orjson
from aiokafka import AIOKafkaConsumer, TopicPartition

from upwell.reconciling.stores import Place, Published
from upwell_shared.contracts import Contract


@dataclass(frozen=True, slots=True)
class Told(Published):
    """A record: what it says, and when it was recorded."""

    body: dict[str, Any]
    time: str


@dataclass
class Log:
    """All records by their place; a record that came again is counted, and one that contradicts the first is named."""

    records: dict[Place, Told] = field(default_factory=dict)
    read: int = 0
    repeated: int = 0
    contradictions: list[str] = field(default_factory=list)
    log_ids: dict[str, set[str]] = field(default_factory=dict)


async def read_log(bootstrap: str, contracts: Sequence[Contract]) -> Log:
    """Reads each channel to where it ended when this began."""
    log = Log()
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        fetch_max_wait_ms=50,
    )
    await consumer.start()
    try:
        places = [
            TopicPartition(channel.name, partition)
            for contract in contracts
            for channel in contract.channels
            if channel.name != contract.meta_channel
            for partition in range(channel.partitions)
        ]
        consumer.assign(places)
        ends = await consumer.end_offsets(places)
        await consumer.seek_to_beginning(*places)
        waiting = {place for place in places if ends[place] > 0}
        while waiting:
            for records in (await consumer.getmany(*waiting, timeout_ms=200)).values():
                for record in records:
                    _take(log, record)
            for place in list(waiting):
                if await consumer.position(place) >= ends[place]:
                    waiting.discard(place)
    finally:
        await consumer.stop()
    return log


def _take(log: Log, record: Any) -> None:
    headers = dict(record.headers)
    told = Told(
        event_id=UUID(headers["ce_id"].decode()),
        type=headers["ce_type"].decode(),
        body=orjson.loads(record.value),
        time=headers["ce_time"].decode(),
    )
    place = (record.topic, UUID(headers["ce_partitionkey"].decode()), int(headers["ce_sequence"]))
    log.read += 1
    log.log_ids.setdefault(record.topic, set()).add(headers.get("ce_logid", b"").decode())
    first = log.records.setdefault(place, told)
    if first is told:
        return
    log.repeated += 1
    if first.event_id != told.event_id:
        channel, key, sequence = place
        log.contradictions.append(
            f"log: {channel} has two events as sequence {sequence} of stream {key}: {first.event_id} and {told.event_id}"
        )
