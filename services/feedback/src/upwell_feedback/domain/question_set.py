"""A question set is opened for a programme, and revised: each version is kept, since answers belong to one.

A stream is the set of one programme, so that no programme has two. Its version is the stream's.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final, assert_never
from uuid import UUID, uuid5

from upwell_feedback.domain.stages import Stage
from upwell_shared.decider import Decider, DomainError

MOST_QUESTIONS: Final = 20
LONGEST_QUESTION: Final = 300

_ASKED_FOR: Final = (Stage.START, Stage.AFTER_SESSION, Stage.END)


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """In two versions of a set a question of the same id is the same question, however it is worded."""

    question_id: str
    text: str
    stages: tuple[Stage, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class QuestionSetOpened:
    programme_id: UUID
    name: str
    questions: tuple[Question, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class QuestionSetRevised:
    questions: tuple[Question, ...]


QuestionSetEvent = QuestionSetOpened | QuestionSetRevised


@dataclass(frozen=True, slots=True)
class NoQuestionSet:
    pass


@dataclass(frozen=True, slots=True)
class QuestionSet:
    """`versions` from the first on; `programme_id` is None for the set that ships."""

    programme_id: UUID | None
    name: str
    versions: tuple[tuple[Question, ...], ...]

    @property
    def version(self) -> int:
        return len(self.versions)

    @property
    def questions(self) -> tuple[Question, ...]:
        """Those of the newest version."""
        return self.versions[-1]


State = NoQuestionSet | QuestionSet


def evolve(state: State, event: QuestionSetEvent) -> State:
    match event:
        case QuestionSetOpened():
            return QuestionSet(event.programme_id, event.name, (event.questions,))
        case QuestionSetRevised():
            if isinstance(state, NoQuestionSet):
                return state
            return replace(state, versions=(*state.versions, event.questions))
        case _:
            assert_never(event)


class QuestionSetAlreadyOpened(DomainError):
    """This programme has a question set of its own already: revise it."""


class UnknownQuestionSet(DomainError):
    """There is no such question set."""


class TooManyQuestions(DomainError):
    """A question set has at most 20 questions."""


class QuestionTwice(DomainError):
    """Two questions of the set have the same id."""


class StageWithoutQuestion(DomainError):
    """Pairs are asked at the start, after sessions and at the end: each of these stages needs a question."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenQuestionSet:
    programme_id: UUID
    name: str
    questions: tuple[Question, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviseQuestionSet:
    questions: tuple[Question, ...]


QuestionSetCommand = OpenQuestionSet | ReviseQuestionSet


def decide(command: QuestionSetCommand, state: State) -> list[QuestionSetEvent]:
    match command:
        case OpenQuestionSet():
            if isinstance(state, QuestionSet):
                raise QuestionSetAlreadyOpened
            _require_usable(command.questions)
            return [
                QuestionSetOpened(
                    programme_id=command.programme_id, name=command.name, questions=command.questions
                )
            ]
        case ReviseQuestionSet(questions=questions):
            if isinstance(state, NoQuestionSet):
                raise UnknownQuestionSet
            if questions == state.questions:
                return []
            _require_usable(questions)
            return [QuestionSetRevised(questions=questions)]
        case _:
            assert_never(command)


def _require_usable(questions: tuple[Question, ...]) -> None:
    if len(questions) > MOST_QUESTIONS:
        raise TooManyQuestions
    if len({question.question_id for question in questions}) < len(questions):
        raise QuestionTwice
    if not set(_ASKED_FOR) <= {stage for question in questions for stage in question.stages}:
        raise StageWithoutQuestion


question_set: Decider[QuestionSetCommand, State, QuestionSetEvent] = Decider(NoQuestionSet(), decide, evolve)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """A version of a set, as it is needed to ask with it."""

    question_set_id: UUID
    version: int
    questions: tuple[tuple[str, tuple[Stage, ...]], ...]
    """Ids, and the stages each is asked at."""

    def at(self, stage: Stage) -> tuple[str, ...]:
        """The ids of the questions that are asked at this stage."""
        return tuple(self._asked_at(stage))

    def _asked_at(self, stage: Stage) -> Iterator[str]:
        return (question_id for question_id, stages in self.questions if stage in stages)


def asking_with(question_set_id: UUID, found: QuestionSet) -> Asking:
    """How one asks with the newest version of this set."""
    return Asking(
        question_set_id=question_set_id,
        version=found.version,
        questions=tuple((question.question_id, question.stages) for question in found.questions),
    )


def set_of(programme_id: UUID) -> UUID:
    """The stream of a programme's own question set, whether it has one or not."""
    return uuid5(programme_id, "question-set")


DEFAULT_ID: Final = UUID("5d1f3c0a-2b7e-5e0e-9a55-6c1b0c7a4f10")
DEFAULT: Final = QuestionSet(
    None,
    "Upwell",
    (
        (
            Question(
                question_id="reverse-mentoring",
                text="What do you think about reverse mentoring?",
                stages=(Stage.START, Stage.MIDDLE, Stage.END),
            ),
            Question(
                question_id="view-of-technology",
                text="How has your view of technology changed?",
                stages=(Stage.MIDDLE, Stage.END),
            ),
            Question(
                question_id="plans",
                text="How do you plan on using what you do together in the future?",
                stages=(Stage.START, Stage.AFTER_SESSION, Stage.MIDDLE, Stage.END),
            ),
            Question(
                question_id="learned",
                text="What have you learned?",
                stages=(Stage.AFTER_SESSION, Stage.MIDDLE, Stage.END),
            ),
            Question(
                question_id="applied",
                text="How have you applied what you worked on?",
                stages=(Stage.MIDDLE, Stage.END),
            ),
        ),
    ),
)
"""What is asked where a programme has no set of its own: the five questions that a school put to its teachers, worded as
neutrally as there.
"""
BY_DEFAULT: Final = asking_with(DEFAULT_ID, DEFAULT)
