"""What policies ask of own tables before they decide, and what routes have in common."""

from collections.abc import Awaitable, Callable
from uuid import UUID

import asyncpg
from starlette.responses import Response

from upwell_directory.policies import Path, PersonFacts, reaches
from upwell_directory.projections import people_by_unit, unit_tree
from upwell_shared.errors import Forbidden
from upwell_shared.looking_up import looked_up
from upwell_shared.projecting import reached
from upwell_shared.web.policies import Principal
from upwell_shared.web.positions import StreamPosition, mark_stale, wait_until


def unit_path(pool: asyncpg.Pool) -> Callable[..., Awaitable[Path]]:
    """Dependency: the path of the unit in the route."""

    async def path(unit_id: UUID) -> Path:
        unit = await looked_up(pool, unit_tree.name, lambda: unit_tree.unit(pool, unit_id))
        return () if unit is None else unit.path

    return path


def person_facts(pool: asyncpg.Pool) -> Callable[..., Awaitable[PersonFacts]]:
    """Dependency: the person in the route, and where they stand."""

    async def facts(person_id: UUID) -> PersonFacts:
        found = await looked_up(pool, people_by_unit.name, lambda: people_by_unit.person(pool, person_id))
        return PersonFacts(person_id, () if found is None else found[1])

    return facts


async def require_within(pool: asyncpg.Pool, who: Principal, unit_id: UUID) -> unit_tree.Unit | None:
    """The unit a body names; raises Forbidden for one that is not theirs. About none at all a rule speaks."""
    unit = await looked_up(pool, unit_tree.name, lambda: unit_tree.unit(pool, unit_id))
    if unit is not None and not reaches(who, unit.path):
        raise Forbidden
    return unit


async def wait_for(
    pool: asyncpg.Pool, after: StreamPosition | None, response: Response, *projections: str
) -> None:
    """Waits until the projections show that position, or marks the answer as stale."""
    if after is None:
        return

    async def all_reached() -> bool:
        return all([await reached(pool, name, after.stream_id, after.version) for name in projections])

    if not await wait_until(all_reached):
        mark_stale(response)
