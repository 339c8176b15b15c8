"""Who of a pair is asked when, and what they may answer: given these facts, when this is asked, then these follow."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given as drawn
from hypothesis import strategies as st

from upwell_feedback.domain.question_set import BY_DEFAULT
from upwell_feedback.domain.reflections import (
    AlreadySubmitted,
    Answer,
    Answered,
    AnsweredTwice,
    BeginReflections,
    ChangeVisibility,
    CloseReflections,
    CountSession,
    NothingAnswered,
    NotSubmitted,
    PairReflectionsCommand,
    QuestionNotAnswered,
    QuestionNotAsked,
    ReflectionRequested,
    ReflectionsBegun,
    ReflectionsClosed,
    ReflectionSubmitted,
    Running,
    SessionCounted,
    State,
    SubmitReflection,
    Unheard,
    UnknownReflection,
    VisibilityChanged,
    pair_reflections,
    reflection_id,
)
from upwell_feedback.domain.stages import Stage
from upwell_feedback.domain.visibility import Visibility
from upwell_shared.testing import Given

given = Given(pair_reflections)

PAIR, PROGRAMME, ADA, BEN = UUID(int=1), UUID(int=2), UUID(int=3), UUID(int=4)
NOW = datetime(2026, 3, 2, 23, 30, tzinfo=UTC)
BEGIN = BeginReflections(
    pair_id=PAIR, programme_id=PROGRAMME, mentor_id=ADA, mentee_id=BEN, asking=BY_DEFAULT, now=NOW
)
CLOSE = CloseReflections(programme_id=PROGRAMME, asking=BY_DEFAULT, now=NOW)
BEGUN = ReflectionsBegun(pair_id=PAIR, programme_id=PROGRAMME, mentor_id=ADA, mentee_id=BEN)


def held(number: int) -> CountSession:
    return CountSession(programme_id=PROGRAMME, session_id=UUID(int=100 + number), asking=BY_DEFAULT, now=NOW)


def counted(number: int) -> SessionCounted:
    return SessionCounted(session_id=UUID(int=100 + number))


def requested(person: UUID, stage: Stage, ordinal: int = 1) -> ReflectionRequested:
    return ReflectionRequested(
        reflection_id=reflection_id(PAIR, person, stage, ordinal),
        person_id=person,
        stage=stage,
        due_on=date(2026, 3, 16),
        question_set_id=BY_DEFAULT.question_set_id,
        question_set_version=1,
        question_ids=BY_DEFAULT.at(stage),
    )


def both(stage: Stage, ordinal: int = 1) -> tuple[ReflectionRequested, ReflectionRequested]:
    return requested(ADA, stage, ordinal), requested(BEN, stage, ordinal)


STARTED = (BEGUN, *both(Stage.START))
MINE = requested(ADA, Stage.START).reflection_id
PLANS = Answer(question_id="plans", text_id=UUID(int=50), visibility=Visibility.PAIR)
THINK = Answer(question_id="reverse-mentoring", text_id=UUID(int=51), visibility=Visibility.ME)
SUBMIT = SubmitReflection(reflection_id=MINE, author=ADA, answers=(PLANS, THINK))
SUBMITTED = ReflectionSubmitted(reflection_id=MINE, answers=(PLANS, THINK))
WIDEN = ChangeVisibility(
    reflection_id=MINE, author=ADA, question_id="reverse-mentoring", visibility=Visibility.QUOTABLE
)
WIDENED = VisibilityChanged(
    reflection_id=MINE, question_id="reverse-mentoring", visibility=Visibility.QUOTABLE
)
EXAMPLES = (
    *STARTED,
    SUBMITTED,
    WIDENED,
    counted(1),
    counted(2),
    *both(Stage.AFTER_SESSION),
    *both(Stage.END),
    ReflectionsClosed(),
)


def test_both_are_asked_at_the_start_once() -> None:
    given().when(BEGIN).then(*STARTED)
    given(*STARTED).when(BEGIN).then()
    given(*STARTED, *both(Stage.END), ReflectionsClosed()).when(BEGIN).then()


def test_both_are_asked_after_every_second_session() -> None:
    given(*STARTED).when(held(1), held(2), held(3), held(4)).then(
        counted(1),
        counted(2),
        *both(Stage.AFTER_SESSION, 1),
        counted(3),
        counted(4),
        *both(Stage.AFTER_SESSION, 2),
    )


def test_a_session_counts_once() -> None:
    given(*STARTED, counted(1)).when(held(1)).then()
    given(counted(1)).when(held(1)).then()


def test_sessions_heard_of_before_the_pair_are_remembered() -> None:
    given().when(held(1), held(2), held(3)).then(counted(1), counted(2), counted(3))
    given(counted(1), counted(2), counted(3)).when(BEGIN).then(*STARTED, *both(Stage.AFTER_SESSION))
    given(*(counted(n) for n in range(5)), *STARTED).when(held(5)).then(
        counted(5), *both(Stage.AFTER_SESSION, 3)
    )


def test_both_are_asked_at_the_end_even_of_a_pair_that_never_met() -> None:
    given(*STARTED).when(CLOSE).then(*both(Stage.END), ReflectionsClosed())


def test_after_the_end_nobody_is_asked_again() -> None:
    over = given(*STARTED, counted(1), *both(Stage.END), ReflectionsClosed())
    over.when(CLOSE).then()
    over.when(held(2)).then()


def test_an_end_of_what_never_began_is_nothing() -> None:
    given().when(CLOSE).then()
    given(counted(1)).when(CLOSE).then()


def test_a_request_is_due_two_weeks_from_now() -> None:
    later = replace(CLOSE, now=NOW + timedelta(minutes=30))
    story = given(*STARTED).when(later)
    assert {event.due_on for event in story.events if isinstance(event, ReflectionRequested)} == {
        date(2026, 3, 17)
    }


def test_one_answers_what_one_was_asked() -> None:
    given(*STARTED).when(SUBMIT).then(SUBMITTED)


def test_what_was_asked_before_the_end_can_be_answered_after_it() -> None:
    given(*STARTED, *both(Stage.END), ReflectionsClosed()).when(SUBMIT).then(SUBMITTED)


@pytest.mark.parametrize(
    ("change", "refusal"),
    [
        ({"author": BEN}, UnknownReflection),
        ({"author": UUID(int=99)}, UnknownReflection),
        ({"reflection_id": UUID(int=99)}, UnknownReflection),
        ({"answers": ()}, NothingAnswered),
        ({"answers": (PLANS, replace(PLANS, text_id=UUID(int=52)))}, AnsweredTwice),
        ({"answers": (PLANS, replace(PLANS, question_id="learned"))}, QuestionNotAsked),
        ({"answers": (replace(PLANS, question_id="nonsense"),)}, QuestionNotAsked),
    ],
)
def test_what_was_not_asked_is_not_answered(change: dict[str, Any], refusal: Any) -> None:
    given(*STARTED).when(replace(SUBMIT, **change)).then_refused(refusal)
    given().when(replace(SUBMIT, **change)).then_refused(UnknownReflection)


def test_one_answers_once() -> None:
    given(*STARTED, SUBMITTED).when(replace(SUBMIT, answers=(PLANS,))).then_refused(AlreadySubmitted)
    given(*STARTED, SUBMITTED).when(replace(SUBMIT, author=BEN)).then_refused(UnknownReflection)


def test_the_author_says_later_who_may_read() -> None:
    given(*STARTED, SUBMITTED).when(WIDEN).then(WIDENED)
    given(*STARTED, SUBMITTED, WIDENED).when(WIDEN).then()
    narrow = replace(WIDEN, question_id="plans", visibility=Visibility.ME)
    given(*STARTED, SUBMITTED, WIDENED).when(narrow).then(
        VisibilityChanged(reflection_id=MINE, question_id="plans", visibility=Visibility.ME)
    )
    state = pair_reflections.fold((*STARTED, SUBMITTED, WIDENED))
    assert isinstance(state, Running)
    request = requested(ADA, Stage.START)
    assert state.reflections[MINE] == Answered(
        request, (PLANS, replace(THINK, visibility=Visibility.QUOTABLE))
    )


@pytest.mark.parametrize(
    ("events", "change", "refusal"),
    [
        (STARTED, {}, NotSubmitted),
        ((*STARTED, SUBMITTED), {"author": BEN}, UnknownReflection),
        ((*STARTED, SUBMITTED), {"question_id": "learned"}, QuestionNotAnswered),
        ((), {}, UnknownReflection),
    ],
)
def test_nobody_else_and_nothing_else_is_made_readable(
    events: tuple[Any, ...], change: dict[str, Any], refusal: Any
) -> None:
    given(*events).when(replace(WIDEN, **change)).then_refused(refusal)


# What matching tells of a pair comes in its order, what sessions tells of it in any; both mingle as they like.


@st.composite
def tellings(draw: st.DrawFn, *, ends: bool) -> list[PairReflectionsCommand]:
    """All that is told of one pair, sessions told twice included, in an order that keeps each teller's own."""
    of_sessions = [held(n) for n in draw(st.lists(st.integers(0, 9), max_size=14))]
    of_pair: list[PairReflectionsCommand] = [BEGIN, CLOSE] if ends else [BEGIN]
    turns = draw(st.permutations([True] * len(of_pair) + [False] * len(of_sessions)))
    pair, sessions = iter(of_pair), iter(of_sessions)
    return [next(pair) if turn else next(sessions) for turn in turns]


def told(commands: list[PairReflectionsCommand]) -> tuple[list[Any], State]:
    """What followed, and where it led."""
    state: State = Unheard()
    events: list[Any] = []
    for command in commands:
        decided = pair_reflections.decide(command, state)
        state = pair_reflections.fold(decided, state)
        events += decided
    return events, state


def requests(events: list[Any]) -> list[tuple[UUID, Stage]]:
    return [(each.reflection_id, each.stage) for each in events if isinstance(each, ReflectionRequested)]


def due(pulses: int, *, ended: bool) -> set[tuple[UUID, Stage]]:
    """Whom one would ask who knows it all."""
    occasions = [(Stage.START, 1), *((Stage.AFTER_SESSION, n) for n in range(1, pulses + 1))]
    occasions += [(Stage.END, 1)] if ended else []
    return {(reflection_id(PAIR, person, stage, n), stage) for stage, n in occasions for person in (ADA, BEN)}


@drawn(tellings(ends=False))
def test_while_a_pair_goes_on_any_order_of_what_is_told_ends_in_the_same_requests(
    commands: list[PairReflectionsCommand],
) -> None:
    sessions = {each.session_id for each in commands if isinstance(each, CountSession)}
    events, state = told(commands)
    found = requests(events)
    assert len(found) == len(set(found))
    assert set(found) == due(len(sessions) // 2, ended=False)
    assert isinstance(state, Running)
    assert state.held == sessions


@drawn(tellings(ends=True))
def test_whatever_the_order_all_are_asked_at_both_ends_and_no_pulse_follows_the_end(
    commands: list[PairReflectionsCommand],
) -> None:
    """Which sessions were heard of before the end is all that the order can change."""
    before = commands[: commands.index(CLOSE)]
    sessions = {each.session_id for each in before if isinstance(each, CountSession)}
    events, _ = told(commands)
    found = requests(events)
    assert len(found) == len(set(found))
    assert set(found) == due(len(sessions) // 2, ended=True)
    assert [stage for _, stage in found[-2:]] == [Stage.END, Stage.END]
    assert events[-1] == ReflectionsClosed()


@drawn(tellings(ends=True), st.data())
def test_all_of_it_once_more_changes_nothing(
    commands: list[PairReflectionsCommand], data: st.DataObject
) -> None:
    _, state = told(commands)
    again = data.draw(st.permutations(commands))
    for command in again:
        assert pair_reflections.decide(command, state) == []
