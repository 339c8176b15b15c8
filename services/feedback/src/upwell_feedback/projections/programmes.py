"""Which units a programme is for: matching's events, for access by programme."""

from collections.abc import Sequence
from uuid import UUID

import asyncpg

from upwell_shared.contracts import Consumed
from upwell_shared.contracts.matching import ProgrammeOpened
from upwell_shared.database import Connection

name = "programmes"
version = 1
tables = """
CREATE TABLE programmes (programme_id uuid PRIMARY KEY, unit_ids uuid[] NOT NULL);
"""

_UPSERT = """
INSERT INTO programmes (programme_id, unit_ids) VALUES ($1, $2)
ON CONFLICT (programme_id) DO UPDATE SET unit_ids = excluded.unit_ids
"""

_UNITS = "SELECT unit_ids FROM programmes WHERE programme_id = $1"


async def project(connection: Connection, events: Sequence[Consumed]) -> None:
    rows = {
        consumed.event.programme_id: consumed.event.unit_ids
        for consumed in events
        if isinstance(consumed.event, ProgrammeOpened)
    }
    if rows:
        await connection.executemany(_UPSERT, rows.items())


async def units_of(pool: asyncpg.Pool, programme_id: UUID) -> frozenset[UUID]:
    """The units of a programme; none of one not heard of."""
    return frozenset(await pool.fetchval(_UNITS, programme_id) or ())
