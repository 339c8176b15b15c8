"""What was acknowledged a moment ago counts for the next decision, however far own tables are behind."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from tests.directory.files import made_up_people
from tests.directory.test_importing import everybody, send
from tests.directory.world import SINCE, World, running
from upwell_directory import commands, contacts
from upwell_shared.testing.databases import Dsns


def problem(response: Any) -> tuple[int, str]:
    return response.status_code, response.json()["type"].removeprefix("urn:upwell:problem:")


def below(unit: UUID, manager: UUID) -> dict[str, object]:
    return {"unit_id": str(unit), "grade": 7, "manager_id": str(manager), "in_role_since": SINCE}


async def while_held(
    pool: asyncpg.Pool, told: Callable[[], Awaitable[Any]], then: Callable[[], Awaitable[Any]]
) -> Any:
    """The answer to `then`, asked after `told` was answered and before own tables could show what it did."""
    async with pool.acquire() as connection:
        holding = connection.transaction()
        await holding.start()
        # Nobody reads beyond the oldest transaction that has an id.
        await connection.execute("SELECT pg_current_xact_id()")
        try:
            await told()
            asked = asyncio.ensure_future(then())
            await asyncio.wait([asked], timeout=0.2)
        finally:
            await holding.rollback()
    return await asked


async def test_two_who_move_below_each_other_one_after_the_other_close_no_circle(world: World) -> None:
    acme = await world.open_acme()
    ada, ben = await world.join(acme), await world.join(acme)
    await everybody(world)

    answer = await while_held(
        world.pool,
        lambda: world.done("POST", f"/v1/people/{ada}/move", below(acme, ben), if_match='"1"'),
        lambda: world.ask("POST", f"/v1/people/{ben}/move", below(acme, ada), if_match='"1"'),
    )
    assert problem(answer) == (409, "manager-below")


async def test_a_unit_somebody_has_just_joined_stays_open(world: World) -> None:
    acme = await world.open_acme()
    sales = await world.open_unit(acme, "Sales")
    await world.seen(f"/v1/units/{sales}")
    answer = await while_held(
        world.pool, lambda: world.join(sales), lambda: world.ask("POST", f"/v1/units/{sales}/close")
    )
    assert problem(answer) == (409, "unit-has-people")


async def test_nobody_joins_a_unit_that_was_just_closed(world: World) -> None:
    acme = await world.open_acme()
    sales = await world.open_unit(acme, "Sales")
    await world.seen(f"/v1/units/{sales}")
    answer = await while_held(
        world.pool,
        lambda: world.done("POST", f"/v1/units/{sales}/close"),
        lambda: world.ask("POST", "/v1/people", world.person(sales)),
    )
    assert problem(answer) == (409, "unit-is-closed")
    assert await world.pool.fetchval("SELECT count(*) FROM contacts") == 0


async def test_nobody_joins_below_a_manager_who_has_just_left(world: World) -> None:
    acme = await world.open_acme()
    ada = await world.join(acme)
    await everybody(world)
    answer = await while_held(
        world.pool,
        lambda: world.done("POST", f"/v1/people/{ada}/left"),
        lambda: world.ask("POST", "/v1/people", world.person(acme, manager_id=str(ada))),
    )
    assert problem(answer) == (409, "unknown-manager")


async def test_many_who_move_below_each_other_at_once_close_no_circle(dsns: Dsns, pool: asyncpg.Pool) -> None:
    async with running(dsns, pool, replicas=2) as world:
        acme = await world.open_acme()
        people = [await world.join(acme) for _ in range(3)]
        for _ in range(4):
            there = await everybody(world)
            versions = {
                UUID(each["person_id"]): await world.etag(f"/v1/people/{each['person_id']}")
                for each in there.values()
            }
            moving = [
                world.ask("POST", f"/v1/people/{who}/move", below(acme, manager), if_match=versions[who])
                for who, manager in zip(people, [*people[1:], people[0]], strict=True)
            ]
            answers = await asyncio.gather(*moving)
            assert {answer.status_code for answer in answers} <= {200, 204, 409, 412}
            managers = {each["person_id"]: each["manager_id"] for each in (await everybody(world)).values()}
            for who, first in managers.items():
                above, at = set[str](), first
                while at is not None and at not in above:
                    above.add(at)
                    at = managers[at]
                assert who not in above
            for who in people:
                place = below(acme, who) | {"manager_id": None}
                await world.done(
                    "POST", f"/v1/people/{who}/move", place, if_match=await world.etag(f"/v1/people/{who}")
                )


async def test_a_decision_on_a_line_that_changes_meanwhile_is_made_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    acme = await world.open_acme()
    ada, ben = await world.join(acme), await world.join(acme)
    await everybody(world)
    looking = commands.place_facts
    looked = 0

    async def place_facts(*arguments: Any) -> Any:
        nonlocal looked
        found = await looking(*arguments)
        looked += 1
        if looked == 1:
            await world.done("POST", f"/v1/people/{ada}/move", below(acme, ben), if_match='"1"')
        return found

    # The first to look is Ben, who is to stand below Ada; before he does, Ada moves below him.
    monkeypatch.setattr(commands, "place_facts", place_facts)
    answer = await world.ask("POST", f"/v1/people/{ben}/move", below(acme, ada), if_match='"1"')
    assert problem(answer) == (409, "manager-below")
    assert looked == 3


async def test_while_own_tables_are_too_far_behind_nothing_is_decided(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    acme = await world.open_acme()
    before = await world.events()

    async def never(*_: object) -> bool:
        return False

    monkeypatch.setattr(commands, "caught_up", never)
    answer = await world.ask("POST", "/v1/people", world.person(acme))
    assert problem(answer) == (503, "unavailable")
    assert (await send(world, made_up_people(2))).status_code == 503
    assert await world.events() == before


async def test_an_import_heeds_what_others_have_done_since_it_was_planned(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    acme = await world.open_acme()
    sales = await world.open_unit(acme, "Sales")
    boss = await world.join(acme, external_id="boss")
    lines = [line | {"unit": "", "manager_external_id": ""} for line in made_up_people(3)]
    lines[0]["unit"], lines[1]["manager_external_id"] = "Sales", "boss"
    writing = contacts.write_many

    async def write_many(*arguments: Any) -> None:
        await writing(*arguments)
        await world.done("POST", f"/v1/units/{sales}/close")
        await world.done("POST", f"/v1/people/{boss}/left")

    monkeypatch.setattr(contacts, "write_many", write_many)
    report = (await send(world, lines)).json()
    assert [bad["line"] for bad in report["bad_rows"]] == [2, 3]
    assert set(await everybody(world)) == {lines[2]["external_id"]}
