"""Who takes part in what: each enrolment with its wishes, and how many of its places are taken."""

from collections.abc import Sequence
from dataclasses import astuple, dataclass, replace
from datetime import datetime
from typing import Any, assert_never
from uuid import UUID

import asyncpg

from upwell_matching.domain.enrolment import (
    EnrolmentChanged,
    EnrolmentEvent,
    EnrolmentPlaceFreed,
    EnrolmentPlaceTaken,
    EnrolmentSubmitted,
    EnrolmentWithdrawn,
    WithdrawalSettled,
)
from upwell_shared.database import Connection
from upwell_shared.events import Recorded

name = "enrolments"
version = 1
tables = """
CREATE TABLE enrolments (
    enrolment_id    uuid PRIMARY KEY,
    programme_id    uuid        NOT NULL,
    cohort_id       uuid        NOT NULL,
    person_id       uuid        NOT NULL,
    organisation_id uuid        NOT NULL,
    unit_id         uuid        NOT NULL,
    role            text        NOT NULL,
    offers          uuid[]      NOT NULL,
    seeks           uuid[]      NOT NULL,
    capacity        int         NOT NULL,
    taken           int         NOT NULL,
    withdrawn       bool        NOT NULL,
    submitted_at    timestamptz NOT NULL,
    version         int         NOT NULL
);
CREATE INDEX enrolments_by_cohort ON enrolments (cohort_id, enrolment_id);
CREATE INDEX enrolments_by_person ON enrolments (person_id, enrolment_id);
"""

_ROWS = "SELECT * FROM enrolments WHERE enrolment_id = ANY ($1)"

# Row by row, since lists in columns are no argument of `unnest`.
_UPSERT = """
INSERT INTO enrolments VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
ON CONFLICT (enrolment_id) DO UPDATE
SET organisation_id = $5, unit_id = $6, role = $7, offers = $8, seeks = $9, capacity = $10, taken = $11,
    withdrawn = $12, submitted_at = $13, version = $14
"""

# How an enrolment stands follows from its pairs and its cohort, too.
_STANDINGS = """
SELECT e.enrolment_id,
       CASE
           WHEN e.withdrawn THEN 'withdrawn'
           WHEN e.taken > 0 THEN 'paired'
           WHEN EXISTS (SELECT FROM pairs p WHERE p.cohort_id = e.cohort_id AND p.state = 'proposed'
                        AND (p.mentor_id = e.person_id OR p.mentee_id = e.person_id)) THEN 'proposed'
           WHEN EXISTS (SELECT FROM cohorts c WHERE c.cohort_id = e.cohort_id AND c.closed) THEN 'unmatched'
           ELSE 'waiting'
       END AS standing
FROM enrolments e WHERE e.enrolment_id = ANY ($1)
"""

_OF_COHORT = """
SELECT * FROM enrolments
WHERE cohort_id = $1 AND ($2::text IS NULL OR role = $2) AND ($3::uuid IS NULL OR enrolment_id > $3)
ORDER BY enrolment_id LIMIT $4
"""
_OF_PERSON = """
SELECT * FROM enrolments WHERE person_id = $1 AND ($2::uuid IS NULL OR enrolment_id > $2) ORDER BY enrolment_id LIMIT $3
"""
_OPEN_OF_PERSON = "SELECT enrolment_id FROM enrolments WHERE person_id = $1 AND NOT withdrawn ORDER BY 1"


@dataclass(frozen=True, slots=True)
class Row:
    """An enrolment as the table has it, in the order of its columns."""

    enrolment_id: UUID
    programme_id: UUID
    cohort_id: UUID
    person_id: UUID
    organisation_id: UUID
    unit_id: UUID
    role: str
    offers: Sequence[UUID]
    seeks: Sequence[UUID]
    capacity: int
    taken: int
    withdrawn: bool
    submitted_at: datetime
    version: int


async def project(connection: Connection, events: Sequence[Recorded[Any]]) -> None:
    told = [recorded for recorded in events if isinstance(recorded.event, EnrolmentEvent)]
    if not told:
        return
    found = await connection.fetch(_ROWS, list({recorded.stream_id for recorded in told}))
    rows = {row["enrolment_id"]: Row(*row) for row in found}
    for recorded in told:
        enrolment_id, event = recorded.stream_id, recorded.event
        if isinstance(event, EnrolmentSubmitted):
            row = _submitted(enrolment_id, event, recorded.recorded_at)
        else:
            row = _after(rows[enrolment_id], event)
        rows[enrolment_id] = replace(row, version=recorded.version)
    await connection.executemany(_UPSERT, [astuple(row) for row in rows.values()])


def _submitted(enrolment_id: UUID, event: EnrolmentSubmitted, at: datetime) -> Row:
    return Row(
        enrolment_id,
        event.programme_id,
        event.cohort_id,
        event.person_id,
        event.organisation_id,
        event.unit_id,
        event.role.value,
        event.offers,
        event.seeks,
        event.capacity,
        0,
        withdrawn=False,
        submitted_at=at,
        version=0,
    )


def _after(
    row: Row,
    event: EnrolmentChanged
    | EnrolmentWithdrawn
    | WithdrawalSettled
    | EnrolmentPlaceTaken
    | EnrolmentPlaceFreed,
) -> Row:
    match event:
        case EnrolmentChanged():
            return replace(row, offers=event.offers, seeks=event.seeks, capacity=event.capacity)
        case EnrolmentWithdrawn():
            return replace(row, withdrawn=True)
        case EnrolmentPlaceTaken():
            return replace(row, taken=row.taken + 1)
        case EnrolmentPlaceFreed():
            return replace(row, taken=row.taken - 1)
        case WithdrawalSettled():
            return row
        case _:
            assert_never(event)


async def enrolment(pool: asyncpg.Pool, enrolment_id: UUID) -> Row | None:
    """None for one that is not known here."""
    found = await pool.fetch(_ROWS, [enrolment_id])
    return Row(*found[0]) if found else None


async def of_cohort(
    pool: asyncpg.Pool, cohort_id: UUID, *, role: str | None, after: UUID | None, limit: int
) -> list[Row]:
    """Those of a cohort, withdrawn ones too; by id, after one."""
    return [Row(*row) for row in await pool.fetch(_OF_COHORT, cohort_id, role, after, limit)]


async def of_person(pool: asyncpg.Pool, person_id: UUID, *, after: UUID | None, limit: int) -> list[Row]:
    """Those of a person, withdrawn ones too; by id, after one."""
    return [Row(*row) for row in await pool.fetch(_OF_PERSON, person_id, after, limit)]


async def open_of(pool: asyncpg.Pool, person_id: UUID) -> list[UUID]:
    """Ids of a person's enrolments that are not withdrawn."""
    return [row["enrolment_id"] for row in await pool.fetch(_OPEN_OF_PERSON, person_id)]


async def standings(pool: asyncpg.Pool, enrolment_ids: Sequence[UUID]) -> dict[UUID, str]:
    """How each stands: waiting, proposed, paired, withdrawn, or unmatched once its cohort is closed."""
    return {row["enrolment_id"]: row["standing"] for row in await pool.fetch(_STANDINGS, enrolment_ids)}
