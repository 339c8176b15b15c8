"""What is said of reflections over HTTP."""

from collections.abc import Sequence
from datetime import date, datetime
from typing import Annotated, Literal, Self
from uuid import UUID

from pydantic import Field

from upwell_feedback.domain.question_set import MOST_QUESTIONS, Question
from upwell_feedback.domain.reflections import Answer
from upwell_feedback.domain.stages import Stage
from upwell_feedback.domain.visibility import Visibility
from upwell_feedback.fields import QuestionId
from upwell_feedback.projections.reflections import Row
from upwell_shared.privacy import MAX_TEXT, Erased
from upwell_shared.web.commands import Body

MOST_BYTES = 2_000_000
"""Of a reflection: every question answered at length."""


class AnswerToGive(Body):
    """`visibility`: `me` is read by the author alone, `pair` by the other member as well, `programme_team` by the team of
    the programme as well; `quotable` by the same, who may quote it.
    """

    question_id: QuestionId
    text: Annotated[str, Field(min_length=1, max_length=MAX_TEXT, pattern=r"\S")]
    visibility: Visibility


class AnswersToSubmit(Body):
    answers: Annotated[list[AnswerToGive], Field(min_length=1, max_length=MOST_QUESTIONS)]


class VisibilityToGive(Body):
    visibility: Visibility


class AskedQuestion(Body):
    question_id: str
    text: str


class VisibleAnswer(Body):
    """An answer that the caller may read. `erased`: its author was, and the text with them."""

    question_id: str
    state: Literal["ok", "erased"]
    text: str | None
    visibility: Visibility

    @classmethod
    def of(cls, answer: Answer, text: str | Erased) -> Self:
        kept = None if isinstance(text, Erased) else text
        return cls(
            question_id=answer.question_id,
            state="erased" if kept is None else "ok",
            text=kept,
            visibility=answer.visibility,
        )


class RequestedReflection(Body):
    """That somebody was asked, and whether they have answered."""

    reflection_id: UUID
    pair_id: UUID
    programme_id: UUID
    person_id: UUID
    stage: Stage
    state: Literal["open", "submitted"]
    requested_at: datetime
    due_on: date
    question_set_id: UUID
    question_set_version: int

    @classmethod
    def of(cls, row: Row) -> Self:
        return cls(
            reflection_id=row.reflection_id,
            pair_id=row.pair_id,
            programme_id=row.programme_id,
            person_id=row.person_id,
            stage=Stage(row.stage),
            state="submitted" if row.submitted else "open",
            requested_at=row.requested_at,
            due_on=row.due_on,
            question_set_id=row.question_set_id,
            question_set_version=row.question_set_version,
        )


class ListedReflection(RequestedReflection):
    """In a list of one pair also with its questions, and the answers that the caller may read; null in other lists."""

    questions: list[AskedQuestion] | None
    answers: list[VisibleAnswer] | None


class Reflection(Body):
    """A request with its questions, and the answers that the caller may read. Of others there is no trace, as if the
    question had not been answered.
    """

    request: RequestedReflection
    questions: list[AskedQuestion]
    answers: list[VisibleAnswer]


class StageCount(Body):
    stage: Stage
    asked: int
    submitted: int


class Counts(Body):
    """By stage, in their order; stages at which nobody was asked are left out."""

    programme_id: UUID
    stages: list[StageCount]


def asked_questions(questions: Sequence[Question], ids: Sequence[str]) -> list[AskedQuestion]:
    """Those with these ids, in the order of their set."""
    return [
        AskedQuestion(question_id=question.question_id, text=question.text)
        for question in questions
        if question.question_id in ids
    ]
