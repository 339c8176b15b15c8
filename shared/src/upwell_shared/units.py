"""The unit tree as every service but its owner needs it: a read model of the directory's events, for access by unit.

A projection like any other, to be listed in the consumer's handlers of a service.
"""

from collections.abc import Collection, Sequence
from uuid import UUID

import asyncpg

from upwell_shared.contracts import Consumed
from upwell_shared.contracts.directory import UnitClosed, UnitMoved, UnitOpened
from upwell_shared.database import Connection

name = "units"
version = 1
tables = """
CREATE TABLE units (
    unit_id         uuid PRIMARY KEY,
    organisation_id uuid NOT NULL,
    parent_id       uuid,
    closed          bool NOT NULL
);
CREATE INDEX units_by_parent ON units (parent_id);
CREATE INDEX units_by_organisation ON units (organisation_id);
"""

_TOLD = frozenset({UnitOpened, UnitMoved, UnitClosed})

_UPSERT = """
INSERT INTO units (unit_id, organisation_id, parent_id, closed)
SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::bool[])
ON CONFLICT (unit_id) DO UPDATE
SET parent_id = CASE WHEN excluded.closed THEN units.parent_id ELSE excluded.parent_id END, closed = excluded.closed
"""

# UNION, not UNION ALL: should a tree ever hold a circle, the walk ends all the same.
_WITHIN = """
WITH RECURSIVE walk (unit_id, above) AS (
    SELECT u, u FROM unnest($2::uuid[]) AS u
    UNION
    SELECT walk.unit_id, units.parent_id FROM walk JOIN units ON units.unit_id = walk.above
    WHERE units.parent_id IS NOT NULL
)
SELECT DISTINCT unit_id FROM walk WHERE above = ANY ($1)
"""

_BELOW = """
WITH RECURSIVE walk (unit_id) AS (
    SELECT u FROM unnest($1::uuid[]) AS u
    UNION
    SELECT units.unit_id FROM walk JOIN units ON units.parent_id = walk.unit_id
)
SELECT unit_id FROM walk
"""

_ABOVE = """
WITH RECURSIVE walk (unit_id, parent_id) AS (
    SELECT unit_id, parent_id FROM units WHERE unit_id = $1
    UNION
    SELECT units.unit_id, units.parent_id FROM walk JOIN units ON units.unit_id = walk.parent_id
)
SELECT unit_id, parent_id FROM walk
"""


async def project(connection: Connection, events: Sequence[Consumed]) -> None:
    rows: dict[UUID, tuple[UUID, UUID, UUID | None, bool]] = {}
    for consumed in events:
        if type(consumed.event) not in _TOLD:  # most are not, and this is the quickest way to see it
            continue
        match consumed.event:
            case UnitOpened() | UnitMoved() as event:
                rows[event.unit_id] = (event.unit_id, event.organisation_id, event.parent_id, False)
            case UnitClosed() as event:
                # Moved or opened and closed on one page: the parent is the one of that earlier event.
                parent_id = rows[event.unit_id][2] if event.unit_id in rows else None
                if event.unit_id in rows:
                    await _write(connection, [rows.pop(event.unit_id)])
                rows[event.unit_id] = (event.unit_id, event.organisation_id, parent_id, True)
    await _write(connection, [*rows.values()])


async def _write(connection: Connection, rows: Sequence[tuple[UUID, UUID, UUID | None, bool]]) -> None:
    if rows:
        await connection.execute(_UPSERT, *zip(*rows, strict=True))


async def within(pool: asyncpg.Pool, above: Collection[UUID], unit_ids: Collection[UUID]) -> set[UUID]:
    """Those of `unit_ids` that are one of `above` or below one. A unit not heard of yet is within itself only."""
    return {row["unit_id"] for row in await pool.fetch(_WITHIN, list(above), list(unit_ids))}


async def below(pool: asyncpg.Pool, unit_ids: Collection[UUID]) -> set[UUID]:
    """These units and all that lie below them."""
    return {row["unit_id"] for row in await pool.fetch(_BELOW, list(unit_ids))}


async def above(pool: asyncpg.Pool, unit_id: UUID) -> tuple[set[UUID], bool]:
    """This unit and all above it; and whether that ends at a root: if not, not all of it has been heard of yet."""
    rows = await pool.fetch(_ABOVE, unit_id)
    return {unit_id} | {row["unit_id"] for row in rows}, any(row["parent_id"] is None for row in rows)
