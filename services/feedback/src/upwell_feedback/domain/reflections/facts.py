"""What happens to the reflections of a pair, and how they stand after it: events → states → evolve."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from typing import ClassVar, assert_never
from uuid import UUID

from upwell_feedback.domain.stages import Stage
from upwell_feedback.domain.visibility import Visibility


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One answer. What it says is kept apart, encrypted, under `text_id`."""

    question_id: str
    text_id: UUID
    visibility: Visibility


@dataclass(frozen=True, slots=True, kw_only=True)
class ReflectionsBegun:
    """The pair is known, and may be asked."""

    pair_id: UUID
    programme_id: UUID
    mentor_id: UUID
    mentee_id: UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionCounted:
    """A session was held, which may have been heard before the pair was, or after its end.

    `held_at` is when both had said so, None where that was not kept; such a session was heard of before the end.
    """

    schema_version: ClassVar[int] = 2

    session_id: UUID
    held_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReflectionRequested:
    reflection_id: UUID
    person_id: UUID
    stage: Stage
    due_on: date
    question_set_id: UUID
    question_set_version: int
    question_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReflectionsClosed:
    """The pair is complete or has ended: after this only pulses are asked whose sessions were held by then.

    `ended_at` is when that came to pass, None where that was not kept; then no session counts any more.
    """

    schema_version: ClassVar[int] = 2

    ended_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReflectionSubmitted:
    reflection_id: UUID
    answers: tuple[Answer, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class VisibilityChanged:
    reflection_id: UUID
    question_id: str
    visibility: Visibility


PairReflectionsEvent = (
    ReflectionsBegun
    | SessionCounted
    | ReflectionRequested
    | ReflectionsClosed
    | ReflectionSubmitted
    | VisibilityChanged
)


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that was not answered yet."""

    request: ReflectionRequested


@dataclass(frozen=True, slots=True)
class Answered:
    request: ReflectionRequested
    answers: tuple[Answer, ...]


Reflection = Asked | Answered

Held = Mapping[UUID, datetime | None]
"""The sessions that were counted, and when each was held."""


@dataclass(frozen=True, slots=True)
class Unheard:
    """The pair itself is not known here yet; sessions of it may be."""

    held: Held = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Running:
    pair: ReflectionsBegun
    held: Held
    reflections: Mapping[UUID, Reflection] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Over:
    """Sessions held before the end may still be heard of; what was asked may still be answered."""

    pair: ReflectionsBegun
    held: Held
    reflections: Mapping[UUID, Reflection]
    ended_at: datetime | None

    def was_held_in_time(self, held_at: datetime | None) -> bool:
        """Whether a session counts; one held at the moment of the end does."""
        return held_at is None or (self.ended_at is not None and held_at <= self.ended_at)


Known = Running | Over
State = Unheard | Known


def evolve(state: State, event: PairReflectionsEvent) -> State:
    match event:
        case ReflectionsBegun():
            return Running(event, state.held) if isinstance(state, Unheard) else state
        case SessionCounted(session_id=session_id, held_at=held_at):
            return replace(state, held={**state.held, session_id: held_at})
        case ReflectionRequested():
            return _with(state, event.reflection_id, Asked(event))
        case ReflectionsClosed(ended_at=ended_at):
            if not isinstance(state, Running):
                return state
            return Over(state.pair, state.held, state.reflections, ended_at)
        case ReflectionSubmitted():
            asked = _of(state, event.reflection_id)
            if asked is None:
                return state
            return _with(state, event.reflection_id, Answered(asked.request, event.answers))
        case VisibilityChanged():
            answered = _of(state, event.reflection_id)
            if not isinstance(answered, Answered):
                return state
            answers = tuple(
                replace(answer, visibility=event.visibility)
                if answer.question_id == event.question_id
                else answer
                for answer in answered.answers
            )
            return _with(state, event.reflection_id, replace(answered, answers=answers))
        case _:
            assert_never(event)


def _of(state: State, reflection_id: UUID) -> Reflection | None:
    return None if isinstance(state, Unheard) else state.reflections.get(reflection_id)


def _with(state: State, reflection_id: UUID, reflection: Reflection) -> State:
    if isinstance(state, Unheard):
        return state
    return replace(state, reflections={**state.reflections, reflection_id: reflection})
