"""Who of a pair is asked when, and what they may answer: given these facts, when this is asked, then these follow."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

import orjson
import pytest
from hypothesis import given as drawn
from hypothesis import strategies as st

from upwell_feedback.aggregates import COMMANDS, EVENTS
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
    Over,
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
ENDED_AT = NOW - timedelta(hours=1)
HELD_AT = ENDED_AT - timedelta(days=1)
CLOSE = CloseReflections(programme_id=PROGRAMME, ended_at=ENDED_AT, asking=BY_DEFAULT, now=NOW)
CLOSED = ReflectionsClosed(ended_at=ENDED_AT)
BEGUN = ReflectionsBegun(pair_id=PAIR, programme_id=PROGRAMME, mentor_id=ADA, mentee_id=BEN)


def held(number: int, at: datetime = HELD_AT) -> CountSession:
    return CountSession(
        programme_id=PROGRAMME, session_id=UUID(int=100 + number), held_at=at, asking=BY_DEFAULT, now=NOW
    )


def counted(number: int, at: datetime | None = HELD_AT) -> SessionCounted:
    return SessionCounted(session_id=UUID(int=100 + number), held_at=at)


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
    CLOSED,
)


def test_both_are_asked_at_the_start_once() -> None:
    given().when(BEGIN).then(*STARTED)
    given(*STARTED).when(BEGIN).then()
    given(*STARTED, *both(Stage.END), CLOSED).when(BEGIN).then()


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
    given(*STARTED).when(CLOSE).then(*both(Stage.END), CLOSED)


def test_after_the_end_nobody_is_asked_again() -> None:
    over = given(*STARTED, counted(1), *both(Stage.END), CLOSED)
    over.when(CLOSE).then()
    over.when(held(2, ENDED_AT + timedelta(microseconds=1))).then()


def test_a_session_held_before_the_end_counts_however_late_it_is_heard_of() -> None:
    over = given(*STARTED, counted(1), *both(Stage.END), CLOSED)
    over.when(held(2)).then(counted(2), *both(Stage.AFTER_SESSION))
    over.when(held(2, ENDED_AT)).then(counted(2, ENDED_AT), *both(Stage.AFTER_SESSION))
    over.when(held(2), held(2), held(3), held(4)).then(
        counted(2), *both(Stage.AFTER_SESSION), counted(3), counted(4), *both(Stage.AFTER_SESSION, 2)
    )
    given(*STARTED, *both(Stage.END), CLOSED).when(held(1)).then(counted(1))


def test_a_session_held_after_the_end_but_heard_of_before_it_moves_no_pulse_of_the_others() -> None:
    late = counted(2, ENDED_AT + timedelta(days=1))
    begun = (*STARTED, counted(1), late, *both(Stage.AFTER_SESSION), *both(Stage.END), CLOSED)
    given(*begun).when(held(3), held(4), held(5)).then(
        counted(3), counted(4), counted(5), *both(Stage.AFTER_SESSION, 2)
    )


def test_of_facts_stored_before_their_time_was_kept_sessions_count_and_an_end_is_the_end() -> None:
    unknown = EVENTS.decode("SessionCounted", 1, f'{{"session_id":"{UUID(int=101)}"}}')
    assert unknown == counted(1, None)
    given(*STARTED, unknown, *both(Stage.END), CLOSED).when(held(1)).then()
    given(*STARTED, unknown, *both(Stage.END), CLOSED).when(held(2)).then(
        counted(2), *both(Stage.AFTER_SESSION)
    )
    ended = EVENTS.decode("ReflectionsClosed", 1, "{}")
    assert ended == ReflectionsClosed(ended_at=None)
    given(*STARTED, counted(1), *both(Stage.END), ended).when(held(2)).then()


def test_a_promise_from_before_the_time_was_kept_has_that_of_the_fact_it_follows_from() -> None:
    counting, closing = replace(held(1), now=HELD_AT), replace(CLOSE, now=ENDED_AT)
    for command, field in ((counting, "held_at"), (closing, "ended_at")):
        stored = orjson.loads(COMMANDS.encode(command).data)
        del stored[field]
        assert COMMANDS.decode(type(command).__name__, 1, orjson.dumps(stored)) == command


def test_nobody_erased_is_asked() -> None:
    gone = frozenset({ADA})
    given().when(replace(BEGIN, erased=gone)).then(BEGUN, requested(BEN, Stage.START))
    given(*STARTED, counted(1)).when(replace(held(2), erased=gone)).then(
        counted(2), requested(BEN, Stage.AFTER_SESSION)
    )
    given(*STARTED).when(replace(CLOSE, erased=gone)).then(requested(BEN, Stage.END), CLOSED)
    given(*STARTED).when(replace(CLOSE, erased=frozenset({ADA, BEN}))).then(CLOSED)


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
    given(*STARTED, *both(Stage.END), CLOSED).when(SUBMIT).then(SUBMITTED)


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
    """All that is told of one pair, sessions told twice included, in an order that keeps each teller's own.

    Where the pair ends all sessions were held by then.
    """
    early = [ENDED_AT - timedelta(days=n) for n in range(10)]
    of_sessions = [held(n, early[n]) for n in draw(st.lists(st.integers(0, 9), max_size=14))]
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
    assert state.held.keys() == sessions


@drawn(tellings(ends=True))
def test_whatever_is_heard_first_the_same_is_asked_of_a_pair_that_ends(
    commands: list[PairReflectionsCommand],
) -> None:
    """An outage in which the end of a pair overtakes its sessions changes nothing."""
    sessions = {each.session_id for each in commands if isinstance(each, CountSession)}
    events, state = told(commands)
    found = requests(events)
    assert len(found) == len(set(found))
    assert set(found) == due(len(sessions) // 2, ended=True)
    assert events.count(CLOSED) == 1
    assert isinstance(state, Over)
    assert state.held.keys() == sessions


@drawn(tellings(ends=True), st.sets(st.integers(10, 19)))
def test_sessions_held_after_the_end_and_heard_of_after_it_ask_nothing(
    commands: list[PairReflectionsCommand], late: set[int]
) -> None:
    """Wherever they come between those that were held in time."""
    after = [held(n, ENDED_AT + timedelta(days=n)) for n in sorted(late)]
    end = commands.index(CLOSE) + 1
    mingled: list[PairReflectionsCommand] = [*commands[:end], *after, *commands[end:], *after]
    assert set(requests(told(mingled)[0])) == set(requests(told(commands)[0]))
    assert told(mingled)[1] == told(commands)[1]


@drawn(tellings(ends=True), st.data())
def test_all_of_it_once_more_changes_nothing(
    commands: list[PairReflectionsCommand], data: st.DataObject
) -> None:
    _, state = told(commands)
    again = data.draw(st.permutations(commands))
    for command in again:
        assert pair_reflections.decide(command, state) == []
