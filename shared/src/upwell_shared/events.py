"""Domain events as stored: names, versions, bytes, and what the chassis records beside them.

The union of event classes is the single registration point. A class name is the wire name and is frozen by a golden
file; stored bytes are never rewritten, so an older version is raised on reading by a chain of pure upcasters.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from types import UnionType
from typing import Any, Generic, NamedTuple, TypeVar, Union, get_args, get_origin
from uuid import UUID

import orjson
from pydantic import TypeAdapter, ValidationError

from upwell_shared.errors import UpwellError

E = TypeVar("E")

Upcaster = Callable[[dict[str, Any]], dict[str, Any]]
"""Raises the data of one event from version n to n + 1. Pure; it may change the dict it is given."""

MAX_EVENT_BYTES = 900_000
"""A Kafka record holds 1 MB by default; what a store accepts must fit into one with its headers."""


class UnknownEvent(UpwellError):
    """The store holds an event type or version this release does not know: deploy the release that wrote it."""


class UnserialisableEvent(UpwellError):
    """An event holds a value that cannot be written as JSON."""


class OversizeEvent(UpwellError):
    """An event is larger than 900,000 bytes: put large content into a text and refer to it."""


class Position(NamedTuple):
    """Where a row stands in commit order: the writing transaction, then the row's number."""

    tx: int
    position: int


START = Position(0, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """Where a command comes from. `causation_id` is the event that led to it, None for a person's."""

    command_id: UUID
    correlation_id: UUID
    causation_id: UUID | None = None
    actor: str | None = None
    traceparent: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded(Generic[E]):
    """A stored event with its place. `version` counts from 1 in its stream."""

    stream_id: UUID
    version: int
    event: E
    event_id: UUID
    at: Position
    envelope: Envelope
    recorded_at: datetime


class Encoded(NamedTuple):
    """An event as the store keeps it."""

    type: str
    schema_version: int
    data: str


def members(union: Any) -> tuple[type, ...]:
    """The classes of a union, which may be a union of one or of unions."""
    if get_origin(union) in (Union, UnionType):
        return tuple(member for part in get_args(union) for member in members(part))
    return (union,)


class EventCodec:
    """Event classes to stored bytes and back, from the unions of a service's aggregates.

    An event class may carry `schema_version: ClassVar[int]` (1 when absent). `upcasters` maps (type, from version)
    to a function; every version below the current one needs its step, else the codec refuses to be built.
    `renamed` maps a wire name no longer used by a class to the class that took its place. Raises TypeError when these
    disagree.
    """

    def __init__(
        self,
        *unions: Any,
        upcasters: Mapping[tuple[str, int], Upcaster] | None = None,
        renamed: Mapping[str, type] | None = None,
    ) -> None:
        self.classes: dict[str, type] = {}
        for member in (member for union in unions for member in members(union)):
            if self.classes.setdefault(member.__name__, member) is not member:
                raise TypeError(f"two event classes are named {member.__name__}")
        self._names = {member: name for name, member in self.classes.items()}
        self.current = frozenset(self.classes)
        """The wire names that are written; `classes` also holds those that are only read."""
        for name, member in (renamed or {}).items():
            if name in self.current or member not in self._names:
                raise TypeError(f"{name} cannot be the former name of {member.__name__}")
            self.classes[name] = member
        self._upcasters = dict(upcasters or {})
        self._adapters: dict[str, TypeAdapter[Any]] = {n: TypeAdapter(c) for n, c in self.classes.items()}
        self.versions = {n: int(getattr(c, "schema_version", 1)) for n, c in self.classes.items()}
        if unborn := sorted(n for n, version in self.versions.items() if version < 1):
            raise TypeError(f"versions count from 1, not so in {unborn}")
        wanted = {(name, v) for name, current in self.versions.items() for v in range(1, current)}
        if wanted != set(self._upcasters):
            raise TypeError(f"upcasters and versions disagree on {sorted(wanted ^ set(self._upcasters))}")

    def encode(self, event: object) -> Encoded:
        """What is given back decodes to an equal event. Raises UnserialisableEvent, OversizeEvent, or UnknownEvent for a
        class outside the unions.
        """
        name = self._names.get(type(event))
        if name is None:
            raise UnknownEvent(f"{type(event).__name__} is not in the event union of this service")
        try:
            data = self._adapters[name].dump_json(event, warnings="error")
            # A fact that cannot be read back would close its stream for ever; NaN, for one, is written as null.
            faithful = self._adapters[name].validate_json(data) == event
        except ValueError:
            # The value itself may be personal: neither message nor cause may show it.
            faithful, data = False, b""
        if not faithful:
            raise UnserialisableEvent(f"{name} holds a value that cannot be written as JSON")
        if len(data) > MAX_EVENT_BYTES:
            raise OversizeEvent(f"{name} has {len(data)} bytes; the limit is {MAX_EVENT_BYTES}")
        return Encoded(name, self.versions[name], data.decode())

    def decode(self, name: str, schema_version: int, data: str | bytes) -> Any:
        """The event at its current version. Raises UnknownEvent, naming type and version."""
        current = self.versions.get(name)
        if current is None or not 1 <= schema_version <= current:
            raise UnknownEvent(
                f"{name} version {schema_version} is unknown to this release (it knows version {current or 'none'})"
            )
        adapter = self._adapters[name]
        try:
            if schema_version == current:
                return adapter.validate_json(data)
            raised = orjson.loads(data)
            for version in range(schema_version, current):
                raised = self._upcasters[name, version](raised)
            return adapter.validate_python(raised)
        except (ValidationError, orjson.JSONDecodeError):
            # Without the cause, which would show what is stored.
            raise UnknownEvent(f"stored {name} version {schema_version} does not fit its class") from None
