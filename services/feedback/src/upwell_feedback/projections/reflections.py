"""Who was asked to reflect, on what occasion, and whether they have answered; by person, by pair, by programme.

What was answered is not here, nor who may read it: the one is a text, the other is asked of the facts themselves.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from uuid import UUID

import asyncpg

from upwell_feedback.domain.reflections import ReflectionRequested, ReflectionsBegun, ReflectionSubmitted
from upwell_shared.database import Connection
from upwell_shared.events import Recorded

name = "reflections"
version = 1
tables = """
CREATE TABLE reflecting_pairs (
    stream_id    uuid PRIMARY KEY,
    pair_id      uuid NOT NULL UNIQUE,
    programme_id uuid NOT NULL,
    mentor_id    uuid NOT NULL,
    mentee_id    uuid NOT NULL
);
CREATE TABLE reflections (
    reflection_id        uuid PRIMARY KEY,
    stream_id            uuid NOT NULL,
    pair_id              uuid NOT NULL,
    programme_id         uuid NOT NULL,
    person_id            uuid NOT NULL,
    other_id             uuid NOT NULL,
    stage                text NOT NULL,
    due_on               date NOT NULL,
    question_set_id      uuid NOT NULL,
    question_set_version int NOT NULL,
    requested_at         timestamptz NOT NULL,
    submitted            bool NOT NULL
);
CREATE INDEX reflections_by_person ON reflections (person_id, requested_at, reflection_id);
CREATE INDEX reflections_by_pair ON reflections (pair_id, requested_at, reflection_id);
CREATE INDEX reflections_by_programme ON reflections (programme_id, requested_at, reflection_id);
"""

_BEGIN = """
INSERT INTO reflecting_pairs (stream_id, pair_id, programme_id, mentor_id, mentee_id)
SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[], $5::uuid[])
"""

_REQUEST = """
INSERT INTO reflections (reflection_id, stream_id, pair_id, programme_id, person_id, other_id, stage, due_on,
                         question_set_id, question_set_version, requested_at, submitted)
SELECT r.reflection_id, p.stream_id, p.pair_id, p.programme_id, r.person_id,
       CASE WHEN r.person_id = p.mentor_id THEN p.mentee_id ELSE p.mentor_id END,
       r.stage, r.due_on, r.question_set_id, r.question_set_version, r.requested_at, false
FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::date[], $6::uuid[], $7::int[], $8::timestamptz[])
    AS r (reflection_id, stream_id, person_id, stage, due_on, question_set_id, question_set_version, requested_at)
JOIN reflecting_pairs p ON p.stream_id = r.stream_id
"""

_SUBMIT = "UPDATE reflections SET submitted = true WHERE reflection_id = ANY ($1)"

_ONE = """
SELECT reflection_id, stream_id, pair_id, programme_id, person_id, other_id, stage, due_on, question_set_id,
       question_set_version, requested_at, submitted
FROM reflections WHERE reflection_id = $1
"""

_OF_PERSON = """
SELECT reflection_id, stream_id, pair_id, programme_id, person_id, other_id, stage, due_on, question_set_id,
       question_set_version, requested_at, submitted
FROM reflections
WHERE person_id = $1 AND ($2::timestamptz IS NULL OR (requested_at, reflection_id) < ($2, $3))
ORDER BY requested_at DESC, reflection_id DESC LIMIT $4
"""

_OF_PAIR = """
SELECT reflection_id, stream_id, pair_id, programme_id, person_id, other_id, stage, due_on, question_set_id,
       question_set_version, requested_at, submitted
FROM reflections
WHERE pair_id = $5 AND ($6 OR $1 IN (person_id, other_id))
  AND ($2::timestamptz IS NULL OR (requested_at, reflection_id) < ($2, $3))
ORDER BY requested_at DESC, reflection_id DESC LIMIT $4
"""

_OF_PROGRAMME = """
SELECT reflection_id, stream_id, pair_id, programme_id, person_id, other_id, stage, due_on, question_set_id,
       question_set_version, requested_at, submitted
FROM reflections
WHERE programme_id = $5 AND ($6 OR $1 IN (person_id, other_id))
  AND ($2::timestamptz IS NULL OR (requested_at, reflection_id) < ($2, $3))
ORDER BY requested_at DESC, reflection_id DESC LIMIT $4
"""

_PROGRAMME_OF_PAIR = "SELECT programme_id FROM reflecting_pairs WHERE pair_id = $1"

_COUNTS = """
SELECT stage, count(*) AS asked, count(*) FILTER (WHERE submitted) AS submitted
FROM reflections WHERE programme_id = $1 GROUP BY stage
"""


@dataclass(frozen=True, slots=True)
class Row:
    """A request as the table has it, in the order of its columns."""

    reflection_id: UUID
    stream_id: UUID
    pair_id: UUID
    programme_id: UUID
    person_id: UUID
    other_id: UUID
    stage: str
    due_on: date
    question_set_id: UUID
    question_set_version: int
    requested_at: datetime
    submitted: bool


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a list, newest first: so many, after the row with these sort keys."""

    limit: int
    after: tuple[datetime, UUID] | None = None


async def project(connection: Connection, events: Sequence[Recorded[Any]]) -> None:
    """Kind after kind: within a stream a pair begins before it is asked, and is asked before it answers."""
    begun: list[tuple[Any, ...]] = []
    requested: list[tuple[Any, ...]] = []
    submitted: list[UUID] = []
    for recorded in events:
        match recorded.event:
            case ReflectionsBegun() as event:
                begun.append(
                    (
                        recorded.stream_id,
                        event.pair_id,
                        event.programme_id,
                        event.mentor_id,
                        event.mentee_id,
                    )
                )
            case ReflectionRequested() as event:
                requested.append(
                    (
                        event.reflection_id,
                        recorded.stream_id,
                        event.person_id,
                        event.stage.value,
                        event.due_on,
                        event.question_set_id,
                        event.question_set_version,
                        recorded.recorded_at,
                    )
                )
            case ReflectionSubmitted(reflection_id=reflection_id):
                submitted.append(reflection_id)
    if begun:
        await connection.execute(_BEGIN, *zip(*begun, strict=True))
    if requested:
        await connection.execute(_REQUEST, *zip(*requested, strict=True))
    if submitted:
        await connection.execute(_SUBMIT, submitted)


async def one(pool: asyncpg.Pool, reflection_id: UUID) -> Row | None:
    """A request; None for one that is not known here."""
    found = await pool.fetchrow(_ONE, reflection_id)
    return None if found is None else Row(*found)


async def of_person(pool: asyncpg.Pool, person_id: UUID, part: Part) -> list[Row]:
    """What this person was asked."""
    return [Row(*row) for row in await pool.fetch(_OF_PERSON, person_id, *_bounds(part))]


async def of_pair(
    pool: asyncpg.Pool, pair_id: UUID, part: Part, *, person_id: UUID, whole: bool
) -> list[Row]:
    """What this pair was asked: nothing, unless `whole` or the person is one of it."""
    return [Row(*row) for row in await pool.fetch(_OF_PAIR, person_id, *_bounds(part), pair_id, whole)]


async def of_programme(
    pool: asyncpg.Pool, programme_id: UUID, part: Part, *, person_id: UUID, whole: bool
) -> list[Row]:
    """What the pairs of this programme were asked; unless `whole`, only those the person is one of."""
    found = await pool.fetch(_OF_PROGRAMME, person_id, *_bounds(part), programme_id, whole)
    return [Row(*row) for row in found]


async def programme_of_pair(pool: asyncpg.Pool, pair_id: UUID) -> UUID | None:
    """The programme of a pair; None for a pair that is not known here."""
    found: UUID | None = await pool.fetchval(_PROGRAMME_OF_PAIR, pair_id)
    return found


async def counts(pool: asyncpg.Pool, programme_id: UUID) -> dict[str, tuple[int, int]]:
    """How many were asked and how many have answered, by stage; stages at which nobody was asked are left out."""
    found = await pool.fetch(_COUNTS, programme_id)
    return {row["stage"]: (row["asked"], row["submitted"]) for row in found}


def _bounds(part: Part) -> tuple[datetime | None, UUID | None, int]:
    at, reflection_id = part.after or (None, None)
    return at, reflection_id, part.limit
