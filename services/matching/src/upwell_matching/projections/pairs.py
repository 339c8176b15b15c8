"""How pairs stand: proposals, pairs, and what became of them."""

from collections.abc import Sequence
from dataclasses import astuple, dataclass, replace
from datetime import date, datetime
from typing import Any, assert_never
from uuid import UUID

import asyncpg

from upwell_matching.domain.eligibility import Rules
from upwell_matching.domain.pair import (
    PairAccepted,
    PairCompleted,
    PairCreated,
    PairDeclined,
    PairEnded,
    PairEvent,
    PairExtended,
    PairPaused,
    PairProposalExpired,
    PairProposalWithdrawn,
    PairProposed,
    PairReplyReminded,
    PairResumed,
    PairRuleBreached,
    PairRuleRestored,
    PauseCauseAdded,
    PauseCauseRemoved,
)
from upwell_matching.projections.programmes import rules_of, rules_text
from upwell_shared.database import Connection
from upwell_shared.events import Recorded

name = "pairs"
version = 1
tables = """
CREATE TABLE pairs (
    pair_id      uuid PRIMARY KEY,
    programme_id uuid        NOT NULL,
    cohort_id    uuid        NOT NULL,
    mentor_id    uuid        NOT NULL,
    mentee_id    uuid        NOT NULL,
    match_run_id uuid,
    rules        json        NOT NULL,
    -- proposed | declined | expired | withdrawn | active | paused | completed | ended
    state        text        NOT NULL,
    accepted     text[]      NOT NULL,
    reminded     bool        NOT NULL,
    sessions     int         NOT NULL,
    days_between int         NOT NULL,
    minutes      int         NOT NULL,
    ends_on      date        NOT NULL,
    reply_by     timestamptz NOT NULL,
    proposed_at  timestamptz NOT NULL,
    created_at   timestamptz,
    closed_at    timestamptz,
    -- Who closed it, why, and whether somebody was at fault; of one that was closed so.
    closed_by    text,
    reason       text,
    no_fault     bool,
    breached     text[]      NOT NULL,
    rests_for    text[]      NOT NULL,
    version      int         NOT NULL
);
CREATE INDEX pairs_by_cohort ON pairs (cohort_id, pair_id);
CREATE INDEX pairs_by_mentor ON pairs (mentor_id, pair_id);
CREATE INDEX pairs_by_mentee ON pairs (mentee_id, pair_id);
"""

PROPOSED = "proposed"
OPEN = (PROPOSED, "active", "paused")
"""The states in which a rule must still be kept."""

_ROWS = "SELECT * FROM pairs WHERE pair_id = ANY ($1)"

# Row by row, since lists in columns are no argument of `unnest`.
_UPSERT = """
INSERT INTO pairs VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20,
                          $21, $22, $23, $24)
ON CONFLICT (pair_id) DO UPDATE
SET state = $8, accepted = $9, reminded = $10, sessions = $11, ends_on = $14, created_at = $17, closed_at = $18,
    closed_by = $19, reason = $20, no_fault = $21, breached = $22, rests_for = $23, version = $24
"""

_OF_COHORT = """
SELECT * FROM pairs WHERE cohort_id = $1 AND ($2::text IS NULL OR state = $2) AND ($3::uuid IS NULL OR pair_id > $3)
ORDER BY pair_id LIMIT $4
"""
_OF_PERSON = """
SELECT * FROM pairs WHERE (mentor_id = $1 OR mentee_id = $1) AND ($2::uuid IS NULL OR pair_id > $2)
ORDER BY pair_id LIMIT $3
"""
_OPEN_OF = """
SELECT * FROM pairs
WHERE (mentor_id = ANY ($1) OR mentee_id = ANY ($1)) AND state = ANY ($2) AND ($3::uuid IS NULL OR pair_id > $3)
ORDER BY pair_id LIMIT $4
"""
_ALL_OPEN = """
SELECT * FROM pairs WHERE state = ANY ($1) AND ($2::uuid IS NULL OR pair_id > $2) ORDER BY pair_id LIMIT $3
"""
_PROPOSALS_OF = """
SELECT pair_id FROM pairs WHERE cohort_id = $1 AND (mentor_id = $2 OR mentee_id = $2) AND state = 'proposed' ORDER BY pair_id
"""
_OPEN_BETWEEN = """
SELECT pair_id FROM pairs WHERE cohort_id = $1 AND mentor_id = $2 AND mentee_id = $3 AND state = ANY ($4)
"""


@dataclass(frozen=True, slots=True)
class Row:
    """A pair as the table has it, in the order of its columns."""

    pair_id: UUID
    programme_id: UUID
    cohort_id: UUID
    mentor_id: UUID
    mentee_id: UUID
    match_run_id: UUID | None
    rules_text: str
    state: str
    accepted: Sequence[str]
    reminded: bool
    sessions: int
    days_between: int
    minutes: int
    ends_on: date
    reply_by: datetime
    proposed_at: datetime
    created_at: datetime | None = None
    closed_at: datetime | None = None
    closed_by: str | None = None
    reason: str | None = None
    no_fault: bool | None = None
    breached: Sequence[str] = ()
    rests_for: Sequence[str] = ()
    version: int = 0

    @property
    def rules(self) -> Rules:
        """Those it was proposed under."""
        return rules_of(self.rules_text)


async def project(connection: Connection, events: Sequence[Recorded[Any]]) -> None:
    told = [recorded for recorded in events if isinstance(recorded.event, PairEvent)]
    if not told:
        return
    found = await connection.fetch(_ROWS, list({recorded.stream_id for recorded in told}))
    rows = {row["pair_id"]: Row(*row) for row in found}
    for recorded in told:
        pair_id, event, at = recorded.stream_id, recorded.event, recorded.recorded_at
        row = (
            _proposed(pair_id, event, at)
            if isinstance(event, PairProposed)
            else _after(rows[pair_id], event, at)
        )
        rows[pair_id] = replace(row, version=recorded.version)
    await connection.executemany(_UPSERT, [astuple(row) for row in rows.values()])


def _proposed(pair_id: UUID, event: PairProposed, at: datetime) -> Row:
    terms, plan = event.terms, event.plan
    return Row(
        pair_id,
        terms.programme_id,
        terms.cohort_id,
        terms.mentor_id,
        terms.mentee_id,
        event.match_run_id,
        rules_text(terms.rules),
        PROPOSED,
        (),
        reminded=False,
        sessions=plan.sessions,
        days_between=plan.days_between,
        minutes=plan.minutes,
        ends_on=plan.ends_on,
        reply_by=event.reply_by,
        proposed_at=at,
    )


def _after(row: Row, event: PairEvent, at: datetime) -> Row:
    match event:
        case PairAccepted(side=side):
            return replace(row, accepted=sorted({*row.accepted, side.value}))
        case PairCreated():
            return replace(row, state="active", created_at=at)
        case PairReplyReminded():
            return replace(row, reminded=True)
        case PairDeclined(side=side, reason=reason):
            return replace(row, state="declined", closed_at=at, closed_by=side.value, reason=reason.value)
        case PairProposalExpired():
            return replace(row, state="expired", closed_at=at)
        case PairProposalWithdrawn(reason=reason):
            return replace(row, state="withdrawn", closed_at=at, reason=reason.value)
        case PairPaused(cause=cause) | PauseCauseAdded(cause=cause):
            return replace(row, state="paused", rests_for=sorted({*row.rests_for, cause.value}))
        case PauseCauseRemoved(cause=cause):
            return replace(row, rests_for=sorted({*row.rests_for} - {cause.value}))
        case PairResumed():
            return replace(row, state="active", rests_for=())
        case PairExtended(sessions=sessions, ends_on=ends_on):
            return replace(row, sessions=sessions, ends_on=ends_on)
        case PairCompleted(by=by):
            return replace(row, state="completed", closed_at=at, closed_by=by.value)
        case PairEnded(by=by, reason=reason, no_fault=no_fault):
            return replace(
                row,
                state="ended",
                closed_at=at,
                closed_by=by.value,
                reason=reason.value,
                no_fault=no_fault,
            )
        case PairRuleBreached(rule=rule):
            return replace(row, breached=sorted({*row.breached, rule}))
        case PairRuleRestored(rule=rule):
            return replace(row, breached=sorted({*row.breached} - {rule}))
        case PairProposed():
            return row
        case _:
            assert_never(event)


async def pair(pool: asyncpg.Pool, pair_id: UUID) -> Row | None:
    """None for one that is not known here."""
    found = await pool.fetch(_ROWS, [pair_id])
    return Row(*found[0]) if found else None


async def of_cohort(
    pool: asyncpg.Pool, cohort_id: UUID, *, state: str | None, after: UUID | None, limit: int
) -> list[Row]:
    """Pairs and proposals of a cohort, closed ones too; by id, after one."""
    return [Row(*row) for row in await pool.fetch(_OF_COHORT, cohort_id, state, after, limit)]


async def of_person(pool: asyncpg.Pool, person_id: UUID, *, after: UUID | None, limit: int) -> list[Row]:
    """Pairs and proposals a person is a member of, closed ones too; by id, after one."""
    return [Row(*row) for row in await pool.fetch(_OF_PERSON, person_id, after, limit)]


async def open_of(
    pool: asyncpg.Pool, person_ids: Sequence[UUID], *, after: UUID | None, limit: int
) -> list[Row]:
    """Proposals that wait and pairs that are open, of which any of these is a member; by id, after one."""
    return [Row(*row) for row in await pool.fetch(_OPEN_OF, person_ids, OPEN, after, limit)]


async def all_open(pool: asyncpg.Pool, *, after: UUID | None, limit: int) -> list[Row]:
    """Every proposal that waits and every pair that is open; by id, after one."""
    return [Row(*row) for row in await pool.fetch(_ALL_OPEN, OPEN, after, limit)]


async def proposals_of(pool: asyncpg.Pool, cohort_id: UUID, person_id: UUID) -> list[UUID]:
    """Proposals that wait, of which this person is a member."""
    return [row["pair_id"] for row in await pool.fetch(_PROPOSALS_OF, cohort_id, person_id)]


async def open_between(pool: asyncpg.Pool, cohort_id: UUID, mentor_id: UUID, mentee_id: UUID) -> set[UUID]:
    """Proposals that wait and pairs that are open between these two."""
    return {row["pair_id"] for row in await pool.fetch(_OPEN_BETWEEN, cohort_id, mentor_id, mentee_id, OPEN)}
