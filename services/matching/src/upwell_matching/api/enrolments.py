"""Enrolments: a person's wish to take part."""

from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Query, Response
from pydantic import Field

from upwell_matching import commands
from upwell_matching.aggregates import ENROLMENT
from upwell_matching.api.access import last_of, of_cohort, of_enrolment, of_person_in_cohort, wait_for
from upwell_matching.carrying_out import Means
from upwell_matching.domain.enrolment import Side, WithdrawEnrolment
from upwell_matching.fields import Places, TopicIds
from upwell_matching.policies import oneself_or_programme_team, programme_team
from upwell_matching.projections import enrolments
from upwell_shared.errors import NotFound
from upwell_shared.handling import Intent
from upwell_shared.web.commands import Body, Command, IfMatch, answer, etag
from upwell_shared.web.cursors import Listing, Page, Paging
from upwell_shared.web.policies import CurrentPrincipal, authenticated, requires
from upwell_shared.web.positions import After
from upwell_shared.web.routing import api_router

Standing = Literal["waiting", "proposed", "paired", "withdrawn", "unmatched"]


class EnrolmentToSubmit(Body):
    role: Side
    offers: TopicIds = Field(default=[])
    seeks: TopicIds = Field(default=[])
    capacity: Places | None = None
    """How many pairs at once; what the programme says where nothing is said."""


class EnrolmentToChange(Body):
    """All of it; what stays is said again."""

    offers: TopicIds
    seeks: TopicIds
    capacity: Places


class Enrolment(Body):
    enrolment_id: UUID
    programme_id: UUID
    cohort_id: UUID
    person_id: UUID
    role: Side
    offers: list[UUID]
    seeks: list[UUID]
    capacity: int
    pairs: int
    """How many pairs they are in at present."""
    state: Standing


def router(means: Means) -> APIRouter:
    routes = api_router("/v1", tags=["enrolments"])
    pool = means.pool
    mine = [requires(oneself_or_programme_team, of_enrolment(pool), hidden=True)]

    async def shown(rows: list[enrolments.Row]) -> list[Enrolment]:
        standings = await enrolments.standings(pool, [row.enrolment_id for row in rows])
        return [_shown(row, standings[row.enrolment_id]) for row in rows]

    @routes.put(
        "/cohorts/{cohort_id}/enrolments/{person_id}",
        status_code=201,
        dependencies=[requires(oneself_or_programme_team, of_person_in_cohort(pool), hidden=True)],
    )
    async def submit(command: Command, cohort_id: UUID, person_id: UUID, body: EnrolmentToSubmit) -> Response:
        """By the person, or by the programme team for them. Once a cohort; again after a withdrawal."""
        outcome = await commands.once(
            means,
            command,
            lambda: commands.submit_enrolment(
                means,
                command,
                cohort_id=cohort_id,
                person_id=person_id,
                role=body.role,
                offers=tuple(body.offers),
                seeks=tuple(body.seeks),
                capacity=body.capacity,
            ),
        )
        return answer(outcome, 201)

    @routes.get(
        "/cohorts/{cohort_id}/enrolments",
        dependencies=[requires(programme_team, of_cohort(pool), hidden=True)],
    )
    async def of_this_cohort(
        cohort_id: UUID,
        paging: Paging,
        after: After,
        response: Response,
        *,
        role: Annotated[Side | None, Query()] = None,
    ) -> Page[Enrolment]:
        """By id; withdrawn ones too."""
        await wait_for(pool, after, response, enrolments.name)
        listing = Listing("enrolments", cohort=cohort_id, role=role)
        found = await enrolments.of_cohort(
            pool,
            cohort_id,
            role=None if role is None else role.value,
            after=last_of(listing, paging),
            limit=paging.limit + 1,
        )
        rows = found[: paging.limit]
        return Page(
            items=await shown(rows),
            next=listing.encode(str(rows[-1].enrolment_id)) if len(found) > len(rows) else None,
        )

    @routes.get("/enrolments", dependencies=[requires(authenticated)])
    async def my_enrolments(
        who: CurrentPrincipal, paging: Paging, after: After, response: Response
    ) -> Page[Enrolment]:
        """The caller's own, by id; withdrawn ones too."""
        await wait_for(pool, after, response, enrolments.name)
        listing = Listing("my enrolments", person=who.id)
        found = await enrolments.of_person(
            pool, who.id, after=last_of(listing, paging), limit=paging.limit + 1
        )
        rows = found[: paging.limit]
        return Page(
            items=await shown(rows),
            next=listing.encode(str(rows[-1].enrolment_id)) if len(found) > len(rows) else None,
        )

    @routes.get("/enrolments/{enrolment_id}", dependencies=mine)
    async def enrolment(enrolment_id: UUID, after: After, response: Response) -> Enrolment:
        await wait_for(pool, after, response, enrolments.name)
        row = await enrolments.enrolment(pool, enrolment_id)
        if row is None:
            raise NotFound
        response.headers["ETag"] = etag(row.version)
        (found,) = await shown([row])
        return found

    @routes.post("/enrolments/{enrolment_id}/change", dependencies=mine)
    async def change(
        command: Command, enrolment_id: UUID, body: EnrolmentToChange, if_match: IfMatch
    ) -> Response:
        return answer(
            await commands.change_enrolment(
                means,
                command,
                enrolment_id,
                offers=tuple(body.offers),
                seeks=tuple(body.seeks),
                capacity=body.capacity,
                if_match=if_match,
            )
        )

    @routes.post("/enrolments/{enrolment_id}/withdraw", dependencies=mine)
    async def withdraw(command: Command, enrolment_id: UUID) -> Response:
        """Proposals that wait are taken back and open pairs end, within moments and without blame."""
        outcome = await means.handler.handle(
            Intent(ENROLMENT, enrolment_id, WithdrawEnrolment()),
            envelope=command.envelope,
            fingerprint=command.fingerprint,
        )
        return answer(outcome)

    return routes


def _shown(row: enrolments.Row, standing: str) -> Enrolment:
    return Enrolment.model_validate(
        {
            "enrolment_id": row.enrolment_id,
            "programme_id": row.programme_id,
            "cohort_id": row.cohort_id,
            "person_id": row.person_id,
            "role": row.role,
            "offers": row.offers,
            "seeks": row.seeks,
            "capacity": row.capacity,
            "pairs": row.taken,
            "state": standing,
        }
    )
