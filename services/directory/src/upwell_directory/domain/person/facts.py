"""What happens to a person, and how they stand after it: events → states → evolve."""

from dataclasses import dataclass, replace
from datetime import date
from enum import StrEnum
from typing import assert_never
from uuid import UUID


class Purpose(StrEnum):
    """What a person may agree to."""

    PARTICIPATION = "participation"
    QUOTES = "quotes"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a person stands in an organisation."""

    unit_id: UUID
    grade: int
    manager_id: UUID | None
    in_role_since: date


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonJoined:
    organisation_id: UUID
    place: Place


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonMoved:
    place: Place


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonWentOnLeave:
    """Of somebody on leave already: until another day."""

    until: date | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonReturned:
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonLeft:
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsentGiven:
    purpose: Purpose


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsentWithdrawn:
    purpose: Purpose


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonErased:
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class ErasureAcknowledged:
    """The directory itself holds neither name nor address of this person any more."""


PersonEvent = (
    PersonJoined
    | PersonMoved
    | PersonWentOnLeave
    | PersonReturned
    | PersonLeft
    | ConsentGiven
    | ConsentWithdrawn
    | PersonErased
    | ErasureAcknowledged
)


@dataclass(frozen=True, slots=True)
class Nobody:
    pass


@dataclass(frozen=True, slots=True)
class Employed:
    organisation_id: UUID
    place: Place
    consents: frozenset[Purpose] = frozenset()


@dataclass(frozen=True, slots=True)
class OnLeave:
    organisation_id: UUID
    place: Place
    consents: frozenset[Purpose]
    until: date | None


@dataclass(frozen=True, slots=True)
class Gone:
    """May join again; until then a consent can still be withdrawn. Of whoever left on leave, that is not over yet."""

    organisation_id: UUID
    unit_id: UUID
    consents: frozenset[Purpose]
    on_leave: bool = False


@dataclass(frozen=True, slots=True)
class Erased:
    organisation_id: UUID
    acknowledged: bool = False


Present = Employed | OnLeave
State = Nobody | Present | Gone | Erased


def evolve(state: State, event: PersonEvent) -> State:
    match event:
        case PersonJoined():
            consents = state.consents if isinstance(state, Gone) else frozenset[Purpose]()
            return Employed(event.organisation_id, event.place, consents)
        case PersonMoved():
            return replace(state, place=event.place) if isinstance(state, Present) else state
        case PersonWentOnLeave():
            if not isinstance(state, Present):
                return state
            return OnLeave(state.organisation_id, state.place, state.consents, event.until)
        case PersonReturned():
            if not isinstance(state, OnLeave):
                return state
            return Employed(state.organisation_id, state.place, state.consents)
        case PersonLeft():
            if not isinstance(state, Present):
                return state
            return Gone(
                state.organisation_id,
                state.place.unit_id,
                state.consents,
                on_leave=isinstance(state, OnLeave),
            )
        case ConsentGiven():
            if not isinstance(state, Present):
                return state
            return replace(state, consents=state.consents | {event.purpose})
        case ConsentWithdrawn():
            if not isinstance(state, Present | Gone):
                return state
            return replace(state, consents=state.consents - {event.purpose})
        case PersonErased():
            return state if isinstance(state, Nobody) else Erased(state.organisation_id)
        case ErasureAcknowledged():
            return replace(state, acknowledged=True) if isinstance(state, Erased) else state
        case _:
            assert_never(event)
