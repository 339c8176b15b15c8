"""Match runs: started, looked at, published or discarded."""

from typing import Annotated
from uuid import UUID, uuid5

from fastapi import APIRouter, Response
from pydantic import Field

from upwell_matching import commands
from upwell_matching.aggregates import MATCH_RUN, MATCH_RUN_SLOT
from upwell_matching.api.access import last_of, of_cohort, of_match_run, wait_for
from upwell_matching.carrying_out import Means
from upwell_matching.domain.enrolment import Side
from upwell_matching.domain.match_run import DiscardMatchRun, PublishMatchRun, slot_id
from upwell_matching.domain.match_run_slot import FreeMatchRunSlot
from upwell_matching.policies import programme_team
from upwell_matching.projections import match_runs, pairs
from upwell_shared.errors import NotFound
from upwell_shared.handling import Intent
from upwell_shared.web.commands import Body, Command, answer, etag
from upwell_shared.web.cursors import Listing, Page, Paging
from upwell_shared.web.policies import requires
from upwell_shared.web.positions import After
from upwell_shared.web.routing import api_router

LARGEST_SEED = (1 << 31) - 1


class MatchRunToStart(Body):
    seed: Annotated[int, Field(ge=0, le=LARGEST_SEED)] | None = None
    """What decides between equally good pairs; one of chance where nothing is said."""


class MatchRunListed(Body):
    match_run_id: UUID
    cohort_id: UUID
    seed: int
    state: match_runs.State


class MatchRun(MatchRunListed):
    """`proposed` and `skipped` make up `pairs` once every pair of a published one has been taken up."""

    programme_id: UUID
    pairs: int
    unmatched: int
    score: int
    proposed: int
    skipped: int


class DraftedPair(Body):
    """`topics` are those the mentee learns of, `returned` those the mentor does; `reason` is why it was skipped."""

    pair_id: UUID
    mentor_id: UUID
    mentee_id: UUID
    score: int
    topics: list[UUID]
    returned: list[UUID]
    state: match_runs.PairState
    reason: str | None


class UnmatchedPerson(Body):
    """`reasons` counts the people of the other side by the first that holds: away, inversion, independence, earlier (they
    were asked before), topics (nothing offered is sought), places (others were better).
    """

    person_id: UUID
    side: Side
    reasons: dict[str, int]


def router(means: Means) -> APIRouter:
    routes = api_router("/v1", tags=["match runs"])
    pool = means.pool
    cohort = of_cohort(pool)
    theirs = [requires(programme_team, of_match_run(pool), hidden=True)]

    async def row_of(match_run_id: UUID) -> match_runs.Row:
        row = await match_runs.match_run(pool, match_run_id)
        if row is None:
            raise NotFound
        return row

    @routes.post(
        "/cohorts/{cohort_id}/match-runs",
        status_code=201,
        dependencies=[requires(programme_team, cohort, hidden=True)],
    )
    async def start(command: Command, cohort_id: UUID, body: MatchRunToStart) -> Response:
        """Pairs are found in the background; one match run at a time a cohort."""
        match_run_id = uuid5(command.envelope.command_id, "match run")
        seed = match_run_id.int & LARGEST_SEED if body.seed is None else body.seed
        return answer(await commands.start_match_run(means, command, match_run_id, cohort_id, seed), 201)

    @routes.get(
        "/cohorts/{cohort_id}/match-runs", dependencies=[requires(programme_team, cohort, hidden=True)]
    )
    async def list_match_runs(
        cohort_id: UUID, paging: Paging, after: After, response: Response
    ) -> Page[MatchRunListed]:
        """By id; discarded ones too."""
        await wait_for(pool, after, response, match_runs.name)
        listing = Listing("match runs", cohort=cohort_id)
        found = await match_runs.of_cohort(pool, cohort_id, last_of(listing, paging), paging.limit + 1)
        rows = found[: paging.limit]
        return Page(
            items=[_listed(row) for row in rows],
            next=listing.encode(str(rows[-1].match_run_id)) if len(found) > len(rows) else None,
        )

    @routes.get("/match-runs/{match_run_id}", dependencies=theirs)
    async def match_run(match_run_id: UUID, after: After, response: Response) -> MatchRun:
        await wait_for(pool, after, response, match_runs.name, pairs.name)
        row = await row_of(match_run_id)
        counts = await match_runs.counts(pool, match_run_id)
        response.headers["ETag"] = etag(row.version)
        return MatchRun(
            **_listed(row).model_dump(),
            programme_id=row.programme_id,
            pairs=row.pairs,
            unmatched=row.unmatched,
            score=row.score,
            proposed=counts.get("proposed", 0),
            skipped=counts.get("skipped", 0),
        )

    @routes.get("/match-runs/{match_run_id}/pairs", dependencies=theirs)
    async def drafted_pairs(
        match_run_id: UUID, paging: Paging, after: After, response: Response
    ) -> Page[DraftedPair]:
        """By id."""
        await wait_for(pool, after, response, match_runs.name)
        listing = Listing("drafted pairs", run=match_run_id)
        found = await match_runs.pairs(pool, match_run_id, last_of(listing, paging), paging.limit + 1)
        rows = found[: paging.limit]
        return Page(
            items=[
                DraftedPair(
                    pair_id=row.pair_id,
                    mentor_id=row.mentor_id,
                    mentee_id=row.mentee_id,
                    score=row.score,
                    topics=[*row.topics],
                    returned=[*row.returned],
                    state=row.state,
                    reason=row.reason,
                )
                for row in rows
            ],
            next=listing.encode(str(rows[-1].pair_id)) if len(found) > len(rows) else None,
        )

    @routes.get("/match-runs/{match_run_id}/unmatched", dependencies=theirs)
    async def unmatched_people(
        match_run_id: UUID, paging: Paging, after: After, response: Response
    ) -> Page[UnmatchedPerson]:
        """Everybody with a free place who is in none of the pairs, and why; by person."""
        await wait_for(pool, after, response, match_runs.name)
        listing = Listing("unmatched people", run=match_run_id)
        found = await match_runs.unmatched(pool, match_run_id, last_of(listing, paging), paging.limit + 1)
        rows = found[: paging.limit]
        return Page(
            items=[
                UnmatchedPerson(person_id=row.person_id, side=Side(row.side), reasons=row.obstacles)
                for row in rows
            ],
            next=listing.encode(str(rows[-1].person_id)) if len(found) > len(rows) else None,
        )

    @routes.post("/match-runs/{match_run_id}/publish", dependencies=theirs)
    async def publish(command: Command, match_run_id: UUID) -> Response:
        """Its pairs are proposed one after the other; one that may not be any more is skipped."""
        outcome = await means.handler.handle(
            Intent(MATCH_RUN, match_run_id, PublishMatchRun()),
            envelope=command.envelope,
            fingerprint=command.fingerprint,
        )
        return answer(outcome)

    @routes.post("/match-runs/{match_run_id}/discard", dependencies=theirs)
    async def discard(command: Command, match_run_id: UUID) -> Response:
        """Also while it is running."""
        row = await row_of(match_run_id)
        freeing = FreeMatchRunSlot(match_run_id=match_run_id)
        outcome = await means.handler.handle(
            Intent(MATCH_RUN, match_run_id, DiscardMatchRun()),
            Intent(MATCH_RUN_SLOT, slot_id(row.cohort_id), freeing),
            envelope=command.envelope,
            fingerprint=command.fingerprint,
        )
        return answer(outcome)

    return routes


def _listed(row: match_runs.Row) -> MatchRunListed:
    return MatchRunListed(
        match_run_id=row.match_run_id, cohort_id=row.cohort_id, seed=row.seed, state=row.state
    )
