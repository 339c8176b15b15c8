"""The vocabulary of a contract: event classes, the contract of one owner, and what it hands to the ledger."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import ClassVar, Final, Literal, NamedTuple, Self
from uuid import UUID, uuid5

from pydantic import BaseModel, ConfigDict, ValidationError

from upwell_shared.contracts.headers import dump_headers
from upwell_shared.contracts.partitioning import PARTITIONS, partition_of
from upwell_shared.errors import UpwellError
from upwell_shared.events import MAX_EVENT_BYTES, Envelope, OversizeEvent

Audience = Literal["public", "internal"]
"""`public` is for subscribers outside; `internal` for the services of the installation."""

MAX_SEQUENCE: Final = 0x7FFFFFFF

_CHANNEL: Final = re.compile(r"upwell\.([a-z][a-z0-9]*)(\.internal)?\.v1")
_OWNER: Final = re.compile(r"[a-z][a-z0-9]*")
_NAME: Final = re.compile(r"[A-Z][A-Za-z0-9]*")
_SHOWN_REFUSALS: Final = 5
_KEPT_FOR_EVER: Final = MappingProxyType({"retention.ms": "-1"})


class UnpublishableEvent(UpwellError):
    """An event does not follow its contract."""


class PublishedPart(BaseModel):
    """A value inside a published event."""

    # Extra fields are refused here and ignored in `read`: a typo in a service is an error, a field a later
    # release has added is not. Inputs are hidden because a refused value may be personal.
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, allow_inf_nan=False)


class PublishedEvent(PublishedPart):
    """Base of every published event. The class name is the wire name.

    An event is addressed to one audience. `schema_version` rises only for a breaking change, which is another
    type on the same channel: both classes are then in the contract until nobody reads the older one.
    """

    audience: ClassVar[Audience] = "public"
    schema_version: ClassVar[int] = 1

    @classmethod
    def read(cls, body: bytes) -> Self:
        """The event in `body`, without what this release does not know. Raises pydantic's ValidationError."""
        return cls.model_validate_json(body, strict=True, extra="ignore")


@dataclass(frozen=True, slots=True)
class ChannelSpec:
    """A channel as it must exist: its name, its number of partitions, and the settings it is created with."""

    name: str
    partitions: int
    config: Mapping[str, str]


class Publication(NamedTuple):
    """A published event, finished: the bytes the ledger stores and every publication of it sends."""

    event_id: UUID
    channel: str
    audience: Audience
    key: UUID
    partition: int
    sequence: int
    type: str
    headers: bytes
    body: bytes


class Contract:
    """What one owner publishes.

    A value without any global registry: two contracts may be of the same owner, as two releases are.
    Raises TypeError when two classes claim a type, or a class is not a published event.
    """

    def __init__(self, owner: str, *events: type[PublishedEvent]) -> None:
        if not _OWNER.fullmatch(owner):
            raise TypeError(f"{owner!r} is no owner's name: lower-case letters and digits")
        self.owner = owner
        self.source = f"/upwell/{owner}"
        classes: dict[str, type[PublishedEvent]] = {}
        for event in events:
            if PublishedEvent not in event.__mro__ or not _NAME.fullmatch(event.__name__):
                raise TypeError(f"{event!r} is not a published event")
            if event.schema_version < 1:
                raise TypeError(f"{event.__name__} has version {event.schema_version}; they count from 1")
            name = f"upwell.{owner}.{event.__name__}.v{event.schema_version}"
            if classes.setdefault(name, event) is not event:
                raise TypeError(f"two event classes claim {name}")
        self.classes: Mapping[str, type[PublishedEvent]] = MappingProxyType(classes)
        self._types = {event: name for name, event in classes.items()}

    def __repr__(self) -> str:
        return f"Contract({self.owner!r}, {', '.join(event.__name__ for event in self._types)})"

    def channel(self, audience: Audience) -> str:
        """The channel for an audience, whole as Kafka knows it."""
        return f"upwell.{self.owner}.v1" if audience == "public" else f"upwell.{self.owner}.internal.v1"

    @property
    def meta_channel(self) -> str:
        """Where the owner's relay says which log this is."""
        return f"upwell.{self.owner}.meta"

    @property
    def channels(self) -> tuple[ChannelSpec, ...]:
        """All channels of the owner, also one without an event so far: who reads it need not wait for one."""
        return (
            ChannelSpec(self.channel("public"), PARTITIONS, _KEPT_FOR_EVER),
            ChannelSpec(self.channel("internal"), PARTITIONS, _KEPT_FOR_EVER),
            ChannelSpec(self.meta_channel, 1, _KEPT_FOR_EVER),
        )

    def replay_channel(self, name: str) -> ChannelSpec:
        """A channel for one subscriber, that what is public is written into once more."""
        return ChannelSpec(f"upwell.{self.owner}.replay.{name}", PARTITIONS, _KEPT_FOR_EVER)

    def type_of(self, event: type[PublishedEvent]) -> str:
        """The wire type, such as `upwell.matching.PairCreated.v1`. Raises UnpublishableEvent for a foreign class."""
        name = self._types.get(event)
        if name is None:
            raise UnpublishableEvent(f"{event.__name__} is not in the contract of {self.owner}")
        return name

    def schema_of(self, event: type[PublishedEvent]) -> str:
        """The name of the event's JSON Schema."""
        return f"urn:upwell:schema:{self.owner}:{event.__name__}:{event.schema_version}"

    def publish(
        self,
        event: PublishedEvent,
        *,
        source_event_id: UUID,
        stream_id: UUID,
        sequence: int,
        recorded_at: datetime,
        envelope: Envelope,
    ) -> Publication:
        """Finish `event` for the ledger; nothing is written and the same arguments give the same bytes.

        `source_event_id` is the stored event it comes from, which may lead to one event of each type.
        `sequence` counts from 1 per channel and stream. Raises UnpublishableEvent when what would be sent could
        not be read back as the same event, OversizeEvent, or ValueError for a sequence or a time that cannot be.
        """
        kind = type(event)
        name = self.type_of(kind)
        if not 1 <= sequence <= MAX_SEQUENCE:
            raise ValueError("a sequence counts from 1 and fits into 32 bits")
        body = _body(event, name)
        event_id = uuid5(source_event_id, name)
        return Publication(
            event_id=event_id,
            channel=self.channel(kind.audience),
            audience=kind.audience,
            key=stream_id,
            partition=partition_of(stream_id),
            sequence=sequence,
            type=name,
            headers=dump_headers(
                event_id=event_id,
                type_name=name,
                source=self.source,
                stream_id=stream_id,
                recorded_at=recorded_at,
                sequence=sequence,
                envelope=envelope,
                dataschema=self.schema_of(kind),
            ),
            body=body,
        )


def _body(event: PublishedEvent, name: str) -> bytes:
    # Reading it back is the only check that holds for every way an event can be made: constructed without
    # validation, holding a list that was changed since, a float JSON has no word for.
    reason = "it holds a value that cannot be written as JSON"
    try:
        body = event.__pydantic_serializer__.to_json(event, warnings="error")
        if len(body) > MAX_EVENT_BYTES:
            raise OversizeEvent(f"{name} has {len(body)} bytes; the limit is {MAX_EVENT_BYTES}")
        if type(event).read(body) == event:
            return body
        reason = "what would be sent reads as another event"
    except ValidationError as error:
        reason = refusals(type(event), error)
    except (ValueError, AttributeError):
        pass
    raise UnpublishableEvent(f"{name} does not follow its contract: {reason}")


def refusals(event: type[PublishedEvent], error: ValidationError) -> str:
    """Where and why a value was refused, without any value: `held_at: datetime_type, seats.0.id: missing`."""
    declared = _declared(event)
    found = error.errors(include_url=False, include_context=False, include_input=False)
    shown = ", ".join(
        f"{'.'.join(str(part) if isinstance(part, int) or part in declared else '*' for part in each['loc'])}"
        f": {each['type']}"
        for each in found[:_SHOWN_REFUSALS]
    )
    return shown if len(found) <= _SHOWN_REFUSALS else f"{shown}, and {len(found) - _SHOWN_REFUSALS} more"


def _declared(model: type[BaseModel]) -> frozenset[str]:
    # Keys of a mapping stand in a location too, and they are data.
    schema = model.model_json_schema()
    return frozenset(
        name for each in (schema, *schema.get("$defs", {}).values()) for name in each.get("properties", {})
    )


def split_channel(channel: str) -> tuple[str, Audience]:
    """Owner and audience of a channel of published events. Raises ValueError for any other name."""
    found = _CHANNEL.fullmatch(channel)
    if found is None:
        raise ValueError("not a channel of published events")
    return found[1], "internal" if found[2] else "public"
