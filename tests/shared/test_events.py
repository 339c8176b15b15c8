"""Stored bytes and the classes they become: every version is read for ever, and what cannot be read is not written."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar, Literal
from uuid import UUID

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.shared.example.app import EVENTS
from tests.shared.example.domain.booking import (
    BookingEvent,
)
from tests.shared.example.domain.room import RoomEvent, RoomOpened, SeatTaken
from upwell_shared.events import (
    MAX_EVENT_BYTES,
    EventCodec,
    OversizeEvent,
    UnknownEvent,
    UnserialisableEvent,
    members,
)
from upwell_shared.testing import check_golden_files
from upwell_shared.testing.samples import sample

SOME_ID = UUID("11111111-2222-3333-4444-555555555555")
SOME_TIME = datetime(2026, 3, 2, 9, 30, 0, 123456, tzinfo=UTC)
GOLDEN = Path(__file__).parent / "golden"


@dataclass(frozen=True, slots=True, kw_only=True)
class NoteTaken:
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampled:
    at: datetime
    state: Literal["open", "shut"]
    rooms: tuple[RoomOpened, ...]
    note: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    degrees: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonMoved:
    """Version 1 had {"unit"}, version 2 {"unit_id"}, version 3 {"to", "from"}."""

    schema_version: ClassVar[int] = 3

    to: str
    from_: str | None


def one_to_two(data: dict[str, Any]) -> dict[str, Any]:
    data["unit_id"] = data.pop("unit")
    return data


def two_to_three(data: dict[str, Any]) -> dict[str, Any]:
    return {"to": data["unit_id"], "from_": None}


CHAIN: dict[tuple[str, int], Callable[[dict[str, Any]], dict[str, Any]]] = {
    ("PersonMoved", 1): one_to_two,
    ("PersonMoved", 2): two_to_three,
}


def named(name: str, **attributes: object) -> type:
    """Another class of that name."""
    return dataclass(frozen=True)(type(name, (), attributes))


def test_stored_events_stay_readable() -> None:
    check_golden_files(EVENTS, GOLDEN)


@given(st.one_of(*(st.from_type(kind) for kind in members(RoomEvent | BookingEvent))))
def test_every_event_is_read_as_it_was_written(event: object) -> None:
    encoded = EVENTS.encode(event)
    assert EVENTS.decode(*encoded) == event
    assert EVENTS.encode(EVENTS.decode(*encoded)) == encoded


def test_a_union_may_be_of_one_or_of_unions() -> None:
    assert set(EventCodec(NoteTaken).classes) == {"NoteTaken"}
    nested = EventCodec(NoteTaken | (RoomOpened | SeatTaken), BookingEvent)
    assert set(nested.classes) == {
        *("NoteTaken", "RoomOpened", "SeatTaken"),
        *("BookingRequested", "BookingConfirmed", "BookingCancelled", "BookingExpired"),
    }


def test_a_class_may_be_in_two_unions() -> None:
    assert set(EventCodec(NoteTaken | RoomOpened, NoteTaken | SeatTaken).classes) == {
        *("NoteTaken", "RoomOpened", "SeatTaken")
    }


def test_two_classes_of_one_name_are_refused() -> None:
    with pytest.raises(TypeError, match="two event classes are named NoteTaken"):
        EventCodec(NoteTaken, named("NoteTaken"))


def test_a_step_that_is_missing_or_too_many_is_refused() -> None:
    with pytest.raises(TypeError, match="PersonMoved', 2"):
        EventCodec(PersonMoved, upcasters={("PersonMoved", 1): one_to_two})
    with pytest.raises(TypeError, match="PersonMoved', 3"):
        EventCodec(PersonMoved, upcasters=CHAIN | {("PersonMoved", 3): one_to_two})
    with pytest.raises(TypeError, match="NoteTaken', 1"):
        EventCodec(NoteTaken, upcasters={("NoteTaken", 1): one_to_two})


def test_a_version_below_one_is_refused() -> None:
    with pytest.raises(TypeError, match="versions count from 1"):
        EventCodec(named("Early", schema_version=0))


def test_every_version_is_raised_to_the_current_one() -> None:
    codec = EventCodec(PersonMoved, upcasters=CHAIN)
    moved = PersonMoved(to="u1", from_=None)
    assert codec.decode("PersonMoved", 1, '{"unit": "u1"}') == moved
    assert codec.decode("PersonMoved", 2, b'{"unit_id": "u1"}') == moved
    assert codec.decode("PersonMoved", 3, '{"to": "u1", "from_": null}') == moved
    assert codec.encode(moved).schema_version == 3


def test_a_former_name_is_read_as_the_class_that_took_its_place() -> None:
    codec = EventCodec(NoteTaken, renamed={"RemarkMade": NoteTaken})
    assert codec.decode("RemarkMade", 1, '{"text": "a"}') == NoteTaken(text="a")
    assert codec.encode(NoteTaken(text="a")).type == "NoteTaken"


def test_a_former_name_needs_every_step_under_that_name() -> None:
    former = {("PersonTransferred", version): step for (_, version), step in CHAIN.items()}
    with pytest.raises(TypeError, match="PersonTransferred"):
        EventCodec(PersonMoved, upcasters=CHAIN, renamed={"PersonTransferred": PersonMoved})
    codec = EventCodec(PersonMoved, upcasters=CHAIN | former, renamed={"PersonTransferred": PersonMoved})
    assert codec.decode("PersonTransferred", 1, '{"unit": "u1"}') == PersonMoved(to="u1", from_=None)


def test_a_name_in_use_is_nobodys_former_name() -> None:
    with pytest.raises(TypeError, match="NoteTaken cannot be the former name of RoomOpened"):
        EventCodec(NoteTaken | RoomOpened, renamed={"NoteTaken": RoomOpened})
    with pytest.raises(TypeError, match="RemarkMade cannot be the former name of SeatTaken"):
        EventCodec(NoteTaken, renamed={"RemarkMade": SeatTaken})


def test_a_class_outside_the_unions_is_not_written() -> None:
    with pytest.raises(UnknownEvent, match="NoteTaken is not in the event union"):
        EVENTS.encode(NoteTaken(text="a"))


@pytest.mark.parametrize(("name", "version"), [("RoomClosed", 1), ("RoomOpened", 2), ("RoomOpened", 0)])
def test_an_unknown_type_or_version_is_refused_by_both(name: str, version: int) -> None:
    with pytest.raises(UnknownEvent, match=f"{name} version {version} is unknown to this release"):
        EVENTS.decode(name, version, "{}")


def test_an_event_is_written_up_to_the_limit_and_no_further() -> None:
    codec = EventCodec(NoteTaken)
    frame = len('{"text":""}')
    assert len(codec.encode(NoteTaken(text="x" * (MAX_EVENT_BYTES - frame))).data) == MAX_EVENT_BYTES
    with pytest.raises(OversizeEvent, match="NoteTaken has 900001 bytes; the limit is 900000"):
        codec.encode(NoteTaken(text="x" * (MAX_EVENT_BYTES - frame + 1)))


def test_the_limit_is_of_bytes_and_not_of_letters() -> None:
    with pytest.raises(OversizeEvent):
        EventCodec(NoteTaken).encode(NoteTaken(text="ü" * 450_000))


@pytest.mark.parametrize("value", [object(), 5, b"x", "\ud800", None], ids=repr)
def test_a_value_that_is_not_what_its_field_says_is_not_written(value: Any) -> None:
    with pytest.raises(UnserialisableEvent, match="NoteTaken holds a value that cannot be written as JSON"):
        EventCodec(NoteTaken).encode(NoteTaken(text=value))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_number_json_has_no_word_for_is_not_written(value: float) -> None:
    """It would be written as null: lost where null is allowed, and unreadable for ever where it is not."""
    with pytest.raises(UnserialisableEvent):
        EventCodec(Measured).encode(Measured(degrees=value))


SECRET = "what somebody wrote"


def everything_about(error: BaseException | None) -> str:
    """The messages of an error and of all a traceback would show with it."""
    text = ""
    while error is not None:
        text += f"{error!r} {error}\n"
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return text


def test_no_error_shows_a_value() -> None:
    codec = EventCodec(NoteTaken | RoomOpened)
    failures: list[Callable[[], object]] = [
        lambda: codec.encode(NoteTaken(text=SECRET.encode())),  # type: ignore[arg-type]
        lambda: codec.encode(NoteTaken(text=SECRET * MAX_EVENT_BYTES)),
        lambda: codec.encode(RoomOpened(seats=SECRET)),  # type: ignore[arg-type]
        lambda: codec.decode("RoomOpened", 1, orjson.dumps({"seats": SECRET})),
        lambda: codec.decode("RoomOpened", 1, f'{{"{SECRET}'),
        lambda: EventCodec(PersonMoved, upcasters=CHAIN).decode(
            "PersonMoved", 1, f'{{"unit": ["{SECRET}"]}}'
        ),
        lambda: EventCodec(PersonMoved, upcasters=CHAIN).decode("PersonMoved", 1, f'"{SECRET}'),
    ]
    for fail in failures:
        with pytest.raises((UnknownEvent, UnserialisableEvent, OversizeEvent)) as raised:
            fail()
        assert SECRET not in everything_about(raised.value)


# The helper that keeps golden files.


def write(folder: Path, **files: str) -> None:
    for name, text in files.items():
        (folder / f"{name.replace('_v', '.v')}.json").write_text(text)


def test_a_golden_file_is_missed_with_word_of_how_to_write_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("UPWELL_WRITE_GOLDEN", raising=False)
    with pytest.raises(
        AssertionError, match=r"NoteTaken.v1.json is missing: run this test once with UPWELL_WRITE_GOLDEN=1"
    ):
        check_golden_files(EventCodec(NoteTaken), tmp_path, [NoteTaken(text="a")])
    assert list(tmp_path.iterdir()) == []


def test_a_golden_file_is_written_once_and_never_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UPWELL_WRITE_GOLDEN", "1")
    check_golden_files(EventCodec(NoteTaken), tmp_path, [NoteTaken(text="a")])
    check_golden_files(EventCodec(NoteTaken), tmp_path, [NoteTaken(text="b")])
    assert (tmp_path / "NoteTaken.v1.json").read_text() == '{"text":"a"}\n'


def test_a_golden_file_is_written_without_an_example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UPWELL_WRITE_GOLDEN", "1")
    check_golden_files(EventCodec(RoomOpened, Sampled), tmp_path)
    assert (tmp_path / "RoomOpened.v1.json").read_text() == '{"seats":2}\n'
    assert (tmp_path / "Sampled.v1.json").read_text() == (
        '{"at":"2026-03-02T09:30:00Z","state":"open","rooms":[{"seats":2}],"note":"sample"}\n'
    )


def test_a_sample_that_cannot_be_made_asks_for_an_example() -> None:
    with pytest.raises(TypeError, match="give an example"):
        sample(bytes)


def test_an_older_version_without_its_golden_file_is_named(tmp_path: Path) -> None:
    write(tmp_path, PersonMoved_v1='{"unit":"a"}', PersonMoved_v3='{"to":"a","from_":null}')
    with pytest.raises(AssertionError, match=r"\APersonMoved.v2.json is missing.*history\Z"):
        check_golden_files(
            EventCodec(PersonMoved, upcasters=CHAIN), tmp_path, [PersonMoved(to="a", from_=None)]
        )


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("NoteTaken_v1", '{"words":"a"}', "cannot be read: UnknownEvent"),
        ("NoteTaken_v1", '{"text": "a"}', "would be written otherwise now"),
        ("NoteTaken_v2", '{"text":"a"}', "NoteTaken.v2.json cannot be read"),
        ("Remark", '{"text":"a"}', "is not named"),
    ],
)
def test_a_golden_file_that_no_longer_holds_is_named(
    tmp_path: Path, name: str, text: str, complaint: str
) -> None:
    write(tmp_path, NoteTaken_v1='{"text":"a"}')
    write(tmp_path, **{name: text})
    with pytest.raises(AssertionError, match=complaint):
        check_golden_files(EventCodec(NoteTaken), tmp_path, [NoteTaken(text="a")])
