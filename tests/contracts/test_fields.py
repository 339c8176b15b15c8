from collections.abc import Mapping
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import IntEnum
from typing import Annotated, Any, Literal
from uuid import UUID

import pytest
from annotated_types import Ge
from pydantic import AwareDatetime, StringConstraints, create_model

from tests.contracts import sample
from upwell_shared.contracts import Audience, Contract, PublishedEvent, PublishedPart
from upwell_shared.contracts.fields import PUBLIC_FIELDS, Kind, violations

ALLOWED: dict[str, Kind] = {
    "booking_id": "id",
    "opened_at": "timestamp",
    "state": "state",
    "seats[].seat_id": "id",
    "seats[].row": "count",
    "earlier_booking_id": "id",
}


class Named(PublishedPart):
    name: str


class Tree(PublishedPart):
    parts: "tuple[Tree, ...]" = ()


class Level(IntEnum):
    LOW = 1
    HIGH = 2


def field(kind: Any, audience: Audience, allowed: Mapping[str, Kind] | None = None) -> list[str]:
    event = create_model("Opened", __base__=PublishedEvent, field=(kind, ...))
    event.audience = audience
    found = violations(Contract("example", event), allowed or {})
    return [line.removeprefix("upwell.example.Opened.v1: ") for line in found]


def test_a_good_contract_has_no_violation() -> None:
    assert violations(sample.CONTRACT, ALLOWED) == []


@pytest.mark.parametrize("path", ALLOWED)
def test_every_public_field_must_be_on_the_list(path: str) -> None:
    allowed = {name: kind for name, kind in ALLOWED.items() if name != path}
    assert violations(sample.CONTRACT, allowed) == [
        f"upwell.example.BookingOpened.v1: {path} ({ALLOWED[path]}) is not on the allow-list"
    ]


def test_a_field_is_allowed_with_its_kind_only() -> None:
    assert violations(sample.CONTRACT, ALLOWED | {"seats[].row": "id"}) == [
        "upwell.example.BookingOpened.v1: seats[].row (count) is allowed as id only"
    ]


@pytest.mark.parametrize("audience", ["public", "internal"])
@pytest.mark.parametrize(
    ("kind", "wrong"),
    [
        (str, "field is free text"),
        (str | None, "field is free text"),
        (UUID | str, "field is free text"),
        (tuple[str, ...], "field[] is free text"),
        (tuple[Any, ...], "field[] may be anything"),
        (list[Named], "field[].name is free text"),
        (Named | None, "field.name is free text"),
        (Any, "field may be anything"),
        (object, "field may be anything"),
        (bytes, "field is free text"),
        (dict[str, int], "field is a mapping: publish a list"),
        (dict[UUID, int], "field is a mapping: publish a list"),
        (Tree, "field.parts[] contains itself"),
        (datetime, "field is a time that may lack its offset: take pydantic's AwareDatetime"),
        (Decimal, "field is free text"),
        (Annotated[str, StringConstraints(pattern="^.*$")], "field has a pattern that lets text through"),
        (
            Annotated[str, StringConstraints(pattern="^[a-z-]{1,40}$")],
            "field has a pattern that lets text through",
        ),
        (Annotated[str, StringConstraints(pattern="^[a-z]+$")], "field has a pattern that lets text through"),
        (Annotated[str, StringConstraints(pattern=r"^\w{3}$")], "field has a pattern that lets text through"),
        (
            Annotated[str, StringConstraints(pattern=r"^\+\d{5,20}$")],
            "field has a pattern that lets text through",
        ),
        (
            Annotated[str, StringConstraints(pattern="[a-z]{2}")],
            "field has a pattern that is not anchored with ^ and $",
        ),
        (Annotated[str, StringConstraints(max_length=3)], "field is free text"),
        (Level, "field is a state without a name"),
    ],
)
def test_no_text_gets_in_on_either_channel(kind: Any, wrong: str, audience: Audience) -> None:
    assert wrong in field(kind, audience)


@pytest.mark.parametrize(
    ("kind", "named"),
    [
        (UUID, "id"),
        (AwareDatetime, "timestamp"),
        (date, "date"),
        (timedelta, "duration"),
        (Annotated[int, Ge(0)], "count"),
        (int, "number"),
        (float, "number"),
        (bool, "flag"),
        (Literal["open"], "state"),
        (sample.Reason, "state"),
        (sample.Reason | None, "state"),
        (Annotated[str, StringConstraints(pattern="^[a-z]{2}$")], "code"),
    ],
)
def test_a_field_has_a_kind(kind: Any, named: Kind) -> None:
    assert field(kind, "internal") == []
    assert field(kind, "public") == [f"field ({named}) is not on the allow-list"]
    assert field(kind, "public", {"field": named}) == []


def test_a_kind_nobody_knows_is_refused() -> None:
    with pytest.raises(ValueError, match="name"):
        violations(sample.CONTRACT, {"booking_id": "name"})  # type: ignore[dict-item]


def test_an_event_may_have_no_field() -> None:
    assert violations(Contract("example", create_model("Opened", __base__=PublishedEvent)), {}) == []


@pytest.mark.parametrize(
    "word",
    [
        "name",
        "mail",
        "phone",
        "text",
        "note",
        "comment",
        "answer",
        "grade",
        "manager",
        "reason",
        "side",
        "signal",
    ],
)
def test_the_list_of_public_fields_stays_clear_of_people(word: str) -> None:
    assert [path for path in PUBLIC_FIELDS if word in path] == []
