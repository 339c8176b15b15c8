"""What policies ask of own tables before they decide."""

from collections.abc import Awaitable, Callable
from uuid import UUID

import asyncpg

from upwell_feedback.api.reading import reader_of_row
from upwell_feedback.commands import question_set_of_id
from upwell_feedback.domain.visibility import Reader
from upwell_feedback.policies import ProgrammeFacts, ReflectionFacts, may_oversee, programme_team
from upwell_feedback.projections import programmes, reflections
from upwell_shared import units
from upwell_shared.errors import NotFound
from upwell_shared.event_store import EventStore
from upwell_shared.looking_up import looked_up
from upwell_shared.web.policies import CurrentPrincipal, Principal


async def in_team(pool: asyncpg.Pool, who: Principal, programme_id: UUID) -> bool:
    """Whether somebody is in the team of a programme."""
    if not may_oversee(who):
        return False
    return programme_team.allows(who, await _programme(pool, who, programme_id))


def programme_facts(pool: asyncpg.Pool) -> Callable[..., Awaitable[ProgrammeFacts]]:
    """Dependency: the programme that the request asks about."""

    async def facts(who: CurrentPrincipal, programme_id: UUID) -> ProgrammeFacts:
        return await _programme(pool, who, programme_id)

    return facts


def question_set_facts(pool: asyncpg.Pool, store: EventStore) -> Callable[..., Awaitable[ProgrammeFacts]]:
    """Dependency: the programme of the question set in the route; the set that ships is no programme's."""

    async def facts(who: CurrentPrincipal, question_set_id: UUID) -> ProgrammeFacts:
        found = await question_set_of_id(store, question_set_id)
        if found is None:
            raise NotFound
        if found.programme_id is None:
            return ProgrammeFacts()
        return await _programme(pool, who, found.programme_id)

    return facts


def reflection_facts(pool: asyncpg.Pool) -> Callable[..., Awaitable[ReflectionFacts]]:
    """Dependency: the reflection in the route, and who the caller is to it."""

    async def facts(who: CurrentPrincipal, reflection_id: UUID) -> ReflectionFacts:
        row = await looked_up(pool, reflections.name, lambda: reflections.one(pool, reflection_id))
        if row is None:
            return ReflectionFacts(None, Reader.OUTSIDER)
        team = who.id not in {row.person_id, row.other_id} and await in_team(pool, who, row.programme_id)
        return ReflectionFacts(row, reader_of_row(row, who.id, in_team=team))

    return facts


async def _programme(pool: asyncpg.Pool, who: Principal, programme_id: UUID) -> ProgrammeFacts:
    unit_ids = await programmes.units_of(pool, programme_id)
    return ProgrammeFacts(unit_ids, frozenset(await units.within(pool, who.units, unit_ids)))
