"""The queue of a programme's team: what waits for somebody to act, the oldest first."""

from datetime import datetime, timedelta
from typing import Annotated, Any, Final
from uuid import UUID

import asyncpg
from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response

from upwell_gateway.api.pages.access import Access
from upwell_gateway.api.pages.answering import WithParts, page
from upwell_gateway.api.pages.bodies import QueueKind, QueuePage
from upwell_gateway.api.pages.parts import Owners, gathered
from upwell_gateway.forwarding import Forwarder
from upwell_gateway.policies import overseer
from upwell_gateway.projections.programmes import programmes_of_team
from upwell_shared.clock import Clock
from upwell_shared.web.cursors import Listing, Paging
from upwell_shared.web.policies import CurrentPrincipal, requires
from upwell_shared.web.routing import api_router

# $7: the caller, who is not told which rules their own pair breaks. All else is on the page of the pair for members too.
# A session may be known before its pair is, since they come from different owners.
_QUEUE: Final = """
WITH waiting (kind, id, since, programme_id, pair_id, session_id, reply_by, reminded, broken_rules) AS (
    SELECT 'proposal', pair_id, proposed_at, p.programme_id, pair_id, NULL::uuid, reply_by,
        i.reminded_at IS NOT NULL, '{}'::text[]
    FROM pairs p LEFT JOIN pair_insides i USING (pair_id)
    WHERE p.programme_id = ANY ($1) AND p.state = 'proposed' AND i.outcome IS NULL
    UNION ALL
    SELECT 'disputed', session_id, disputed_at, s.programme_id, s.pair_id, session_id, NULL, false, '{}'
    FROM disputes d JOIN sessions s USING (session_id)
    WHERE d.programme_id = ANY ($1) AND s.state IN ('scheduled', 'unconfirmed')
    UNION ALL
    SELECT 'unconfirmed', session_id, s.since, s.programme_id, s.pair_id, session_id, NULL, false, '{}'
    FROM sessions s
    WHERE s.programme_id = ANY ($1) AND s.state = 'unconfirmed'
      AND NOT EXISTS (SELECT FROM disputes d WHERE d.session_id = s.session_id)
    UNION ALL
    SELECT 'broken_rules', pair_id, least(inversion_broken_at, independence_broken_at), p.programme_id, pair_id, NULL,
        NULL, false, array_remove(ARRAY[
            CASE WHEN inversion_broken_at IS NOT NULL THEN 'inversion' END,
            CASE WHEN independence_broken_at IS NOT NULL THEN 'independence' END
        ], NULL)
    FROM pair_insides i JOIN pairs p USING (pair_id)
    WHERE i.programme_id = ANY ($1) AND p.state IN ('active', 'paused') AND $7 NOT IN (p.mentor_id, p.mentee_id)
      AND (inversion_broken_at IS NOT NULL OR independence_broken_at IS NOT NULL)
)
SELECT waiting.*, mentor_id, mentee_id
FROM waiting LEFT JOIN pairs USING (pair_id)
WHERE ($2::text IS NULL OR kind = $2) AND ($3::timestamptz IS NULL OR (waiting.since, kind, id) > ($3, $4::text, $5::uuid))
ORDER BY waiting.since, kind, id LIMIT $6
"""


def router(pool: asyncpg.Pool, forwarder: Forwarder, access: Access, clock: Clock) -> APIRouter:
    routes = api_router("/v1/pages", tags=["pages"])

    @routes.get("/queue", response_model=QueuePage, dependencies=[requires(overseer)])
    async def queue_page(
        request: Request,
        who: CurrentPrincipal,
        paging: Paging,
        fresh: Annotated[bool, Depends(access.fresh)],
        *,
        kind: QueueKind | None = None,
        with_parts: WithParts = True,
    ) -> Response:
        """Proposals without both answers, disputed and unconfirmed sessions, and open pairs that break a rule, of the
        programmes whose team the caller is of. That their own pair breaks a rule is not shown to a member.
        """
        listing = Listing("queue", kind=kind)
        at, *place = listing.decode(paging.cursor) if paging.cursor else (None, None, None)
        since = None if at is None else datetime.fromisoformat(str(at))
        programmes = await programmes_of_team(pool, who.units)
        rows = await pool.fetch(_QUEUE, programmes, kind, since, *place, paging.limit + 1, who.id)
        now = clock.now()
        items = [_item(row, now) for row in rows[: paging.limit]]
        parts: Any = None
        if with_parts:
            owners = Owners(forwarder, request)
            people = {item[member] for item in items for member in ("mentor_id", "mentee_id")}
            parts = await gathered(
                {
                    "names": owners.names(people),
                    "programmes": owners.read("matching", "/v1/programmes?limit=200"),
                }
            )
        more = len(rows) > len(items)
        last = rows[len(items) - 1] if more else None
        following = None if last is None else _cursor(listing, last)
        return page({"items": items, "next": following, "parts": parts}, fresh=fresh)

    return routes


def _item(row: asyncpg.Record, now: datetime) -> dict[str, Any]:
    item = dict(row)
    del item["id"]
    return item | {"age_seconds": max(0, (now - row["since"]) // timedelta(seconds=1))}


def _cursor(listing: Listing, row: asyncpg.Record) -> str:
    return listing.encode(row["since"].isoformat(), row["kind"], str(UUID(int=row["id"].int)))
