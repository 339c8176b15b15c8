"""What a file asks for, given what is known: pure, so that a dry run and a run cannot differ."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Final, Literal
from uuid import UUID, uuid5

from upwell_directory.contacts import Contact
from upwell_directory.domain.ladder import HIGHEST, LOWEST
from upwell_directory.domain.organisation import DEEPEST, MOST_UNITS
from upwell_directory.domain.person import Place, latest_beginning
from upwell_directory.importing.reading import Fault, Row
from upwell_directory.projections.people_by_unit import Row as Person
from upwell_directory.projections.unit_tree import Unit

_NO_ROOT: Final = "is no open organisation of yours"
_MANY_ROOTS: Final = "is the name of several: give the id instead"
_NOT_REACHED: Final = "is not among your units, nor below one of them"

Action = Literal["create", "move", "correct", "unchanged"]
"""`correct`: only names or addresses differ."""

Key = tuple[UUID, str]
"""Organisation and external id: who is meant."""


@dataclass(frozen=True, slots=True)
class Known:
    """What the directory knew when the file came."""

    import_id: UUID
    reach: frozenset[UUID]
    """The caller's units."""
    today: date
    units: Mapping[UUID, Unit]
    """The open units of the organisations these are in."""
    grades: Mapping[UUID, Mapping[str, int]]
    contacts: Mapping[Key, tuple[UUID, Contact]]
    """Of everybody the file names, managers included."""
    people: Mapping[UUID, Person]
    """Them again, and everybody above them."""
    user_names: Mapping[str, Key]
    """Whose each user name of the file is already, by the name as the file writes it."""


@dataclass(frozen=True, slots=True)
class UnitStep:
    """A unit the file names that is not there yet."""

    unit_id: UUID
    organisation_id: UUID
    parent_id: UUID
    name: str


@dataclass(frozen=True, slots=True, repr=False)
class PersonStep:
    """A row that fits."""

    line: int
    action: Action
    person_id: UUID
    organisation_id: UUID
    contact: Contact
    writes_contact: bool
    place: Place


@dataclass(frozen=True, slots=True)
class Plan:
    """Units parents first; people in groups, of which each stands below the ones before it."""

    units: Sequence[UnitStep]
    groups: Sequence[Sequence[PersonStep]]
    faults: Sequence[Fault]

    @property
    def steps(self) -> Iterator[PersonStep]:
        return (step for group in self.groups for step in group)


@dataclass(slots=True)
class _Candidate:
    """A row whose own values make sense; whether its manager does is seen when all are together."""

    row: Row
    key: Key
    person_id: UUID
    unit_id: UUID
    grade: int
    manager_id: UUID | None = None


@dataclass(slots=True)
class _Tree:
    """The units that are there, and those the file adds, by parent and name in small letters."""

    known: Known
    roots: Mapping[str, UUID] = field(init=False)
    by_name: dict[tuple[UUID | None, str], list[UUID]] = field(default_factory=dict)
    added: dict[UUID, UnitStep] = field(default_factory=dict)

    def __post_init__(self) -> None:
        units = self.known.units.values()
        self.roots = {str(unit.unit_id): unit.unit_id for unit in units if unit.parent_id is None}
        for unit in units:
            self.by_name.setdefault((unit.parent_id, unit.name.casefold()), []).append(unit.unit_id)

    def root(self, told: str) -> list[UUID]:
        """Organisations of that name, or the one with that id."""
        if told in self.roots:
            return [self.roots[told]]
        return self.by_name.get((None, told.casefold()), [])

    def find(self, root: UUID, names: Iterable[str]) -> UUID | str:
        """The unit at the end of the path, added where missing; what is wrong with it, if it cannot be."""
        unit_id, reached = root, self._reached(root)
        for name in names:
            found = self.by_name.get((unit_id, name.casefold()))
            if found is None:
                if not reached:
                    return _NOT_REACHED
                if self._level(unit_id) >= DEEPEST:
                    return f"is too deep: an organisation has at most {DEEPEST} levels of units"
                step = UnitStep(
                    uuid5(self.known.import_id, f"unit/{unit_id}/{name.casefold()}"), root, unit_id, name
                )
                self.added[step.unit_id] = step
                found = self.by_name.setdefault((unit_id, name.casefold()), [step.unit_id])
            unit_id = found[0]
            reached = reached or self._reached(unit_id)
        return unit_id if reached else _NOT_REACHED

    def _level(self, unit_id: UUID) -> int:
        """How many units its path has, the root and itself among them."""
        steps = [*self.added_above(unit_id)]
        there = steps[-1].parent_id if steps else unit_id
        return len(steps) + len(self.known.units[there].path)

    def added_above(self, unit_id: UUID) -> Iterator[UnitStep]:
        """The unit and those above it, upwards, as far as the file adds them."""
        while (step := self.added.get(unit_id)) is not None:
            yield step
            unit_id = step.parent_id

    def _reached(self, unit_id: UUID) -> bool:
        unit = self.known.units.get(unit_id)
        return unit is not None and not self.known.reach.isdisjoint(unit.path)


def plan(rows: Sequence[Row], known: Known) -> Plan:
    """What to do, in an order in which it can be done, and every row that cannot be with its reason."""
    tree = _Tree(known)
    faults: list[Fault] = []
    candidates: dict[Key, _Candidate] = {}
    names_seen: set[str] = set()
    rejected: list[tuple[Row, Key]] = []
    for row in rows:
        roots = tree.root(row.organisation)
        if len(roots) != 1:
            faults += _only(row, {"organisation": _NO_ROOT if not roots else _MANY_ROOTS})
            continue
        key = (roots[0], row.contact.external_id)
        found = _candidate(row, key, known, tree)
        wrong = found if isinstance(found, dict) else {}
        if key in candidates:
            wrong["external_id"] = "comes twice in this organisation: leave one"
        if row.contact.user_name.casefold() in names_seen:
            wrong["user_name"] = "comes twice: leave one"
        faults += _only(row, wrong)
        if isinstance(found, dict) or wrong or row.bad:
            rejected.append((row, key))
        else:
            candidates[key] = found
            names_seen.add(row.contact.user_name.casefold())
    good, more = _with_managers(candidates, known)
    fitting, crowded = _with_room(good, tree)
    if crowded:
        good, without = _with_managers(fitting, known)
        more += [*crowded, *without]
    for row, key in rejected:
        if isinstance(manager := _manager(row, key, good, known), str):
            faults += _only(row, {"manager_external_id": manager})
    groups = _in_order(good, known)
    wanted = _needed(tree, {candidate.unit_id for candidate in good.values()})
    return Plan(wanted, groups, sorted([*faults, *more]))


def _only(row: Row, wrong: Mapping[str, str]) -> list[Fault]:
    """Of what is wrong with a row, by column, that which is not said by its value alone."""
    return [Fault(row.line, column, detail) for column, detail in wrong.items() if column not in row.bad]


def _candidate(row: Row, key: Key, known: Known, tree: _Tree) -> _Candidate | dict[str, str]:
    """The row with what its values mean; all that is wrong with them by column, if anything is."""
    wrong: dict[str, str] = {}
    if "external_id" not in row.bad and known.user_names.get(row.contact.user_name, key) != key:
        wrong["user_name"] = "belongs to somebody else: give another"
    grade = _grade(row.grade, known.grades.get(key[0], {}))
    if grade is None:
        wrong["grade"] = "is no grade of this organisation: see its mapping to the ladder"
    if row.in_role_since > latest_beginning(known.today):
        wrong["in_role_since"] = "has not begun by tomorrow: give the day on which the role began"
    unit_id = tree.find(key[0], row.unit)
    if isinstance(unit_id, str):
        wrong["unit"] = unit_id
    stored = known.contacts.get(key)
    person_id = uuid5(known.import_id, f"person/{key[0]}/{key[1]}") if stored is None else stored[0]
    person = known.people.get(person_id)
    if person is not None and person.standing == "erased":
        wrong["external_id"] = "is being erased: try again in a minute"
    elif person is not None and not _movable(person, known):
        wrong["external_id"] = "stands in a unit that is not yours: ask whose it is"
    if wrong or grade is None or isinstance(unit_id, str):
        return wrong
    return _Candidate(row, key, person_id, unit_id, grade)


def _movable(person: Person, known: Known) -> bool:
    # Who stands in a closed unit may be taken over: nobody can be asked for them any more.
    unit = known.units.get(person.unit_id)
    return unit is None or not known.reach.isdisjoint(unit.path)


def _grade(told: str, local: Mapping[str, int]) -> int | None:
    """An organisation that maps its grades speaks its own names; any other speaks of 1 to 20."""
    if local:
        return {label.casefold(): grade for label, grade in local.items()}.get(told.casefold())
    return int(told) if told.isascii() and told.isdigit() and LOWEST <= int(told) <= HIGHEST else None


def _with_managers(
    candidates: dict[Key, _Candidate], known: Known
) -> tuple[dict[Key, _Candidate], list[Fault]]:
    """Those whose managers will be there and not below them. One that falls out may take others along."""
    good, faults = dict(candidates), list[Fault]()
    while True:
        unfit = {key: detail for key in good if (detail := _set_manager(good[key], good, known))}
        if not unfit:
            in_circle = _in_circles({c.person_id: c.manager_id for c in good.values()}, known)
            unfit = {
                key: "reports to this person, directly or through others: correct either"
                for key in good
                if good[key].person_id in in_circle
            }
        if not unfit:
            return good, faults
        for key, detail in unfit.items():
            faults.append(Fault(good.pop(key).row.line, "manager_external_id", detail))


def _set_manager(candidate: _Candidate, good: Mapping[Key, _Candidate], known: Known) -> str | None:
    """Finds who the manager is; what is wrong, if that fails."""
    found = _manager(candidate.row, candidate.key, good, known)
    candidate.manager_id = None if isinstance(found, str) else found
    return found if isinstance(found, str) else None


def _manager(row: Row, key: Key, good: Mapping[Key, _Candidate], known: Known) -> UUID | str | None:
    """Who the manager is, if there is to be one; or what is wrong with who is named."""
    if row.manager_external_id is None:
        return None
    named = (key[0], row.manager_external_id)
    if named == key:
        return "is this person: nobody is their own manager"
    if named in good:
        return good[named].person_id
    stored = known.contacts.get(named)
    person = None if stored is None else known.people.get(stored[0])
    if person is None or person.standing not in {"employed", "on_leave"}:
        return "is nobody who works here, nor a row of this file that can be imported"
    return person.person_id


def _with_room(
    candidates: Mapping[Key, _Candidate], tree: _Tree
) -> tuple[dict[Key, _Candidate], list[Fault]]:
    """Those whose units there is still room for in their organisation, in the order of the file."""
    units = Counter(unit.organisation_id for unit in tree.known.units.values())
    fitting, faults, wanted = dict[Key, _Candidate](), list[Fault](), set[UUID]()
    for key, candidate in candidates.items():
        new = {step.unit_id for step in tree.added_above(candidate.unit_id)} - wanted
        if new and units[key[0]] + len(new) > MOST_UNITS:
            detail = f"is one too many: an organisation has at most {MOST_UNITS:,} open units"
            faults.append(Fault(candidate.row.line, "unit", detail))
        else:
            units[key[0]] += len(new)
            wanted |= new
            fitting[key] = candidate
    return fitting, faults


def _in_circles(managers: Mapping[UUID, UUID | None], known: Known) -> set[UUID]:
    """Everybody who would be above themselves."""
    settled: set[UUID] = set()
    circling: set[UUID] = set()
    for start in managers:
        walked: dict[UUID, None] = {}
        at: UUID | None = start
        while at is not None and at not in settled and at not in walked:
            walked[at] = None
            at = _above(at, managers, known)
        if at is not None and at in walked:
            path = list(walked)
            circling.update(path[path.index(at) :])
        settled.update(walked)
    return circling


def _above(person_id: UUID, managers: Mapping[UUID, UUID | None], known: Known) -> UUID | None:
    if person_id in managers:
        return managers[person_id]
    person = known.people.get(person_id)
    return None if person is None else person.manager_id


def _in_order(good: Mapping[Key, _Candidate], known: Known) -> list[list[PersonStep]]:
    """Managers first: so everybody's line is as it will be by the time they are placed below it."""
    managers = {candidate.person_id: candidate.manager_id for candidate in good.values()}
    groups: dict[int, list[PersonStep]] = {}
    for candidate in good.values():
        line = _line(candidate.manager_id, managers, known)
        above = sum(1 for person_id in line if person_id in managers)
        groups.setdefault(above, []).append(_step(candidate, known))
    return [groups[above] for above in sorted(groups)]


def _line(manager_id: UUID | None, managers: Mapping[UUID, UUID | None], known: Known) -> Sequence[UUID]:
    # A circle among people the file does not touch is not of its making, and must not hold it up.
    line: dict[UUID, None] = {}
    while manager_id is not None and manager_id not in line:
        line[manager_id] = None
        manager_id = _above(manager_id, managers, known)
    return list(line)


def _step(candidate: _Candidate, known: Known) -> PersonStep:
    row = candidate.row
    place = Place(
        unit_id=candidate.unit_id,
        grade=candidate.grade,
        manager_id=candidate.manager_id,
        in_role_since=row.in_role_since,
    )
    stored = known.contacts.get(candidate.key)
    writes_contact = stored is None or stored[1] != row.contact
    person = known.people.get(candidate.person_id)
    action: Action
    if person is None or person.standing == "gone":
        action = "create"
    elif (person.unit_id, person.grade, person.manager_id, person.in_role_since) != (
        place.unit_id,
        place.grade,
        place.manager_id,
        place.in_role_since,
    ):
        action = "move"
    else:
        action = "correct" if writes_contact else "unchanged"
    return PersonStep(
        row.line, action, candidate.person_id, candidate.key[0], row.contact, writes_contact, place
    )


def _needed(tree: _Tree, used: set[UUID]) -> list[UnitStep]:
    """Of the units added on the way, those that somebody will stand in or below; parents first, as they were added."""
    needed = {step.unit_id for unit_id in used for step in tree.added_above(unit_id)}
    return [step for unit_id, step in tree.added.items() if unit_id in needed]


def counts(steps: Iterable[PersonStep]) -> Mapping[Action, int]:
    """How many rows ask for what."""
    return Counter(step.action for step in steps)
