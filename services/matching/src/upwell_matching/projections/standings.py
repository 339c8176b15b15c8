"""Who stands where, with the line of managers above: each person's standing at a revision."""

from collections.abc import Collection, Sequence
from dataclasses import astuple, dataclass, replace
from datetime import date
from typing import Any, assert_never
from uuid import UUID

import asyncpg

from upwell_matching.domain.eligibility import MOST_LEVELS
from upwell_matching.domain.standing import (
    LeaveBegan,
    LeaveEnded,
    PairsRechecked,
    PairsRecheckedInPart,
    PlaceTaken,
    StandingBegan,
    StandingEnded,
    StandingErased,
    StandingEvent,
    StandingExpected,
)
from upwell_shared.database import Connection
from upwell_shared.events import Recorded

name = "standings"
version = 1
tables = """
CREATE TABLE standings (
    person_id       uuid PRIMARY KEY,
    revision        int  NOT NULL,
    -- The latest revision whose pairs are to be rechecked, and the latest for which that is done.
    due             int  NOT NULL,
    rechecked       int  NOT NULL,
    -- Something was decided before it was known where they stand.
    expected        bool NOT NULL,
    present         bool NOT NULL,
    on_leave        bool NOT NULL,
    organisation_id uuid,
    unit_id         uuid,
    -- Of the erased the next three are not kept.
    grade           int,
    manager_id      uuid,
    in_role_since   date
);
CREATE INDEX standings_by_manager ON standings (manager_id);
"""

_ROWS = """
SELECT person_id, revision, due, rechecked, expected, present, on_leave, organisation_id, unit_id, grade, manager_id,
       in_role_since
FROM standings WHERE person_id = ANY ($1)
"""

_UPSERT = """
INSERT INTO standings
SELECT * FROM unnest($1::uuid[], $2::int[], $3::int[], $4::int[], $5::bool[], $6::bool[], $7::bool[], $8::uuid[],
                     $9::uuid[], $10::int[], $11::uuid[], $12::date[])
ON CONFLICT (person_id) DO UPDATE
SET revision = excluded.revision, due = excluded.due, rechecked = excluded.rechecked,
    expected = excluded.expected, present = excluded.present, on_leave = excluded.on_leave, organisation_id = excluded.organisation_id, unit_id = excluded.unit_id,
    grade = excluded.grade, manager_id = excluded.manager_id, in_role_since = excluded.in_role_since
"""

# One statement is one snapshot: no line is put together from two moments.
_WITH_LINES = """
WITH RECURSIVE line (asked, level, person_id) AS (
    SELECT p, 0, p FROM unnest($1::uuid[]) p
    UNION ALL
    SELECT line.asked, line.level + 1, s.manager_id FROM line JOIN standings s ON s.person_id = line.person_id
    WHERE s.manager_id IS NOT NULL AND line.level < $2
)
SELECT line.asked, line.person_id, coalesce(s.revision, 0), coalesce(s.due, 0), coalesce(s.rechecked, 0),
       coalesce(s.expected, false), coalesce(s.present, false), coalesce(s.on_leave, false), s.organisation_id,
       s.unit_id, s.grade, s.manager_id, s.in_role_since
FROM line LEFT JOIN standings s ON s.person_id = line.person_id
ORDER BY line.asked, line.level
"""

# UNION, not UNION ALL: two moves at the same moment may close a line to a circle for a while.
_WITH_REPORTS = """
WITH RECURSIVE report (person_id, level) AS (
    SELECT $1::uuid, 0
    UNION
    SELECT s.person_id, report.level + 1 FROM report JOIN standings s ON s.manager_id = report.person_id
    WHERE report.level < $2
)
SELECT DISTINCT person_id FROM report
"""

# Those whose recheck is done, which withdraws what they were enrolled in.
_GONE_BUT_ENROLLED = """
SELECT DISTINCT person_id FROM standings s JOIN enrolments e USING (person_id)
WHERE NOT s.present AND s.rechecked = s.due AND NOT e.withdrawn ORDER BY person_id LIMIT $1
"""


@dataclass(frozen=True, slots=True)
class Row:
    """A standing as the table has it, in the order of its columns. Revision 0: nothing was heard of this person."""

    person_id: UUID
    revision: int = 0
    due: int = 0
    rechecked: int = 0
    expected: bool = False
    present: bool = False
    on_leave: bool = False
    organisation_id: UUID | None = None
    unit_id: UUID | None = None
    grade: int | None = None
    manager_id: UUID | None = None
    in_role_since: date | None = None

    @property
    def unaware(self) -> bool:
        """It is not known where they stand, and not written down that this was relied on."""
        return self.unit_id is None and not self.expected


async def project(connection: Connection, events: Sequence[Recorded[Any]]) -> None:
    told = [recorded for recorded in events if isinstance(recorded.event, StandingEvent)]
    if not told:
        return
    found = await connection.fetch(_ROWS, list({recorded.stream_id for recorded in told}))
    rows = {row["person_id"]: Row(*row) for row in found}
    for recorded in told:
        row = rows.get(recorded.stream_id) or Row(recorded.stream_id)
        rows[recorded.stream_id] = _after(row, recorded.event)
    await connection.execute(_UPSERT, *zip(*map(astuple, rows.values()), strict=True))


def _after(row: Row, event: StandingEvent) -> Row:
    if isinstance(event, PairsRecheckedInPart):
        return row
    if isinstance(event, StandingExpected):
        return replace(row, expected=True)
    if isinstance(event, PairsRechecked):
        return replace(row, rechecked=event.revision)
    rechecks = not isinstance(event, StandingBegan | PlaceTaken) or event.rechecks
    row = replace(row, revision=event.revision, due=event.revision if rechecks else row.due)
    match event:
        case StandingBegan():
            return replace(row, present=True)
        case StandingEnded():
            return replace(row, present=False)
        case PlaceTaken(place=place):
            return replace(
                row,
                organisation_id=place.organisation_id,
                unit_id=place.unit_id,
                grade=place.grade,
                manager_id=place.manager_id,
                in_role_since=place.in_role_since,
            )
        case LeaveBegan():
            return replace(row, on_leave=True)
        case LeaveEnded():
            return replace(row, on_leave=False)
        case StandingErased():
            return replace(
                row, present=False, on_leave=False, grade=None, manager_id=None, in_role_since=None
            )
        case _:
            assert_never(event)


async def with_lines(
    pool: asyncpg.Pool, person_ids: Collection[UUID], levels: int = MOST_LEVELS
) -> dict[UUID, list[Row]]:
    """Each of these people, then their managers, nearest first; all as they stood at one moment."""
    found: dict[UUID, list[Row]] = {person_id: [] for person_id in person_ids}
    for asked, *row in await pool.fetch(_WITH_LINES, [*found], levels):
        found[asked].append(Row(*row))
    return found


async def with_reports(pool: asyncpg.Pool, person_id: UUID, levels: int) -> set[UUID]:
    """This person, and all whose line of so many managers names them."""
    return {row["person_id"] for row in await pool.fetch(_WITH_REPORTS, person_id, levels)}


async def gone_but_enrolled(pool: asyncpg.Pool, limit: int = 500) -> list[UUID]:
    """People who have left, for whom nothing more is to be done, and who are enrolled all the same."""
    return [row["person_id"] for row in await pool.fetch(_GONE_BUT_ENROLLED, limit)]
