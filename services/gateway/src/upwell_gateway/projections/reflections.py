"""Who was asked to reflect, and who has answered; never what."""

from collections.abc import Sequence
from datetime import date, datetime
from typing import NamedTuple
from uuid import UUID

from upwell_gateway.projections.folding import Folding
from upwell_shared.contracts import Consumed
from upwell_shared.contracts.feedback import ReflectionRequested, ReflectionSubmitted
from upwell_shared.database import Connection

name = "reflections"
version = 1
tables = """
CREATE TABLE reflections (
    reflection_id uuid PRIMARY KEY,
    pair_id       uuid NOT NULL,
    programme_id  uuid NOT NULL,
    person_id     uuid NOT NULL,
    stage         text NOT NULL,
    due_on        date NOT NULL,
    asked_at      timestamptz NOT NULL,
    submitted_at  timestamptz
);
CREATE INDEX reflections_of_pair ON reflections (pair_id, asked_at);
CREATE INDEX reflections_of_person ON reflections (person_id, asked_at);
CREATE INDEX reflections_of_programme ON reflections (programme_id);
"""


class _Row(NamedTuple):
    reflection_id: UUID
    pair_id: UUID
    programme_id: UUID
    person_id: UUID
    stage: str
    due_on: date
    asked_at: datetime
    submitted_at: datetime | None


def _evolve(row: _Row | None, consumed: Consumed) -> _Row | None:
    match consumed.event:
        case ReflectionRequested() as event:
            ids = (event.reflection_id, event.pair_id, event.programme_id, event.person_id)
            return _Row(*ids, event.stage, event.due_on, consumed.recorded_at, None)
        case _:
            return row and row._replace(submitted_at=consumed.recorded_at)


_REFLECTIONS = Folding(
    row=_Row,
    of=frozenset({ReflectionRequested, ReflectionSubmitted}),
    key="reflection_id",
    evolve=_evolve,
    held="SELECT * FROM reflections WHERE reflection_id = ANY ($1::uuid[])",
    write="""
INSERT INTO reflections
SELECT * FROM unnest(
    $1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[], $5::text[], $6::date[], $7::timestamptz[], $8::timestamptz[]
)
ON CONFLICT (reflection_id) DO UPDATE SET submitted_at = excluded.submitted_at
""",
)


async def project(connection: Connection, events: Sequence[Consumed]) -> None:
    await _REFLECTIONS.take(connection, events)
