"""The tree of units: its rules, and that no sequence of commands makes a cycle."""

import itertools
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from upwell_directory.domain.ladder import GradeMappedTwice, LocalGrade, OffTheLadder
from upwell_directory.domain.organisation import (
    DEEPEST,
    ClosedOrganisation,
    CloseUnit,
    GradesMapped,
    MapGrades,
    MoveUnit,
    OpenOrganisation,
    OpenUnit,
    Organisation,
    OrganisationAlreadyOpened,
    OrganisationIsClosed,
    OrganisationOpened,
    RenameUnit,
    RootStays,
    TreeTooDeep,
    UnfitUnitName,
    UnitAlreadyOpened,
    UnitBelowItself,
    UnitClosed,
    UnitHasPeople,
    UnitHasUnits,
    UnitIsClosed,
    UnitMoved,
    UnitNameTaken,
    UnitOpened,
    UnitRenamed,
    UnknownOrganisation,
    UnknownUnit,
    organisation,
)
from upwell_shared.decider import DomainError
from upwell_shared.testing import Given

ROOT, SALES, NORTH, SOUTH, OTHER = (UUID(int=n) for n in range(1, 6))
OPENED = OrganisationOpened(organisation_id=ROOT, name="Acme")
SALES_OPENED = UnitOpened(unit_id=SALES, parent_id=ROOT, name="Sales")
NORTH_OPENED = UnitOpened(unit_id=NORTH, parent_id=SALES, name="North")

given_tree = Given(organisation)


def test_an_organisation_opens_once() -> None:
    opening = OpenOrganisation(organisation_id=ROOT, name="Acme", taken=False)
    given_tree().when(opening, opening).then(OPENED)
    given_tree(OPENED).when(OpenOrganisation(organisation_id=ROOT, name="Ajax", taken=False)).then_refused(
        OrganisationAlreadyOpened
    )


def test_no_organisation_takes_the_id_of_a_unit() -> None:
    given_tree().when(OpenOrganisation(organisation_id=ROOT, name="Acme", taken=True)).then_refused(
        UnitAlreadyOpened
    )


def test_nothing_happens_in_an_organisation_that_was_never_opened() -> None:
    given_tree().when(OpenUnit(unit_id=SALES, parent_id=ROOT, name="Sales")).then_refused(UnknownOrganisation)


def test_a_unit_opens_below_an_open_one_and_once() -> None:
    opening = OpenUnit(unit_id=SALES, parent_id=ROOT, name="Sales")
    given_tree(OPENED).when(opening, opening).then(SALES_OPENED)


@pytest.mark.parametrize(
    ("command", "refusal"),
    [
        (OpenUnit(unit_id=OTHER, parent_id=SOUTH, name="East"), UnknownUnit),
        (OpenUnit(unit_id=NORTH, parent_id=ROOT, name="North"), UnitAlreadyOpened),
        (OpenUnit(unit_id=OTHER, parent_id=SALES, name="NORTH"), UnitNameTaken),
        (OpenUnit(unit_id=OTHER, parent_id=SALES, name="A / B"), UnfitUnitName),
        (OpenUnit(unit_id=OTHER, parent_id=SALES, name=" "), UnfitUnitName),
        (OpenUnit(unit_id=OTHER, parent_id=SALES, name="x" * 121), UnfitUnitName),
        (MoveUnit(unit_id=SALES, parent_id=SALES), UnitBelowItself),
        (MoveUnit(unit_id=SALES, parent_id=NORTH), UnitBelowItself),
        (MoveUnit(unit_id=ROOT, parent_id=NORTH), RootStays),
        (MoveUnit(unit_id=OTHER, parent_id=ROOT), UnknownUnit),
        (MoveUnit(unit_id=NORTH, parent_id=OTHER), UnknownUnit),
        (RenameUnit(unit_id=OTHER, name="East"), UnknownUnit),
        (RenameUnit(unit_id=NORTH, name=""), UnfitUnitName),
        (CloseUnit(unit_id=SALES, people=0), UnitHasUnits),
        (CloseUnit(unit_id=ROOT, people=0), UnitHasUnits),
        (CloseUnit(unit_id=NORTH, people=1), UnitHasPeople),
        (CloseUnit(unit_id=OTHER, people=0), UnknownUnit),
        (MapGrades(grades=(LocalGrade(label="E1", grade=21),)), OffTheLadder),
        (
            MapGrades(grades=(LocalGrade(label="E1", grade=1), LocalGrade(label="e1", grade=2))),
            GradeMappedTwice,
        ),
    ],
)
def test_a_rule_says_no(command: Any, refusal: type[DomainError]) -> None:
    given_tree(OPENED, SALES_OPENED, NORTH_OPENED).when(command).then_refused(refusal)


def test_a_unit_moves_with_all_below_it() -> None:
    story = given_tree(
        OPENED, SALES_OPENED, NORTH_OPENED, UnitOpened(unit_id=SOUTH, parent_id=ROOT, name="S")
    )
    moved = UnitMoved(unit_id=SALES, parent_id=SOUTH)
    story.when(MoveUnit(unit_id=SALES, parent_id=SOUTH), MoveUnit(unit_id=SALES, parent_id=SOUTH)).then(moved)
    tree = organisation.fold([moved], story.state)
    assert isinstance(tree, Organisation)
    assert list(tree.path(NORTH)) == [NORTH, SALES, SOUTH, ROOT]
    assert tree.levels_below(ROOT) == 3


def test_a_unit_may_be_named_as_it_was_in_other_letters() -> None:
    given_tree(OPENED, SALES_OPENED).when(
        RenameUnit(unit_id=SALES, name="SALES"), RenameUnit(unit_id=SALES, name="SALES")
    ).then(UnitRenamed(unit_id=SALES, name="SALES"))


def test_a_closed_unit_stays_closed_and_its_name_is_free_again() -> None:
    story = given_tree(OPENED, SALES_OPENED, UnitClosed(unit_id=SALES))
    story.when(CloseUnit(unit_id=SALES, people=0)).then()
    story.when(OpenUnit(unit_id=SALES, parent_id=ROOT, name="Sales")).then_refused(UnitAlreadyOpened)
    story.when(OpenUnit(unit_id=NORTH, parent_id=SALES, name="North")).then_refused(UnitIsClosed)
    story.when(MoveUnit(unit_id=SALES, parent_id=ROOT)).then_refused(UnitIsClosed)
    story.when(OpenUnit(unit_id=OTHER, parent_id=ROOT, name="Sales")).then(
        UnitOpened(unit_id=OTHER, parent_id=ROOT, name="Sales")
    )


def test_with_its_root_the_organisation_closes() -> None:
    story = given_tree(OPENED)
    story.when(CloseUnit(unit_id=ROOT, people=0), CloseUnit(unit_id=ROOT, people=0)).then(
        UnitClosed(unit_id=ROOT)
    )
    closed = given_tree(OPENED, UnitClosed(unit_id=ROOT))
    assert closed.state == ClosedOrganisation(ROOT)
    closed.when(OpenUnit(unit_id=SALES, parent_id=ROOT, name="Sales")).then_refused(OrganisationIsClosed)
    closed.when(OpenOrganisation(organisation_id=ROOT, name="Acme", taken=False)).then_refused(
        OrganisationIsClosed
    )


def test_a_tree_is_so_deep_and_no_deeper_however_it_grew() -> None:
    chain = [UUID(int=n) for n in range(1, DEEPEST + 1)]
    story = given_tree(
        OPENED,
        *(UnitOpened(unit_id=unit, parent_id=above, name="U") for above, unit in itertools.pairwise(chain)),
    )
    deeper, beside = UUID(int=900), UUID(int=901)
    story.when(OpenUnit(unit_id=deeper, parent_id=chain[-1], name="U")).then_refused(TreeTooDeep)
    branch = given_tree(
        OPENED,
        UnitOpened(unit_id=beside, parent_id=ROOT, name="B"),
        UnitOpened(unit_id=deeper, parent_id=beside, name="D"),
        *(UnitOpened(unit_id=unit, parent_id=above, name="U") for above, unit in itertools.pairwise(chain)),
    )
    branch.when(MoveUnit(unit_id=beside, parent_id=chain[-2])).then_refused(TreeTooDeep)
    branch.when(MoveUnit(unit_id=beside, parent_id=chain[-3])).then(
        UnitMoved(unit_id=beside, parent_id=chain[-3])
    )


def test_grades_are_mapped_as_a_whole() -> None:
    grades = (LocalGrade(label="Associate", grade=3), LocalGrade(label="Director", grade=12))
    given_tree(OPENED).when(MapGrades(grades=grades), MapGrades(grades=grades)).then(
        GradesMapped(grades=grades)
    )


units = st.sampled_from([UUID(int=n) for n in range(1, 8)])
names = st.sampled_from(["A", "B", "C", "D"])
commands = st.one_of(
    st.builds(OpenOrganisation, organisation_id=st.just(ROOT), name=names, taken=st.booleans()),
    st.builds(OpenUnit, unit_id=units, parent_id=units, name=names),
    st.builds(MoveUnit, unit_id=units, parent_id=units),
    st.builds(RenameUnit, unit_id=units, name=names),
    st.builds(CloseUnit, unit_id=units, people=st.integers(0, 1)),
)


class AnyCommandsOnATree(RuleBasedStateMachine):
    """Whatever is asked in whatever order: a rule says no, or it is one tree still."""

    def __init__(self) -> None:
        super().__init__()
        self.history: list[Any] = [OPENED]
        self.state: Any = organisation.fold(self.history)

    @rule(command=commands)
    def ask(self, command: Any) -> None:
        try:
            events = organisation.decide(command, self.state)
        except DomainError:
            return
        self.history += events
        self.state = organisation.fold(events, self.state)

    @invariant()
    def every_unit_hangs_from_the_root_and_beside_others_of_other_names(self) -> None:
        if not isinstance(self.state, Organisation):
            return
        for unit_id in self.state.units:
            path = []
            for above in self.state.path(unit_id):
                assert above not in path
                path.append(above)
            assert path[-1] == ROOT
        beside = [(unit.parent_id, unit.name) for unit in self.state.units.values()]
        assert len(set(beside)) == len(beside)
        assert self.state.closed.isdisjoint(self.state.units)

    @invariant()
    def the_state_is_what_the_facts_fold_to(self) -> None:
        assert organisation.fold(self.history) == self.state


TestAnyCommandsOnATree = AnyCommandsOnATree.TestCase

any_event = st.one_of(
    st.builds(OrganisationOpened, organisation_id=st.just(ROOT), name=names),
    st.builds(UnitOpened, unit_id=units, parent_id=units, name=names),
    st.builds(UnitMoved, unit_id=units, parent_id=units),
    st.builds(UnitRenamed, unit_id=units, name=names),
    st.builds(UnitClosed, unit_id=units),
    st.builds(GradesMapped),
)


@given(st.lists(any_event, max_size=12))
def test_every_history_folds_even_one_that_cannot_be(events: list[Any]) -> None:
    assert organisation.fold(events) is not None
