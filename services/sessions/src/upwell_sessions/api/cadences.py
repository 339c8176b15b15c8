"""Cadences, as their members read them."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Response

from upwell_sessions.api.access import cadence_in_route, wait_for
from upwell_sessions.api.bodies import Cadence, CadenceInList, Commitments, CommitmentsBySide
from upwell_sessions.domain.cadence import Side
from upwell_sessions.policies import Known, member
from upwell_sessions.projections import commitments, sessions_by_pair
from upwell_shared.clock import Clock
from upwell_shared.errors import Unavailable
from upwell_shared.event_store import EventStore
from upwell_shared.web.commands import etag
from upwell_shared.web.cursors import Listing, Page, Paging
from upwell_shared.web.policies import CurrentPrincipal, authenticated, requires
from upwell_shared.web.positions import After
from upwell_shared.web.routing import api_router


def router(store: EventStore, clock: Clock) -> APIRouter:
    routes = api_router("/v1", tags=["cadences"])
    facts, pool = cadence_in_route(store), store.pool

    @routes.get("/cadences", dependencies=[requires(authenticated)])
    async def cadences(
        who: CurrentPrincipal, paging: Paging, after: After, response: Response
    ) -> Page[CadenceInList]:
        """The cadences of the pairs the caller is a member of, by pair."""
        if after is not None:
            await wait_for(pool, after.stream_id, after.version, response)
        listing = Listing("cadences", of=who.id)
        last = UUID(str(listing.decode(paging.cursor)[0])) if paging.cursor else None
        found = await sessions_by_pair.of_person(
            pool, who.id, now=clock.now(), after=last, limit=paging.limit + 1
        )
        rows = found[: paging.limit]
        return Page(
            items=[
                CadenceInList.of(row, following, Side.MENTOR if row.mentor_id == who.id else Side.MENTEE)
                for row, following in rows
            ],
            next=listing.encode(str(rows[-1][0].pair_id)) if len(found) > len(rows) else None,
        )

    @routes.get("/cadences/{pair_id}", dependencies=[requires(member, facts, hidden=True)])
    async def cadence(
        who: CurrentPrincipal, known: Annotated[Known, Depends(facts)], after: After, response: Response
    ) -> Cadence:
        """The pair's plan, its sessions with what each side said of them, and who did what how often."""
        # What the policy has seen is shown, so that an ETag from here is good for moving at once.
        await wait_for(pool, known.stream_id, known.version, response)
        if after is not None and after.stream_id != known.stream_id:
            await wait_for(pool, after.stream_id, after.version, response)
        found = await sessions_by_pair.cadence(pool, known.stream_id)
        if found is None:
            raise Unavailable
        row, sessions = found
        response.headers["ETag"] = etag(row.version)
        ledger = await commitments.by_side(pool, known.stream_id)
        by_side = CommitmentsBySide(
            mentor=Commitments(**ledger[Side.MENTOR]), mentee=Commitments(**ledger[Side.MENTEE])
        )
        return Cadence.of(row, sessions, by_side, known.side(who))

    return routes
