"""What happens in an organisation, and what its tree is after it: events → states → evolve."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, assert_never
from uuid import UUID

from upwell_directory.domain.ladder import LocalGrade


@dataclass(frozen=True, slots=True, kw_only=True)
class OrganisationOpened:
    organisation_id: UUID
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitOpened:
    unit_id: UUID
    parent_id: UUID
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitMoved:
    unit_id: UUID
    parent_id: UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitRenamed:
    unit_id: UUID
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitClosed:
    unit_id: UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class GradesMapped:
    """Takes the place of every earlier mapping of this organisation."""

    grades: tuple[LocalGrade, ...]


OrganisationEvent = OrganisationOpened | UnitOpened | UnitMoved | UnitRenamed | UnitClosed | GradesMapped


@dataclass(frozen=True, slots=True)
class Unit:
    parent_id: UUID | None
    name: str


@dataclass(frozen=True, slots=True)
class NoOrganisation:
    pass


@dataclass(frozen=True, slots=True)
class Organisation:
    """`units` are the open ones, the root among them."""

    root_id: UUID
    units: Mapping[UUID, Unit]
    closed: frozenset[UUID] = field(default_factory=frozenset)
    grades: tuple[LocalGrade, ...] = ()

    def path(self, unit_id: UUID) -> Iterator[UUID]:
        """An open unit and all above it, upwards."""
        above: UUID | None = unit_id
        while above is not None:
            yield above
            above = self.units[above].parent_id

    def children(self, unit_id: UUID) -> Iterator[UUID]:
        """The open units directly below."""
        return (below for below, unit in self.units.items() if unit.parent_id == unit_id)

    def levels_below(self, unit_id: UUID) -> int:
        """How deep the open units below it reach; 0 when there are none."""
        paths = (tuple(self.path(below)) for below in self.units)
        return max(path.index(unit_id) for path in paths if unit_id in path)


@dataclass(frozen=True, slots=True)
class ClosedOrganisation:
    root_id: UUID


State = NoOrganisation | Organisation | ClosedOrganisation


def evolve(state: State, event: OrganisationEvent) -> State:
    if isinstance(event, OrganisationOpened):
        return Organisation(event.organisation_id, {event.organisation_id: Unit(None, event.name)})
    if not isinstance(state, Organisation):
        return state
    match event:
        case UnitOpened():
            opened = Unit(event.parent_id, event.name)
            return replace(state, units={**state.units, event.unit_id: opened})
        case UnitMoved():
            return _changed(state, event.unit_id, parent_id=event.parent_id)
        case UnitRenamed():
            return _changed(state, event.unit_id, name=event.name)
        case UnitClosed(unit_id=unit_id):
            if unit_id == state.root_id:
                return ClosedOrganisation(unit_id)
            left = {open_id: unit for open_id, unit in state.units.items() if open_id != unit_id}
            return replace(state, units=left, closed=state.closed | {unit_id})
        case GradesMapped():
            return replace(state, grades=event.grades)
        case _:
            assert_never(event)


def _changed(state: Organisation, unit_id: UUID, **changes: Any) -> Organisation:
    if unit_id not in state.units:
        return state
    return replace(state, units={**state.units, unit_id: replace(state.units[unit_id], **changes)})
