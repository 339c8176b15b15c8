"""Which cohorts a programme has, and how many take part in each."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any
from uuid import UUID

import asyncpg

from upwell_matching.domain.cohort import CohortClosed, CohortOpened
from upwell_shared.database import Connection
from upwell_shared.events import Recorded

name = "cohorts"
version = 1
tables = """
CREATE TABLE cohorts (
    cohort_id    uuid PRIMARY KEY,
    programme_id uuid NOT NULL,
    name         text NOT NULL,
    starts_on    date NOT NULL,
    ends_on      date NOT NULL,
    closed       bool NOT NULL,
    version      int  NOT NULL
);
CREATE INDEX cohorts_by_programme ON cohorts (programme_id, cohort_id);
"""

_OPEN = "INSERT INTO cohorts VALUES ($1, $2, $3, $4, $5, false, $6)"
_CLOSE = "UPDATE cohorts SET closed = true, version = $2 WHERE cohort_id = $1"

_ONE = """
SELECT cohort_id, programme_id, name, starts_on, ends_on, closed, version FROM cohorts WHERE cohort_id = $1
"""

_LIST = """
SELECT cohort_id, programme_id, name, starts_on, ends_on, closed, version FROM cohorts
WHERE programme_id = $1 AND ($2::uuid IS NULL OR cohort_id > $2)
ORDER BY cohort_id LIMIT $3
"""

# Of the tables of two other questions: who is enrolled, and how pairs stand.
_COUNTS = """
SELECT role AS what, count(*) AS n FROM enrolments WHERE cohort_id = $1 AND NOT withdrawn GROUP BY role
UNION ALL
SELECT state, count(*) FROM pairs WHERE cohort_id = $1 GROUP BY state
"""


@dataclass(frozen=True, slots=True)
class Row:
    """A cohort as the table has it, in the order of its columns."""

    cohort_id: UUID
    programme_id: UUID
    name: str
    starts_on: date
    ends_on: date
    closed: bool
    version: int


async def project(connection: Connection, events: Sequence[Recorded[Any]]) -> None:
    """One event after the other: there are few."""
    for recorded in events:
        match recorded.event:
            case CohortOpened() as event:
                dates = (event.starts_on, event.ends_on)
                row = (recorded.stream_id, event.programme_id, event.name, *dates, recorded.version)
                await connection.execute(_OPEN, *row)
            case CohortClosed():
                await connection.execute(_CLOSE, recorded.stream_id, recorded.version)


async def cohort(pool: asyncpg.Pool, cohort_id: UUID) -> Row | None:
    """None for one that is not known here."""
    found = await pool.fetchrow(_ONE, cohort_id)
    return None if found is None else Row(*found)


async def cohorts(pool: asyncpg.Pool, programme_id: UUID, after: UUID | None, limit: int) -> list[Row]:
    """Those of a programme, by id, after one."""
    return [Row(*row) for row in await pool.fetch(_LIST, programme_id, after, limit)]


async def counts(pool: asyncpg.Pool, cohort_id: UUID) -> dict[str, int]:
    """How many are enrolled by role, and how many pairs and proposals there are by state; what is none is absent."""
    return {row["what"]: row["n"] for row in await pool.fetch(_COUNTS, cohort_id)}
