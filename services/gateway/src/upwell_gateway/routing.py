"""Whose a path is: its first segment after `/v1` says it, and nothing else of a request does. Pure."""

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

_SEGMENTS: Final[Mapping[str, tuple[str, ...]]] = {
    "directory": ("organisations", "units", "people", "names", "imports"),
    "matching": ("programmes", "cohorts", "enrolments", "match-runs", "pairs"),
    "sessions": ("cadences",),
    "feedback": ("question-sets", "reflections"),
}

OWNERS: Final[Mapping[str, str]] = MappingProxyType(
    {segment: owner for owner, segments in _SEGMENTS.items() for segment in segments}
)
"""The service that answers, by the first segment."""

_BODY_BYTES: Final = 64 * 1024
_LARGE: Final[Mapping[str, int]] = {
    "imports": 5_000_000,
    "reflections": 2_000_000,
    "cadences": 256 * 1024,
}
"""The most bytes of a body below these segments; each owner knows better for each of its routes."""

# Segments as our services have them: ids and words. No escape, no empty segment, none that begins with a dot: a path
# that cannot be read in two ways leads to the same place in every program on the way.
_PATH: Final = re.compile(rb"/v1/([a-z-]{1,32})((?:/[A-Za-z0-9_~-][A-Za-z0-9._~-]{0,127}){0,12})")
_QUERY: Final = re.compile(rb"[!$-~]{0,4096}")


def owner_of(raw_path: bytes) -> str | None:
    """The service whose path this is, as it came over the wire; None for one that is no service's."""
    found = _PATH.fullmatch(raw_path)
    return None if found is None else OWNERS.get(found[1].decode())


def may_be_asked(query: bytes) -> bool:
    """Whether a query is one that can be handed on as it came."""
    return _QUERY.fullmatch(query) is not None


def most_bytes(segment: str) -> int:
    """What no owner takes more than in a body."""
    return _LARGE.get(segment, _BODY_BYTES)
