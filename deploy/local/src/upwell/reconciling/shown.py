"""What the gateway shows: its own rows, read by SQL in the shape in which they are compared."""

from collections.abc import Iterable
from datetime import UTC, datetime

import asyncpg

from upwell.reconciling.folding import Answers

_UNITS = "SELECT unit_id, organisation_id, parent_id, closed FROM units"
_PROGRAMMES = """
SELECT programme_id, array_to_string(ARRAY(SELECT unnest(unit_ids)::text ORDER BY 1), ' '), closed_at IS NOT NULL
FROM programmes
"""
_COHORTS = "SELECT cohort_id, programme_id, starts_on, ends_on, NOT open FROM cohorts"
_ENROLMENTS = "SELECT enrolment_id, cohort_id, person_id, role, withdrawn_at IS NOT NULL FROM enrolments"
_PAIRS = """
SELECT p.pair_id, p.programme_id, p.mentor_id, p.mentee_id, p.reply_by, p.sessions, p.ends_on,
       coalesce(i.outcome, p.state)
FROM pairs p LEFT JOIN pair_insides i USING (pair_id)
"""
# Who has only been accepted has an inside of which nothing is to be told.
_INSIDES = """
SELECT pair_id, reminded_at IS NOT NULL, declined_by, ended_by, end_reason, no_fault,
       inversion_broken_at IS NOT NULL, independence_broken_at IS NOT NULL
FROM pair_insides
"""
_ACCEPTED = "SELECT pair_id, unnest(string_to_array(nullif(accepted_by, ''), ' ')) FROM pair_insides"
_SESSIONS = """
SELECT s.session_id, s.pair_id, s.number, s.starts_at, s.minutes, s.state, d.session_id IS NOT NULL
FROM sessions s LEFT JOIN disputes d USING (session_id)
"""
_COMMITMENTS = "SELECT pair_id, side, commitment, sum(times) FROM commitments GROUP BY 1, 2, 3"
_REFLECTIONS = (
    "SELECT reflection_id, pair_id, person_id, stage, due_on, submitted_at IS NOT NULL FROM reflections"
)
_PEOPLE = (
    "SELECT person_id, organisation_id, unit_id, standing = 'here' FROM people WHERE standing IS NOT NULL"
)
_TIMELINE = "SELECT event_id FROM timeline"


async def shown(dsn: str) -> Answers:
    """All of it, in one snapshot."""
    connection = await asyncpg.connect(dsn, server_settings={"application_name": "reconcile"})
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            answers = Answers(
                units=_by_id(await connection.fetch(_UNITS)),
                insides=_by_id(await connection.fetch(_INSIDES)),
                programmes=_by_id(await connection.fetch(_PROGRAMMES)),
                cohorts=_by_id(await connection.fetch(_COHORTS)),
                enrolments=_by_id(await connection.fetch(_ENROLMENTS)),
                pairs=_by_id(await connection.fetch(_PAIRS)),
                accepted={(str(row[0]), row[1]) for row in await connection.fetch(_ACCEPTED)},
                sessions=_by_id(await connection.fetch(_SESSIONS)),
                reflections=_by_id(await connection.fetch(_REFLECTIONS)),
                people=_by_id(await connection.fetch(_PEOPLE)),
                timeline={str(row[0]) for row in await connection.fetch(_TIMELINE)},
            )
            for pair_id, side, commitment, times in await connection.fetch(_COMMITMENTS):
                answers.commitments[str(pair_id), side, commitment] = int(times)
    finally:
        await connection.close()
    return answers


def _by_id(rows: Iterable[asyncpg.Record]) -> dict[str, tuple[object, ...]]:
    return {str(row[0]): tuple(_plain(value) for value in list(row)[1:]) for row in rows}


def _plain(value: object) -> object:
    """As the log has it: ids as text, times in UTC."""
    if isinstance(value, datetime):
        return value.astimezone(UTC)
    return value if isinstance(value, bool | int | str | None) else str(value)
