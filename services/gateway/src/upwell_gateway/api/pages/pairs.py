"""The page of a pair: everything that is known of it, as one read of own tables."""

from typing import Annotated, Any, Final
from uuid import UUID

import asyncpg
import orjson
from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response

from upwell_gateway.api.pages.access import Access
from upwell_gateway.api.pages.answering import WithParts, page
from upwell_gateway.api.pages.bodies import PairPage
from upwell_gateway.api.pages.parts import Owners, gathered
from upwell_gateway.forwarding import Forwarder
from upwell_gateway.policies import PairFacts, member_or_programme_team, sees_whole
from upwell_shared.errors import NotFound
from upwell_shared.web.policies import CurrentPrincipal, requires
from upwell_shared.web.routing import api_router

_MEMBERS_SEE: Final = (
    *("PairAccepted", "PairReplyReminded", "PairDeclined", "PairProposalExpired", "PairProposalWithdrawn"),
    *("SessionDisputed", "CommitmentRecorded"),
)
"""Of what only our own services are told; the rest, every reason, and who declined, is not for members."""

# $2: the whole; $3: of the internal channel, what members see.
_PAGE: Final = """
SELECT json_build_object(
    'pair_id', p.pair_id, 'programme_id', p.programme_id, 'cohort_id', p.cohort_id,
    'mentor_id', p.mentor_id, 'mentee_id', p.mentee_id,
    'state', CASE WHEN p.state = 'proposed' THEN coalesce(i.outcome, p.state) ELSE p.state END,
    'since', p.since, 'proposed_at', p.proposed_at, 'reply_by', p.reply_by,
    'accepted_by', coalesce(array_remove(string_to_array(i.accepted_by, ' '), ''), '{}'), 'reminded_at', i.reminded_at,
    'created_at', p.created_at, 'planned_sessions', p.sessions, 'days_between', p.days_between, 'minutes', p.minutes,
    'ends_on', p.ends_on,
    'inside', CASE WHEN $2 THEN json_build_object(
        'declined_by', i.declined_by, 'outcome_reason', i.outcome_reason, 'ended_by', i.ended_by,
        'end_reason', i.end_reason, 'no_fault', i.no_fault,
        'broken_rules', array_remove(ARRAY[
            CASE WHEN i.inversion_broken_at IS NOT NULL THEN 'inversion' END,
            CASE WHEN i.independence_broken_at IS NOT NULL THEN 'independence' END
        ], NULL)
    ) END,
    'sessions', (
        SELECT coalesce(json_agg(json_build_object(
            'session_id', s.session_id, 'number', s.number, 'starts_at', s.starts_at, 'minutes', s.minutes,
            'state', CASE WHEN s.state IN ('scheduled', 'unconfirmed') AND d.session_id IS NOT NULL
                THEN 'disputed' ELSE s.state END,
            'since', s.since,
            'commitments', (
                SELECT coalesce(json_agg(
                    json_build_object('side', c.side, 'commitment', c.commitment, 'times', c.times)
                    ORDER BY c.side, c.commitment
                ), '[]')
                FROM commitments c WHERE c.session_id = s.session_id
            )
        ) ORDER BY s.number, s.session_id), '[]')
        FROM sessions s LEFT JOIN disputes d USING (session_id) WHERE s.pair_id = p.pair_id
    ),
    'reflections', (
        SELECT coalesce(json_agg(json_build_object(
            'reflection_id', r.reflection_id, 'person_id', r.person_id, 'stage', r.stage, 'due_on', r.due_on,
            'asked_at', r.asked_at, 'submitted_at', r.submitted_at
        ) ORDER BY r.asked_at, r.reflection_id), '[]')
        FROM reflections r WHERE r.pair_id = p.pair_id
    ),
    'timeline', (
        SELECT coalesce(json_agg(json_build_object(
            'event_id', t.event_id, 'at', t.at, 'owner', t.owner, 'type', t.type, 'session_id', t.session_id,
            'reflection_id', t.reflection_id, 'person_id', t.person_id,
            'side', CASE WHEN $2 OR t.type <> 'PairDeclined' THEN t.side END,
            'detail', CASE WHEN $2 OR NOT t.internal OR t.type = 'CommitmentRecorded' THEN t.detail END
        ) ORDER BY t.at, t.owner, t.internal DESC, t.sequence, t.event_id), '[]')
        FROM timeline t WHERE t.pair_id = p.pair_id AND ($2 OR NOT t.internal OR t.type = ANY ($3::text[]))
    )
)
FROM pairs p LEFT JOIN pair_insides i USING (pair_id)
WHERE p.pair_id = $1
"""


def router(pool: asyncpg.Pool, forwarder: Forwarder, access: Access) -> APIRouter:
    routes = api_router("/v1/pages", tags=["pages"])

    @routes.get(
        "/pairs/{pair_id}",
        response_model=PairPage,
        dependencies=[requires(member_or_programme_team, access.pair, hidden=True)],
    )
    async def pair_page(
        request: Request,
        who: CurrentPrincipal,
        pair_id: UUID,
        pair: Annotated[PairFacts, Depends(access.pair)],
        fresh: Annotated[bool, Depends(access.fresh)],
        *,
        with_parts: WithParts = True,
    ) -> Response:
        """Facts, sessions, reflections and everything that happened, in order. By whom and why a pair or proposal ended,
        and which rules it breaks, is shown to the programme's team alone, and to nobody of their own pair.
        """
        own = await pool.fetchval(_PAGE, pair_id, sees_whole(who, pair), _MEMBERS_SEE)
        if own is None:
            raise NotFound
        parts: Any = None
        if with_parts:
            owners = Owners(forwarder, request)
            programme = f"/v1/programmes/{pair.programme_id}"
            parts = await gathered(
                {
                    "names": owners.names([pair.mentor_id, pair.mentee_id]),
                    "programme": owners.read("matching", programme),
                    "cohort": owners.read("matching", f"/v1/cohorts/{pair.cohort_id}"),
                    "topics": owners.read("matching", f"{programme}/topics"),
                    "cadence": owners.read("sessions", f"/v1/cadences/{pair_id}"),
                    "reflections": owners.read("feedback", f"/v1/reflections?pair_id={pair_id}"),
                }
            )
        return page({**orjson.loads(own), "parts": parts}, fresh=fresh)

    return routes
