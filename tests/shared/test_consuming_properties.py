"""The law of consuming: whatever the log does in between, the tables end as after one straight reading."""

import asyncio
from collections.abc import Iterator
from typing import Any

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.shared.conftest import Dsns
from tests.shared.consuming_world import LOG, OTHER_LOG, World, make_tables, publish, records, stream, wipe
from upwell_shared.consuming import Retrier
from upwell_shared.contracts import Publication
from upwell_shared.database import create_pool

Histories = list[list[Publication]]

EXAMPLES = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@st.composite
def histories(draw: st.DrawFn) -> Histories:
    lengths = draw(st.lists(st.integers(1, 6), min_size=1, max_size=4))
    return [[publish(stream(n), k) for k in range(1, length + 1)] for n, length in enumerate(lengths)]


def interleaved(draw: st.DrawFn, told: Histories) -> list[Publication]:
    """All events in an order that keeps each stream's own."""
    turns = draw(st.permutations([n for n, events in enumerate(told) for _ in events]))
    left = [iter(events) for events in told]
    return [next(left[n]) for n in turns]


@st.composite
def logs(draw: st.DrawFn, told: Histories) -> list[Publication]:
    """What a relay that keeps crashing leaves in a log: every event in order, and copies of earlier ones anywhere."""
    log = interleaved(draw, told)
    for at, back in draw(st.lists(st.tuples(st.integers(1, len(log)), st.integers(1, 5)), max_size=4)):
        log[at:at] = log[max(0, at - back) : at]
    return log


@st.composite
def stories(draw: st.DrawFn) -> tuple[Histories, list[Publication], list[Publication], int, list[int]]:
    """Histories; a log, read up to some point; another log, filled from zero, read to its end; where pages end."""
    told = draw(histories())
    first, second = draw(logs(told)), draw(logs(told))
    lost_at = draw(st.integers(0, len(first)))
    return told, first, second, lost_at, draw(st.lists(st.integers(1, 40), max_size=6))


@pytest.fixture
def law(dsns: Dsns) -> Iterator["Law"]:
    law = Law(dsns)
    yield law
    law.close()


class Law:
    """Runs readings on one database and one event loop, each on empty tables."""

    def __init__(self, dsns: Dsns) -> None:
        self._loop = asyncio.new_event_loop()
        self.pool = self._loop.run_until_complete(self._prepare(dsns))

    async def _prepare(self, dsns: Dsns) -> asyncpg.Pool:
        owner = await create_pool(dsns.owner, application_name="law-owner", size=1)
        await make_tables(owner)
        await owner.close()
        return await create_pool(dsns.app, application_name="law")

    def run(self, work: Any) -> Any:
        return self._loop.run_until_complete(work)

    def close(self) -> None:
        self._loop.run_until_complete(self.pool.close())
        self._loop.close()

    async def straight(self, told: Histories) -> dict[str, Any]:
        await wipe(self.pool)
        world = World(self.pool)
        await world.read(records([publication for events in told for publication in events]))
        return await world.tables()


@EXAMPLES
@given(story=stories())
def test_any_interleaving_any_copies_any_pages_and_a_new_log_end_in_equal_tables(
    law: Law, story: Any
) -> None:
    told, first, second, lost_at, cuts = story

    async def twisted() -> dict[str, Any]:
        await wipe(law.pool)
        world = World(law.pool)
        await world.read(records(first)[:lost_at], LOG, cuts)
        await world.read(records(second, OTHER_LOG), OTHER_LOG, cuts)
        assert await world.letters() == []
        return await world.tables()

    assert law.run(twisted()) == law.run(law.straight(told))


@EXAMPLES
@given(data=st.data(), told=histories())
def test_even_an_order_no_relay_would_leave_ends_in_equal_tables(
    law: Law, data: st.DataObject, told: Histories
) -> None:
    everything = [publication for events in told for publication in events]
    copies = data.draw(st.lists(st.sampled_from(everything), max_size=5))
    log = data.draw(st.permutations([*everything, *copies]))
    cuts = data.draw(st.lists(st.integers(1, 30), max_size=6))

    async def twisted() -> dict[str, Any]:
        await wipe(law.pool)
        world = World(law.pool)
        await world.read(records(log), LOG, cuts)
        assert await world.letters() == []
        return await world.tables()

    assert law.run(twisted()) == law.run(law.straight(told))


@EXAMPLES
@given(data=st.data(), told=histories())
def test_failures_wherever_they_strike_are_healed_by_retries(
    law: Law, data: st.DataObject, told: Histories
) -> None:
    everything = [publication for events in told for publication in events]
    log = data.draw(logs(told))
    cuts = data.draw(st.lists(st.integers(1, 30), max_size=4))
    sick = {
        publication.event_id for publication in data.draw(st.lists(st.sampled_from(everything), max_size=4))
    }
    well_again = data.draw(st.permutations(sorted(sick)))

    async def twisted() -> dict[str, Any]:
        await wipe(law.pool)
        world = World(law.pool)
        world.trail.failing = sick
        await world.read(records(log), LOG, cuts)
        trails = await world.trails()
        assert all(trail == list(range(1, len(trail) + 1)) for trail in trails.values())
        for event_id in well_again:
            sick.discard(event_id)
            await law.pool.execute(
                "UPDATE dead_letters SET next_try_at = now() WHERE next_try_at IS NOT NULL"
            )
            while await Retrier(world.applier).step():
                pass
        assert await world.letters() == []
        return await world.tables()

    assert law.run(twisted()) == law.run(law.straight(told))
