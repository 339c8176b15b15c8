"""What may happen to a person: refusals → commands → decide."""

from dataclasses import dataclass
from datetime import date, timedelta
from typing import assert_never
from uuid import UUID

from upwell_directory.domain.ladder import require_on_ladder
from upwell_directory.domain.organisation import UnitIsClosed, UnknownUnit
from upwell_directory.domain.person.facts import (
    ConsentGiven,
    ConsentWithdrawn,
    Employed,
    Erased,
    ErasureAcknowledged,
    Gone,
    Nobody,
    OnLeave,
    PersonErased,
    PersonEvent,
    PersonJoined,
    PersonLeft,
    PersonMoved,
    PersonReturned,
    PersonWentOnLeave,
    Place,
    Present,
    Purpose,
    State,
    evolve,
)
from upwell_shared.decider import Decider, DomainError


class UnknownPerson(DomainError):
    """There is no such person."""


class PersonAlreadyJoined(DomainError):
    """This person has joined already and stands elsewhere: move them."""


class PersonIsGone(DomainError):
    """This person has left: let them join again first."""


class PersonIsErased(DomainError):
    """This person was erased, which is for good."""


class UnitOfAnotherOrganisation(DomainError):
    """This unit belongs to another organisation: to change organisations a person leaves and joins again."""


class UnknownManager(DomainError):
    """The manager named is nobody who works here at present."""


class ManagerOfOneself(DomainError):
    """Nobody is their own manager."""


class ManagerBelow(DomainError):
    """The manager named reports to this person, directly or through others."""


class RoleBeginsLater(DomainError):
    """A role that has begun by tomorrow at the latest can be recorded, none that begins later."""


class NotOnLeave(DomainError):
    """This person is not on leave."""


class LeaveIsOver(DomainError):
    """The last day of a leave cannot have passed already."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitFacts:
    """A unit as it is known when the command is made."""

    organisation_id: UUID
    is_open: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaceFacts:
    """What is known of a place beyond the person's own facts: looked up, see `commands.py`.

    `line` is the manager, the manager's manager and so on, upwards; None when the manager does not work here.
    """

    unit: UnitFacts | None
    line: tuple[UUID, ...] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinPerson:
    person_id: UUID
    organisation_id: UUID
    place: Place
    known: PlaceFacts
    today: date


@dataclass(frozen=True, slots=True, kw_only=True)
class MovePerson:
    person_id: UUID
    place: Place
    known: PlaceFacts
    today: date


@dataclass(frozen=True, slots=True, kw_only=True)
class KeepPerson:
    """Nothing happens to this person. Sent with the version that was seen, beside what was decided on it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SendOnLeave:
    until: date | None
    today: date


@dataclass(frozen=True, slots=True, kw_only=True)
class ReturnFromLeave:
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordLeaving:
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class GiveConsent:
    purpose: Purpose


@dataclass(frozen=True, slots=True, kw_only=True)
class WithdrawConsent:
    purpose: Purpose


@dataclass(frozen=True, slots=True, kw_only=True)
class ErasePerson:
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class AcknowledgeErasure:
    """Sent once names and addresses are deleted."""


PersonCommand = (
    JoinPerson
    | MovePerson
    | KeepPerson
    | SendOnLeave
    | ReturnFromLeave
    | RecordLeaving
    | GiveConsent
    | WithdrawConsent
    | ErasePerson
    | AcknowledgeErasure
)


def decide(command: PersonCommand, state: State) -> list[PersonEvent]:
    match command:
        case JoinPerson():
            return _join(command, state)
        case MovePerson():
            return _move(command, state)
        case KeepPerson():
            return []
        case SendOnLeave():
            return _send_on_leave(command, state)
        case ReturnFromLeave():
            if not isinstance(_present(state), OnLeave):
                raise NotOnLeave
            return [PersonReturned()]
        case RecordLeaving():
            if isinstance(state, Gone):
                return []
            _present(state)
            return [PersonLeft()]
        case GiveConsent(purpose=purpose):
            given = _present(state).consents
            return [] if purpose in given else [ConsentGiven(purpose=purpose)]
        case WithdrawConsent(purpose=purpose):
            given = state.consents if isinstance(state, Gone) else _present(state).consents
            return [ConsentWithdrawn(purpose=purpose)] if purpose in given else []
        case ErasePerson():
            return _erase(state)
        case AcknowledgeErasure():
            waits = isinstance(state, Erased) and not state.acknowledged
            return [ErasureAcknowledged()] if waits else []
        case _:
            assert_never(command)


def _join(command: JoinPerson, state: State) -> list[PersonEvent]:
    match state:
        case Erased():
            raise PersonIsErased
        case Employed() | OnLeave():
            if (state.organisation_id, state.place) != (command.organisation_id, command.place):
                raise PersonAlreadyJoined
            return []
        case Nobody() | Gone():
            _require_place(command.organisation_id, command)
            joined = PersonJoined(organisation_id=command.organisation_id, place=command.place)
            # Who hears of leave alone would never learn that it is over.
            was_on_leave = isinstance(state, Gone) and state.on_leave
            return [joined, PersonReturned()] if was_on_leave else [joined]
        case _:
            assert_never(state)


def _move(command: MovePerson, state: State) -> list[PersonEvent]:
    there = _present(state)
    if there.place == command.place:
        return []
    _require_place(there.organisation_id, command)
    return [PersonMoved(place=command.place)]


def _send_on_leave(command: SendOnLeave, state: State) -> list[PersonEvent]:
    there = _present(state)
    if isinstance(there, OnLeave) and there.until == command.until:
        return []
    if command.until is not None and command.until < command.today:
        raise LeaveIsOver
    return [PersonWentOnLeave(until=command.until)]


def _erase(state: State) -> list[PersonEvent]:
    """Whoever is still here leaves first, so that nobody need know two ways of going."""
    match state:
        case Nobody():
            raise UnknownPerson
        case Employed() | OnLeave():
            return [PersonLeft(), PersonErased()]
        case Gone():
            return [PersonErased()]
        case Erased():
            return []
        case _:
            assert_never(state)


def _present(state: State) -> Present:
    match state:
        case Nobody():
            raise UnknownPerson
        case Gone():
            raise PersonIsGone
        case Erased():
            raise PersonIsErased
        case Employed() | OnLeave():
            return state
        case _:
            assert_never(state)


def latest_beginning(today: date) -> date:
    """A role may have begun by then: somewhere it is tomorrow already."""
    return today + timedelta(days=1)


def _require_place(organisation_id: UUID, command: JoinPerson | MovePerson) -> None:
    person_id, place, known = command.person_id, command.place, command.known
    require_on_ladder(place.grade)
    if place.in_role_since > latest_beginning(command.today):
        raise RoleBeginsLater
    if known.unit is None:
        raise UnknownUnit
    if known.unit.organisation_id != organisation_id:
        raise UnitOfAnotherOrganisation
    if not known.unit.is_open:
        raise UnitIsClosed
    if place.manager_id == person_id:
        raise ManagerOfOneself
    if known.line is None:
        raise UnknownManager
    if person_id in known.line:
        raise ManagerBelow


person: Decider[PersonCommand, State, PersonEvent] = Decider(Nobody(), decide, evolve)
