"""The commitment ledger: what each side did about the pair's sessions, line by line."""

from collections import Counter
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import asyncpg

from upwell_sessions.domain.cadence import (
    SessionBooked,
    SessionCancelled,
    SessionConfirmed,
    SessionMoved,
    Side,
    SideMissed,
    Word,
)
from upwell_shared.contracts.sessions import Commitment
from upwell_shared.database import Connection
from upwell_shared.events import Recorded

name = "commitments"
version = 1
tables = """
CREATE TABLE commitments (
    cadence_id  uuid        NOT NULL,
    version     int         NOT NULL,
    session_id  uuid        NOT NULL,
    side        text        NOT NULL,
    commitment  text        NOT NULL,
    recorded_at timestamptz NOT NULL,
    PRIMARY KEY (cadence_id, version)
);
"""

_INSERT = """
INSERT INTO commitments (cadence_id, version, session_id, side, commitment, recorded_at)
VALUES ($1, $2, $3, $4, $5, $6)
"""

_BY_SIDE = (
    "SELECT side, commitment, count(*) AS n FROM commitments WHERE cadence_id = $1 GROUP BY side, commitment"
)


async def project(connection: Connection, events: Sequence[Recorded[Any]]) -> None:
    lines = [
        (recorded.stream_id, recorded.version, session_id, side.value, commitment, recorded.recorded_at)
        for recorded in events
        if (line := _line(recorded.event)) is not None
        for session_id, side, commitment in [line]
    ]
    await connection.executemany(_INSERT, lines)


def _line(event: Any) -> tuple[UUID, Side, Commitment] | None:
    match event:
        case SessionBooked(session_id=session_id, by=by):
            return session_id, by, "booked"
        case SessionMoved(session_id=session_id, by=by):
            return session_id, by, "moved"
        case SessionCancelled(session_id=session_id, by=Side() as by):
            return session_id, by, "cancelled"
        case SessionConfirmed(session_id=session_id, side=side, word=word):
            return session_id, side, "said_held" if word is Word.HELD else "said_missed"
        case SideMissed(session_id=session_id, side=side):
            return session_id, side, "missed"
        case _:
            return None


async def by_side(pool: asyncpg.Pool, cadence_id: UUID) -> dict[Side, Counter[str]]:
    """How often each side did what."""
    found: dict[Side, Counter[str]] = {side: Counter() for side in Side}
    for row in await pool.fetch(_BY_SIDE, cadence_id):
        found[Side(row["side"])][row["commitment"]] = row["n"]
    return found
