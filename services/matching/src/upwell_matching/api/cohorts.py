"""Cohorts: the intakes of a programme."""

from datetime import date
from typing import Self
from uuid import UUID, uuid5

from fastapi import APIRouter, Response

from upwell_matching import commands
from upwell_matching.aggregates import COHORT
from upwell_matching.api.access import last_of, of_cohort, of_programme, wait_for
from upwell_matching.carrying_out import Means
from upwell_matching.domain.cohort import CloseCohort, OpenCohort
from upwell_matching.fields import Name
from upwell_matching.policies import programme_team, sees_programme
from upwell_matching.projections import cohorts, enrolments, pairs
from upwell_shared.errors import NotFound
from upwell_shared.handling import Intent
from upwell_shared.web.commands import Body, Command, answer, etag
from upwell_shared.web.cursors import Listing, Page, Paging
from upwell_shared.web.policies import requires
from upwell_shared.web.positions import After
from upwell_shared.web.routing import api_router


class CohortToOpen(Body):
    name: Name
    starts_on: date
    ends_on: date


class CohortListed(Body):
    cohort_id: UUID
    programme_id: UUID
    name: str
    starts_on: date
    ends_on: date
    closed: bool

    @classmethod
    def of(cls, row: cohorts.Row) -> Self:
        return cls(
            cohort_id=row.cohort_id,
            programme_id=row.programme_id,
            name=row.name,
            starts_on=row.starts_on,
            ends_on=row.ends_on,
            closed=row.closed,
        )


class Counts(Body):
    """How many take part, by role; and how many pairs and proposals there are, by state."""

    mentors: int
    mentees: int
    proposed: int
    declined: int
    expired: int
    withdrawn: int
    active: int
    paused: int
    completed: int
    ended: int


class Cohort(CohortListed):
    counts: Counts


def router(means: Means) -> APIRouter:
    routes = api_router("/v1", tags=["cohorts"])
    pool = means.pool
    programme, reach = of_programme(pool), of_cohort(pool)

    @routes.post(
        "/programmes/{programme_id}/cohorts",
        status_code=201,
        dependencies=[requires(programme_team, programme, hidden=True)],
    )
    async def open_cohort(command: Command, programme_id: UUID, body: CohortToOpen) -> Response:
        cohort_id = uuid5(command.envelope.command_id, "cohort")
        opening = OpenCohort(
            programme_id=programme_id, name=body.name, starts_on=body.starts_on, ends_on=body.ends_on
        )
        outcome = await commands.open_cohort(
            means, command, cohort_id, opening, {"cohort_id": str(cohort_id)}
        )
        return answer(outcome, 201)

    @routes.get(
        "/programmes/{programme_id}/cohorts",
        dependencies=[requires(sees_programme, programme, hidden=True)],
    )
    async def list_cohorts(
        programme_id: UUID, paging: Paging, after: After, response: Response
    ) -> Page[CohortListed]:
        """By id; closed ones too."""
        await wait_for(pool, after, response, cohorts.name)
        listing = Listing("cohorts", programme=programme_id)
        found = await cohorts.cohorts(pool, programme_id, last_of(listing, paging), paging.limit + 1)
        rows = found[: paging.limit]
        return Page(
            items=[CohortListed.of(row) for row in rows],
            next=listing.encode(str(rows[-1].cohort_id)) if len(found) > len(rows) else None,
        )

    @routes.get("/cohorts/{cohort_id}", dependencies=[requires(sees_programme, reach, hidden=True)])
    async def cohort(cohort_id: UUID, after: After, response: Response) -> Cohort:
        await wait_for(pool, after, response, cohorts.name, enrolments.name, pairs.name)
        row = await cohorts.cohort(pool, cohort_id)
        if row is None:
            raise NotFound
        response.headers["ETag"] = etag(row.version)
        n = await cohorts.counts(pool, cohort_id)
        return Cohort(
            **CohortListed.of(row).model_dump(),
            counts=Counts(
                mentors=n.get("mentor", 0),
                mentees=n.get("mentee", 0),
                proposed=n.get("proposed", 0),
                declined=n.get("declined", 0),
                expired=n.get("expired", 0),
                withdrawn=n.get("withdrawn", 0),
                active=n.get("active", 0),
                paused=n.get("paused", 0),
                completed=n.get("completed", 0),
                ended=n.get("ended", 0),
            ),
        )

    @routes.post("/cohorts/{cohort_id}/close", dependencies=[requires(programme_team, reach, hidden=True)])
    async def close_cohort(command: Command, cohort_id: UUID) -> Response:
        """No more enrolments, match runs or proposals; proposals that wait can still be accepted."""
        outcome = await means.handler.handle(
            Intent(COHORT, cohort_id, CloseCohort()),
            envelope=command.envelope,
            fingerprint=command.fingerprint,
        )
        return answer(outcome)

    return routes
