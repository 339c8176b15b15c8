"""What was wrong with a request, in words of ours: pydantic's own messages quote what was sent."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, get_args

from pydantic_core.core_schema import ErrorType

from upwell_shared.errors import Violation

_BUILT_IN = frozenset(get_args(ErrorType))
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")

# By error type, or by its beginning up to an underscore. `{…}` is taken from the schema's side of the error.
_DETAILS: Mapping[str, str] = {
    "missing": "is required: add it",
    "extra_forbidden": "is not known here: remove it",
    "string_too_short": "must have at least {min_length} characters",
    "string_too_long": "must have at most {max_length} characters",
    "string_pattern_mismatch": "must match {pattern}",
    "too_short": "must have at least {min_length} items",
    "too_long": "must have at most {max_length} items",
    "greater_than": "must be greater than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "multiple_of": "must be a multiple of {multiple_of}",
    "literal_error": "must be one of {expected}",
    "enum": "must be one of {expected}",
    "union_tag_invalid": "must name one of {expected_tags}",
    "union_tag_not_found": "must say which kind it is, in {discriminator}",
    "timezone_aware": "must carry its offset from UTC, as in 2026-01-31T09:00:00Z",
    "string": "must be a string",
    "int": "must be a whole number",
    "float": "must be a number",
    "finite_number": "must be a number",
    "decimal": "must be a decimal number",
    "bool": "must be true or false",
    "uuid": "must be a UUID",
    "date": "must be a date, as in 2026-01-31",
    "datetime": "must be a date with a time, as in 2026-01-31T09:00:00Z",
    "time": "must be a time of day, as in 09:00:00",
    "time_delta": "must be a duration, as in PT45M",
    "url": "must be an address with a scheme",
    "list": "must be a list",
    "tuple": "must be a list",
    "set": "must be a list",
    "dict": "must be an object",
    "model": "must be an object",
    "dataclass": "must be an object",
    "none_required": "must be null",
}
_ELSE = "does not fit the schema of this field"


def violation_of(error: Mapping[str, Any]) -> Violation:
    """One entry of a validation error. Names that a caller made up are shown only when they look like names."""
    place, *path = error["loc"] or ("body",)
    if place == "body":
        return Violation("body", _pointer(path), detail_of(error))
    return Violation(str(place), _plain(path[0]) if path else "", detail_of(error))


def detail_of(error: Mapping[str, Any]) -> str:
    """What to do about it. A message of our own validators (PydanticCustomError) is taken as it is."""
    kind = str(error["type"])
    if kind not in _BUILT_IN:
        return str(error["msg"])
    words = kind.split("_")
    known = ("_".join(words[:length]) for length in range(len(words), 0, -1))
    template = next((_DETAILS[name] for name in known if name in _DETAILS), _ELSE)
    try:
        return template.format_map(error.get("ctx") or {})
    except KeyError:
        return _ELSE


def _pointer(path: Sequence[int | str]) -> str:
    return "#" + "".join(f"/{_plain(part)}" for part in path)


def _plain(part: int | str) -> str:
    return str(part) if isinstance(part, int) or _PLAIN_NAME.fullmatch(part) else "…"
