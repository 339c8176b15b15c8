"""JSON Schemas of published events (draft 2020-12), and which changes of them keep the promise to readers.

The promise: a reader of any release understands what any other release has written. So a field may be added if it is
optional, and nothing else may change; anything else is a new type beside the old one.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue, models_json_schema
from pydantic_core import core_schema

from upwell_shared.contracts.model import Contract, PublishedEvent

Schema = dict[str, Any]

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
LOCAL_TIME: Final = "local-date-time"
"""Format of a time that may lack its offset; no contract may hold one."""

_PROSE: Final = frozenset({"title", "description", "examples", "$comment"})
_AROUND: Final = frozenset({"$schema", "$id", "$defs"})


class _Generator(GenerateJsonSchema):
    def datetime_schema(self, schema: core_schema.DatetimeSchema) -> JsonSchemaValue:
        aware = schema.get("tz_constraint") == "aware"
        return {"type": "string", "format": "date-time" if aware else LOCAL_TIME}

    def model_schema(self, schema: core_schema.ModelSchema) -> JsonSchemaValue:
        # The class refuses what it does not know, to find typos in our own code; readers are told to ignore it.
        generated = super().model_schema(schema)
        generated.pop("additionalProperties", None)
        return generated


def json_schema(contract: Contract, event: type[PublishedEvent]) -> Schema:
    """The schema of the body of an event.

    A field with a default is optional, as bodies written before it was added lack it.
    """
    return {
        "$schema": DIALECT,
        "$id": contract.schema_of(event),
        "x-audience": event.audience,
        **event.model_json_schema(schema_generator=_Generator, mode="validation"),
    }


def shared_schemas(events: list[type[BaseModel]], ref_template: str) -> tuple[list[Schema], Schema]:
    """Schemas of several models for one document: a reference to each, and the definitions they refer to."""
    references, definitions = models_json_schema(
        [(event, "validation") for event in events], ref_template=ref_template, schema_generator=_Generator
    )
    return [references[event, "validation"] for event in events], definitions["$defs"]


def file_name(type_name: str) -> str:
    """`PairCreated.v1.json` for `upwell.matching.PairCreated.v1`."""
    return f"{type_name.split('.', 2)[2]}.json"


def documents(contract: Contract) -> dict[str, Schema]:
    """File name → schema, for every event of a contract."""
    return {file_name(name): json_schema(contract, event) for name, event in contract.classes.items()}


def render(document: Schema) -> str:
    """A document as it is committed."""
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def read_documents(folder: Path) -> dict[str, Schema]:
    """File name → schema, for every schema in a folder; nothing when there is no folder."""
    return {path.name: json.loads(path.read_text("utf-8")) for path in sorted(folder.glob("*.json"))}


def breaking_changes(released: Mapping[str, Schema], current: Mapping[str, Schema]) -> list[str]:
    """What in `current` breaks the promise made by `released`; both map file names to schemas."""
    found: list[str] = []
    for name, old in released.items():
        event = name.removesuffix(".json")
        new = current.get(name)
        found += [f"{event} is gone"] if new is None else [f"{event}{line}" for line in _changes(old, new)]
    return found


def _changes(old_document: Schema, new_document: Schema) -> Iterator[str]:
    visited: set[tuple[str, str]] = set()

    def resolved(document: Schema, part: Schema) -> Schema:
        reference = part.get("$ref")
        if reference is None:
            return part
        target = document["$defs"][reference.removeprefix("#/$defs/")]
        return {**target, **{word: value for word, value in part.items() if word != "$ref"}}

    def compare(old: Any, new: Any, at: str) -> Iterator[str]:
        if not (isinstance(old, dict) and isinstance(new, dict)):
            if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
                for number, (before, after) in enumerate(zip(old, new, strict=True)):
                    yield from compare(before, after, f"{at}[{number}]")
            elif old != new or type(old) is not type(new):
                yield f"{at} is changed"
            return
        pair = (old.get("$ref", ""), new.get("$ref", ""))
        if all(pair):
            if pair in visited:
                return
            visited.add(pair)
        old, new = resolved(old_document, old), resolved(new_document, new)
        yield from fields(old, new, at)
        for word in sorted((set(old) | set(new)) - _PROSE - _AROUND - {"properties", "required"}):
            if word not in old or word not in new:
                yield f"{at}/{word} is {'added' if word in new else 'removed'}"
            else:
                yield from compare(old[word], new[word], f"{at}/{word}")

    def fields(old: Schema, new: Schema, at: str) -> Iterator[str]:
        before, after = old.get("properties", {}), new.get("properties", {})
        for name in before:
            if name not in after:
                yield f"{at}.{name} is gone"
            else:
                yield from compare(before[name], after[name], f"{at}.{name}")
        for name in sorted(set(old.get("required", ())) ^ set(new.get("required", ()))):
            if name in after:
                now = name in new.get("required", ())
                yield f"{at}.{name} is {'required now' if now else 'no longer always there'}"

    yield from compare(old_document, new_document, "")
