"""What policies ask of own tables before they decide, and what routes have in common."""

from collections.abc import Awaitable, Callable
from uuid import UUID

import asyncpg
from starlette.responses import Response

from upwell_matching.policies import Reach, coordinates
from upwell_matching.projections import cohorts, enrolments, match_runs, pairs, programmes, standings
from upwell_shared import units
from upwell_shared.looking_up import looked_up
from upwell_shared.projecting import reached
from upwell_shared.web.cursors import Listing, PageRequest
from upwell_shared.web.policies import CurrentPrincipal, Principal
from upwell_shared.web.positions import StreamPosition, mark_stale, wait_until

Facts = Callable[..., Awaitable[Reach]]


def of_programme(pool: asyncpg.Pool) -> Facts:
    """Dependency: the programme in the route."""

    async def reach(who: CurrentPrincipal, programme_id: UUID) -> Reach:
        return await _of_programme(pool, who, programme_id)

    return reach


def of_cohort(pool: asyncpg.Pool) -> Facts:
    """Dependency: the cohort in the route."""

    async def reach(who: CurrentPrincipal, cohort_id: UUID) -> Reach:
        return await _of_cohort(pool, who, cohort_id)

    return reach


def of_person_in_cohort(pool: asyncpg.Pool) -> Facts:
    """Dependency: the person in the route, as a possible part of its cohort."""

    async def reach(who: CurrentPrincipal, cohort_id: UUID, person_id: UUID) -> Reach:
        found = await _of_cohort(pool, who, cohort_id)
        # Whoever does not see the cohort does not learn by their own name that there is one.
        people = {person_id} if found.theirs or found.open_to_them else ()
        return found._replace(people=frozenset(people))

    return reach


def of_enrolment(pool: asyncpg.Pool) -> Facts:
    """Dependency: the enrolment in the route."""

    async def reach(who: CurrentPrincipal, enrolment_id: UUID) -> Reach:
        row = await looked_up(
            pool, enrolments.name, lambda: enrolments.enrolment(pool, enrolment_id), good=_is_there
        )
        if row is None:
            return Reach()
        theirs = await _is_theirs(pool, who, row.programme_id)
        return Reach(theirs=theirs, people=frozenset({row.person_id}))

    return reach


def of_pair(pool: asyncpg.Pool) -> Facts:
    """Dependency: the pair or proposal in the route."""

    async def reach(who: CurrentPrincipal, pair_id: UUID) -> Reach:
        row = await looked_up(pool, pairs.name, lambda: pairs.pair(pool, pair_id), good=_is_there)
        if row is None:
            return Reach()
        people = frozenset({row.mentor_id, row.mentee_id})
        return Reach(theirs=await _is_theirs(pool, who, row.programme_id), people=people)

    return reach


def of_match_run(pool: asyncpg.Pool) -> Facts:
    """Dependency: the match run in the route."""

    async def reach(who: CurrentPrincipal, match_run_id: UUID) -> Reach:
        row = await looked_up(
            pool, match_runs.name, lambda: match_runs.match_run(pool, match_run_id), good=_is_there
        )
        return Reach() if row is None else Reach(theirs=await _is_theirs(pool, who, row.programme_id))

    return reach


async def around(pool: asyncpg.Pool, person_id: UUID) -> set[UUID]:
    """The unit somebody stands in and all above it; none for one who is not here."""

    async def unit() -> UUID | None:
        ((first, *_),) = (await standings.with_lines(pool, (person_id,), 0)).values()
        return first.unit_id if first.present else None

    unit_id = await looked_up(pool, standings.name, unit)
    if unit_id is None:
        return set()
    found, _whole = await units.above(pool, unit_id)
    return found


async def reaches_all(pool: asyncpg.Pool, who: Principal, unit_ids: tuple[UUID, ...]) -> bool:
    """Whether every one of these units is one of theirs, or below one."""
    return await units.within(pool, who.units, unit_ids) == {*unit_ids}


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


def last_of(listing: Listing, paging: PageRequest) -> UUID | None:
    """The id behind which the page begins."""
    return UUID(str(listing.decode(paging.cursor)[0])) if paging.cursor else None


async def _of_cohort(pool: asyncpg.Pool, who: Principal, cohort_id: UUID) -> Reach:
    row = await looked_up(pool, cohorts.name, lambda: cohorts.cohort(pool, cohort_id), good=_is_there)
    return Reach() if row is None else await _of_programme(pool, who, row.programme_id)


async def _of_programme(pool: asyncpg.Pool, who: Principal, programme_id: UUID) -> Reach:
    row = await _programme(pool, programme_id)
    if row is None:
        return Reach()
    if coordinates(who) and await reaches_all(pool, who, row.unit_ids):
        return Reach(theirs=True)
    return Reach(open_to_them=not (await around(pool, who.id)).isdisjoint(row.unit_ids))


async def _is_theirs(pool: asyncpg.Pool, who: Principal, programme_id: UUID) -> bool:
    if not coordinates(who):
        return False
    row = await _programme(pool, programme_id)
    return row is not None and await reaches_all(pool, who, row.unit_ids)


async def _programme(pool: asyncpg.Pool, programme_id: UUID) -> programmes.Row | None:
    return await looked_up(
        pool, programmes.name, lambda: programmes.programme(pool, programme_id), good=_is_there
    )


def _is_there(found: object) -> bool:
    return found is not None
