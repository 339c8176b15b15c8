"""The read models: the same rows however the events come in pages, agreeing with the streams, and rebuilt as they were."""

import random
from datetime import timedelta
from typing import Any, get_args
from uuid import UUID

import asyncpg
import pytest

from tests.matching.history import FIRST, PAIRS, PEOPLE, History
from tests.matching.test_api import set_up
from tests.matching.world import World
from tests.service_process import until
from upwell_matching.aggregates import EVENTS
from upwell_matching.app import OWN, SERVICE
from upwell_matching.domain import enrolment, pair
from upwell_matching.domain.enrolment import enrolment_id
from upwell_matching.projections import cohorts, enrolments, pairs, programmes
from upwell_shared.contracts.directory import PersonErased, PersonJoined, PersonLeft, PersonMoved
from upwell_shared.projecting import Projector
from upwell_shared.testing import rows_in_pages

CORE: tuple[Any, ...] = (programmes, cohorts, enrolments, pairs)
TABLES = {
    "programmes": ("programmes", "topics"),
    "cohorts": ("cohorts",),
    "enrolments": ("enrolments",),
    "pairs": ("pairs",),
    "standings": ("standings",),
    "timers": ("timers",),
}


def test_the_histories_hold_every_event() -> None:
    told = {type(recorded.event) for seed in range(6) for recorded in History(seed).go_on(1000).events}
    assert {*get_args(pair.PairEvent), *get_args(enrolment.EnrolmentEvent)} <= told


@pytest.mark.parametrize(
    "projection", [projection for projection in OWN if projection.name in TABLES], ids=lambda each: each.name
)
async def test_any_cut_into_pages_gives_the_same_rows(projection: Any, owner_pool: asyncpg.Pool) -> None:
    async with owner_pool.acquire() as owner:
        for seed in range(4):
            events = History(seed).go_on(1000).events
            whole = await rows_in_pages(owner, projection, events)
            singly = await rows_in_pages(owner, projection, events, range(len(events)))
            chance = random.Random(seed)
            cuts = sorted(chance.sample(range(len(events)), 5))
            assert whole == singly == await rows_in_pages(owner, projection, events, cuts)


async def test_the_rows_say_what_the_streams_do(owner_pool: asyncpg.Pool) -> None:
    words: dict[type, set[str]] = {
        pair.Proposal: {"proposed"},
        pair.Active: {"active"},
        pair.Paused: {"paused"},
        pair.ClosedProposal: {"declined", "expired", "withdrawn"},
        pair.ClosedPair: {"completed", "ended"},
    }
    async with owner_pool.acquire() as owner:
        for seed in range(4):
            history = History(seed).go_on(1000)
            rows = {row[0]: row for row in (await rows_in_pages(owner, pairs, history.events))["pairs"]}
            stands = {pair_id: history.states[pair_id] for pair_id in PAIRS if pair_id in history.states}
            stands = {k: state for k, state in stands.items() if not isinstance(state, pair.NoPair)}
            assert rows.keys() == stands.keys()
            for pair_id, state in stands.items():
                row = pairs.Row(*rows[pair_id])
                assert row.state in words[type(state)]
                assert row.rules == state.terms.rules
                if isinstance(state, pair.Active | pair.Paused):
                    assert {*row.breached} == {*state.breached}
                    assert (row.sessions, row.ends_on) == (state.plan.sessions, state.plan.ends_on)
                if isinstance(state, pair.Paused):
                    assert {*row.rests_for} == {*state.causes}
            kept = (await rows_in_pages(owner, enrolments, history.events))["enrolments"]
            by_id = {row[0]: enrolments.Row(*row) for row in kept}
            for person in PEOPLE:
                there = history.states.get(enrolment_id(FIRST, person))
                if isinstance(there, enrolment.Enrolled | enrolment.Withdrawn):
                    row_of = by_id[enrolment_id(FIRST, person)]
                    assert row_of.taken == len(there.partners)
                    assert row_of.withdrawn is isinstance(there, enrolment.Withdrawn)


async def test_rebuilt_from_zero_they_are_what_they_were(
    world: World, pool: asyncpg.Pool, owner_pool: asyncpg.Pool
) -> None:
    there = await set_up(world, mentor_capacity=3)
    mentees = [there.mentee, *[await world.join(grade=9, unit=world.trade) for _ in range(2)]]
    for mentee in mentees[1:]:
        await world.enrol(there.cohort, mentee, "mentee", there.topic)
    made = [await world.propose(there.cohort, there.mentor, mentee) for mentee in mentees]
    await world.accept(made[0], there.mentor)
    await world.accept(made[0], mentees[0])
    await world.done("POST", f"/v1/pairs/{made[0]}/pause", who=there.mentor)
    await world.done("POST", f"/v1/pairs/{made[1]}/decline", {"reason": "no_time"}, who=mentees[1])
    world.clock.forward(timedelta(days=8))

    async def reminded() -> bool:
        return (made[2], "PairReplyReminded") in await world.events()

    await until(reminded)
    await world.read_up()

    async def rows(name: str) -> list[list[tuple[Any, ...]]]:
        return [
            sorted(map(tuple, await pool.fetch(f"SELECT t::text FROM {table} t")), key=repr)
            for table in TABLES[name]
        ]

    for projection in (each for each in OWN if each.name in TABLES and each.name != "timers"):
        before = await rows(projection.name)
        assert any(before)
        await Projector(pool, EVENTS, projection).rebuild(
            owner_pool, app_role=f"{SERVICE.name}_app", reader_role=f"{SERVICE.name}_reader"
        )
        assert before == await rows(projection.name)


async def test_whoever_is_erased_leaves_nothing_behind_but_random_ids(
    world: World, pool: asyncpg.Pool
) -> None:
    ada = UUID(int=77)
    about: Any = {"person_id": ada, "organisation_id": world.acme}
    place: Any = {"unit_id": world.sales, "grade": 7, "manager_id": None, "in_role_since": "2020-01-01"}
    moved = PersonMoved.model_validate(about | place)
    await world.hears(PersonJoined(**about, unit_id=world.sales), moved)

    async def known() -> bool:
        return bool(await pool.fetchval("SELECT grade FROM standings WHERE person_id = $1 AND present", ada))

    await until(known)
    await world.hears(PersonLeft(**about, unit_id=world.sales), PersonErased(**about))

    async def acknowledged() -> bool:
        return "ErasureAcknowledged" in {kind for _, kind in await world.events()}

    await until(acknowledged)
    row = await pool.fetchrow("SELECT * FROM standings WHERE person_id = $1", ada)
    assert row is not None
    assert (row["present"], row["grade"], row["manager_id"], row["in_role_since"]) == (
        False,
        None,
        None,
        None,
    )
    told = await pool.fetch("SELECT type FROM ledger WHERE type LIKE '%PersonErasureAcknowledged%'")
    assert len(told) == 1
    assert await pool.fetchval("SELECT count(*) FROM todos WHERE parked_because IS NOT NULL") == 0
