"""Which programmes there are, and for which units."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

import asyncpg

from upwell_gateway.projections.folding import Folding
from upwell_shared import units
from upwell_shared.contracts import Consumed
from upwell_shared.contracts.matching import ProgrammeClosed, ProgrammeOpened
from upwell_shared.database import Connection

name = "programmes"
version = 1
tables = """
CREATE TABLE programmes (
    programme_id uuid PRIMARY KEY,
    unit_ids     uuid[] NOT NULL,
    opened_at    timestamptz NOT NULL,
    closed_at    timestamptz
);
"""

_OF_TEAM = "SELECT programme_id FROM programmes WHERE unit_ids <@ $1::uuid[] AND unit_ids <> '{}'"


class _Row(NamedTuple):
    programme_id: UUID
    unit_ids: str
    """As Postgres writes an array: lists of different lengths make no array of arrays."""
    opened_at: datetime
    closed_at: datetime | None


def _evolve(row: _Row | None, consumed: Consumed) -> _Row | None:
    match consumed.event:
        case ProgrammeOpened(programme_id=programme_id, unit_ids=unit_ids):
            held = f"{{{','.join(map(str, unit_ids))}}}"
            return _Row(programme_id, held, consumed.recorded_at, None)
        case _:
            return row and row._replace(closed_at=consumed.recorded_at)


_PROGRAMMES = Folding(
    row=_Row,
    of=frozenset({ProgrammeOpened, ProgrammeClosed}),
    key="programme_id",
    evolve=_evolve,
    held="""
SELECT programme_id, unit_ids::text, opened_at, closed_at FROM programmes WHERE programme_id = ANY ($1::uuid[])
""",
    write="""
INSERT INTO programmes
SELECT programme_id, unit_ids::uuid[], opened_at, closed_at
FROM unnest($1::uuid[], $2::text[], $3::timestamptz[], $4::timestamptz[])
    AS t (programme_id, unit_ids, opened_at, closed_at)
ON CONFLICT (programme_id) DO UPDATE SET closed_at = excluded.closed_at
""",
)


async def project(connection: Connection, events: Sequence[Consumed]) -> None:
    await _PROGRAMMES.take(connection, events)


async def programmes_of_team(pool: asyncpg.Pool, unit_ids: Collection[UUID]) -> list[UUID]:
    """The programmes whose team coordinators and HR of these units are of."""
    rows = await pool.fetch(_OF_TEAM, list(await units.below(pool, unit_ids)))
    return [row["programme_id"] for row in rows]
