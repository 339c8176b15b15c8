"""Question sets: what pairs are asked."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Response
from pydantic import Field

from upwell_feedback.aggregates import QUESTION_SET
from upwell_feedback.api.access import in_team, question_set_facts
from upwell_feedback.commands import in_force, question_set_of_id
from upwell_feedback.domain import question_set as domain
from upwell_feedback.domain.question_set import MOST_QUESTIONS
from upwell_feedback.domain.stages import Stage
from upwell_feedback.fields import QuestionId, QuestionText, SetName
from upwell_feedback.policies import overseer, programme_team
from upwell_shared.errors import Forbidden, NotFound
from upwell_shared.event_store import EventStore
from upwell_shared.handling import Handler, Intent
from upwell_shared.web.commands import Body, Command, IfMatch, answer, etag
from upwell_shared.web.policies import CurrentPrincipal, authenticated, requires
from upwell_shared.web.routing import api_router


class Question(Body):
    """Keep the id of a question from version to version, so that its answers can be laid side by side."""

    question_id: QuestionId
    text: QuestionText
    stages: Annotated[list[Stage], Field(min_length=1, max_length=len(Stage))]


Questions = Annotated[list[Question], Field(min_length=1, max_length=MOST_QUESTIONS)]


class QuestionSetToOpen(Body):
    programme_id: UUID
    name: SetName
    questions: Questions


class QuestionSetToRevise(Body):
    questions: Questions


class QuestionSet(Body):
    """The newest version of a question set. The set that ships belongs to no programme."""

    question_set_id: UUID
    programme_id: UUID | None
    name: str
    version: int
    questions: list[Question]


def router(handler: Handler, store: EventStore) -> APIRouter:
    routes = api_router("/v1", tags=["question sets"])
    pool = store.pool
    facts = question_set_facts(pool, store)

    @routes.get("/question-sets", dependencies=[requires(authenticated)])
    async def question_set_in_force(programme_id: UUID, response: Response) -> QuestionSet:
        """What the pairs of this programme are asked from now on: its own set, else the one that ships."""
        question_set_id, found = await in_force(store, programme_id)
        response.headers["ETag"] = etag(found.version)
        return _shown(question_set_id, found)

    @routes.post("/question-sets", status_code=201, dependencies=[requires(overseer)])
    async def open_question_set(who: CurrentPrincipal, command: Command, body: QuestionSetToOpen) -> Response:
        """The programme asks its own questions from now on. Each of the stages start, after_session and end needs one."""
        if not await in_team(pool, who, body.programme_id):
            raise Forbidden
        question_set_id = domain.set_of(body.programme_id)
        opening = domain.OpenQuestionSet(
            programme_id=body.programme_id, name=body.name, questions=_questions(body.questions)
        )
        return answer(
            await handler.handle(
                Intent(QUESTION_SET, question_set_id, opening),
                envelope=command.envelope,
                fingerprint=command.fingerprint,
                body={"question_set_id": str(question_set_id)},
            ),
            201,
        )

    @routes.get("/question-sets/{question_set_id}", dependencies=[requires(authenticated)])
    async def question_set(question_set_id: UUID, response: Response) -> QuestionSet:
        found = await question_set_of_id(store, question_set_id)
        if found is None:
            raise NotFound
        response.headers["ETag"] = etag(found.version)
        return _shown(question_set_id, found)

    @routes.post("/question-sets/{question_set_id}/revise", dependencies=[requires(programme_team, facts)])
    async def revise_question_set(
        command: Command, question_set_id: UUID, body: QuestionSetToRevise, if_match: IfMatch
    ) -> Response:
        """A new version. Whoever was asked with an earlier one still answers that."""
        revising = domain.ReviseQuestionSet(questions=_questions(body.questions))
        intent = Intent(QUESTION_SET, question_set_id, revising, if_match)
        return answer(
            await handler.handle(intent, envelope=command.envelope, fingerprint=command.fingerprint)
        )

    return routes


def _questions(questions: list[Question]) -> tuple[domain.Question, ...]:
    return tuple(
        domain.Question(
            question_id=question.question_id,
            text=question.text,
            # In their order, each once.
            stages=tuple(stage for stage in Stage if stage in question.stages),
        )
        for question in questions
    )


def _shown(question_set_id: UUID, found: domain.QuestionSet) -> QuestionSet:
    return QuestionSet(
        question_set_id=question_set_id,
        programme_id=found.programme_id,
        name=found.name,
        version=found.version,
        questions=[
            Question(question_id=question.question_id, text=question.text, stages=[*question.stages])
            for question in found.questions
        ],
    )
