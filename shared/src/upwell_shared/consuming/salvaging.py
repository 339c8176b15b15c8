"""Records the client cannot read, taken one by one from the bytes the broker keeps.

One header whose name is not UTF-8, or one batch whose checksum is wrong, makes aiokafka give up everything it has
fetched, of all partitions, without saying where it was; and again at each try. Here such a partition is read by hand:
what is a record is a record, whatever its headers are called, and for what is none something stands that is parked.
"""

import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from aiokafka import errors as kafka
from aiokafka.record.default_records import _DefaultRecordBatchPy
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.structs import TopicPartition

from upwell_shared.log_identity import ClusterClient

_PARTITION_BYTES = 1024 * 1024
_FETCH_BYTES = 16 * 1024 * 1024

# Base offset and length; the length counts what follows it.
_FRAME = struct.Struct(">qi")
_MAGIC = 2
_VARINT_BITS = 70


class Salvaged(NamedTuple):
    """A record; or, with `damage`, what stands for bytes that are none: they are its value.

    Its offset is then the last one of those that are lost in them, so that reading goes on after it.
    """

    offset: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]]
    damage: str | None = None


def of_records(error: Exception) -> bool:
    """Whether a fetch may have failed for what it fetched. What aiokafka's decoders raise is no error of its own."""
    return isinstance(error, (kafka.CorruptRecordException, kafka.UnsupportedCodecError)) or not isinstance(
        error, (kafka.KafkaError, OSError)
    )


async def salvage(
    client: ClusterClient, places: Mapping[TopicPartition, int]
) -> dict[TopicPartition, list[Salvaged]]:
    """Of partitions read up to those offsets, the ones the client cannot go on with: what follows there, a fetch long.

    Raises what `client` raises. Empty when all can be read.
    """
    left = dict(places)
    found: dict[TopicPartition, list[Salvaged]] = {}
    while left and not found:
        fetched = await client.fetch(left, each=_PARTITION_BYTES, total=_FETCH_BYTES)
        if not fetched:
            break
        for part, (data, end) in fetched.items():
            position = left.pop(part)
            if not _readable(data) and (records := records_in(data, position, end)):
                found[part] = records
    return found


def _readable(data: bytes) -> bool:
    """Whether the client gets through it. Its decoders raise all kinds of errors."""
    batches = MemoryRecords(data)
    try:
        while batches.has_next():
            batch = batches.next_batch()
            if not batch.validate_crc():
                return False
            if not batch.is_control_batch:
                for _ in batch:
                    pass
    except Exception:  # noqa: BLE001
        return False
    return True


def records_in(data: bytes, position: int, end: int) -> list[Salvaged]:
    """What whole batches hold from `position` on, in a partition whose last offset lies before `end`."""
    found: list[Salvaged] = []
    at = 0
    while at + _FRAME.size <= len(data):
        following = at + _FRAME.size + _FRAME.unpack_from(data, at)[1]
        if not at < following <= len(data):
            break
        known = following + _FRAME.size <= len(data)
        next_base = _FRAME.unpack_from(data, following)[0] if known else end
        if next_base > position:
            records = [r for r in _batch(data[at:following], position, next_base) if r.offset >= position]
            position = max([position, *(record.offset + 1 for record in records)])
            found += records
        at = following
    return found


def _batch(data: bytes, position: int, next_base: int) -> Iterator[Salvaged]:
    last = position
    try:
        batch: Any = _DefaultRecordBatchPy(data)
        # What it says of itself may be wrong as anything else; it must not lead past good records.
        if position < batch.next_offset <= next_base:
            last = batch.next_offset - 1
        damage = _unpack(batch)
    except Exception as error:  # noqa: BLE001  (as many kinds as there are decoders)
        damage = f"cannot be unpacked: {type(error).__name__}"
    else:
        if damage is None:
            yield from _records(batch, next_base)
            return
    yield Salvaged(last, None, data, (), f"the batch up to offset {last} {damage}")


def _unpack(batch: Any) -> str | None:
    """What is wrong with it instead, if anything is."""
    if batch.magic != _MAGIC:
        return "is of an unknown format"
    if not batch.validate_crc():
        return "has a wrong checksum"
    batch._maybe_uncompress()  # noqa: SLF001
    return None


def _records(batch: Any, next_base: int) -> Iterator[Salvaged]:
    if batch.is_control_batch:
        return
    last = min(max(batch.next_offset, batch.base_offset + 1), next_base) - 1
    reader = _Reader(bytes(batch._buffer), batch._pos)  # noqa: SLF001
    expected = batch.base_offset
    for _ in range(batch._num_records):  # noqa: SLF001
        begins = reader.at
        try:
            body = reader.take(reader.varint())
        except ValueError:
            yield Salvaged(last, None, reader.data[begins:], (), f"the batch up to offset {last} breaks off")
            return
        record = _record(body, batch.base_offset, min(expected, last), last)
        expected = record.offset + 1
        yield record
    if rest := reader.data[reader.at :]:
        yield Salvaged(last, None, rest, (), f"the batch up to offset {last} holds more than its records")


def _record(body: bytes, base: int, expected: int, last: int) -> Salvaged:
    reader, offset = _Reader(body), expected
    try:
        reader.take(1)  # attributes
        reader.varint()  # time
        delta = reader.varint()
        if expected <= base + delta <= last:
            offset = base + delta
        key, value = reader.nullable(), reader.nullable()
        headers = []
        for _ in range(reader.count()):
            name = reader.take(reader.varint()).decode("utf-8", "backslashreplace")
            headers.append((name, reader.nullable()))
        reader.end()
    except ValueError:
        return Salvaged(offset, None, body, (), "the record is malformed")
    return Salvaged(offset, key, value, headers)


class _Reader:
    """Takes values from bytes, one after the other. Raises ValueError where there is none."""

    def __init__(self, data: bytes, at: int = 0) -> None:
        self.data = data
        self.at = at

    def take(self, length: int) -> bytes:
        if not 0 <= length <= len(self.data) - self.at:
            raise ValueError
        self.at += length
        return self.data[self.at - length : self.at]

    def varint(self) -> int:
        value = 0
        for shift in range(0, _VARINT_BITS, 7):
            (byte,) = self.take(1)
            value |= (byte & 0x7F) << shift
            if not byte & 0x80:
                return (value >> 1) ^ -(value & 1)
        raise ValueError

    def count(self) -> int:
        value = self.varint()
        if value < 0:
            raise ValueError
        return value

    def end(self) -> None:
        if self.at != len(self.data):
            raise ValueError

    def nullable(self) -> bytes | None:
        length = self.varint()
        return None if length == -1 else self.take(length)
