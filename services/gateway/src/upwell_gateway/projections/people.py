"""Who is here, and who oversees them: nothing of a person but random ids and the unit they stand in."""

from collections.abc import Sequence
from typing import Final
from uuid import UUID

import asyncpg

from upwell_shared.contracts import Consumed
from upwell_shared.contracts.directory import PersonErased, PersonJoined, PersonLeft, PersonMoved
from upwell_shared.database import Connection

name = "people"
version = 1
tables = """
CREATE TABLE people (
    person_id       uuid PRIMARY KEY,
    -- By the public channel; NULL until it has told of the person.
    standing        text CHECK (standing IN ('here', 'gone', 'erased')),
    organisation_id uuid,
    -- By the internal channel, and for good NULL once the public one has told that the person is erased.
    unit_id         uuid
);
"""

_STANDINGS: Final = {PersonJoined: "here", PersonLeft: "gone", PersonErased: "erased"}
_TOLD: Final = frozenset({PersonMoved, *_STANDINGS})

# An erasure drops the place, whichever channel is first.
_STAND = """
INSERT INTO people (person_id, standing, organisation_id)
SELECT * FROM unnest($1::uuid[], $2::text[], $3::uuid[])
ON CONFLICT (person_id) DO UPDATE SET
    standing = excluded.standing, organisation_id = excluded.organisation_id,
    unit_id = CASE WHEN excluded.standing = 'erased' THEN NULL ELSE people.unit_id END
"""

_PLACE = """
INSERT INTO people (person_id, unit_id)
SELECT * FROM unnest($1::uuid[], $2::uuid[])
ON CONFLICT (person_id) DO UPDATE SET
    unit_id = CASE WHEN people.standing = 'erased' THEN NULL ELSE excluded.unit_id END
"""

_PLACE_OF = "SELECT unit_id FROM people WHERE person_id = $1"


async def project(connection: Connection, events: Sequence[Consumed]) -> None:
    standings: dict[UUID, tuple[UUID, str, UUID]] = {}
    places: dict[UUID, tuple[UUID, UUID]] = {}
    for consumed in events:
        if type(consumed.event) not in _TOLD:
            continue
        match consumed.event:
            case PersonJoined() | PersonLeft() | PersonErased() as event:
                standing = _STANDINGS[type(event)]
                standings[event.person_id] = (event.person_id, standing, event.organisation_id)
            case PersonMoved(person_id=person_id, unit_id=unit_id):
                places[person_id] = (person_id, unit_id)
    if standings:
        await connection.execute(_STAND, *zip(*standings.values(), strict=True))
    if places:
        await connection.execute(_PLACE, *zip(*places.values(), strict=True))


async def place_of(pool: asyncpg.Pool, person_id: UUID) -> UUID | None:
    """The unit a person stands in, or stood in last; None while it is not known, and once they are erased."""
    found: UUID | None = await pool.fetchval(_PLACE_OF, person_id)
    return found
