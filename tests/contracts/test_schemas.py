import json
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any, Literal
from uuid import UUID

import pytest
from annotated_types import Ge
from hypothesis import given
from jsonschema import Draft202012Validator
from pydantic import AwareDatetime, StringConstraints, create_model

from tests.contracts import sample
from tests.contracts.sample import CONTRACT, STREAM, published
from tests.contracts.test_reading import events
from upwell_shared.contracts import (
    Audience,
    Contract,
    PublishedEvent,
    PublishedPart,
    __main__,
    async_api,
    committed,
    record_headers,
)
from upwell_shared.contracts.json_schema import breaking_changes, documents, json_schema
from upwell_shared.contracts.shipped import faults, shipped

Schema = dict[str, Any]


@given(event=events)
def test_the_schema_accepts_what_is_published(event: PublishedEvent) -> None:
    schema = json_schema(CONTRACT, type(event))
    Draft202012Validator(schema).validate(json.loads(published(event).body))


@pytest.mark.parametrize("event", CONTRACT.classes.values())
def test_the_schema_is_of_its_dialect(event: type[PublishedEvent]) -> None:
    schema = json_schema(CONTRACT, event)
    Draft202012Validator.check_schema(schema)
    assert schema["$id"] == f"urn:upwell:schema:example:{event.__name__}:1"


def test_a_subscribers_schema_lets_later_fields_pass() -> None:
    body = json.loads(published().body) | {
        "later": 1,
        "seats": [{"seat_id": str(STREAM), "row": 1, "later": 2}],
    }
    Draft202012Validator(json_schema(CONTRACT, sample.BookingOpened)).validate(body)


def test_a_subscribers_schema_refuses_what_is_wrong() -> None:
    validator = Draft202012Validator(json_schema(CONTRACT, sample.BookingOpened))
    good = json.loads(published().body)
    for bad in (good | {"state": "shut"}, good | {"seats": [{"row": 1}]}, {"booking_id": str(STREAM)}):
        assert not validator.is_valid(bad)


# Promises


class Part(PublishedPart):
    part_id: UUID
    size: Annotated[int, Ge(0)]


BASE: dict[str, Any] = {
    "person_id": (UUID, ...),
    "opened_at": (AwareDatetime, ...),
    "state": (Literal["open", "shut"], ...),
    "size": (Annotated[int, Ge(0)], 0),
    "code": (Annotated[str, StringConstraints(pattern="^[a-z]{2}$")], "en"),
    "ended_at": (AwareDatetime | None, None),
    "parts": (tuple[Part, ...], ()),
}


def event_class(
    fields: dict[str, Any], name: str = "Opened", audience: Audience = "public"
) -> type[PublishedEvent]:
    made = create_model(name, __base__=PublishedEvent, **fields)
    made.audience = audience
    return made


def schemas_of(fields: dict[str, Any], **more: Any) -> dict[str, Schema]:
    return documents(Contract("example", event_class(fields, **more)))


def without(name: str) -> dict[str, Any]:
    return {field: kind for field, kind in BASE.items() if field != name}


class PartWithMore(PublishedPart):
    part_id: UUID
    size: Annotated[int, Ge(0)]
    weight: Annotated[int, Ge(0)] | None = None


class PartWithLess(PublishedPart):
    part_id: UUID


class PartWantingMore(PublishedPart):
    part_id: UUID
    size: Annotated[int, Ge(0)]
    weight: Annotated[int, Ge(0)]


@pytest.mark.parametrize(
    "fields",
    [
        BASE,
        dict(reversed(BASE.items())),
        BASE | {"later": (UUID | None, None)},
        BASE | {"later": (Literal["a"], "a")},
        BASE | {"parts": (tuple[PartWithMore, ...], ())},
    ],
    ids=["the same", "other order", "optional field", "field with default", "optional field of a part"],
)
def test_a_field_may_be_added_if_it_is_optional(fields: dict[str, Any]) -> None:
    assert breaking_changes(schemas_of(BASE), schemas_of(fields)) == []


@pytest.mark.parametrize(
    ("fields", "broken"),
    [
        (without("person_id"), ["Opened.v1.person_id is gone"]),
        (without("size"), ["Opened.v1.size is gone"]),
        (without("size") | {"extent": BASE["size"]}, ["Opened.v1.size is gone"]),
        (BASE | {"later": (UUID, ...)}, ["Opened.v1.later is required now"]),
        (BASE | {"size": (Annotated[int, Ge(0)], ...)}, ["Opened.v1.size is required now"]),
        (BASE | {"person_id": (UUID, STREAM)}, ["Opened.v1.person_id is no longer always there"]),
        (BASE | {"person_id": (UUID | None, ...)}, ["Opened.v1.person_id/anyOf is added"]),
        (BASE | {"person_id": (int, ...)}, ["Opened.v1.person_id/type is changed"]),
        (BASE | {"state": (Literal["open"], ...)}, ["Opened.v1.state/const is added"]),
        (BASE | {"state": (Literal["open", "shut", "lost"], ...)}, ["Opened.v1.state/enum is changed"]),
        (BASE | {"size": (Annotated[int, Ge(1)], 1)}, ["Opened.v1.size/minimum is changed"]),
        (BASE | {"size": (int, 0)}, ["Opened.v1.size/minimum is removed"]),
        (BASE | {"size": (Annotated[float, Ge(0)], 0)}, ["Opened.v1.size/type is changed"]),
        (BASE | {"size": (Annotated[int, Ge(0)], 5)}, ["Opened.v1.size/default is changed"]),
        (
            BASE | {"code": (Annotated[str, StringConstraints(pattern="^[a-z]{3}$")], "en")},
            ["Opened.v1.code/pattern is changed"],
        ),
        (BASE | {"ended_at": (AwareDatetime, ...)}, ["Opened.v1.ended_at is required now"]),
        (BASE | {"parts": (tuple[PartWithLess, ...], ())}, ["Opened.v1.parts/items.size is gone"]),
        (
            BASE | {"parts": (tuple[PartWantingMore, ...], ())},
            ["Opened.v1.parts/items.weight is required now"],
        ),
        (BASE | {"parts": (Part | None, None)}, ["Opened.v1.parts/anyOf is added"]),
    ],
)
def test_nothing_else_may_change(fields: dict[str, Any], broken: list[str]) -> None:
    found = breaking_changes(schemas_of(BASE), schemas_of(fields))
    assert set(broken) <= set(found)


def test_an_event_may_not_go_or_change_its_audience() -> None:
    old = schemas_of(BASE)
    assert breaking_changes(old, schemas_of(BASE, name="Started")) == ["Opened.v1 is gone"]
    assert breaking_changes(old, schemas_of(BASE, audience="internal")) == ["Opened.v1/x-audience is changed"]
    assert breaking_changes({}, old) == []


def test_a_promise_holds_for_fields_of_parts_under_any_name() -> None:
    renamed = type("Piece", (Part,), {"__module__": __name__, "__doc__": Part.__doc__})
    changed = schemas_of(BASE | {"parts": (tuple[renamed, ...], ())})  # type: ignore[valid-type]
    assert breaking_changes(schemas_of(BASE), changed) == []


# Files


def test_written_files_are_as_committed_and_any_other_is_found(tmp_path: Path) -> None:
    committed.write(CONTRACT, tmp_path)
    assert committed.differences(CONTRACT, tmp_path) == []
    assert {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.json")} == {
        "asyncapi/upwell.example.internal.v1.json",
        "asyncapi/upwell.example.v1.json",
        "schemas/example/BookingOpened.v1.json",
        "schemas/example/BookingRefused.v1.json",
    }
    schemas = tmp_path / "schemas" / "example"
    (schemas / "BookingOpened.v1.json").write_text("{}")
    (schemas / "BookingRefused.v1.json").rename(schemas / "BookingGone.v1.json")
    assert committed.differences(CONTRACT, tmp_path) == [
        "schemas/example/BookingGone.v1.json is left over",
        "schemas/example/BookingOpened.v1.json is not what the models say",
        "schemas/example/BookingRefused.v1.json is missing",
    ]
    committed.write(CONTRACT, tmp_path)
    assert committed.differences(CONTRACT, tmp_path) == []


def test_promises_are_those_of_the_last_release(tmp_path: Path) -> None:
    before = Contract("example", event_class(BASE))
    after = Contract("example", event_class(without("size") | {"later": (UUID | None, None)}))
    assert committed.broken_promises(after, tmp_path) == []
    committed.release(before, tmp_path)
    assert committed.broken_promises(before, tmp_path) == []
    assert committed.broken_promises(after, tmp_path) == ["Opened.v1.size is gone"]


# AsyncAPI


def references(part: Any) -> list[str]:
    if isinstance(part, dict):
        here = [part["$ref"]] if "$ref" in part else []
        return here + [found for value in part.values() for found in references(value)]
    return [found for value in part for found in references(value)] if isinstance(part, list) else []


@pytest.mark.parametrize("audience", ["public", "internal"])
def test_the_document_of_a_channel_is_whole(audience: Audience) -> None:
    document = async_api.document(CONTRACT, audience)
    for reference in references(document):
        found = document
        for part in reference.removeprefix("#/").split("/"):
            found = found[part]
        assert found
    messages = document["components"]["messages"].values()
    wanted = {name for name, event in CONTRACT.classes.items() if event.audience == audience}
    assert {message["name"] for message in messages} == wanted
    kafka = document["channels"]["events"]["bindings"]["kafka"]
    assert (kafka["topic"], kafka["partitions"]) == (CONTRACT.channel(audience), 12)
    assert kafka["topicConfiguration"]["retention.ms"] == -1
    assert "no names, contact data or free text" in document["info"]["description"]


def test_a_subscribers_document_does_not_mention_what_is_internal() -> None:
    text = json.dumps(async_api.document(CONTRACT, "public"))
    assert "BookingRefused" not in text
    assert "upwell.example.internal" not in text


def test_the_document_describes_the_headers_that_are_sent() -> None:
    document = async_api.document(CONTRACT, "public")
    described = document["components"]["schemas"]["CloudEventHeaders"]
    sent = dict(record_headers(published().headers, sample.LOG))
    assert set(described["properties"]) == set(sent)
    Draft202012Validator(described).validate({name: value.decode() for name, value in sent.items()})


# What Upwell ships


@pytest.mark.parametrize("contract", shipped(), ids=lambda contract: contract.owner)
def test_a_shipped_contract_can_be_released(contract: Contract) -> None:
    assert faults(contract) == []


def test_every_owner_is_shipped_once() -> None:
    owners = [contract.owner for contract in shipped()]
    assert "directory" in owners
    assert len(owners) == len(set(owners))


def test_every_shipped_contract_has_the_receipt_of_an_erasure() -> None:
    for contract in shipped():
        assert f"upwell.{contract.owner}.PersonErasureAcknowledged.v1" in contract.classes


@pytest.mark.parametrize("arguments", [[], ["burn"], ["write", "more"], ["--help"]])
def test_the_command_says_in_one_line_how_it_is_used(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert __main__.main(arguments) == 2
    assert capsys.readouterr().err == "use: python -m upwell_shared.contracts write|check|release\n"


def test_the_command_writes_checks_and_releases(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert __main__.main(["check"], tmp_path) == 1
    assert "schemas/directory/PersonErased.v1.json is missing\n" in capsys.readouterr().out
    assert __main__.main(["release"], tmp_path) == 1
    assert not (tmp_path / "released").exists()
    assert __main__.main(["write"], tmp_path) == 0
    assert __main__.main(["check"], tmp_path) == 0
    assert __main__.main(["release"], tmp_path) == 0
    assert (tmp_path / "released" / "directory" / "PersonErased.v1.json").exists()


def test_the_command_runs_as_a_module() -> None:
    run = subprocess.run([sys.executable, "-m", "upwell_shared.contracts", "check"], check=False)
    assert run.returncode == 0
