"""What a published event may hold: nothing that could carry a name, contact data or free text."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal, get_args

from upwell_shared.contracts.json_schema import LOCAL_TIME, Schema, json_schema
from upwell_shared.contracts.model import Contract

Kind = Literal["id", "timestamp", "date", "duration", "count", "number", "flag", "state", "code"]
"""`state` is one of a fixed set of words, `code` a word whose pattern leaves no room for a text."""

PUBLIC_FIELDS: Final[Mapping[str, Kind]] = {
    "cadence_id": "id",
    "cohort_id": "id",
    "enrolment_id": "id",
    "match_run_id": "id",
    "mentee_id": "id",
    "mentee_organisation_id": "id",
    "mentee_unit_id": "id",
    "mentor_id": "id",
    "mentor_organisation_id": "id",
    "mentor_unit_id": "id",
    "organisation_id": "id",
    "pair_id": "id",
    "parent_id": "id",
    "person_id": "id",
    "programme_id": "id",
    "reflection_id": "id",
    "session_id": "id",
    "unit_id": "id",
    "unit_ids[]": "id",
    "role": "state",
    "stage": "state",
    "days_between": "count",
    "minutes": "count",
    "number": "count",
    "pairs": "count",
    "sessions": "count",
    "due_on": "date",
    "ends_on": "date",
    "starts_on": "date",
    "reply_by": "timestamp",
    "starts_at": "timestamp",
}
"""Every field subscribers may see, of any event, by its path (`seats[].seat_id`). A new line is a decision about what
leaves the installation: no grade, manager, reason, side or signal."""

_FORMATS: Final[Mapping[str, Kind]] = {
    "uuid": "id",
    "date-time": "timestamp",
    "date": "date",
    "duration": "duration",
}

# None of these may pass a pattern.
_TEXTS: Final = (
    *("Ada", "Ada Lovelace", "ada lovelace", "ada-lovelace", "ada_lovelace", "ada.lovelace", "AdaLovelace"),
    *("ada@example.org", "+44 20 7946 0958", "+442079460958", "020 7946 0958", "Łukasz", "Σωκράτης", "李"),
    *("She said no.", "why?", "a b", "a\nb", "x" * 200),
)


def violations(contract: Contract, allowed: Mapping[str, Kind] = PUBLIC_FIELDS) -> list[str]:
    """Every field of a contract that must not be published; empty for a good contract.

    On either channel a string must be an id, a time, one of a fixed set of words, or have a pattern no text passes.
    On the public channel the path of a field must also be in `allowed`, with its kind.
    """
    if unheard := set(allowed.values()) - set(get_args(Kind)):
        raise ValueError(f"there is no kind of field {sorted(unheard)}")
    found = []
    for name, event in contract.classes.items():
        document = json_schema(contract, event)
        for path, kind in _leaves(document, document, "", frozenset()):
            if kind not in get_args(Kind):
                found.append(f"{name}: {path} {kind}")
            elif event.audience == "public" and allowed.get(path) != kind:
                says = f"allowed as {allowed[path]} only" if path in allowed else "not on the allow-list"
                found.append(f"{name}: {path} ({kind}) is {says}")
    return found


def _leaves(document: Schema, part: Any, path: str, above: frozenset[str]) -> Iterator[tuple[str, str]]:
    """(path, kind) of every value in a schema, or (path, what is wrong with it)."""
    if part is True or part == {}:
        yield path, "may be anything"
        return
    if reference := part.get("$ref"):
        if reference in above:
            yield path, "contains itself"
        else:
            target = document["$defs"][reference.removeprefix("#/$defs/")]
            yield from _leaves(document, target, path, above | {reference})
        return
    for word in ("anyOf", "oneOf", "allOf"):
        if word in part:
            options = [each for each in part[word] if each.get("type") != "null"]
            leaves = {leaf for each in options for leaf in _leaves(document, each, path, above)}
            yield from sorted(leaves)
            return
    if "enum" in part or "const" in part:
        words = part.get("enum", [part.get("const")])
        yield path, "state" if all(isinstance(word, str) for word in words) else "is a state without a name"
        return
    match part.get("type"):
        case "object":
            yield from _object(document, part, path, above)
        case "array":
            items = [*part.get("prefixItems", ()), *([part["items"]] if part.get("items") else [])]
            if not items:
                yield f"{path}[]", "may be anything"
            for item in items:
                yield from _leaves(document, item, f"{path}[]", above)
        case "string":
            yield path, _string(part)
        case "integer":
            yield path, "count" if part.get("minimum", -1) >= 0 else "number"
        case "number":
            yield path, "number"
        case "boolean":
            yield path, "flag"
        case _:
            yield path, "may be anything"


def _object(document: Schema, part: Schema, path: str, above: frozenset[str]) -> Iterator[tuple[str, str]]:
    if "properties" not in part and part.get("additionalProperties", True) is not False and "$id" not in part:
        # Keys of a mapping are values too; a list of parts says the same with names for both.
        yield path, "is a mapping: publish a list"
    for name, field in part.get("properties", {}).items():
        yield from _leaves(document, field, f"{path}.{name}" if path else name, above)


def _string(part: Schema) -> str:
    if part.get("format") == LOCAL_TIME:
        return "is a time that may lack its offset: take pydantic's AwareDatetime"
    if kind := _FORMATS.get(part.get("format", "")):
        return kind
    pattern = part.get("pattern")
    if pattern is None:
        return "is free text"
    if not (pattern.startswith("^") and pattern.endswith("$")):
        return "has a pattern that is not anchored with ^ and $"
    if any(re.search(pattern, text) for text in _TEXTS):
        return "has a pattern that lets text through"
    return "code"
