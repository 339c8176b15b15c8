"""What routes of pages ask before anything is shown: whether it is there yet, and whose it is."""

from collections.abc import Awaitable, Callable
from typing import Annotated, NamedTuple
from uuid import UUID

import asyncpg
from fastapi import Depends

from upwell_gateway.policies import NOWHERE, PairFacts, PersonFacts, Reach, oversees
from upwell_gateway.projections import people
from upwell_gateway.sources import SOURCES
from upwell_shared import units
from upwell_shared.contracts.gateway import CONTRACT
from upwell_shared.errors import Malformed, Violation
from upwell_shared.web.policies import CurrentPrincipal, Principal
from upwell_shared.web.positions import After, StreamPosition, wait_until

_REACHED = """
SELECT count(*) = cardinality($3::text[])
FROM progress JOIN unnest($3::text[], $4::int[]) AS wanted (channel, sequence) USING (channel)
WHERE consumer = $1 AND stream_id = $2 AND progress.sequence >= wanted.sequence
"""

_PROGRAMME = "SELECT unit_ids FROM programmes WHERE programme_id = $1"

_PAIR = """
SELECT programme_id, cohort_id, mentor_id, mentee_id, unit_ids
FROM pairs LEFT JOIN programmes USING (programme_id) WHERE pair_id = $1
"""


async def has_reached(pool: asyncpg.Pool, position: StreamPosition) -> bool:
    """Whether everything an owner has told of a stream up to that position is in our tables."""
    contract = SOURCES[position.service]
    wanted = {contract.channel("public"): position.public, contract.channel("internal"): position.internal}
    channels = [channel for channel, sequence in wanted.items() if sequence]
    sequences = [wanted[channel] for channel in channels]
    return bool(await pool.fetchval(_REACHED, CONTRACT.owner, position.stream_id, channels, sequences))


class Access(NamedTuple):
    """Dependencies of the routes of pages; each is asked once a request, however many ask for it."""

    fresh: Callable[..., Awaitable[bool]]
    """Waits for what `Upwell-After` names; whether it is there. All others come after it."""
    programme: Callable[..., Awaitable[Reach]]
    pair: Callable[..., Awaitable[PairFacts]]
    person: Callable[..., Awaitable[PersonFacts]]
    """Of what the path names, also where it is not known here."""


def access_to(pool: asyncpg.Pool) -> Access:
    async def fresh(after: After) -> bool:
        if after is None:
            return True
        if after.service not in SOURCES:
            raise Malformed(Violation("header", "Upwell-After", "names a service that has no facts here"))
        return await wait_until(lambda: has_reached(pool, after))

    async def programme(
        programme_id: UUID, who: CurrentPrincipal, _: Annotated[bool, Depends(fresh)]
    ) -> Reach:
        return await reach(who, await pool.fetchval(_PROGRAMME, programme_id))

    async def pair(pair_id: UUID, who: CurrentPrincipal, _: Annotated[bool, Depends(fresh)]) -> PairFacts:
        row = await pool.fetchrow(_PAIR, pair_id)
        if row is None:
            return PairFacts(None, None, None, None, NOWHERE)
        programme_id, cohort_id, mentor_id, mentee_id, unit_ids = row
        return PairFacts(programme_id, cohort_id, mentor_id, mentee_id, await reach(who, unit_ids))

    async def person(
        person_id: UUID, who: CurrentPrincipal, _: Annotated[bool, Depends(fresh)]
    ) -> PersonFacts:
        unit_id = await people.place_of(pool, person_id)
        within = unit_id is not None and bool(await units.within(pool, who.units, [unit_id]))
        return PersonFacts(person_id, within)

    async def reach(who: Principal, unit_ids: list[UUID] | None) -> Reach:
        # Only those who may oversee at all are worth a walk up the tree.
        if not unit_ids or not oversees(who):
            return NOWHERE
        return Reach(frozenset(unit_ids), frozenset(await units.within(pool, who.units, unit_ids)))

    return Access(fresh, programme, pair, person)
