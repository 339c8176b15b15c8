"""Pairs: how they stand, and what becomes of them once both have accepted."""

from datetime import date, datetime
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Query, Response

from upwell_matching.api.access import last_of, of_cohort, of_pair, wait_for
from upwell_matching.carrying_out import Means, on_pair
from upwell_matching.domain.enrolment import Side
from upwell_matching.domain.pair import (
    Actor,
    CompletePair,
    EndPair,
    EndReason,
    ExtendPair,
    PairCommand,
    PausePair,
    ResumePair,
)
from upwell_matching.fields import Sessions
from upwell_matching.policies import member_or_programme_team, programme_team
from upwell_matching.projections import pairs
from upwell_shared.errors import NotFound
from upwell_shared.web.commands import Body, Command, IfMatch, answer, etag
from upwell_shared.web.cursors import Listing, Page, Paging
from upwell_shared.web.policies import CurrentPrincipal, Principal, authenticated, requires
from upwell_shared.web.positions import After
from upwell_shared.web.routing import api_router

PairState = Literal["proposed", "declined", "expired", "withdrawn", "active", "paused", "completed", "ended"]


class Ending(Body):
    reason: EndReason
    no_fault: bool = True


class Extending(Body):
    """The whole number of sessions from now on, and the new last day."""

    sessions: Sessions
    ends_on: date


class Pair(Body):
    """A pair or a proposal as it stands. Who said no or ended it, and why, is for the programme team alone."""

    pair_id: UUID
    programme_id: UUID
    cohort_id: UUID
    match_run_id: UUID | None
    mentor_id: UUID
    mentee_id: UUID
    state: PairState
    accepted: list[Side]
    sessions: int
    days_between: int
    minutes: int
    ends_on: date
    reply_by: datetime
    reminded: bool
    proposed_at: datetime
    created_at: datetime | None
    closed_at: datetime | None
    closed_by: Actor | None
    reason: str | None
    no_fault: bool | None
    rules_broken: list[str]
    rests_for: list[str]


def router(means: Means) -> APIRouter:
    routes = api_router("/v1", tags=["pairs"])
    pool = means.pool
    reach = of_pair(pool)
    keeps = [requires(member_or_programme_team, reach, hidden=True)]

    async def carry_out(
        command: Command, pair_id: UUID, asked: PairCommand, if_match: int | None = None
    ) -> Response:
        outcome = await on_pair(
            means,
            pair_id,
            asked,
            command.envelope,
            if_match=if_match,
            fingerprint=command.fingerprint,
        )
        return answer(outcome)

    async def row_of(pair_id: UUID) -> pairs.Row:
        row = await pairs.pair(pool, pair_id)
        if row is None:
            raise NotFound
        return row

    async def actor(who: Principal, pair_id: UUID) -> Actor:
        """As what they do it: whoever is a member and on the team does it as a member."""
        row = await row_of(pair_id)
        return {row.mentor_id: Actor.MENTOR, row.mentee_id: Actor.MENTEE}.get(who.id, Actor.COORDINATOR)

    @routes.get(
        "/cohorts/{cohort_id}/pairs",
        dependencies=[requires(programme_team, of_cohort(pool), hidden=True)],
    )
    async def of_this_cohort(
        cohort_id: UUID,
        paging: Paging,
        after: After,
        response: Response,
        *,
        state: Annotated[PairState | None, Query()] = None,
    ) -> Page[Pair]:
        """Pairs and proposals by id, closed ones too; with `state` only those."""
        await wait_for(pool, after, response, pairs.name)
        listing = Listing("pairs of a cohort", cohort=cohort_id, state=state)
        found = await pairs.of_cohort(
            pool, cohort_id, state=state, after=last_of(listing, paging), limit=paging.limit + 1
        )
        rows = found[: paging.limit]
        return Page(
            items=[_shown(row, whole=True) for row in rows],
            next=listing.encode(str(rows[-1].pair_id)) if len(found) > len(rows) else None,
        )

    @routes.get("/pairs", dependencies=[requires(authenticated)])
    async def my_pairs(who: CurrentPrincipal, paging: Paging, after: After, response: Response) -> Page[Pair]:
        """The caller's own pairs and proposals by id, closed ones too."""
        await wait_for(pool, after, response, pairs.name)
        listing = Listing("my pairs", person=who.id)
        found = await pairs.of_person(pool, who.id, after=last_of(listing, paging), limit=paging.limit + 1)
        rows = found[: paging.limit]
        return Page(
            items=[_shown(row, whole=False) for row in rows],
            next=listing.encode(str(rows[-1].pair_id)) if len(found) > len(rows) else None,
        )

    @routes.get("/pairs/{pair_id}", dependencies=keeps)
    async def pair(who: CurrentPrincipal, pair_id: UUID, after: After, response: Response) -> Pair:
        await wait_for(pool, after, response, pairs.name)
        row = await row_of(pair_id)
        response.headers["ETag"] = etag(row.version)
        return _shown(row, whole=who.id not in {row.mentor_id, row.mentee_id})

    @routes.post("/pairs/{pair_id}/pause", dependencies=keeps)
    async def pause(who: CurrentPrincipal, command: Command, pair_id: UUID) -> Response:
        return await carry_out(command, pair_id, PausePair(by=await actor(who, pair_id)))

    @routes.post("/pairs/{pair_id}/resume", dependencies=keeps)
    async def resume(who: CurrentPrincipal, command: Command, pair_id: UUID) -> Response:
        """Whatever rests while a member is on leave goes on by itself when they are back."""
        return await carry_out(command, pair_id, ResumePair(by=await actor(who, pair_id)))

    @routes.post("/pairs/{pair_id}/extend", dependencies=keeps)
    async def extend(command: Command, pair_id: UUID, body: Extending, if_match: IfMatch) -> Response:
        asked = ExtendPair(sessions=body.sessions, ends_on=body.ends_on)
        return await carry_out(command, pair_id, asked, if_match)

    @routes.post("/pairs/{pair_id}/complete", dependencies=keeps)
    async def complete(who: CurrentPrincipal, command: Command, pair_id: UUID) -> Response:
        return await carry_out(command, pair_id, CompletePair(by=await actor(who, pair_id)))

    @routes.post("/pairs/{pair_id}/end", dependencies=keeps)
    async def end(who: CurrentPrincipal, command: Command, pair_id: UUID, body: Ending) -> Response:
        """Before it is complete; without blame unless it is said otherwise."""
        asked = EndPair(by=await actor(who, pair_id), reason=body.reason, no_fault=body.no_fault)
        return await carry_out(command, pair_id, asked)

    return routes


def _shown(row: pairs.Row, *, whole: bool) -> Pair:
    return Pair.model_validate(
        {
            "pair_id": row.pair_id,
            "programme_id": row.programme_id,
            "cohort_id": row.cohort_id,
            "match_run_id": row.match_run_id,
            "mentor_id": row.mentor_id,
            "mentee_id": row.mentee_id,
            "state": row.state,
            "accepted": row.accepted,
            "sessions": row.sessions,
            "days_between": row.days_between,
            "minutes": row.minutes,
            "ends_on": row.ends_on,
            "reply_by": row.reply_by,
            "reminded": row.reminded,
            "proposed_at": row.proposed_at,
            "created_at": row.created_at,
            "closed_at": row.closed_at,
            "closed_by": row.closed_by if whole else None,
            "reason": row.reason if whole else None,
            "no_fault": row.no_fault if whole else None,
            "rules_broken": row.breached if whole else (),
            "rests_for": row.rests_for,
        }
    )
