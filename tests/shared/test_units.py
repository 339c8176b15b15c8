"""The unit tree as services other than the directory know it."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid5

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.shared.conftest import APP, READER
from upwell_shared import units
from upwell_shared.contracts import Consumed
from upwell_shared.contracts.directory import CONTRACT, PersonErased, UnitClosed, UnitMoved, UnitOpened
from upwell_shared.projecting import ensure, enter
from upwell_shared.testing.databases import Dsns
from upwell_shared.testing.projecting import rows_in_pages

ACME, GLOBEX = UUID(int=1), UUID(int=2)
SALES, NORTH, SOUTH, LAB, NOWHERE = (UUID(int=n) for n in range(10, 15))
NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)


def opened(unit: UUID, parent: UUID | None, organisation: UUID = ACME) -> UnitOpened:
    return UnitOpened(unit_id=unit, organisation_id=organisation, parent_id=parent)


def moved(unit: UUID, parent: UUID) -> UnitMoved:
    return UnitMoved(unit_id=unit, organisation_id=ACME, parent_id=parent)


def closed(unit: UUID) -> UnitClosed:
    return UnitClosed(unit_id=unit, organisation_id=ACME)


TREE = [
    opened(ACME, None),
    opened(SALES, ACME),
    opened(NORTH, SALES),
    opened(SOUTH, SALES),
    opened(LAB, ACME),
    opened(GLOBEX, None, GLOBEX),
]


def told(events: Sequence[Any]) -> list[Consumed]:
    return [
        Consumed(
            event_id=uuid5(ACME, str(number)),
            type=CONTRACT.type_of(type(event)),
            owner=CONTRACT.owner,
            stream_id=event.organisation_id,
            sequence=number,
            recorded_at=NOON,
            correlation_id=ACME,
            causation_id=None,
            traceparent=None,
            log_id=None,
            audience="public",
            event=event,
        )
        for number, event in enumerate(events, 1)
    ]


@pytest.fixture
async def tree(pool: asyncpg.Pool, owner_pool: asyncpg.Pool) -> asyncpg.Pool:
    await ensure(owner_pool, [units], app_role=APP, reader_role=READER)
    await take(pool, TREE)
    return pool


async def take(pool: asyncpg.Pool, events: Sequence[Any]) -> None:
    async with pool.acquire() as connection, connection.transaction():
        await enter(connection, units)
        await units.project(connection, told(events))


async def test_a_unit_is_within_itself_and_all_above_it(tree: asyncpg.Pool) -> None:
    everything = {ACME, SALES, NORTH, SOUTH, LAB, GLOBEX}
    assert await units.within(tree, [SALES], everything) == {SALES, NORTH, SOUTH}
    assert await units.within(tree, [ACME], everything) == everything - {GLOBEX}
    assert await units.within(tree, [NORTH, LAB], everything) == {NORTH, LAB}
    assert await units.within(tree, [], everything) == set()
    assert await units.within(tree, [ACME], []) == set()


async def test_a_unit_not_heard_of_yet_is_within_itself_only(tree: asyncpg.Pool) -> None:
    assert await units.within(tree, [NOWHERE, ACME], [NOWHERE]) == {NOWHERE}
    assert await units.within(tree, [ACME], [NOWHERE]) == set()
    assert await units.below(tree, [NOWHERE]) == {NOWHERE}


async def test_what_lies_below_is_the_other_way_round(tree: asyncpg.Pool) -> None:
    assert await units.below(tree, [SALES]) == {SALES, NORTH, SOUTH}
    assert await units.below(tree, [ACME, GLOBEX]) == {ACME, SALES, NORTH, SOUTH, LAB, GLOBEX}
    assert await units.below(tree, []) == set()


async def test_a_unit_moves_with_all_below_it_and_a_closed_one_stays_where_it_was(tree: asyncpg.Pool) -> None:
    await take(tree, [moved(SALES, LAB), closed(NORTH)])
    assert await units.below(tree, [LAB]) == {LAB, SALES, NORTH, SOUTH}
    assert await units.within(tree, [LAB], [NORTH]) == {NORTH}
    row = await tree.fetchrow("SELECT parent_id, closed FROM units WHERE unit_id = $1", NORTH)
    assert row is not None
    assert tuple(row) == (SALES, True)


async def test_a_walk_ends_even_in_a_circle(tree: asyncpg.Pool) -> None:
    await take(tree, [moved(SALES, NORTH)])
    assert await units.within(tree, [ACME], [SOUTH]) == set()
    assert await units.below(tree, [NORTH]) == {SALES, NORTH, SOUTH}


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_pages_anyhow_cut_give_the_same_tree(dsns: Dsns, data: st.DataObject) -> None:
    changes = data.draw(
        st.lists(
            st.one_of(
                st.builds(moved, st.sampled_from([NORTH, SOUTH]), st.sampled_from([ACME, LAB, SALES])),
                st.builds(closed, st.sampled_from([NORTH, SOUTH])),
            ),
            max_size=8,
        )
    )
    erased = PersonErased(person_id=ACME, organisation_id=ACME)
    events = told([*TREE, erased, *changes])
    cuts = data.draw(st.lists(st.integers(1, len(events)), max_size=5))

    async def rows(cuts: Sequence[int]) -> object:
        owner = await asyncpg.connect(dsns.owner)
        try:
            return await rows_in_pages(owner, units, events, cuts)
        finally:
            await owner.close()

    assert asyncio.run(rows(cuts)) == asyncio.run(rows(()))
