"""The page of a person: what they take part in."""

from typing import Annotated, Any, Final
from uuid import UUID

import asyncpg
from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response

from upwell_gateway.api.pages.access import Access
from upwell_gateway.api.pages.answering import WithParts, page
from upwell_gateway.api.pages.bodies import PersonPage
from upwell_gateway.api.pages.parts import Owners, gathered
from upwell_gateway.forwarding import Forwarder
from upwell_gateway.policies import oneself_or_overseer_of_unit
from upwell_gateway.projections.programmes import programmes_of_team
from upwell_shared.web.policies import CurrentPrincipal, requires
from upwell_shared.web.routing import api_router

_PERSON: Final = "SELECT person_id, standing, organisation_id, unit_id FROM people WHERE person_id = $1"

# $2: only of these programmes; NULL for all.
_ENROLMENTS: Final = """
SELECT enrolment_id, programme_id, cohort_id, role, submitted_at, withdrawn_at
FROM enrolments WHERE person_id = $1 AND ($2::uuid[] IS NULL OR programme_id = ANY ($2)) ORDER BY submitted_at, enrolment_id
"""

_PAIRS: Final = """
SELECT p.pair_id, p.programme_id, CASE WHEN p.mentor_id = $1 THEN 'mentor' ELSE 'mentee' END AS side,
    CASE WHEN p.mentor_id = $1 THEN p.mentee_id ELSE p.mentor_id END AS other_id,
    CASE WHEN p.state = 'proposed' THEN coalesce(i.outcome, p.state) ELSE p.state END AS state, p.since,
    (SELECT min(starts_at) FROM sessions s WHERE s.pair_id = p.pair_id AND s.state = 'scheduled') AS next_session_at,
    (SELECT count(*) FROM sessions s WHERE s.pair_id = p.pair_id AND s.state = 'held') AS sessions_held
FROM pairs p LEFT JOIN pair_insides i USING (pair_id)
WHERE (p.mentor_id = $1 OR p.mentee_id = $1) AND ($2::uuid[] IS NULL OR p.programme_id = ANY ($2))
ORDER BY p.proposed_at, p.pair_id
"""

_REFLECTIONS: Final = """
SELECT reflection_id, pair_id, stage, due_on, asked_at, submitted_at
FROM reflections WHERE person_id = $1 AND ($2::uuid[] IS NULL OR programme_id = ANY ($2)) ORDER BY asked_at, reflection_id
"""


def router(pool: asyncpg.Pool, forwarder: Forwarder, access: Access) -> APIRouter:
    routes = api_router("/v1/pages", tags=["pages"])

    @routes.get(
        "/people/{person_id}",
        response_model=PersonPage,
        dependencies=[requires(oneself_or_overseer_of_unit, access.person, hidden=True)],
    )
    async def person_page(
        request: Request,
        who: CurrentPrincipal,
        person_id: UUID,
        fresh: Annotated[bool, Depends(access.fresh)],
        *,
        with_parts: WithParts = True,
    ) -> Response:
        """Enrolments, pairs, sessions and what they are asked to reflect on; never what they have answered. To others than
        the person only of programmes whose team the caller is of.
        """
        shown = None if who.id == person_id else await programmes_of_team(pool, who.units)
        async with (
            pool.acquire() as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            person = await connection.fetchrow(_PERSON, person_id)
            enrolments = await connection.fetch(_ENROLMENTS, person_id, shown)
            pairs = await connection.fetch(_PAIRS, person_id, shown)
            reflections = await connection.fetch(_REFLECTIONS, person_id, shown)
        unknown = {"person_id": person_id, "standing": None, "organisation_id": None, "unit_id": None}
        parts: Any = None
        if with_parts:
            owners = Owners(forwarder, request)
            parts = await gathered(
                {
                    "names": owners.names({person_id, *(pair["other_id"] for pair in pairs)}),
                    "programmes": owners.read("matching", "/v1/programmes?limit=200"),
                }
            )
        content = {
            **(unknown if person is None else person),
            "enrolments": [dict(row) for row in enrolments],
            "pairs": [dict(row) for row in pairs],
            "reflections": [dict(row) for row in reflections],
            "parts": parts,
        }
        return page(content, fresh=fresh)

    return routes
