"""Who is asked when, and what may be answered: refusals → commands → decide.

Both of a pair are asked at its start, after every second session held, and at its end. What is heard of a pair and of
its sessions comes from two services, in any order: sessions are remembered until the pair is known, and one that was
held before the pair's end counts however late it is heard of.
"""

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import ClassVar, Final, assert_never
from uuid import UUID, uuid5

from upwell_feedback.domain.question_set import Asking
from upwell_feedback.domain.reflections.facts import (
    Answer,
    Answered,
    Asked,
    Over,
    PairReflectionsEvent,
    Reflection,
    ReflectionRequested,
    ReflectionsBegun,
    ReflectionsClosed,
    ReflectionSubmitted,
    Running,
    SessionCounted,
    State,
    Unheard,
    VisibilityChanged,
    evolve,
)
from upwell_feedback.domain.stages import Stage
from upwell_feedback.domain.visibility import Visibility
from upwell_shared.decider import Decider, DomainError

TIME_TO_ANSWER: Final = timedelta(days=14)
SESSIONS_A_PULSE: Final = 2


class UnknownReflection(DomainError):
    """There is no such reflection of yours."""


class AlreadySubmitted(DomainError):
    """This reflection was submitted before. Who may read an answer can still be changed."""


class NotSubmitted(DomainError):
    """This reflection was not submitted yet."""


class NothingAnswered(DomainError):
    """A reflection has at least one answer."""


class AnsweredTwice(DomainError):
    """A question is answered at most once."""


class QuestionNotAsked(DomainError):
    """An answer is to a question that this reflection does not ask."""


class QuestionNotAnswered(DomainError):
    """This question was not answered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BeginReflections:
    """The pair came into being."""

    pair_id: UUID
    programme_id: UUID
    mentor_id: UUID
    mentee_id: UUID
    asking: Asking
    erased: frozenset[UUID] = frozenset()
    now: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class CountSession:
    """A session of the pair was held, as both had said by `held_at`."""

    schema_version: ClassVar[int] = 2

    programme_id: UUID
    session_id: UUID
    held_at: datetime
    asking: Asking
    erased: frozenset[UUID] = frozenset()
    now: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class CloseReflections:
    """The pair is complete, or has ended, since `ended_at`."""

    schema_version: ClassVar[int] = 2

    programme_id: UUID
    ended_at: datetime
    asking: Asking
    erased: frozenset[UUID] = frozenset()
    now: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmitReflection:
    """Sent once the texts of the answers are kept."""

    reflection_id: UUID
    author: UUID
    answers: tuple[Answer, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeVisibility:
    reflection_id: UUID
    author: UUID
    question_id: str
    visibility: Visibility


RequestingCommand = BeginReflections | CountSession | CloseReflections
"""Commands that ask with the question set in force, and nobody erased: whoever carries them out puts both on them."""

PairReflectionsCommand = RequestingCommand | SubmitReflection | ChangeVisibility


def decide(command: PairReflectionsCommand, state: State) -> list[PairReflectionsEvent]:
    match command:
        case BeginReflections():
            return _begin(command, state)
        case CountSession():
            return _count(command, state)
        case CloseReflections():
            if not isinstance(state, Running):
                return []
            end = _requests(command, state.pair, Stage.END, 1)
            return [*end, ReflectionsClosed(ended_at=command.ended_at)]
        case SubmitReflection():
            return _submit(command, state)
        case ChangeVisibility():
            return _change_visibility(command, state)
        case _:
            assert_never(command)


def reflection_id(pair_id: UUID, person_id: UUID, stage: Stage, ordinal: int) -> UUID:
    """The same for the same occasion, whatever was heard in which order; `ordinal` counts a stage from 1."""
    return uuid5(pair_id, f"{person_id} {stage} {ordinal}")


def asked_by(command: RequestingCommand, state: State) -> frozenset[UUID]:
    """Whom a command may ask, erased or not; nobody while the pair is not known."""
    match state:
        case Running(pair=pair) | Over(pair=pair):
            return frozenset({pair.mentor_id, pair.mentee_id})
        case Unheard():
            if isinstance(command, BeginReflections):
                return frozenset({command.mentor_id, command.mentee_id})
            return frozenset()
        case _:
            assert_never(state)


def stream_of(pair_id: UUID) -> UUID:
    """The stream of a pair's reflections."""
    return uuid5(pair_id, "reflections")


def _begin(command: BeginReflections, state: State) -> list[PairReflectionsEvent]:
    if not isinstance(state, Unheard):
        return []
    pair = ReflectionsBegun(
        pair_id=command.pair_id,
        programme_id=command.programme_id,
        mentor_id=command.mentor_id,
        mentee_id=command.mentee_id,
    )
    pulses = range(1, len(state.held) // SESSIONS_A_PULSE + 1)
    return [
        pair,
        *_requests(command, pair, Stage.START, 1),
        *(
            request
            for ordinal in pulses
            for request in _requests(command, pair, Stage.AFTER_SESSION, ordinal)
        ),
    ]


def _count(command: CountSession, state: State) -> list[PairReflectionsEvent]:
    if command.session_id in state.held:
        return []
    counted = SessionCounted(session_id=command.session_id, held_at=command.held_at)
    match state:
        case Unheard():
            return [counted]
        case Running(pair=pair, held=held):
            return [counted, *_pulse(command, pair, len(held) + 1)]
        case Over(pair=pair, held=held):
            if not state.was_held_in_time(command.held_at):
                return []
            pulse = _pulse(command, pair, sum(map(state.was_held_in_time, held.values())) + 1)
            # One that was held after the end, but heard of before it, may have had this pulse asked already.
            return [
                counted,
                *(request for request in pulse if request.reflection_id not in state.reflections),
            ]
        case _:
            assert_never(state)


def _pulse(command: CountSession, pair: ReflectionsBegun, sessions: int) -> list[ReflectionRequested]:
    """What is asked with this many sessions; nothing, but with every second one."""
    ordinal, left = divmod(sessions, SESSIONS_A_PULSE)
    return [] if left else _requests(command, pair, Stage.AFTER_SESSION, ordinal)


def _requests(
    command: RequestingCommand, pair: ReflectionsBegun, stage: Stage, ordinal: int
) -> list[ReflectionRequested]:
    due_on: date = (command.now + TIME_TO_ANSWER).date()
    return [
        ReflectionRequested(
            reflection_id=reflection_id(pair.pair_id, person_id, stage, ordinal),
            person_id=person_id,
            stage=stage,
            due_on=due_on,
            question_set_id=command.asking.question_set_id,
            question_set_version=command.asking.version,
            question_ids=command.asking.at(stage),
        )
        for person_id in (pair.mentor_id, pair.mentee_id)
        if person_id not in command.erased
    ]


def _submit(command: SubmitReflection, state: State) -> list[PairReflectionsEvent]:
    match _own(state, command.reflection_id, command.author):
        case Answered():
            raise AlreadySubmitted
        case Asked(request=request):
            questions = [answer.question_id for answer in command.answers]
            if not questions:
                raise NothingAnswered
            if len({*questions}) < len(questions):
                raise AnsweredTwice
            if not {*questions} <= {*request.question_ids}:
                raise QuestionNotAsked
            return [ReflectionSubmitted(reflection_id=command.reflection_id, answers=command.answers)]
        case never:
            assert_never(never)


def _change_visibility(command: ChangeVisibility, state: State) -> list[PairReflectionsEvent]:
    match _own(state, command.reflection_id, command.author):
        case Asked():
            raise NotSubmitted
        case Answered(answers=answers):
            found = [answer for answer in answers if answer.question_id == command.question_id]
            if not found:
                raise QuestionNotAnswered
            if found[0].visibility == command.visibility:
                return []
            return [
                VisibilityChanged(
                    reflection_id=command.reflection_id,
                    question_id=command.question_id,
                    visibility=command.visibility,
                )
            ]
        case never:
            assert_never(never)


def _own(state: State, wanted: UUID, author: UUID) -> Reflection:
    found = None if isinstance(state, Unheard) else state.reflections.get(wanted)
    if found is None or found.request.person_id != author:
        raise UnknownReflection
    return found


pair_reflections: Decider[PairReflectionsCommand, State, PairReflectionsEvent] = Decider(
    Unheard(), decide, evolve
)
