"""Who wishes to take part, in which role. The unit they stood in then is not kept: nobody asks for it here."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from upwell_gateway.projections.folding import Folding
from upwell_shared.contracts import Consumed
from upwell_shared.contracts.matching import EnrolmentSubmitted, EnrolmentWithdrawn
from upwell_shared.database import Connection

name = "enrolments"
version = 1
tables = """
CREATE TABLE enrolments (
    enrolment_id uuid PRIMARY KEY,
    programme_id uuid NOT NULL,
    cohort_id    uuid NOT NULL,
    person_id    uuid NOT NULL,
    role         text NOT NULL,
    submitted_at timestamptz NOT NULL,
    withdrawn_at timestamptz
);
CREATE INDEX enrolments_of_programme ON enrolments (programme_id);
CREATE INDEX enrolments_of_person ON enrolments (person_id);
"""


class _Row(NamedTuple):
    enrolment_id: UUID
    programme_id: UUID
    cohort_id: UUID
    person_id: UUID
    role: str
    submitted_at: datetime
    withdrawn_at: datetime | None


def _evolve(row: _Row | None, consumed: Consumed) -> _Row | None:
    match consumed.event:
        case EnrolmentSubmitted() as event:  # for the first time, or again after a withdrawal
            at = consumed.recorded_at
            ids = (event.enrolment_id, event.programme_id, event.cohort_id, event.person_id)
            return _Row(*ids, event.role, at, None)
        case _:
            return row and row._replace(withdrawn_at=consumed.recorded_at)


_ENROLMENTS = Folding(
    row=_Row,
    of=frozenset({EnrolmentSubmitted, EnrolmentWithdrawn}),
    key="enrolment_id",
    evolve=_evolve,
    held="SELECT * FROM enrolments WHERE enrolment_id = ANY ($1::uuid[])",
    write="""
INSERT INTO enrolments
SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[], $5::text[], $6::timestamptz[], $7::timestamptz[])
ON CONFLICT (enrolment_id) DO UPDATE
SET role = excluded.role, submitted_at = excluded.submitted_at, withdrawn_at = excluded.withdrawn_at
""",
)


async def project(connection: Connection, events: Sequence[Consumed]) -> None:
    await _ENROLMENTS.take(connection, events)
