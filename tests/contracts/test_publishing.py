import traceback
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID, uuid4, uuid5

import aiokafka.partitioner
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.contracts import sample
from tests.contracts.sample import CONTRACT, ENVELOPE, OPENED, SOURCE, STREAM, published
from upwell_shared.contracts import (
    PARTITIONS,
    ChannelSpec,
    Contract,
    PublishedEvent,
    UnpublishableEvent,
    murmur2,
    partition_of,
    record_headers,
    split_channel,
)
from upwell_shared.events import OversizeEvent


def test_the_headers_are_exactly_these() -> None:
    assert record_headers(published().headers, sample.LOG) == [
        ("ce_specversion", b"1.0"),
        ("ce_id", str(uuid5(SOURCE, "upwell.example.BookingOpened.v1")).encode()),
        ("ce_type", b"upwell.example.BookingOpened.v1"),
        ("ce_source", b"/upwell/example"),
        ("ce_subject", b"22222222-2222-4222-8222-222222222222"),
        ("ce_time", b"2026-03-01T09:30:00.250000Z"),
        ("ce_partitionkey", b"22222222-2222-4222-8222-222222222222"),
        ("ce_sequence", b"0000000007"),
        ("ce_correlationid", b"44444444-4444-4444-8444-444444444444"),
        ("ce_causationid", b"55555555-5555-4555-8555-555555555555"),
        ("ce_traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        ("ce_dataschema", b"urn:upwell:schema:example:BookingOpened:1"),
        ("content-type", b"application/json"),
        ("ce_logid", b"33333333-3333-4333-8333-333333333333"),
    ]


def test_the_body_is_the_event_and_nothing_else() -> None:
    assert orjson.loads(published().body) == {
        "booking_id": str(STREAM),
        "opened_at": "2026-03-01T09:00:00Z",
        "state": "open",
        "seats": [],
        "earlier_booking_id": None,
    }


def test_a_publication_says_where_it_goes() -> None:
    to_subscribers = published()
    refused = sample.BookingRefused(booking_id=STREAM, reason=sample.Reason.FULL)
    inside = published(refused)
    assert (to_subscribers.channel, to_subscribers.audience) == ("upwell.example.v1", "public")
    assert (inside.channel, inside.audience) == ("upwell.example.internal.v1", "internal")
    assert to_subscribers.key == STREAM
    assert to_subscribers.partition == partition_of(STREAM)
    assert to_subscribers.event_id != inside.event_id


def test_the_same_fact_gives_the_same_bytes() -> None:
    assert published() == published()


@pytest.mark.parametrize(
    "traceparent", [None, "", "Ada Lovelace", "00-xyz-1", sample.TRACEPARENT + "\r\nx: y"]
)
def test_what_is_no_trace_is_not_published(traceparent: str | None) -> None:
    envelope = replace(ENVELOPE, causation_id=None, traceparent=traceparent)
    names = [name for name, _ in orjson.loads(published(envelope=envelope).headers)]
    assert "ce_traceparent" not in names
    assert "ce_causationid" not in names


def test_who_acted_is_never_published() -> None:
    publication = published()
    assert b"lovelace" not in publication.headers + publication.body


@given(st.datetimes(timezones=st.builds(timezone, st.timedeltas(timedelta(hours=-12), timedelta(hours=12)))))
def test_times_are_written_in_utc(moment: datetime) -> None:
    headers = dict(orjson.loads(published(recorded_at=moment).headers))
    assert headers["ce_time"].endswith("Z")
    assert datetime.fromisoformat(headers["ce_time"]) == moment


@pytest.mark.parametrize("sequence", [0, -1, 2**31])
def test_a_sequence_counts_from_one_and_fits_into_its_column(sequence: int) -> None:
    with pytest.raises(ValueError, match="sequence"):
        published(sequence=sequence)


def test_a_time_without_offset_is_refused() -> None:
    with pytest.raises(ValueError, match="offset"):
        published(recorded_at=datetime(2026, 3, 1, tzinfo=UTC).replace(tzinfo=None))


def test_an_event_of_another_contract_is_refused() -> None:
    class Foreign(PublishedEvent):
        booking_id: UUID

    with pytest.raises(UnpublishableEvent, match="Foreign is not in the contract of example"):
        published(Foreign(booking_id=STREAM))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("booking_id", "Ada Lovelace"),
        ("booking_id", None),
        ("opened_at", datetime(2026, 3, 1, tzinfo=UTC).replace(tzinfo=None)),
        ("state", "Ada Lovelace"),
        ("state", "\ud800"),
        ("seats", ({"seat_id": "Ada Lovelace", "row": 1},)),
        ("seats", (sample.Seat.model_construct(seat_id=STREAM, row=0),)),
    ],
)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_what_could_not_be_read_back_is_not_written_and_the_error_shows_no_value(
    field: str, value: Any
) -> None:
    fields = {"booking_id": STREAM, "opened_at": OPENED.opened_at, "state": "open", "seats": (), field: value}
    event = sample.BookingOpened.model_construct(earlier_booking_id=None, **fields)
    with pytest.raises(UnpublishableEvent, match="BookingOpened") as refused:
        published(event)
    shown = "".join(traceback.format_exception(refused.value))
    assert "Lovelace" not in shown
    assert refused.value.__cause__ is None
    assert refused.value.__context__ is None


def test_a_number_json_has_no_word_for_is_refused() -> None:
    event = sample.BookingRefused.model_construct(
        booking_id=STREAM, reason=sample.Reason.FULL, language="en", share=float("nan"), free=False
    )
    with pytest.raises(UnpublishableEvent, match="share"):
        published(event)


def test_an_event_that_lacks_a_field_is_refused() -> None:
    with pytest.raises(UnpublishableEvent):
        published(sample.BookingOpened.model_construct(booking_id=STREAM))  # type: ignore[call-arg]


def test_an_oversize_event_is_refused_before_anything_is_written() -> None:
    seats = tuple(sample.Seat(seat_id=uuid4(), row=1) for _ in range(17_000))
    with pytest.raises(OversizeEvent, match="BookingOpened"):
        published(OPENED.model_copy(update={"seats": seats}))


def test_a_typo_in_a_service_is_an_error_that_shows_no_value() -> None:
    with pytest.raises(ValueError, match="bookign_id") as refused:
        sample.BookingOpened(bookign_id="Ada Lovelace", opened_at=OPENED.opened_at)  # type: ignore[call-arg]
    assert "Lovelace" not in str(refused.value)


def test_every_owner_has_three_channels_kept_for_ever() -> None:
    assert Contract("example").channels == (
        ChannelSpec("upwell.example.v1", 12, {"retention.ms": "-1"}),
        ChannelSpec("upwell.example.internal.v1", 12, {"retention.ms": "-1"}),
        ChannelSpec("upwell.example.meta", 1, {"retention.ms": "-1"}),
    )


def test_a_channels_name_says_whose_it_is_and_for_whom() -> None:
    assert split_channel(CONTRACT.channel("public")) == ("example", "public")
    assert split_channel(CONTRACT.channel("internal")) == ("example", "internal")
    for foreign in (CONTRACT.meta_channel, "upwell.example", "upwell.example.v2", "orders"):
        with pytest.raises(ValueError, match="channel"):
            split_channel(foreign)


def test_a_breaking_change_is_a_second_type_on_the_same_channel() -> None:
    later = type("BookingOpened", (sample.BookingOpened,), {"schema_version": 2, "__module__": __name__})
    contract = Contract("example", sample.BookingOpened, later)
    assert set(contract.classes) == {"upwell.example.BookingOpened.v1", "upwell.example.BookingOpened.v2"}


def test_a_contract_that_contradicts_itself_is_not_built() -> None:
    twin = type("BookingOpened", (PublishedEvent,), {"__module__": __name__})
    early = type("Early", (PublishedEvent,), {"schema_version": 0, "__module__": __name__})
    for owner, events in [
        ("example", (sample.BookingOpened, twin)),
        ("example", (early,)),
        ("example", (int,)),
        ("Example", ()),
        ("example.internal", ()),
    ]:
        with pytest.raises(TypeError):
            Contract(owner, *events)


@pytest.mark.parametrize(
    ("key", "hashed"),
    [
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
    ],
)
def test_the_hash_is_that_of_kafkas_own_client(key: bytes, hashed: int) -> None:
    """The vectors of `UtilsTest.testMurmur2` in Apache Kafka."""
    assert murmur2(key) == hashed & 0xFFFFFFFF


@given(st.binary(max_size=64))
def test_the_hash_is_that_of_aiokafka(key: bytes) -> None:
    assert murmur2(key) == aiokafka.partitioner.murmur2(key)


@given(st.uuids())
def test_the_partition_is_the_one_aiokafka_would_choose(stream_id: UUID) -> None:
    partitions = list(range(PARTITIONS))
    chosen = aiokafka.partitioner.DefaultPartitioner()(str(stream_id).encode(), partitions, partitions)
    assert partition_of(stream_id) == chosen
