"""What may happen in an organisation: refusals → commands → decide."""

from dataclasses import dataclass
from typing import assert_never
from uuid import UUID

from upwell_directory.domain.ladder import LocalGrade, require_mapping
from upwell_directory.domain.organisation.facts import (
    ClosedOrganisation,
    GradesMapped,
    NoOrganisation,
    Organisation,
    OrganisationEvent,
    OrganisationOpened,
    State,
    Unit,
    UnitClosed,
    UnitMoved,
    UnitOpened,
    UnitRenamed,
    evolve,
)
from upwell_shared.decider import Decider, DomainError

DEEPEST = 50
MOST_UNITS = 5_000
LONGEST_NAME = 120
SEPARATOR = " / "
"""Between the names of a path; no name holds it."""


class OrganisationAlreadyOpened(DomainError):
    """This organisation is there already, under another name."""


class UnknownOrganisation(DomainError):
    """There is no such organisation: open it first."""


class OrganisationIsClosed(DomainError):
    """This organisation is closed: nothing in it changes any more."""


class UnitAlreadyOpened(DomainError):
    """This id belongs to another unit, open or closed: give the new unit an id of its own."""


class UnknownUnit(DomainError):
    """There is no such unit in this organisation: open it first."""


class UnitIsClosed(DomainError):
    """This unit is closed: name an open one."""


class RootStays(DomainError):
    """The root of an organisation is below nothing and cannot be moved."""


class UnitBelowItself(DomainError):
    """A unit cannot be moved below itself or below a unit under it."""


class TreeTooDeep(DomainError):
    """An organisation has at most 50 levels of units."""


class TooManyUnits(DomainError):
    """An organisation has at most 5,000 open units: open another organisation beside it."""


class UnitNameTaken(DomainError):
    """Another open unit below the same one bears this name."""


class UnfitUnitName(DomainError):
    """A unit's name has 1 to 120 characters, none of them at its edges a space, and no " / " inside."""


class UnitHasUnits(DomainError):
    """Open units are below this one: close or move them first."""


class UnitHasPeople(DomainError):
    """People stand in this unit: move them first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenOrganisation:
    organisation_id: UUID
    name: str
    taken: bool
    """Whether this id is that of a unit inside an organisation, as far as is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenUnit:
    unit_id: UUID
    parent_id: UUID
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MoveUnit:
    unit_id: UUID
    parent_id: UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class RenameUnit:
    unit_id: UUID
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CloseUnit:
    unit_id: UUID
    people: int
    """How many stand in it, as far as is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MapGrades:
    grades: tuple[LocalGrade, ...]


UnitCommand = OpenUnit | MoveUnit | RenameUnit | CloseUnit
OrganisationCommand = OpenOrganisation | UnitCommand | MapGrades


def decide(command: OrganisationCommand, state: State) -> list[OrganisationEvent]:
    if isinstance(command, OpenOrganisation):
        return _open_organisation(command, state)
    match state:
        case NoOrganisation():
            raise UnknownOrganisation
        case ClosedOrganisation(root_id=root_id):
            if command == CloseUnit(unit_id=root_id, people=0):
                return []
            raise OrganisationIsClosed
        case Organisation():
            return _in_open_organisation(command, state)
        case _:
            assert_never(state)


def _in_open_organisation(command: UnitCommand | MapGrades, state: Organisation) -> list[OrganisationEvent]:
    match command:
        case OpenUnit():
            return _open(command, state)
        case MoveUnit():
            return _move(command, state)
        case RenameUnit():
            return _rename(command, state)
        case CloseUnit():
            return _close(command, state)
        case MapGrades(grades=grades):
            require_mapping(grades)
            return [] if grades == state.grades else [GradesMapped(grades=grades)]
        case _:
            assert_never(command)


def _open_organisation(command: OpenOrganisation, state: State) -> list[OrganisationEvent]:
    _require_fit(command.name)
    match state:
        case NoOrganisation():
            if command.taken:
                raise UnitAlreadyOpened
            return [OrganisationOpened(organisation_id=command.organisation_id, name=command.name)]
        case ClosedOrganisation():
            raise OrganisationIsClosed
        case Organisation():
            if state.units[state.root_id].name != command.name:
                raise OrganisationAlreadyOpened
            return []
        case _:
            assert_never(state)


def _open(command: OpenUnit, state: Organisation) -> list[OrganisationEvent]:
    if state.units.get(command.unit_id) == Unit(command.parent_id, command.name):
        return []
    if command.unit_id in state.units or command.unit_id in state.closed:
        raise UnitAlreadyOpened
    _require_fit(command.name)
    _require_open(command.parent_id, state)
    if len(state.units) >= MOST_UNITS:
        raise TooManyUnits
    _require_room(command.parent_id, 1, state)
    _require_free_name(command.name, command.parent_id, state)
    return [UnitOpened(unit_id=command.unit_id, parent_id=command.parent_id, name=command.name)]


def _move(command: MoveUnit, state: Organisation) -> list[OrganisationEvent]:
    _require_open(command.unit_id, state)
    if command.unit_id == state.root_id:
        raise RootStays
    _require_open(command.parent_id, state)
    unit = state.units[command.unit_id]
    if unit.parent_id == command.parent_id:
        return []
    if command.unit_id in state.path(command.parent_id):
        raise UnitBelowItself
    _require_room(command.parent_id, 1 + state.levels_below(command.unit_id), state)
    _require_free_name(unit.name, command.parent_id, state)
    return [UnitMoved(unit_id=command.unit_id, parent_id=command.parent_id)]


def _rename(command: RenameUnit, state: Organisation) -> list[OrganisationEvent]:
    _require_open(command.unit_id, state)
    _require_fit(command.name)
    unit = state.units[command.unit_id]
    if unit.name == command.name:
        return []
    if unit.parent_id is not None and unit.name.casefold() != command.name.casefold():
        _require_free_name(command.name, unit.parent_id, state)
    return [UnitRenamed(unit_id=command.unit_id, name=command.name)]


def _close(command: CloseUnit, state: Organisation) -> list[OrganisationEvent]:
    if command.unit_id in state.closed:
        return []
    _require_open(command.unit_id, state)
    if any(state.children(command.unit_id)):
        raise UnitHasUnits
    if command.people:
        raise UnitHasPeople
    return [UnitClosed(unit_id=command.unit_id)]


def _require_open(unit_id: UUID, state: Organisation) -> None:
    if unit_id in state.closed:
        raise UnitIsClosed
    if unit_id not in state.units:
        raise UnknownUnit


def _require_room(parent_id: UUID, levels: int, state: Organisation) -> None:
    if sum(1 for _ in state.path(parent_id)) + levels > DEEPEST:
        raise TreeTooDeep


def _require_free_name(name: str, parent_id: UUID, state: Organisation) -> None:
    if any(state.units[child].name.casefold() == name.casefold() for child in state.children(parent_id)):
        raise UnitNameTaken


def _require_fit(name: str) -> None:
    if not 1 <= len(name) <= LONGEST_NAME or name != name.strip() or SEPARATOR in name:
        raise UnfitUnitName


organisation: Decider[OrganisationCommand, State, OrganisationEvent] = Decider(
    NoOrganisation(), decide, evolve
)
