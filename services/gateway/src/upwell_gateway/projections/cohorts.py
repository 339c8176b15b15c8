"""Which intakes a programme has."""

from collections.abc import Sequence
from datetime import date
from typing import NamedTuple
from uuid import UUID

from upwell_gateway.projections.folding import Folding
from upwell_shared.contracts import Consumed
from upwell_shared.contracts.matching import CohortClosed, CohortOpened
from upwell_shared.database import Connection

name = "cohorts"
version = 1
tables = """
CREATE TABLE cohorts (
    cohort_id    uuid PRIMARY KEY,
    programme_id uuid NOT NULL,
    starts_on    date NOT NULL,
    ends_on      date NOT NULL,
    open         bool NOT NULL
);
CREATE INDEX cohorts_of_programme ON cohorts (programme_id, starts_on);
"""


class _Row(NamedTuple):
    cohort_id: UUID
    programme_id: UUID
    starts_on: date
    ends_on: date
    open: bool


def _evolve(row: _Row | None, consumed: Consumed) -> _Row | None:
    match consumed.event:
        case CohortOpened() as event:
            return _Row(event.cohort_id, event.programme_id, event.starts_on, event.ends_on, open=True)
        case _:
            return row and row._replace(open=False)


_COHORTS = Folding(
    row=_Row,
    of=frozenset({CohortOpened, CohortClosed}),
    key="cohort_id",
    evolve=_evolve,
    held="SELECT * FROM cohorts WHERE cohort_id = ANY ($1::uuid[])",
    write="""
INSERT INTO cohorts SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::date[], $4::date[], $5::bool[])
ON CONFLICT (cohort_id) DO UPDATE SET open = excluded.open
""",
)


async def project(connection: Connection, events: Sequence[Consumed]) -> None:
    await _COHORTS.take(connection, events)
