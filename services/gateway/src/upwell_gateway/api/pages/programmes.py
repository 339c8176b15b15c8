"""Programmes: which there are, and how one of them goes."""

from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Final, get_args
from uuid import UUID

import asyncpg
from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response

from upwell_gateway.api.pages.access import Access
from upwell_gateway.api.pages.answering import WithParts, page
from upwell_gateway.api.pages.bodies import PairState, ProgrammePage, ProgrammesPage, SessionState
from upwell_gateway.api.pages.parts import FORBIDDEN, Owners, gathered
from upwell_gateway.forwarding import Forwarder
from upwell_gateway.policies import Reach, is_team, overseer_or_analyst, oversees, programme_team_or_analyst
from upwell_shared import units
from upwell_shared.contracts.feedback import Stage
from upwell_shared.contracts.matching import Side
from upwell_shared.contracts.sessions import Commitment
from upwell_shared.errors import NotFound
from upwell_shared.web.cursors import Listing, Paging
from upwell_shared.web.policies import CurrentPrincipal, UserRole, requires
from upwell_shared.web.routing import api_router

_LISTING: Final = Listing("programmes")

# $1: an analyst, who sees all; $2: the caller's units and all below.
_LIST: Final = """
SELECT programme_id, unit_ids, opened_at, closed_at,
    (SELECT count(*) FROM enrolments e WHERE e.programme_id = p.programme_id AND e.withdrawn_at IS NULL) AS enrolled,
    (SELECT count(*) FROM pairs WHERE pairs.programme_id = p.programme_id AND state IN ('active', 'paused')) AS open_pairs,
    (SELECT count(*) FROM sessions s WHERE s.programme_id = p.programme_id AND s.state = 'held') AS sessions_held
FROM programmes p
WHERE ($1 OR (unit_ids <@ $2::uuid[] AND unit_ids <> '{}')) AND ($3::uuid IS NULL OR programme_id > $3)
ORDER BY programme_id LIMIT $4
"""

_PROGRAMME: Final = (
    "SELECT programme_id, unit_ids, opened_at, closed_at FROM programmes WHERE programme_id = $1"
)

_COHORTS: Final = """
SELECT cohort_id, starts_on, ends_on, open,
    count(person_id) FILTER (WHERE role = 'mentor') AS mentors, count(person_id) FILTER (WHERE role = 'mentee') AS mentees
FROM cohorts
LEFT JOIN (SELECT cohort_id, person_id, role FROM enrolments WHERE programme_id = $1 AND withdrawn_at IS NULL) AS enrolled
    USING (cohort_id)
WHERE programme_id = $1
GROUP BY cohort_id, starts_on, ends_on, open ORDER BY starts_on, cohort_id
"""

_ENROLLED: Final = """
SELECT role, count(*) FROM enrolments WHERE programme_id = $1 AND withdrawn_at IS NULL GROUP BY role
"""

# $2: for the programme's team; others get what the public channel tells.
_PAIRS: Final = """
SELECT CASE WHEN $2 AND p.state = 'proposed' THEN coalesce(i.outcome, p.state) ELSE p.state END AS state, count(*)
FROM pairs p LEFT JOIN pair_insides i USING (pair_id) WHERE p.programme_id = $1 GROUP BY 1
"""

_SESSIONS: Final = """
SELECT CASE WHEN $2 AND s.state IN ('scheduled', 'unconfirmed') AND d.session_id IS NOT NULL THEN 'disputed'
    ELSE s.state END AS state, count(*)
FROM sessions s LEFT JOIN disputes d USING (session_id) WHERE s.programme_id = $1 GROUP BY 1
"""

_COMMITMENTS: Final = """
SELECT side, commitment, sum(times)::int FROM commitments WHERE programme_id = $1 GROUP BY side, commitment
UNION ALL
SELECT c.side, 'held', count(*)::int
FROM commitments c JOIN sessions s USING (session_id)
WHERE c.programme_id = $1 AND c.commitment = 'booked' AND s.state = 'held' GROUP BY c.side
"""

_REFLECTIONS: Final = """
SELECT stage, count(*), count(submitted_at) FROM reflections WHERE programme_id = $1 GROUP BY stage
"""


def router(pool: asyncpg.Pool, forwarder: Forwarder, access: Access) -> APIRouter:
    routes = api_router("/v1/pages", tags=["pages"])

    @routes.get("/programmes", response_model=ProgrammesPage, dependencies=[requires(overseer_or_analyst)])
    async def programmes_page(
        request: Request,
        who: CurrentPrincipal,
        paging: Paging,
        fresh: Annotated[bool, Depends(access.fresh)],
        *,
        with_parts: WithParts = True,
    ) -> Response:
        """The programmes whose team the caller is of, by id; for an analyst all of them, without names."""
        analyst = UserRole.ANALYST in who.roles
        reachable = await units.below(pool, who.units) if oversees(who) else set()
        last = UUID(str(_LISTING.decode(paging.cursor)[0])) if paging.cursor else None
        rows = await pool.fetch(_LIST, analyst, list(reachable), last, paging.limit + 1)
        items = [dict(row) for row in rows[: paging.limit]]
        parts: Any = None
        if with_parts:
            named = oversees(who)
            asked = Owners(forwarder, request).read("matching", "/v1/programmes?limit=200") if named else None
            parts = {"programmes": FORBIDDEN if asked is None else await asked}
        following = _LISTING.encode(str(items[-1]["programme_id"])) if len(rows) > len(items) else None
        return page({"items": items, "next": following, "parts": parts}, fresh=fresh)

    @routes.get(
        "/programmes/{programme_id}",
        response_model=ProgrammePage,
        dependencies=[requires(programme_team_or_analyst, access.programme, hidden=True)],
    )
    async def programme_page(
        request: Request,
        who: CurrentPrincipal,
        programme_id: UUID,
        reach: Annotated[Reach, Depends(access.programme)],
        fresh: Annotated[bool, Depends(access.fresh)],
        *,
        with_parts: WithParts = True,
    ) -> Response:
        """How a programme goes: cohorts, enrolments, pairs, sessions, commitments by side, reflections."""
        team = is_team(who, reach)
        content = await _overview(pool, programme_id, team=team)
        parts: Any = None
        if with_parts:
            owners, place = Owners(forwarder, request), f"/v1/programmes/{programme_id}"
            asked = {"programme": place, "cohorts": f"{place}/cohorts", "topics": f"{place}/topics"}
            parts = (
                await gathered({part: owners.read("matching", path) for part, path in asked.items()})
                if team
                else dict.fromkeys(asked, FORBIDDEN)
            )
        return page({**content, "parts": parts}, fresh=fresh)

    return routes


async def _overview(pool: asyncpg.Pool, programme_id: UUID, *, team: bool) -> dict[str, Any]:
    """All numbers as of one moment. Raises NotFound."""
    async with (
        pool.acquire() as connection,
        connection.transaction(isolation="repeatable_read", readonly=True),
    ):
        programme = await connection.fetchrow(_PROGRAMME, programme_id)
        if programme is None:
            raise NotFound
        cohorts = await connection.fetch(_COHORTS, programme_id)
        enrolled = await connection.fetch(_ENROLLED, programme_id)
        pairs = await connection.fetch(_PAIRS, programme_id, team)
        sessions = await connection.fetch(_SESSIONS, programme_id, team)
        commitments = await connection.fetch(_COMMITMENTS, programme_id) if team else None
        reflections = await connection.fetch(_REFLECTIONS, programme_id)
    return {
        **programme,
        "cohorts": [_cohort(row) for row in cohorts],
        "enrolled": _counts(get_args(Side), enrolled),
        "pairs": _counts(get_args(PairState), pairs),
        "sessions": _counts(get_args(SessionState), sessions),
        "commitments": None if commitments is None else _by_side(commitments),
        "reflections": _by_stage(reflections),
    }


def _cohort(row: asyncpg.Record) -> dict[str, Any]:
    cohort = dict(row)
    return cohort | {"enrolled": {"mentor": cohort.pop("mentors"), "mentee": cohort.pop("mentees")}}


def _counts(states: Iterable[str], rows: Sequence[asyncpg.Record]) -> dict[str, int]:
    """A number for every state, also where there is none."""
    return dict.fromkeys(states, 0) | {state: count for state, count in rows}  # noqa: C416 records are no pairs


def _by_side(rows: Sequence[asyncpg.Record]) -> dict[str, dict[str, int]]:
    found = {side: dict.fromkeys((*get_args(Commitment), "held"), 0) for side in get_args(Side)}
    for side, commitment, count in rows:
        found[side][commitment] = count
    return found


def _by_stage(rows: Sequence[asyncpg.Record]) -> dict[str, dict[str, int]]:
    none = {stage: {"asked": 0, "submitted": 0} for stage in get_args(Stage)}
    return none | {stage: {"asked": asked, "submitted": submitted} for stage, asked, submitted in rows}
