"""What match runs have found, for whom they found nothing, and how far their proposals are."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID

import asyncpg
import orjson

from upwell_matching.domain.eligibility import Rules
from upwell_matching.domain.match_run import (
    LeftOver,
    MatchRunDiscarded,
    MatchRunDrafted,
    MatchRunEvent,
    MatchRunFailed,
    MatchRunFinished,
    MatchRunPublished,
    MatchRunStarted,
    PairsDrafted,
    PeopleLeftOver,
    ProposalSkipped,
)
from upwell_matching.domain.pair import PairProposed
from upwell_matching.projections.programmes import rules_of, rules_text
from upwell_shared.database import Connection
from upwell_shared.events import Recorded

State = Literal["running", "draft", "published", "discarded", "failed"]
PairState = Literal["drafted", "proposed", "skipped"]

name = "match_runs"
version = 1
tables = """
CREATE TABLE match_runs (
    match_run_id uuid PRIMARY KEY,
    programme_id uuid   NOT NULL,
    cohort_id    uuid   NOT NULL,
    rules        json   NOT NULL,
    seed         bigint NOT NULL,
    -- running | draft | published | discarded | failed
    state        text   NOT NULL DEFAULT 'running',
    finished     bool   NOT NULL DEFAULT false,
    score        bigint NOT NULL DEFAULT 0,
    pairs        int    NOT NULL DEFAULT 0,
    unmatched    int    NOT NULL DEFAULT 0,
    version      int    NOT NULL
);
CREATE INDEX match_runs_by_cohort ON match_runs (cohort_id, match_run_id);
CREATE INDEX match_runs_at_work ON match_runs (match_run_id) WHERE state = 'running' OR (state = 'published' AND NOT finished);
CREATE TABLE drafted_pairs (
    pair_id      uuid PRIMARY KEY,
    match_run_id uuid   NOT NULL,
    mentor_id    uuid   NOT NULL,
    mentee_id    uuid   NOT NULL,
    score        int    NOT NULL,
    topics       uuid[] NOT NULL,
    returned     uuid[] NOT NULL,
    -- drafted | proposed | skipped, and why it was.
    state        text   NOT NULL DEFAULT 'drafted',
    reason       text
);
CREATE INDEX drafted_pairs_by_run ON drafted_pairs (match_run_id, pair_id);
CREATE INDEX drafted_pairs_waiting ON drafted_pairs (match_run_id, pair_id) WHERE state = 'drafted';
CREATE TABLE unmatched_people (
    match_run_id uuid NOT NULL,
    person_id    uuid NOT NULL,
    side         text NOT NULL,
    obstacles    json NOT NULL,
    PRIMARY KEY (match_run_id, person_id)
);
"""

_START = """
INSERT INTO match_runs (match_run_id, programme_id, cohort_id, rules, seed, version) VALUES ($1, $2, $3, $4, $5, $6)
"""
_DRAFT_PAIRS = """
INSERT INTO drafted_pairs (pair_id, match_run_id, mentor_id, mentee_id, score, topics, returned)
VALUES ($1, $2, $3, $4, $5, $6, $7)
"""
_LEAVE_OVER = """
INSERT INTO unmatched_people (match_run_id, person_id, side, obstacles) VALUES ($1, $2, $3, $4)
"""
_DRAFT = (
    "UPDATE match_runs SET state = 'draft', pairs = $2, unmatched = $3, score = $4 WHERE match_run_id = $1"
)
_TURN = "UPDATE match_runs SET state = $2 WHERE match_run_id = $1"
_SETTLE = "UPDATE drafted_pairs SET state = $2, reason = $3 WHERE pair_id = $1"
_FINISH = "UPDATE match_runs SET finished = true WHERE match_run_id = $1"
_VERSION = "UPDATE match_runs SET version = $2 WHERE match_run_id = $1"

_ONE = "SELECT * FROM match_runs WHERE match_run_id = $1"
_COUNTS = "SELECT state, count(*) FROM drafted_pairs WHERE match_run_id = $1 GROUP BY state"
_PAIRS = """
SELECT pair_id, mentor_id, mentee_id, score, topics, returned, state, reason FROM drafted_pairs
WHERE match_run_id = $1 AND ($2::uuid IS NULL OR pair_id > $2) ORDER BY pair_id LIMIT $3
"""
_UNMATCHED = """
SELECT person_id, side, obstacles FROM unmatched_people
WHERE match_run_id = $1 AND ($2::uuid IS NULL OR person_id > $2) ORDER BY person_id LIMIT $3
"""
_OF_COHORT = """
SELECT * FROM match_runs WHERE cohort_id = $1 AND ($2::uuid IS NULL OR match_run_id > $2) ORDER BY match_run_id LIMIT $3
"""
_RUNNING = "SELECT * FROM match_runs WHERE state = 'running' ORDER BY match_run_id"
_TO_PROPOSE = "SELECT * FROM match_runs WHERE state = 'published' AND NOT finished ORDER BY match_run_id"
_WAITING = """
SELECT pair_id, mentor_id, mentee_id, score, topics, returned, state, reason FROM drafted_pairs
WHERE match_run_id = $1 AND state = 'drafted' ORDER BY pair_id LIMIT $2
"""


@dataclass(frozen=True, slots=True)
class Row:
    """A match run as the table has it, in the order of its columns."""

    match_run_id: UUID
    programme_id: UUID
    cohort_id: UUID
    rules_text: str
    seed: int
    state: State
    finished: bool
    score: int
    pairs: int
    unmatched: int
    version: int

    @property
    def rules(self) -> Rules:
        """Those it was started under."""
        return rules_of(self.rules_text)


@dataclass(frozen=True, slots=True)
class PairRow:
    pair_id: UUID
    mentor_id: UUID
    mentee_id: UUID
    score: int
    topics: Sequence[UUID]
    returned: Sequence[UUID]
    state: PairState
    reason: str | None


@dataclass(frozen=True, slots=True)
class UnmatchedRow:
    """`obstacles` counts the people of the other side by why they were no partner."""

    person_id: UUID
    side: str
    obstacles: dict[str, int]


async def project(connection: Connection, events: Sequence[Recorded[Any]]) -> None:
    """One event after the other: the large ones hold many rows each."""
    for recorded in events:
        if isinstance(recorded.event, PairProposed):
            if recorded.event.match_run_id is not None:
                await connection.execute(_SETTLE, recorded.stream_id, "proposed", None)
        elif isinstance(recorded.event, MatchRunEvent):
            await _take(connection, recorded.stream_id, recorded.event, recorded.version)


async def _take(connection: Connection, match_run_id: UUID, event: MatchRunEvent, version: int) -> None:
    match event:
        case MatchRunStarted():
            row = (event.programme_id, event.cohort_id, rules_text(event.rules), event.seed, version)
            await connection.execute(_START, match_run_id, *row)
        case PairsDrafted(pairs=pairs):
            rows = [
                (p.pair_id, match_run_id, p.mentor_id, p.mentee_id, p.score, p.topics, p.returned)
                for p in pairs
            ]
            await connection.executemany(_DRAFT_PAIRS, rows)
        case PeopleLeftOver(people=people):
            left = [(match_run_id, p.person_id, p.side.value, _obstacles(p)) for p in people]
            await connection.executemany(_LEAVE_OVER, left)
        case MatchRunDrafted():
            await connection.execute(_DRAFT, match_run_id, event.pairs, event.left_over, event.score)
        case MatchRunPublished():
            await connection.execute(_TURN, match_run_id, "published")
        case MatchRunDiscarded():
            await connection.execute(_TURN, match_run_id, "discarded")
        case MatchRunFailed():
            await connection.execute(_TURN, match_run_id, "failed")
        case ProposalSkipped(pair_id=pair_id, reason=reason):
            await connection.execute(_SETTLE, pair_id, "skipped", reason)
        case MatchRunFinished():
            await connection.execute(_FINISH, match_run_id)
    await connection.execute(_VERSION, match_run_id, version)


def _obstacles(person: LeftOver) -> str:
    return orjson.dumps({obstacle.reason: obstacle.people for obstacle in person.obstacles}).decode()


async def match_run(pool: asyncpg.Pool, match_run_id: UUID) -> Row | None:
    """None for one that is not known here."""
    found = await pool.fetchrow(_ONE, match_run_id)
    return None if found is None else Row(*found)


async def counts(pool: asyncpg.Pool, match_run_id: UUID) -> dict[str, int]:
    """How many of its pairs are drafted, proposed and skipped."""
    return {row["state"]: row["count"] for row in await pool.fetch(_COUNTS, match_run_id)}


async def of_cohort(pool: asyncpg.Pool, cohort_id: UUID, after: UUID | None, limit: int) -> list[Row]:
    """Those of a cohort, discarded ones too; by id, after one."""
    return [Row(*row) for row in await pool.fetch(_OF_COHORT, cohort_id, after, limit)]


async def pairs(pool: asyncpg.Pool, match_run_id: UUID, after: UUID | None, limit: int) -> list[PairRow]:
    """By id, after one."""
    return [PairRow(*row) for row in await pool.fetch(_PAIRS, match_run_id, after, limit)]


async def unmatched(
    pool: asyncpg.Pool, match_run_id: UUID, after: UUID | None, limit: int
) -> list[UnmatchedRow]:
    """By person, after one."""
    return [
        UnmatchedRow(person_id, side, orjson.loads(obstacles))
        for person_id, side, obstacles in await pool.fetch(_UNMATCHED, match_run_id, after, limit)
    ]


async def running(pool: asyncpg.Pool) -> list[Row]:
    """Those whose pairs are to be found."""
    return [Row(*row) for row in await pool.fetch(_RUNNING)]


async def to_propose(pool: asyncpg.Pool) -> list[Row]:
    """Those that are published and not finished."""
    return [Row(*row) for row in await pool.fetch(_TO_PROPOSE)]


async def waiting(pool: asyncpg.Pool, match_run_id: UUID, limit: int) -> list[PairRow]:
    """Pairs that are neither proposed nor skipped."""
    return [PairRow(*row) for row in await pool.fetch(_WAITING, match_run_id, limit)]
