"""Records the client cannot read: what is made of their bytes, and what a consumer does on both brokers."""

import struct
from collections.abc import Sequence
from typing import Any, NamedTuple

import pytest
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.record.util import calc_crc32c
from hypothesis import given, settings
from hypothesis import strategies as st

from upwell_shared.consuming.salvaging import Salvaged, records_in

_CRC_AT, _CRC_OF = 17, 21


class Entry(NamedTuple):
    key: bytes | None = None
    value: bytes | None = b"value"
    headers: Sequence[tuple[str, bytes | None]] = ()


def batch(base: int, *entries: Entry, codec: int = 0) -> bytearray:
    builder = DefaultRecordBatchBuilder(2, codec, 0, -1, -1, -1, 1_000_000)
    for n, entry in enumerate(entries):
        assert builder.append(n, 1, entry.key, entry.value, list(entry.headers)) is not None
    data = bytearray(builder.build())
    struct.pack_into(">q", data, 0, base)
    return data


def sealed(data: bytearray) -> bytearray:
    """With the checksum of what it holds now."""
    struct.pack_into(">I", data, _CRC_AT, calc_crc32c(bytes(data[_CRC_OF:])))
    return data


def renamed(data: bytearray, name: bytes, other: bytes) -> bytearray:
    assert data.count(name) == 1
    assert len(name) == len(other)
    return sealed(data.replace(name, other))


def by_the_client(data: bytes) -> list[Salvaged]:
    found, batches = [], MemoryRecords(data)
    while batches.has_next():
        one: Any = batches.next_batch()
        assert one.validate_crc()
        found += [Salvaged(r.offset, r.key, r.value, list(r.headers)) for r in one]
    return found


octets = st.none() | st.binary(max_size=20)
entries = st.builds(
    Entry, octets, octets, st.lists(st.tuples(st.text(max_size=5), octets), max_size=3).map(tuple)
)


@given(st.lists(st.lists(entries, min_size=1, max_size=4), max_size=4), st.sampled_from([0, 1, 2, 3, 4]))
def test_what_the_client_can_read_is_read_the_same(batches: list[list[Entry]], codec: int) -> None:
    data, base = bytearray(), 7
    for some in batches:
        data += batch(base, *some, codec=codec)
        base += len(some)
    expected = by_the_client(bytes(data))
    assert records_in(bytes(data), 7, base) == expected
    assert records_in(bytes(data), 9, base) == [record for record in expected if record.offset >= 9]
    cut_off = len(batches[-1]) if batches else 0
    assert records_in(bytes(data[:-1]), 7, base) == expected[: len(expected) - cut_off]


@settings(max_examples=300)
@given(st.data())
def test_whatever_is_wrong_in_a_batch_those_around_it_are_read_and_something_is_parked(
    data: st.DataObject,
) -> None:
    middle = batch(
        5, *[Entry(value=b"m", headers=[("name", b"")])] * 3, codec=data.draw(st.sampled_from([0, 3]))
    )
    for at in data.draw(st.lists(st.integers(12, len(middle) - 1), min_size=1, max_size=5)):
        middle[at] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        sealed(middle)
    before, after = batch(3, *[Entry(value=b"b")] * 2), batch(8, *[Entry(value=b"a")] * 2)
    found = records_in(bytes(before + middle + after), 3, 10)
    offsets = [record.offset for record in found]
    control = middle[22] & 0x20  # which holds no records by right, and which the client passes over too
    assert control or any(5 <= offset < 8 for offset in offsets)
    assert [record.value for record in found[:2]] == [b"b", b"b"]
    assert [record for record in found if record.offset in (8, 9)][-2:] == by_the_client(bytes(after))
    assert offsets == sorted(offsets)


def test_a_header_s_name_that_is_no_text_costs_nothing() -> None:
    good = Entry(b"k", b"v", [("zzzz", b"1"), ("ce_id", b"x")])
    bad = renamed(batch(4, Entry(), good, Entry()), b"zzzz", b"\xff\xfe\xff\xfe")
    found = records_in(bytes(bad), 5, 7)
    assert found == [
        Salvaged(5, b"k", b"v", [("\\xff\\xfe\\xff\\xfe", b"1"), ("ce_id", b"x")]),
        Salvaged(6, None, b"value", []),
    ]


def test_a_wrong_checksum_costs_its_batch_and_keeps_the_bytes() -> None:
    bad = batch(4, Entry(), Entry(), Entry())
    bad[-1] ^= 1
    found = records_in(bytes(bad + batch(7, Entry())), 5, 8)
    assert found == [
        Salvaged(6, None, bytes(bad), (), "the batch up to offset 6 has a wrong checksum"),
        Salvaged(7, None, b"value", []),
    ]


@pytest.mark.parametrize("claimed", [-2, 3, 2**31 - 1])
def test_a_batch_that_is_wrong_about_its_end_does_not_lead_past_good_records(claimed: int) -> None:
    bad = batch(4, Entry(), Entry())
    struct.pack_into(">i", bad, 23, claimed)
    found = records_in(bytes(bad + batch(6, Entry())), 4, 7)
    assert [(record.offset, record.damage is None) for record in found] == [(4, False), (6, True)]
    assert [record.offset for record in records_in(bytes(bad), 4, 6)] == [4]


def test_a_malformed_record_costs_itself_alone() -> None:
    plain = batch(4, Entry(), Entry(value=b"spoiled"), Entry())
    at = plain.index(b"spoiled") + len(b"spoiled")
    plain[at] = 3  # a number of headers below zero
    found = records_in(bytes(sealed(plain)), 4, 7)
    assert [(record.offset, record.damage) for record in found] == [
        (4, None),
        (5, "the record is malformed"),
        (6, None),
    ]
    assert b"spoiled" in (found[1].value or b"")


def test_what_cannot_be_unpacked_costs_its_batch() -> None:
    packed = batch(4, *[Entry(value=b"x" * 200)] * 3, codec=3)
    packed[61:70] = b"\x00" * 9
    (found,) = records_in(bytes(sealed(packed)), 4, 7)
    assert (found.offset, found.value) == (6, bytes(packed))
    assert found.damage is not None
    assert found.damage.startswith("the batch up to offset 6 cannot be unpacked: ")
