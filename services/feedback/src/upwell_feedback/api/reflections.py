"""Reflections: what one is asked, what one answers, and what others may read of it."""

from dataclasses import replace
from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Response

from upwell_feedback.aggregates import PAIR_REFLECTIONS
from upwell_feedback.api.access import in_team, programme_facts, reflection_facts
from upwell_feedback.api.bodies import (
    MOST_BYTES,
    AnswersToSubmit,
    Counts,
    ListedReflection,
    Reflection,
    RequestedReflection,
    StageCount,
    VisibilityToGive,
)
from upwell_feedback.api.reading import reader_of_row, seen
from upwell_feedback.commands import AnswerGiven, submit
from upwell_feedback.domain.reflections import ChangeVisibility
from upwell_feedback.domain.stages import Stage
from upwell_feedback.fields import QuestionId
from upwell_feedback.policies import ReflectionFacts, author, programme_team, sees_reflection
from upwell_feedback.projections import reflections
from upwell_feedback.projections.reflections import Part, Row
from upwell_shared.errors import Malformed, NotFound, Violation
from upwell_shared.event_store import EventStore
from upwell_shared.handling import Handler, Intent
from upwell_shared.privacy import Texts
from upwell_shared.projecting import reached
from upwell_shared.web.commands import Command, answer
from upwell_shared.web.cursors import Listing, Page, Paging
from upwell_shared.web.policies import CurrentPrincipal, Principal, authenticated, requires
from upwell_shared.web.positions import After, StreamPosition, mark_stale, wait_until
from upwell_shared.web.routing import api_router, takes


def router(handler: Handler, store: EventStore, texts: Texts) -> APIRouter:
    routes = api_router("/v1", tags=["reflections"])
    pool = store.pool
    facts = reflection_facts(pool)
    own = [requires(author, facts, hidden=True)]
    About = Annotated[ReflectionFacts, Depends(facts)]  # noqa: N806 a type

    @routes.get("/reflections", dependencies=[requires(authenticated)])
    async def requested(
        who: CurrentPrincipal,
        paging: Paging,
        after: After,
        response: Response,
        *,
        pair_id: UUID | None = None,
        programme_id: UUID | None = None,
    ) -> Page[ListedReflection]:
        """What the caller was asked, newest first. With `pair_id` or `programme_id` instead what the pairs there were
        asked, as far as the caller is one of them or in the team of the programme; with `pair_id` also what they have
        answered, as far as the caller may read it.
        """
        if pair_id is not None and programme_id is not None:
            raise Malformed(Violation("query", "programme_id", "cannot be given together with pair_id"))
        await wait_for(after, response)
        listing = Listing("reflections", pair=pair_id, programme=programme_id)
        part = Part(paging.limit + 1)
        if paging.cursor:
            at, last = listing.decode(paging.cursor)
            part = replace(part, after=(datetime.fromisoformat(str(at)), UUID(str(last))))
        as_team, found = await rows(who, part, pair_id, programme_id)
        shown = found[: paging.limit]
        more = len(found) > paging.limit
        return Page(
            items=await with_answers(who, shown, in_team=as_team)
            if pair_id is not None
            else without_answers(shown),
            next=listing.encode(shown[-1].requested_at.isoformat(), str(shown[-1].reflection_id))
            if more
            else None,
        )

    @routes.get(
        "/reflections/counts",
        dependencies=[requires(programme_team, programme_facts(pool), hidden=True)],
    )
    async def counted(programme_id: UUID, after: After, response: Response) -> Counts:
        """How many were asked and how many have answered, for the team of the programme."""
        await wait_for(after, response)
        found = await reflections.counts(pool, programme_id)
        return Counts(
            programme_id=programme_id,
            stages=[
                StageCount(stage=stage, asked=found[stage][0], submitted=found[stage][1])
                for stage in Stage
                if stage in found
            ],
        )

    @routes.get("/reflections/{reflection_id}", dependencies=[requires(sees_reflection, facts, hidden=True)])
    async def reflection(about: About, after: After, response: Response) -> Reflection:
        """For the two of the pair and the team of its programme; each sees the answers that they may read."""
        await wait_for(after, response)
        [found] = await seen(store, texts, [(_known(about), about.reader)])
        return Reflection(request=found.request, questions=found.questions, answers=found.answers)

    @routes.post(
        "/reflections/{reflection_id}/submit",
        dependencies=[*own, takes(limit=MOST_BYTES)],
        responses={410: {}},
    )
    async def submit_reflection(
        command: Command, about: About, reflection_id: UUID, body: AnswersToSubmit
    ) -> Response:
        """Once; not every question need be answered. It may be late: nobody is held to the day it was due on."""
        return answer(
            await submit(
                handler,
                store,
                texts,
                stream_id=_known(about).stream_id,
                reflection_id=reflection_id,
                author=command.principal.id,
                answers=[AnswerGiven(each.question_id, each.text, each.visibility) for each in body.answers],
                envelope=command.envelope,
                fingerprint=command.fingerprint,
            )
        )

    @routes.post("/reflections/{reflection_id}/answers/{question_id}/visibility", dependencies=own)
    async def change_visibility(
        command: Command,
        about: About,
        reflection_id: UUID,
        question_id: QuestionId,
        body: VisibilityToGive,
    ) -> Response:
        """Fewer or more may read an answer from the moment this is answered."""
        changing = ChangeVisibility(
            reflection_id=reflection_id,
            author=command.principal.id,
            question_id=question_id,
            visibility=body.visibility,
        )
        intent = Intent(PAIR_REFLECTIONS, _known(about).stream_id, changing)
        return answer(
            await handler.handle(intent, envelope=command.envelope, fingerprint=command.fingerprint)
        )

    async def rows(
        who: Principal, part: Part, pair_id: UUID | None, programme_id: UUID | None
    ) -> tuple[bool, list[Row]]:
        """Whether the caller asks as one of the team, and what they may know of."""
        if pair_id is not None:
            programme_id = await reflections.programme_of_pair(pool, pair_id)
        elif programme_id is None:
            return False, await reflections.of_person(pool, who.id, part)
        if programme_id is None:
            return False, []
        team = await in_team(pool, who, programme_id)
        if pair_id is not None:
            return team, await reflections.of_pair(pool, pair_id, part, person_id=who.id, whole=team)
        return team, await reflections.of_programme(pool, programme_id, part, person_id=who.id, whole=team)

    async def with_answers(who: Principal, found: list[Row], *, in_team: bool) -> list[ListedReflection]:
        readers = [(row, reader_of_row(row, who.id, in_team=in_team)) for row in found]
        return [
            ListedReflection(**each.request.model_dump(), questions=each.questions, answers=each.answers)
            for each in await seen(store, texts, readers)
        ]

    def without_answers(found: list[Row]) -> list[ListedReflection]:
        return [
            ListedReflection(**RequestedReflection.of(row).model_dump(), questions=None, answers=None)
            for row in found
        ]

    async def wait_for(after: StreamPosition | None, response: Response) -> None:
        if after is not None and not await wait_until(
            lambda: reached(pool, reflections.name, after.stream_id, after.version)
        ):
            mark_stale(response)

    return routes


def _known(about: ReflectionFacts) -> Row:
    if about.row is None:
        raise NotFound
    return about.row
