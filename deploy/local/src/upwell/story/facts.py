"""What the stores say of one correlation: pure data, a row each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from uuid import UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """A stored event. `behind` are the service's own read models that have not read it yet."""

    service: str
    event_id: UUID
    type: str
    stream_id: UUID
    version: int
    command_id: UUID
    causation_id: UUID | None
    recorded_at: datetime
    behind: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Publication:
    """A row of a ledger. `relayed`: the relay's cursor has passed it, so the broker has acknowledged it."""

    service: str
    event_id: UUID
    source_id: UUID
    type: str
    channel: str
    stream_id: UUID
    sequence: int
    relayed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """A command a service has promised itself: a to-do, or a timer when `due_at` says so."""

    service: str
    command_id: UUID
    type: str
    stream_id: UUID
    causation_id: UUID | None
    since: datetime | None = None
    attempts: int = 0
    parked_because: str | None = None
    due_at: datetime | None = None

    @property
    def state(self) -> str:
        """Timer · parked · postponed · open"""
        if self.due_at is not None:
            return "timer"
        if self.parked_because is not None:
            return "parked"
        return "postponed" if self.attempts else "open"


class Taking(StrEnum):
    """How far a listening service is with a published event."""

    TAKEN = "taken"
    """Its effects are committed: rows, and to-dos for what it asks for."""
    PARKED = "parked"
    """It lies in the dead letters."""
    WAITING = "waiting"
    """It lies in the dead letters behind another one of its stream."""
    DISCARDED = "discarded"
    """Somebody has decided that it is to have no effect; it counts as seen."""
    NOT_YET = "not yet"


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """One listening service and one published event. `error` is the class of what was raised, for a parked one."""

    service: str
    event_id: UUID
    taking: Taking
    error: str | None = None
    attempts: int = 0


@dataclass(frozen=True, slots=True)
class Facts:
    """All that is known of one correlation. `cut`: services of which only the first events were read."""

    events: Sequence[Event] = ()
    publications: Sequence[Publication] = ()
    promises: Sequence[Promise] = ()
    heard: Sequence[Heard] = ()
    cut: Mapping[str, int] = field(default_factory=dict)
