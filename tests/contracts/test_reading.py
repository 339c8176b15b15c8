import traceback
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import orjson
import pytest
from cloudevents.core.bindings.kafka import KafkaMessage, from_binary_event
from hypothesis import given
from hypothesis import strategies as st

from tests.contracts import sample
from tests.contracts.sample import (
    CONTRACTS,
    LOG,
    OPENED,
    STREAM,
    BookingOpened,
    BookingRefused,
    Seat,
    published,
)
from upwell_shared.contracts import (
    Consumed,
    Contract,
    PublishedEvent,
    Unknown,
    Unreadable,
    decode,
    record_headers,
)

CHANNEL = "upwell.example.v1"
KEY = str(STREAM).encode()

Headers = dict[str, bytes]

moments = st.datetimes(datetime(1970, 1, 2), datetime(2200, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
seats = st.builds(Seat, seat_id=st.uuids(), row=st.integers(1, 10**9))
events = st.one_of(
    st.builds(
        BookingOpened,
        booking_id=st.uuids(),
        opened_at=moments,
        state=st.sampled_from(["open", "waiting"]),
        seats=st.lists(seats, max_size=3).map(tuple),
        earlier_booking_id=st.none() | st.uuids(),
    ),
    st.builds(
        BookingRefused,
        booking_id=st.uuids(),
        reason=st.sampled_from(sample.Reason),
        language=st.sampled_from(["en", "de"]),
        share=st.floats(allow_nan=False, allow_infinity=False),
        free=st.booleans(),
    ),
)


def headers(event: PublishedEvent = OPENED, **changed: Any) -> Headers:
    return dict(record_headers(published(event, **changed).headers, LOG))


def read(
    found: Headers, *, key: bytes | None = KEY, body: bytes | None = None, **more: Any
) -> Consumed | Unknown:
    return decode(list(found.items()), key, published().body if body is None else body, CONTRACTS, **more)


def refusal(found: Headers, **more: Any) -> Unreadable:
    with pytest.raises(Unreadable) as refused:
        read(found, **more)
    # Nothing that is chained or shown may carry what the record held.
    assert refused.value.__context__ is None
    assert "Lovelace" not in "".join(traceback.format_exception(refused.value))
    return refused.value


@given(event=events, stream_id=st.uuids(), sequence=st.integers(1, 2**31 - 1), recorded_at=moments)
def test_what_is_published_is_read(event: Any, stream_id: UUID, sequence: int, recorded_at: datetime) -> None:
    publication = published(event, stream_id=stream_id, sequence=sequence, recorded_at=recorded_at)
    assert decode(
        record_headers(publication.headers, LOG),
        str(stream_id).encode(),
        publication.body,
        CONTRACTS,
        channel=publication.channel,
    ) == Consumed(
        event=event,
        event_id=publication.event_id,
        type=publication.type,
        owner="example",
        audience=publication.audience,
        stream_id=stream_id,
        sequence=sequence,
        recorded_at=recorded_at,
        correlation_id=sample.CORRELATION,
        causation_id=sample.CAUSE,
        traceparent=sample.TRACEPARENT,
        log_id=LOG,
    )


@given(event=events)
def test_the_cloudevents_sdk_reads_what_is_published(event: Any) -> None:
    publication = published(event)
    message = KafkaMessage(headers=headers(event), key=KEY, value=publication.body)
    foreign = from_binary_event(message)
    assert foreign.get_id() == str(publication.event_id)
    assert foreign.get_type() == publication.type
    assert foreign.get_source() == "/upwell/example"
    assert foreign.get_subject() == str(STREAM)
    assert foreign.get_time() == sample.RECORDED_AT
    assert foreign.get_extension("partitionkey") == str(STREAM)
    assert foreign.get_extension("sequence") == "0000000007"
    assert foreign.get_extension("logid") == str(LOG)
    assert foreign.get_data() == orjson.loads(publication.body)


def test_fields_of_a_later_release_are_passed_over() -> None:
    body = orjson.loads(published().body) | {
        "later": 1,
        "seats": [{"seat_id": str(LOG), "row": 1, "later": 2}],
    }
    found = read(headers(), body=orjson.dumps(body))
    assert isinstance(found, Consumed)
    assert found.event == OPENED.model_copy(update={"seats": (Seat(seat_id=LOG, row=1),)})


def test_fields_a_former_release_did_not_have_take_their_default() -> None:
    body = orjson.dumps({"booking_id": str(STREAM), "opened_at": "2026-03-01T09:00:00Z"})
    found = read(headers(), body=body)
    assert isinstance(found, Consumed)
    assert found.event == OPENED


@pytest.mark.parametrize(
    ("type_name", "owner"),
    [
        ("upwell.example.BookingMoved.v1", "example"),
        ("upwell.example.BookingOpened.v2", "example"),
        ("upwell.elsewhere.BookingOpened.v1", "elsewhere"),
    ],
)
@pytest.mark.parametrize("body", [b"", b"\xff", b"{}"])
def test_a_type_from_the_future_is_known_by_its_envelope(type_name: str, owner: str, body: bytes) -> None:
    changed = headers() | {"ce_type": type_name.encode(), "ce_source": f"/upwell/{owner}".encode()}
    found = read(changed, body=body)
    assert isinstance(found, Unknown)
    assert (found.type, found.owner, found.stream_id, found.sequence) == (type_name, owner, STREAM, 7)


def test_other_headers_are_not_looked_at() -> None:
    others = {"ce_class": b"os.system", "ce_": b"\xff", "": b"", "trace": b"\x00"}
    assert read(others | headers()) == read(headers())


def test_a_record_may_come_without_a_log_a_cause_and_a_trace() -> None:
    found = headers()
    for name in ("ce_logid", "ce_causationid", "ce_traceparent"):
        del found[name]
    consumed = read(found)
    assert (consumed.log_id, consumed.causation_id, consumed.traceparent) == (None, None, None)


def test_a_trace_nobody_can_follow_does_not_hold_back_a_fact() -> None:
    assert read(headers() | {"ce_traceparent": b"Ada Lovelace"}).traceparent is None


def test_a_content_type_may_name_its_character_set() -> None:
    assert isinstance(read(headers() | {"content-type": b"Application/JSON; charset=utf-8"}), Consumed)


REQUIRED = sorted(set(headers()) - {"ce_logid", "ce_causationid", "ce_traceparent"})


@pytest.mark.parametrize("name", REQUIRED)
def test_a_missing_header_is_named(name: str) -> None:
    found = headers()
    del found[name]
    assert refusal(found).reason == f"{name} is missing"
    assert refusal(found | {name: b""}).reason == f"{name} is missing"
    with pytest.raises(Unreadable, match=f"{name} is missing"):
        decode([*found.items(), (name, None)], KEY, published().body, CONTRACTS)


@pytest.mark.parametrize(
    "name", ["ce_id", "ce_partitionkey", "ce_correlationid", "ce_causationid", "ce_logid"]
)
@pytest.mark.parametrize(
    "value", [b"Ada Lovelace", b"\xff\xfe", b"22222222", KEY + b"0", b"0123456789abcdef"]
)
def test_a_bad_uuid_is_named(name: str, value: bytes) -> None:
    assert refusal(headers() | {name: value}).reason == f"{name} is not a UUID"


@pytest.mark.parametrize(
    "value",
    [b"0", b"-1", b"+1", b"1.0", b"1e3", b"1_0", b" 1", b"\xd9\xa1", b"2147483648", b"Ada Lovelace", b"\xff"],
)
def test_a_bad_sequence_is_named(value: bytes) -> None:
    refused = refusal(headers() | {"ce_sequence": value})
    assert refused.reason == "ce_sequence is not a number from 1"
    assert (refused.stream_id, refused.sequence) == (STREAM, None)


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("ce_specversion", b"0.3", "ce_specversion is not 1.0"),
        ("ce_source", b"/upwell/Ada Lovelace", "ce_source is not /upwell/example"),
        ("ce_time", b"Ada Lovelace", "ce_time is not a time of RFC 3339"),
        ("ce_time", b"2026-03-01T09:30:00", "ce_time is not a time of RFC 3339"),
        ("ce_time", b"2026-02-30T09:30:00Z", "ce_time is not a time of RFC 3339"),
        ("ce_time", b"1767225600", "ce_time is not a time of RFC 3339"),
        ("content-type", b"text/Lovelace", "content-type is not application/json"),
        ("content-type", b"application/cloudevents+json", "content-type is not application/json"),
        ("ce_dataschema", b"urn:Lovelace", "ce_dataschema is not urn:upwell:schema:example:BookingOpened:1"),
        ("ce_type", b"os.system", "ce_type is not upwell.<owner>.<Name>.v<version>"),
        ("ce_type", b"upwell.example.BookingOpened.v0", "ce_type is not upwell.<owner>.<Name>.v<version>"),
        ("ce_type", b"upwell.example.BookingOpened.v1\n", "ce_type is not upwell.<owner>.<Name>.v<version>"),
    ],
)
def test_a_garbled_header_is_named(name: str, value: bytes, reason: str) -> None:
    assert refusal(headers() | {name: value}).reason == reason


@pytest.mark.parametrize(
    "key", [None, b"", b"\xff", str(LOG).encode(), b"{" + KEY + b"}", KEY.replace(b"-", b"")]
)
def test_a_record_under_another_key_belongs_to_nobody(key: bytes | None) -> None:
    refused = refusal(headers(), key=key)
    assert refused.reason == "the key is not ce_partitionkey"
    assert (refused.stream_id, refused.sequence) == (None, 7)


def test_a_key_in_another_spelling_would_be_on_another_partition() -> None:
    stream = UUID("abcdefab-cdef-4bcd-8fab-cdefabcdefab")
    found = headers(stream_id=stream) | {"ce_partitionkey": str(stream).upper().encode()}
    assert refusal(found, key=str(stream).upper().encode()).reason == "the key is not ce_partitionkey"


def test_a_header_given_twice_is_named() -> None:
    found = [*headers().items(), ("ce_type", b"upwell.example.BookingRefused.v1")]
    with pytest.raises(Unreadable, match="ce_type is given twice"):
        decode(found, KEY, published().body, CONTRACTS)
    decode([("other", b"1"), ("other", b"2"), *headers().items()], KEY, published().body, CONTRACTS)


REFUSED = published(BookingRefused(booking_id=STREAM, reason=sample.Reason.FULL)).body


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "the body is missing"),
        (b"\xff\x00", "the body is not JSON"),
        (b"Ada Lovelace", "the body is not JSON"),
        (b'{"booking_id": "Ada Lovelace"', "the body is not JSON"),
        (b'"Ada Lovelace"', "the body is not upwell.example.BookingOpened.v1: : model_type"),
        (REFUSED, "the body is not upwell.example.BookingOpened.v1: opened_at: missing"),
        (
            published().body.replace(b'"open"', b'"Ada Lovelace"'),
            "the body is not upwell.example.BookingOpened.v1: state: literal_error",
        ),
        (
            published().body.replace(b'"seats":[]', b'"seats":[{"seat_id":"Ada Lovelace","row":"1"}]'),
            "the body is not upwell.example.BookingOpened.v1: seats.0.seat_id: uuid_parsing, seats.0.row: int_type",
        ),
    ],
)
def test_a_body_that_does_not_fit_says_where(body: bytes, reason: str) -> None:
    refused = refusal(headers(), body=body)
    assert refused.reason == reason
    assert (refused.stream_id, refused.sequence, refused.type) == (
        STREAM,
        7,
        "upwell.example.BookingOpened.v1",
    )
    assert refused.event_id == published().event_id


def test_a_body_full_of_errors_gives_a_short_reason() -> None:
    body = published().body.replace(b'"seats":[]', b'"seats":[' + b",".join([b"{}"] * 5_000) + b"]")
    reason = refusal(headers(), body=body).reason
    assert reason.endswith("seats.2.seat_id: missing, and 9995 more")
    assert len(reason) < 300


@pytest.mark.parametrize("body", [b"[" * 100_000, b'{"state": "\\ud800"}', b"1" * 10_000])
def test_a_body_made_to_hurt_is_refused(body: bytes) -> None:
    assert refusal(headers(), body=body).reason.startswith("the body is not")


def test_a_tombstone_is_no_event() -> None:
    with pytest.raises(Unreadable, match="the body is missing"):
        decode(list(headers().items()), KEY, None, CONTRACTS)


def test_keys_of_a_mapping_are_data_and_not_shown() -> None:
    class Counted(PublishedEvent):
        by_unit: dict[UUID, int]

    contract = Contract("example", Counted)
    found = headers() | {
        "ce_type": contract.type_of(Counted).encode(),
        "ce_dataschema": contract.schema_of(Counted).encode(),
    }
    with pytest.raises(Unreadable, match=r"by_unit\.\*\.\*: uuid_parsing$"):
        decode(list(found.items()), KEY, b'{"by_unit": {"Ada Lovelace": 1}}', {"example": contract})


@pytest.mark.parametrize(
    ("channel", "reason"),
    [
        (
            "upwell.example.internal.v1",
            "upwell.example.BookingOpened.v1 is not for the audience of the channel",
        ),
        ("upwell.elsewhere.v1", "ce_type is of another owner than the channel"),
    ],
)
def test_an_event_on_a_channel_that_is_not_its_own_is_refused(channel: str, reason: str) -> None:
    assert refusal(headers(), channel=channel).reason == reason
    assert isinstance(read(headers(), channel=CHANNEL), Consumed)


@given(
    st.lists(st.tuples(st.sampled_from([*headers(), "other"]), st.binary(max_size=40)), max_size=20),
    st.none() | st.binary(max_size=40),
    st.none() | st.binary(max_size=200),
)
def test_any_bytes_are_read_or_refused(
    found: list[tuple[str, bytes]], key: bytes | None, body: bytes | None
) -> None:
    with pytest.raises(Unreadable):
        decode(found, key, body, CONTRACTS)


@given(st.sampled_from(sorted(headers())), st.binary(max_size=50))
def test_any_value_of_one_header_is_read_or_refused(name: str, value: bytes) -> None:
    try:
        read(headers() | {name: value})
    except Unreadable as refused:
        reason = refused.reason
    else:
        reason = name
    assert reason.startswith((name, "the key", "ce_source"))
