"""Which units there are, and what lies below what: each unit with its path from the root."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, assert_never
from uuid import UUID

import asyncpg

from upwell_directory.domain.organisation import (
    GradesMapped,
    OrganisationEvent,
    OrganisationOpened,
    UnitClosed,
    UnitMoved,
    UnitOpened,
    UnitRenamed,
)
from upwell_shared.database import Connection
from upwell_shared.events import Recorded

name = "unit_tree"
version = 1
tables = """
CREATE TABLE units (
    unit_id         uuid PRIMARY KEY,
    organisation_id uuid NOT NULL,
    parent_id       uuid,
    name            text NOT NULL,
    closed          bool NOT NULL DEFAULT false,
    -- From the root down to the unit itself, so that "below" is one comparison.
    path            uuid[] NOT NULL
);
CREATE INDEX units_by_path ON units USING gin (path);
CREATE INDEX units_by_organisation ON units (organisation_id, unit_id);
CREATE TABLE organisations (
    organisation_id uuid PRIMARY KEY,
    -- Of the stream, which holds the whole tree: what a caller was looking at.
    version         int    NOT NULL,
    grade_labels    text[] NOT NULL DEFAULT '{}',
    grades          int[]  NOT NULL DEFAULT '{}'
);
"""

_OPEN_ORGANISATION = """
WITH root AS (INSERT INTO units (unit_id, organisation_id, name, path) VALUES ($1::uuid, $1, $2, ARRAY[$1::uuid]))
INSERT INTO organisations (organisation_id, version) VALUES ($1, 0)
"""

_OPEN = """
INSERT INTO units (unit_id, organisation_id, parent_id, name, path)
SELECT $1::uuid, organisation_id, unit_id, $3, path || $1::uuid FROM units WHERE unit_id = $2
"""

_MOVE = """
UPDATE units moved
SET parent_id = CASE WHEN moved.unit_id = $1 THEN $2 ELSE moved.parent_id END,
    path = above.path || moved.path[array_position(moved.path, $1::uuid):]
FROM units above
WHERE above.unit_id = $2 AND moved.path @> ARRAY[$1::uuid]
"""

_RENAME = "UPDATE units SET name = $2 WHERE unit_id = $1"
_CLOSE = "UPDATE units SET closed = true WHERE unit_id = $1"
_MAP_GRADES = "UPDATE organisations SET grade_labels = $2, grades = $3 WHERE organisation_id = $1"
_REACH = "UPDATE organisations SET version = $2 WHERE organisation_id = $1"

_UNIT = """
SELECT u.*, o.version FROM units u JOIN organisations o USING (organisation_id) WHERE u.unit_id = $1
"""

_THESE = """
SELECT u.*, o.version FROM units u JOIN organisations o USING (organisation_id) WHERE u.unit_id = ANY ($1)
"""

_ORGANISATION = "SELECT version, grade_labels, grades FROM organisations WHERE organisation_id = $1"

_UNITS = """
SELECT u.*, o.version FROM units u JOIN organisations o USING (organisation_id)
WHERE u.organisation_id = $1 AND u.path && $2::uuid[] AND ($3::uuid IS NULL OR u.unit_id > $3)
ORDER BY u.unit_id LIMIT $4
"""

_OPEN_AROUND = """
SELECT u.*, o.version FROM units u JOIN organisations o USING (organisation_id)
WHERE NOT u.closed AND u.organisation_id IN (SELECT organisation_id FROM units WHERE unit_id = ANY ($1))
"""


class Unit(NamedTuple):
    """A unit; `version` is that of its organisation's stream."""

    unit_id: UUID
    organisation_id: UUID
    parent_id: UUID | None
    name: str
    closed: bool
    path: Sequence[UUID]
    version: int


async def project(connection: Connection, events: Sequence[Recorded[Any]]) -> None:
    reached: dict[UUID, int] = {}
    for recorded in events:
        if isinstance(recorded.event, OrganisationEvent):
            await _apply(connection, recorded.stream_id, recorded.event)
            reached[recorded.stream_id] = recorded.version
    if reached:
        await connection.executemany(_REACH, list(reached.items()))


async def _apply(connection: Connection, organisation_id: UUID, event: OrganisationEvent) -> None:
    match event:
        case OrganisationOpened():
            await connection.execute(_OPEN_ORGANISATION, organisation_id, event.name)
        case UnitOpened():
            await connection.execute(_OPEN, event.unit_id, event.parent_id, event.name)
        case UnitMoved():
            await connection.execute(_MOVE, event.unit_id, event.parent_id)
        case UnitRenamed():
            await connection.execute(_RENAME, event.unit_id, event.name)
        case UnitClosed():
            await connection.execute(_CLOSE, event.unit_id)
        case GradesMapped(grades=grades):
            labels, places = [local.label for local in grades], [local.grade for local in grades]
            await connection.execute(_MAP_GRADES, organisation_id, labels, places)
        case _:
            assert_never(event)


async def unit(pool: asyncpg.Pool, unit_id: UUID) -> Unit | None:
    """An open or closed unit; None for one that is not known here."""
    row = await pool.fetchrow(_UNIT, unit_id)
    return None if row is None else _unit(row)


async def these(pool: asyncpg.Pool, unit_ids: Sequence[UUID]) -> dict[UUID, Unit]:
    """Those of them that are known here, open or closed."""
    return {row["unit_id"]: _unit(row) for row in await pool.fetch(_THESE, unit_ids)}


async def units(
    pool: asyncpg.Pool, organisation_id: UUID, below: Sequence[UUID], after: UUID | None, limit: int
) -> list[Unit]:
    """Units of an organisation at or below any of those, by id, after one."""
    return [_unit(row) for row in await pool.fetch(_UNITS, organisation_id, below, after, limit)]


async def open_units_around(pool: asyncpg.Pool, unit_ids: Sequence[UUID]) -> list[Unit]:
    """All open units of the organisations that hold any of those."""
    return [_unit(row) for row in await pool.fetch(_OPEN_AROUND, unit_ids)]


async def grades(pool: asyncpg.Pool, organisation_id: UUID) -> tuple[int, Mapping[str, int]] | None:
    """The organisation's version and what it calls its grades; None for one that is not known here."""
    row = await pool.fetchrow(_ORGANISATION, organisation_id)
    return (
        None if row is None else (row["version"], dict(zip(row["grade_labels"], row["grades"], strict=True)))
    )


def _unit(row: asyncpg.Record) -> Unit:
    return Unit(*(row[column] for column in Unit._fields))
