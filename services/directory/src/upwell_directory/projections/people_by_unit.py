"""Who is where: each person's place, standing and consents."""

from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, replace
from datetime import date
from typing import Any, assert_never
from uuid import UUID

import asyncpg

from upwell_directory.domain.person import (
    ConsentGiven,
    ConsentWithdrawn,
    ErasureAcknowledged,
    PersonErased,
    PersonEvent,
    PersonJoined,
    PersonLeft,
    PersonMoved,
    PersonReturned,
    PersonWentOnLeave,
    Place,
)
from upwell_shared.database import Connection
from upwell_shared.events import Recorded

name = "people_by_unit"
version = 1
tables = """
CREATE TABLE people (
    person_id       uuid PRIMARY KEY,
    organisation_id uuid NOT NULL,
    -- employed | on_leave | gone | erased; of the erased nothing is kept but who may know of it.
    standing        text NOT NULL,
    unit_id         uuid NOT NULL,
    grade           int,
    manager_id      uuid,
    in_role_since   date,
    leave_until     date,
    consents        text[] NOT NULL,
    version         int NOT NULL
);
CREATE INDEX people_by_unit ON people (unit_id, person_id);
CREATE INDEX people_by_manager ON people (manager_id);
"""

# A line is walked so far and no further: two moves at the same moment may close it to a circle for a while.
LONGEST_LINE = 50

_ROWS = """
SELECT person_id, organisation_id, standing, unit_id, grade, manager_id, in_role_since, leave_until, consents, version
FROM people WHERE person_id = ANY ($1)
"""

_UPSERT = """
INSERT INTO people (person_id, organisation_id, standing, unit_id, grade, manager_id, in_role_since, leave_until,
                    consents, version)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
ON CONFLICT (person_id) DO UPDATE
SET organisation_id = $2, standing = $3, unit_id = $4, grade = $5, manager_id = $6, in_role_since = $7,
    leave_until = $8, consents = $9, version = $10
"""

_ONE = """
SELECT p.person_id, p.organisation_id, p.standing, p.unit_id, p.grade, p.manager_id, p.in_role_since, p.leave_until,
       p.consents, p.version, u.path
FROM people p JOIN units u USING (unit_id) WHERE p.person_id = $1
"""

_LIST = """
SELECT p.person_id, p.organisation_id, p.standing, p.unit_id, p.grade, p.manager_id, p.in_role_since, p.leave_until,
       p.consents, p.version
FROM people p JOIN units u USING (unit_id)
WHERE u.path && $1::uuid[] AND ($2::uuid IS NULL OR u.path @> ARRAY[$2::uuid]) AND p.standing = ANY ($3)
  AND ($4::uuid IS NULL OR p.person_id > $4)
ORDER BY p.person_id LIMIT $5
"""

_LINE = """
WITH RECURSIVE line (person_id, manager_id, version, level) AS (
    SELECT person_id, manager_id, version, 1 FROM people WHERE person_id = $1 AND standing IN ('employed', 'on_leave')
    UNION ALL
    SELECT p.person_id, p.manager_id, p.version, line.level + 1
    FROM line JOIN people p ON p.person_id = line.manager_id
    WHERE line.level < $2
)
SELECT person_id, version FROM line ORDER BY level
"""

_HEADCOUNT = "SELECT count(*) FROM people WHERE unit_id = $1 AND standing IN ('employed', 'on_leave')"


@dataclass(frozen=True, slots=True)
class Row:
    """A person as the table has them, in the order of its columns."""

    person_id: UUID
    organisation_id: UUID
    standing: str
    unit_id: UUID
    grade: int | None = None
    manager_id: UUID | None = None
    in_role_since: date | None = None
    leave_until: date | None = None
    consents: Sequence[str] = ()
    version: int = 0


async def project(connection: Connection, events: Sequence[Recorded[Any]]) -> None:
    told = [recorded for recorded in events if isinstance(recorded.event, PersonEvent)]
    if not told:
        return
    found = await connection.fetch(_ROWS, list({recorded.stream_id for recorded in told}))
    rows = {row["person_id"]: Row(*row) for row in found}
    for recorded in told:
        person_id, event = recorded.stream_id, recorded.event
        row = rows.get(person_id)
        if isinstance(event, PersonJoined):
            consents = () if row is None else row.consents
            joined = Row(person_id, event.organisation_id, "employed", event.place.unit_id, consents=consents)
            row = _placed(joined, event.place)
        elif row is not None:
            row = _after(row, event)
        if row is not None:
            rows[person_id] = replace(row, version=recorded.version)
    await connection.executemany(_UPSERT, [astuple(row) for row in rows.values()])


def _after(
    row: Row,
    event: PersonMoved
    | PersonWentOnLeave
    | PersonReturned
    | PersonLeft
    | ConsentGiven
    | ConsentWithdrawn
    | PersonErased
    | ErasureAcknowledged,
) -> Row:
    match event:
        case PersonMoved(place=place):
            return _placed(row, place)
        case PersonWentOnLeave(until=until):
            return replace(row, standing="on_leave", leave_until=until)
        case PersonReturned():
            return replace(row, standing="employed", leave_until=None)
        case PersonLeft():
            return replace(row, standing="gone", leave_until=None)
        case ConsentGiven(purpose=purpose):
            return replace(row, consents=sorted({*row.consents, purpose.value}))
        case ConsentWithdrawn(purpose=purpose):
            return replace(row, consents=sorted({*row.consents} - {purpose.value}))
        case PersonErased():
            return Row(row.person_id, row.organisation_id, "erased", row.unit_id)
        case ErasureAcknowledged():
            return row
        case _:
            assert_never(event)


def _placed(row: Row, place: Place) -> Row:
    return replace(
        row,
        unit_id=place.unit_id,
        grade=place.grade,
        manager_id=place.manager_id,
        in_role_since=place.in_role_since,
    )


async def person(pool: asyncpg.Pool, person_id: UUID) -> tuple[Row, Sequence[UUID]] | None:
    """A person, and the path of their unit; None for one who is not known here."""
    found = await pool.fetchrow(_ONE, person_id)
    if found is None:
        return None
    *columns, path = found
    return Row(*columns), path


async def people(
    pool: asyncpg.Pool,
    below: Sequence[UUID],
    *,
    unit_id: UUID | None,
    standings: Sequence[str],
    after: UUID | None,
    limit: int,
) -> list[Row]:
    """People in units at or below any of `below`, and at or below `unit_id` where one is given; by id, after one."""
    return [Row(*row) for row in await pool.fetch(_LIST, below, unit_id, standings, after, limit)]


async def these(pool: asyncpg.Pool, person_ids: Sequence[UUID]) -> dict[UUID, Row]:
    """Those of them who are known here."""
    return {row["person_id"]: Row(*row) for row in await pool.fetch(_ROWS, person_ids)}


async def with_all_above(pool: asyncpg.Pool, person_ids: Sequence[UUID]) -> dict[UUID, Row]:
    """Those of them who are known here, and everybody above them."""
    found: dict[UUID, Row] = {}
    wanted = {*person_ids}
    while wanted:
        more = await these(pool, [*wanted])
        found |= more
        wanted = {row.manager_id for row in more.values() if row.manager_id is not None} - found.keys()
    return found


async def line(pool: asyncpg.Pool, manager_id: UUID, most: int = LONGEST_LINE) -> dict[UUID, int]:
    """A manager, their manager and so on, upwards, each with the version of their stream; none when the manager does
    not work here at present.
    """
    return {row["person_id"]: row["version"] for row in await pool.fetch(_LINE, manager_id, most)}


def line_in(known: Mapping[UUID, Row], manager_id: UUID | None) -> tuple[UUID, ...] | None:
    """`line` among these people; None when the manager named does not work here at present."""
    first = None if manager_id is None else known.get(manager_id)
    if manager_id is not None and (first is None or first.standing not in {"employed", "on_leave"}):
        return None
    found: dict[UUID, None] = {}
    while (
        manager_id is not None
        and manager_id in known
        and manager_id not in found
        and len(found) < LONGEST_LINE
    ):
        found[manager_id] = None
        manager_id = known[manager_id].manager_id
    return tuple(found)


async def headcount(pool: asyncpg.Pool, unit_id: UUID) -> int:
    """How many people stand in this very unit."""
    return int(await pool.fetchval(_HEADCOUNT, unit_id))
