"""How each pair's cadence stands, and each of its sessions."""

from collections.abc import Sequence
from dataclasses import astuple, dataclass, replace
from datetime import date, datetime
from typing import Any, assert_never
from uuid import UUID

import asyncpg

from upwell_sessions.domain.cadence import (
    CadenceClosed,
    CadenceEvent,
    CadenceExtended,
    CadenceOpened,
    CadencePaused,
    CadenceResumed,
    RecapConfirmed,
    RecapWritten,
    SessionBooked,
    SessionCancelled,
    SessionConfirmed,
    SessionDisputed,
    SessionEvent,
    SessionHeld,
    SessionMissed,
    SessionMoved,
    SessionUnconfirmed,
    Side,
    SideMissed,
)
from upwell_shared.database import Connection
from upwell_shared.events import Recorded

name = "sessions_by_pair"
version = 1
tables = """
CREATE TABLE cadences (
    cadence_id   uuid PRIMARY KEY,
    pair_id      uuid NOT NULL,
    programme_id uuid NOT NULL,
    mentor_id    uuid NOT NULL,
    mentee_id    uuid NOT NULL,
    -- open | paused | closed
    state        text NOT NULL,
    sessions     int  NOT NULL,
    days_between int  NOT NULL,
    minutes      int  NOT NULL,
    ends_on      date NOT NULL,
    version      int  NOT NULL
);
CREATE INDEX cadences_by_mentor ON cadences (mentor_id, pair_id);
CREATE INDEX cadences_by_mentee ON cadences (mentee_id, pair_id);
CREATE TABLE sessions (
    session_id      uuid PRIMARY KEY,
    cadence_id      uuid        NOT NULL,
    number          int         NOT NULL,
    starts_at       timestamptz NOT NULL,
    minutes         int         NOT NULL,
    -- scheduled | held | missed | cancelled | disputed | unconfirmed
    state           text        NOT NULL,
    mentor_said     text,
    mentee_said     text,
    recap_by        text,
    recap_confirmed boolean     NOT NULL
);
CREATE INDEX sessions_by_cadence ON sessions (cadence_id, number);
"""

_CADENCES = """
SELECT cadence_id, pair_id, programme_id, mentor_id, mentee_id, state, sessions, days_between, minutes, ends_on, version
FROM cadences WHERE cadence_id = ANY ($1)
"""

_SESSIONS = """
SELECT session_id, cadence_id, number, starts_at, minutes, state, mentor_said, mentee_said, recap_by, recap_confirmed
FROM sessions WHERE session_id = ANY ($1)
"""

_UPSERT_CADENCE = """
INSERT INTO cadences (cadence_id, pair_id, programme_id, mentor_id, mentee_id, state, sessions, days_between, minutes,
                      ends_on, version)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
ON CONFLICT (cadence_id) DO UPDATE SET state = $6, sessions = $7, ends_on = $10, version = $11
"""

_UPSERT_SESSION = """
INSERT INTO sessions (session_id, cadence_id, number, starts_at, minutes, state, mentor_said, mentee_said, recap_by,
                      recap_confirmed)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
ON CONFLICT (session_id) DO UPDATE
SET starts_at = $4, minutes = $5, state = $6, mentor_said = $7, mentee_said = $8, recap_by = $9, recap_confirmed = $10
"""

_OF_CADENCE = """
SELECT session_id, cadence_id, number, starts_at, minutes, state, mentor_said, mentee_said, recap_by, recap_confirmed
FROM sessions WHERE cadence_id = $1 ORDER BY number
"""

# A session is the next one until it is over.
_OF_PERSON = """
SELECT c.cadence_id, c.pair_id, c.programme_id, c.mentor_id, c.mentee_id, c.state, c.sessions, c.days_between, c.minutes,
       c.ends_on, c.version, next.session_id, next.number, next.starts_at, next.minutes AS takes
FROM cadences c LEFT JOIN LATERAL (
    SELECT s.session_id, s.number, s.starts_at, s.minutes FROM sessions s
    WHERE s.cadence_id = c.cadence_id AND s.state = 'scheduled'
      AND s.starts_at + make_interval(mins => s.minutes) > $2
    ORDER BY s.starts_at LIMIT 1
) next ON true
WHERE (c.mentor_id = $1 OR c.mentee_id = $1) AND ($3::uuid IS NULL OR c.pair_id > $3)
ORDER BY c.pair_id LIMIT $4
"""


@dataclass(frozen=True, slots=True)
class CadenceRow:
    """A cadence as the table has it, in the order of its columns."""

    cadence_id: UUID
    pair_id: UUID
    programme_id: UUID
    mentor_id: UUID
    mentee_id: UUID
    state: str
    sessions: int
    days_between: int
    minutes: int
    ends_on: date
    version: int


@dataclass(frozen=True, slots=True)
class SessionRow:
    """A session as the table has it, in the order of its columns."""

    session_id: UUID
    cadence_id: UUID
    number: int
    starts_at: datetime
    minutes: int
    state: str = "scheduled"
    mentor_said: str | None = None
    mentee_said: str | None = None
    recap_by: str | None = None
    recap_confirmed: bool = False


@dataclass(frozen=True, slots=True)
class NextSession:
    """The first of a pair's scheduled sessions that is not over yet."""

    session_id: UUID
    number: int
    starts_at: datetime
    minutes: int


async def project(connection: Connection, events: Sequence[Recorded[Any]]) -> None:
    told = [recorded for recorded in events if isinstance(recorded.event, CadenceEvent)]
    if not told:
        return
    cadences = {
        row["cadence_id"]: CadenceRow(*row)
        for row in await connection.fetch(_CADENCES, list({recorded.stream_id for recorded in told}))
    }
    touched = {recorded.event.session_id for recorded in told if isinstance(recorded.event, SessionEvent)}
    sessions = {
        row["session_id"]: SessionRow(*row) for row in await connection.fetch(_SESSIONS, list(touched))
    }
    for recorded in told:
        _fold(cadences, sessions, recorded)
    await connection.executemany(_UPSERT_CADENCE, [astuple(row) for row in cadences.values()])
    await connection.executemany(_UPSERT_SESSION, [astuple(row) for row in sessions.values()])


def _fold(
    cadences: dict[UUID, CadenceRow], sessions: dict[UUID, SessionRow], recorded: Recorded[CadenceEvent]
) -> None:
    cadence_id, event = recorded.stream_id, recorded.event
    if isinstance(event, CadenceOpened):
        plan = event.plan
        cadences[cadence_id] = CadenceRow(
            cadence_id,
            plan.pair_id,
            plan.programme_id,
            plan.mentor_id,
            plan.mentee_id,
            "open",
            plan.sessions,
            plan.days_between,
            plan.minutes,
            plan.ends_on,
            recorded.version,
        )
        return
    cadence = replace(cadences[cadence_id], version=recorded.version)
    match event:
        case CadencePaused():
            cadence = replace(cadence, state="paused")
        case CadenceResumed():
            cadence = replace(cadence, state="open")
        case CadenceClosed():
            cadence = replace(cadence, state="closed")
        case CadenceExtended():
            cadence = replace(cadence, sessions=event.sessions, ends_on=event.ends_on)
        case SessionBooked():
            sessions[event.session_id] = SessionRow(
                event.session_id, cadence_id, event.number, event.starts_at, event.minutes
            )
        case _:
            sessions[event.session_id] = _after(sessions[event.session_id], event)
    cadences[cadence_id] = cadence


def _after(row: SessionRow, event: SessionEvent) -> SessionRow:
    match event:
        case SessionMoved():
            return replace(row, starts_at=event.starts_at, minutes=event.minutes)
        case SessionCancelled():
            return replace(row, state="cancelled")
        case SessionConfirmed(side=Side.MENTOR, word=word):
            return replace(row, mentor_said=word.value)
        case SessionConfirmed(word=word):
            return replace(row, mentee_said=word.value)
        case SessionHeld():
            return replace(row, state="held")
        case SessionMissed():
            return replace(row, state="missed")
        case SideMissed():
            return row
        case SessionDisputed():
            return replace(row, state="disputed")
        case SessionUnconfirmed():
            return replace(row, state="unconfirmed")
        case RecapWritten(by=by):
            return replace(row, recap_by=by.value, recap_confirmed=False)
        case RecapConfirmed():
            return replace(row, recap_confirmed=True)
        case _:
            assert_never(event)


async def cadence(pool: asyncpg.Pool, cadence_id: UUID) -> tuple[CadenceRow, list[SessionRow]] | None:
    """A cadence and its sessions by number; None for one that is not known here.

    The sessions may be of a later version than the cadence's, never of an earlier one.
    """
    found = await pool.fetchrow(_CADENCES, [cadence_id])
    if found is None:
        return None
    return CadenceRow(*found), [SessionRow(*row) for row in await pool.fetch(_OF_CADENCE, cadence_id)]


async def of_person(
    pool: asyncpg.Pool, person_id: UUID, *, now: datetime, after: UUID | None, limit: int
) -> list[tuple[CadenceRow, NextSession | None]]:
    """The cadences somebody is a member of, by pair, after one; each with its next session."""
    rows = await pool.fetch(_OF_PERSON, person_id, now, after, limit)
    return [
        (CadenceRow(*row[:11]), None if row["session_id"] is None else NextSession(*row[11:])) for row in rows
    ]
