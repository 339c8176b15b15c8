"""A person's comings and goings."""

from dataclasses import replace
from datetime import date, timedelta
from typing import Any, get_args
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from upwell_directory.domain.ladder import OffTheLadder
from upwell_directory.domain.organisation import UnitIsClosed, UnknownUnit
from upwell_directory.domain.person import (
    AcknowledgeErasure,
    ConsentGiven,
    ConsentWithdrawn,
    Employed,
    Erased,
    ErasePerson,
    ErasureAcknowledged,
    GiveConsent,
    Gone,
    JoinPerson,
    KeepPerson,
    LeaveIsOver,
    ManagerBelow,
    ManagerOfOneself,
    MovePerson,
    Nobody,
    NotOnLeave,
    OnLeave,
    PersonAlreadyJoined,
    PersonErased,
    PersonEvent,
    PersonIsErased,
    PersonIsGone,
    PersonJoined,
    PersonLeft,
    PersonMoved,
    PersonReturned,
    PersonWentOnLeave,
    Place,
    PlaceFacts,
    Purpose,
    RecordLeaving,
    ReturnFromLeave,
    RoleBeginsLater,
    SendOnLeave,
    UnitFacts,
    UnitOfAnotherOrganisation,
    UnknownManager,
    UnknownPerson,
    WithdrawConsent,
    person,
)
from upwell_shared.decider import DomainError
from upwell_shared.testing import Given

ADA, BEN, CLEO, ACME, AJAX, SALES, NORTH = (UUID(int=n) for n in range(1, 8))
TODAY = date(2026, 3, 2)
PLACE = Place(unit_id=SALES, grade=7, manager_id=BEN, in_role_since=date(2024, 1, 1))
HIGHER = replace(PLACE, unit_id=NORTH, grade=9)
KNOWN = PlaceFacts(unit=UnitFacts(organisation_id=ACME, is_open=True), line=(BEN, CLEO))
JOIN = JoinPerson(person_id=ADA, organisation_id=ACME, place=PLACE, known=KNOWN, today=TODAY)
MOVE = MovePerson(person_id=ADA, place=HIGHER, known=KNOWN, today=TODAY)
JOINED = PersonJoined(organisation_id=ACME, place=PLACE)
EVERY_COMMAND = (
    JOIN,
    MOVE,
    SendOnLeave(until=None, today=TODAY),
    ReturnFromLeave(),
    RecordLeaving(),
    GiveConsent(purpose=Purpose.QUOTES),
    WithdrawConsent(purpose=Purpose.QUOTES),
    ErasePerson(),
    AcknowledgeErasure(),
    KeepPerson(),
)

given_person = Given(person)


def test_a_person_joins_and_joining_again_as_they_stand_is_nothing_to_do() -> None:
    given_person().when(JOIN, JOIN).then(JOINED)
    given_person(JOINED).when(replace(JOIN, place=HIGHER)).then_refused(PersonAlreadyJoined)


def test_a_person_moves_once() -> None:
    given_person(JOINED).when(MOVE, MOVE).then(PersonMoved(place=HIGHER))


def test_a_person_on_leave_moves_and_stays_on_leave() -> None:
    story = given_person(JOINED, PersonWentOnLeave(until=None)).when(MOVE)
    story.then(PersonMoved(place=HIGHER))
    assert story.state == OnLeave(ACME, HIGHER, frozenset(), None)


@pytest.mark.parametrize("command", [JOIN, replace(MOVE, place=PLACE)])
@pytest.mark.parametrize(
    ("place", "known", "refusal"),
    [
        (replace(PLACE, grade=0), KNOWN, OffTheLadder),
        (replace(PLACE, grade=21), KNOWN, OffTheLadder),
        (replace(PLACE, in_role_since=TODAY + timedelta(days=2)), KNOWN, RoleBeginsLater),
        (PLACE, replace(KNOWN, unit=None), UnknownUnit),
        (PLACE, replace(KNOWN, unit=UnitFacts(organisation_id=ACME, is_open=False)), UnitIsClosed),
        (
            PLACE,
            replace(KNOWN, unit=UnitFacts(organisation_id=AJAX, is_open=True)),
            UnitOfAnotherOrganisation,
        ),
        (PLACE, replace(KNOWN, line=None), UnknownManager),
        (replace(PLACE, manager_id=ADA), replace(KNOWN, line=(ADA,)), ManagerOfOneself),
        (PLACE, replace(KNOWN, line=(BEN, ADA)), ManagerBelow),
    ],
)
def test_nobody_stands_where_one_cannot(
    command: Any, place: Place, known: PlaceFacts, refusal: type[DomainError]
) -> None:
    facts = () if isinstance(command, JoinPerson) else (replace(JOINED, place=HIGHER),)
    given_person(*facts).when(replace(command, place=place, known=known)).then_refused(refusal)


def test_a_role_may_begin_tomorrow() -> None:
    tomorrow = replace(PLACE, in_role_since=TODAY + timedelta(days=1))
    given_person().when(replace(JOIN, place=tomorrow)).then(replace(JOINED, place=tomorrow))
    given_person(JOINED).when(replace(MOVE, place=tomorrow)).then(PersonMoved(place=tomorrow))


def test_who_stays_where_they_are_needs_no_facts() -> None:
    given_person(JOINED).when(replace(MOVE, place=PLACE, known=PlaceFacts(unit=None, line=None))).then()


def test_a_leave_begins_is_prolonged_and_ends() -> None:
    until = date(2026, 9, 1)
    given_person(JOINED).when(
        SendOnLeave(until=None, today=TODAY),
        SendOnLeave(until=None, today=TODAY),
        SendOnLeave(until=until, today=TODAY),
        ReturnFromLeave(),
    ).then(PersonWentOnLeave(until=None), PersonWentOnLeave(until=until), PersonReturned())
    given_person(JOINED).when(SendOnLeave(until=date(2026, 3, 1), today=TODAY)).then_refused(LeaveIsOver)
    given_person(JOINED).when(ReturnFromLeave()).then_refused(NotOnLeave)


def test_who_has_left_may_join_again_and_keeps_what_was_agreed_to() -> None:
    given_consent = ConsentGiven(purpose=Purpose.QUOTES)
    story = given_person(JOINED, given_consent, PersonLeft())
    story.when(RecordLeaving()).then()
    story.when(MOVE).then_refused(PersonIsGone)
    story.when(GiveConsent(purpose=Purpose.PARTICIPATION)).then_refused(PersonIsGone)
    again = story.when(JOIN)
    again.then(JOINED)
    assert again.state == Employed(ACME, PLACE, frozenset({Purpose.QUOTES}))


def test_who_left_on_leave_is_back_from_it_when_they_join_again() -> None:
    story = given_person(JOINED, PersonWentOnLeave(until=None), PersonLeft())
    assert story.state == Gone(ACME, SALES, frozenset(), on_leave=True)
    again = story.when(JOIN)
    again.then(JOINED, PersonReturned())
    assert again.state == Employed(ACME, PLACE)


def test_consent_is_given_and_withdrawn_by_purpose_also_after_leaving() -> None:
    give, withdraw = GiveConsent(purpose=Purpose.QUOTES), WithdrawConsent(purpose=Purpose.QUOTES)
    given_person(JOINED).when(give, give, RecordLeaving(), withdraw, withdraw).then(
        ConsentGiven(purpose=Purpose.QUOTES), PersonLeft(), ConsentWithdrawn(purpose=Purpose.QUOTES)
    )


def test_who_is_erased_leaves_first_and_is_acknowledged_once() -> None:
    given_person(JOINED).when(ErasePerson(), ErasePerson(), AcknowledgeErasure(), AcknowledgeErasure()).then(
        PersonLeft(), PersonErased(), ErasureAcknowledged()
    )
    given_person(JOINED, PersonLeft()).when(ErasePerson()).then(PersonErased())
    given_person(JOINED).when(AcknowledgeErasure()).then()


@pytest.mark.parametrize("command", EVERY_COMMAND, ids=lambda command: type(command).__name__)
def test_nothing_happens_to_nobody_but_joining(command: Any) -> None:
    story = given_person().when(command)
    match command:
        case JoinPerson():
            story.then(JOINED)
        case AcknowledgeErasure() | KeepPerson():
            story.then()
        case _:
            story.then_refused(UnknownPerson)


@pytest.mark.parametrize("command", EVERY_COMMAND, ids=lambda command: type(command).__name__)
def test_erased_is_for_good(command: Any) -> None:
    story = given_person(JOINED, PersonLeft(), PersonErased(), ErasureAcknowledged()).when(command)
    if isinstance(command, ErasePerson | AcknowledgeErasure | KeepPerson):
        story.then()
    else:
        story.then_refused(PersonIsErased)


managers = st.sampled_from([None, BEN])
places = st.builds(
    Place,
    unit_id=st.sampled_from([SALES, NORTH]),
    grade=st.integers(-1, 22),
    manager_id=managers,
    in_role_since=st.just(TODAY),
)
facts = st.builds(
    PlaceFacts,
    unit=st.one_of(
        st.none(),
        st.builds(UnitFacts, organisation_id=st.sampled_from([ACME, AJAX]), is_open=st.booleans()),
    ),
    line=st.sampled_from([None, (), (BEN,), (BEN, ADA)]),
)
purposes = st.sampled_from(Purpose)
commands = st.one_of(
    st.builds(
        JoinPerson,
        person_id=st.just(ADA),
        organisation_id=st.sampled_from([ACME, AJAX]),
        place=places,
        known=facts,
    ),
    st.builds(MovePerson, person_id=st.just(ADA), place=places, known=facts),
    st.just(JOIN),
    st.just(MOVE),
    st.builds(SendOnLeave, until=st.sampled_from([None, TODAY, date(2020, 1, 1)]), today=st.just(TODAY)),
    st.builds(GiveConsent, purpose=purposes),
    st.builds(WithdrawConsent, purpose=purposes),
    st.sampled_from([ReturnFromLeave(), RecordLeaving(), ErasePerson(), AcknowledgeErasure()]),
)


class AnyCommandsOnAPerson(RuleBasedStateMachine):
    """Whatever is asked in whatever order: a rule says no, or the facts make a life."""

    def __init__(self) -> None:
        super().__init__()
        self.state: Any = Nobody()
        self.history: list[Any] = []

    @rule(command=commands)
    def ask(self, command: Any) -> None:
        try:
            events = person.decide(command, self.state)
        except DomainError:
            return
        self.history += events
        self.state = person.fold(events, self.state)

    @invariant()
    def who_is_here_stands_on_the_ladder_and_not_under_themselves(self) -> None:
        if isinstance(self.state, Employed | OnLeave):
            assert 1 <= self.state.place.grade <= 20
            assert self.state.place.manager_id != ADA

    @invariant()
    def comings_and_goings_alternate_and_nothing_follows_an_erasure(self) -> None:
        kinds = [type(event) for event in self.history]
        passing = [kind for kind in kinds if kind in {PersonJoined, PersonLeft}]
        assert passing == [PersonJoined, PersonLeft] * (len(passing) // 2) + [PersonJoined] * (
            len(passing) % 2
        )
        if PersonErased in kinds:
            assert kinds[kinds.index(PersonErased) + 1 :] in ([], [ErasureAcknowledged])
            assert isinstance(self.state, Erased)

    @invariant()
    def the_state_is_what_the_facts_fold_to(self) -> None:
        assert person.fold(self.history) == self.state


TestAnyCommandsOnAPerson = AnyCommandsOnAPerson.TestCase

EXAMPLES = (
    JOINED,
    PersonMoved(place=HIGHER),
    PersonWentOnLeave(until=TODAY),
    PersonReturned(),
    PersonLeft(),
    ConsentGiven(purpose=Purpose.PARTICIPATION),
    ConsentWithdrawn(purpose=Purpose.QUOTES),
    PersonErased(),
    ErasureAcknowledged(),
)


@given(st.lists(st.sampled_from(EXAMPLES), max_size=12))
def test_every_history_folds_even_one_that_cannot_be(events: list[Any]) -> None:
    assert isinstance(person.fold(events), Nobody | Employed | OnLeave | Gone | Erased)


def test_there_is_an_example_of_every_event() -> None:
    assert {type(event) for event in EXAMPLES} == set(get_args(PersonEvent))
