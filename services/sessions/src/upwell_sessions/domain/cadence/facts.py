"""What happens in a cadence, and how it stands after it: events → states → evolve."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from typing import assert_never
from uuid import UUID, uuid5

from upwell_sessions.domain.cadence.session import (
    Details,
    RecapConfirmed,
    RecapWritten,
    Scheduled,
    Session,
    SessionBooked,
    SessionCancelled,
    SessionConfirmed,
    SessionDisputed,
    SessionHeld,
    SessionMissed,
    SessionMoved,
    SessionUnconfirmed,
    SideMissed,
    evolve_session,
)


def cadence_id(pair_id: UUID) -> UUID:
    """The stream of a pair's cadence: a pair has one."""
    return uuid5(pair_id, "cadence")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Who the two are, and how often they mean to meet. The mentor is the junior."""

    pair_id: UUID
    programme_id: UUID
    mentor_id: UUID
    mentee_id: UUID
    sessions: int
    days_between: int
    minutes: int
    ends_on: date


@dataclass(frozen=True, slots=True, kw_only=True)
class CadenceOpened:
    plan: Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class CadencePaused:
    """Nothing new is booked until it is resumed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CadenceResumed:
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class CadenceExtended:
    """`sessions` is the new number of all sessions planned."""

    sessions: int
    ends_on: date


@dataclass(frozen=True, slots=True, kw_only=True)
class CadenceClosed:
    """Nothing is booked any more; what took place may still be confirmed."""


CadenceEvent = (
    CadenceOpened
    | CadencePaused
    | CadenceResumed
    | CadenceExtended
    | CadenceClosed
    | SessionBooked
    | SessionMoved
    | SessionCancelled
    | SessionConfirmed
    | SessionHeld
    | SessionMissed
    | SideMissed
    | SessionDisputed
    | SessionUnconfirmed
    | RecapWritten
    | RecapConfirmed
)

Sessions = Mapping[UUID, Session]


@dataclass(frozen=True, slots=True)
class NoCadence:
    pass


@dataclass(frozen=True, slots=True)
class Open:
    plan: Plan
    sessions: Sessions = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Paused:
    plan: Plan
    sessions: Sessions


@dataclass(frozen=True, slots=True)
class Closed:
    plan: Plan
    sessions: Sessions


Cadence = Open | Paused | Closed
State = NoCadence | Cadence


def evolve(state: State, event: CadenceEvent) -> State:
    if isinstance(event, CadenceOpened):
        return Open(event.plan)
    if isinstance(state, NoCadence):
        return state
    match event:
        case CadencePaused():
            return Paused(state.plan, state.sessions)
        case CadenceResumed():
            return Open(state.plan, state.sessions)
        case CadenceClosed():
            return Closed(state.plan, state.sessions)
        case CadenceExtended(sessions=sessions, ends_on=ends_on):
            return replace(state, plan=replace(state.plan, sessions=sessions, ends_on=ends_on))
        case SessionBooked():
            booked = Scheduled(Details(number=event.number, starts_at=event.starts_at, minutes=event.minutes))
            return replace(state, sessions={**state.sessions, event.session_id: booked})
        case (
            SessionMoved()
            | SessionCancelled()
            | SessionConfirmed()
            | SessionHeld()
            | SessionMissed()
            | SideMissed()
            | SessionDisputed()
            | SessionUnconfirmed()
            | RecapWritten()
            | RecapConfirmed()
        ):
            session = state.sessions.get(event.session_id)
            if session is None:
                return state
            after = evolve_session(session, event)
            return replace(state, sessions={**state.sessions, event.session_id: after})
        case _:
            assert_never(event)
