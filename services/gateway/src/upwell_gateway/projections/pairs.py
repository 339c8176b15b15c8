"""How pairs and proposals stand: what everybody may know, and apart from it what our own services are told."""

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

from upwell_gateway.projections.folding import Folding
from upwell_shared.contracts import Consumed, PublishedEvent
from upwell_shared.contracts import matching as told
from upwell_shared.database import Connection

name = "pairs"
version = 1
tables = """
CREATE TABLE pairs (
    pair_id      uuid PRIMARY KEY,
    programme_id uuid NOT NULL,
    cohort_id    uuid NOT NULL,
    mentor_id    uuid NOT NULL,
    mentee_id    uuid NOT NULL,
    state        text NOT NULL CHECK (state IN ('proposed', 'active', 'paused', 'completed', 'ended')),
    since        timestamptz NOT NULL,
    proposed_at  timestamptz NOT NULL,
    reply_by     timestamptz NOT NULL,
    created_at   timestamptz,
    sessions     int,
    days_between int,
    minutes      int,
    ends_on      date
);
CREATE INDEX pairs_of_programme ON pairs (programme_id, state);
CREATE INDEX pairs_of_mentor ON pairs (mentor_id);
CREATE INDEX pairs_of_mentee ON pairs (mentee_id);

-- Fed by the internal channel; may be here before the pair is.
CREATE TABLE pair_insides (
    pair_id         uuid PRIMARY KEY,
    programme_id    uuid NOT NULL,
    accepted_by     text NOT NULL,
    reminded_at     timestamptz,
    outcome         text CHECK (outcome IN ('declined', 'expired', 'withdrawn')),
    declined_by     text,
    outcome_reason  text,
    ended_by        text,
    end_reason      text,
    no_fault        bool,
    inversion_broken_at    timestamptz,
    independence_broken_at timestamptz
);
CREATE INDEX broken_rules ON pair_insides (programme_id)
    WHERE inversion_broken_at IS NOT NULL OR independence_broken_at IS NOT NULL;
"""

_PUBLIC: Final[frozenset[type[PublishedEvent]]] = frozenset(
    {
        *(told.PairProposed, told.PairCreated, told.PairPaused, told.PairResumed),
        *(told.PairExtended, told.PairCompleted, told.PairEnded),
    }
)
_INTERNAL: Final[frozenset[type[PublishedEvent]]] = frozenset(
    {
        *(told.PairAccepted, told.PairReplyReminded, told.PairDeclined, told.PairProposalExpired),
        *(told.PairProposalWithdrawn, told.PairEndExplained, told.PairRuleBreached, told.PairRuleRestored),
    }
)


class _Pair(NamedTuple):
    pair_id: UUID
    programme_id: UUID
    cohort_id: UUID
    mentor_id: UUID
    mentee_id: UUID
    state: str
    since: datetime
    proposed_at: datetime
    reply_by: datetime
    created_at: datetime | None = None
    sessions: int | None = None
    days_between: int | None = None
    minutes: int | None = None
    ends_on: date | None = None


class _Insides(NamedTuple):
    pair_id: UUID
    programme_id: UUID
    accepted_by: str = ""
    """Sides, separated by a blank, in the order of their names."""
    reminded_at: datetime | None = None
    outcome: str | None = None
    declined_by: str | None = None
    outcome_reason: str | None = None
    ended_by: str | None = None
    end_reason: str | None = None
    no_fault: bool | None = None
    inversion_broken_at: datetime | None = None
    independence_broken_at: datetime | None = None


def _pair(row: _Pair | None, consumed: Consumed) -> _Pair | None:
    at = consumed.recorded_at
    if isinstance(event := consumed.event, told.PairProposed):
        ids = (event.pair_id, event.programme_id, event.cohort_id, event.mentor_id, event.mentee_id)
        return _Pair(*ids, "proposed", at, at, event.reply_by)
    if row is None:
        return None
    match event:
        case told.PairCreated(sessions=sessions, days_between=days_between, minutes=minutes, ends_on=ends_on):
            row = row._replace(created_at=at, sessions=sessions, days_between=days_between)
            return row._replace(state="active", since=at, minutes=minutes, ends_on=ends_on)
        case told.PairPaused():
            return row._replace(state="paused", since=at)
        case told.PairResumed():
            return row._replace(state="active", since=at)
        case told.PairExtended(sessions=sessions, ends_on=ends_on):
            return row._replace(sessions=sessions, ends_on=ends_on)
        case told.PairCompleted():
            return row._replace(state="completed", since=at)
        case told.PairEnded():
            return row._replace(state="ended", since=at)
    return row


def _insides(held: _Insides | None, consumed: Consumed) -> _Insides:
    event: Any = consumed.event
    at = consumed.recorded_at
    row = held or _Insides(event.pair_id, event.programme_id)
    match event:
        case told.PairAccepted(side=side):
            return row._replace(accepted_by=" ".join(sorted({*row.accepted_by.split(), side})))
        case told.PairReplyReminded():
            return row._replace(reminded_at=at)
        case told.PairDeclined(side=side, reason=reason):
            return row._replace(outcome="declined", declined_by=side, outcome_reason=reason)
        case told.PairProposalExpired():
            return row._replace(outcome="expired")
        case told.PairProposalWithdrawn(reason=reason):
            return row._replace(outcome="withdrawn", outcome_reason=reason)
        case told.PairEndExplained(by=by, reason=reason, no_fault=no_fault):
            return row._replace(ended_by=by, end_reason=reason, no_fault=no_fault)
        case told.PairRuleBreached(rule=rule):
            return _rule(row, rule, row.inversion_broken_at or at, row.independence_broken_at or at)
        case told.PairRuleRestored(rule=rule):
            return _rule(row, rule, None, None)
    return row


def _rule(
    row: _Insides, rule: told.Rule, inversion: datetime | None, independence: datetime | None
) -> _Insides:
    if rule == "inversion":
        return row._replace(inversion_broken_at=inversion)
    return row._replace(independence_broken_at=independence)


_PAIRS = Folding(
    row=_Pair,
    of=_PUBLIC,
    key="pair_id",
    evolve=_pair,
    held="SELECT * FROM pairs WHERE pair_id = ANY ($1::uuid[])",
    write="""
INSERT INTO pairs
SELECT * FROM unnest(
    $1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[], $5::uuid[], $6::text[], $7::timestamptz[], $8::timestamptz[],
    $9::timestamptz[], $10::timestamptz[], $11::int[], $12::int[], $13::int[], $14::date[]
)
ON CONFLICT (pair_id) DO UPDATE SET
    state = excluded.state, since = excluded.since, created_at = excluded.created_at, sessions = excluded.sessions,
    days_between = excluded.days_between, minutes = excluded.minutes, ends_on = excluded.ends_on
""",
)

_INSIDES = Folding(
    row=_Insides,
    of=_INTERNAL,
    key="pair_id",
    evolve=_insides,
    held="SELECT * FROM pair_insides WHERE pair_id = ANY ($1::uuid[])",
    write="""
INSERT INTO pair_insides
SELECT * FROM unnest(
    $1::uuid[], $2::uuid[], $3::text[], $4::timestamptz[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[],
    $10::bool[], $11::timestamptz[], $12::timestamptz[]
)
ON CONFLICT (pair_id) DO UPDATE SET
    accepted_by = excluded.accepted_by, reminded_at = excluded.reminded_at, outcome = excluded.outcome,
    declined_by = excluded.declined_by, outcome_reason = excluded.outcome_reason, ended_by = excluded.ended_by,
    end_reason = excluded.end_reason, no_fault = excluded.no_fault,
    inversion_broken_at = excluded.inversion_broken_at, independence_broken_at = excluded.independence_broken_at
""",
)


async def project(connection: Connection, events: Sequence[Consumed]) -> None:
    await _PAIRS.take(connection, events)
    await _INSIDES.take(connection, events)
