"""The directory over HTTP: what HR, coordinators and people themselves can do, and what they are told."""

import asyncio
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from tests.directory.world import GRADE, SINCE, World, running
from tests.service_process import until
from upwell_directory import contacts
from upwell_shared.testing.databases import Dsns
from upwell_shared.web.policies import UserRole


def problem(response: Any) -> tuple[int, str]:
    return response.status_code, response.json()["type"].removeprefix("urn:upwell:problem:")


async def test_an_organisation_grows_changes_and_shrinks(world: World) -> None:
    acme = await world.open_acme()
    sales, trade = await world.open_unit(acme, "Sales"), await world.open_unit(acme, "Trade")
    north = await world.open_unit(sales, "North")
    moved = await world.done(
        "POST",
        f"/v1/units/{north}/move",
        {"parent_id": str(trade)},
        if_match=await world.etag(f"/v1/units/{north}"),
    )
    shown = await world.seen(f"/v1/units/{north}", moved)
    assert (shown["parent_id"], shown["name"], shown["closed"]) == (str(trade), "North", False)
    renamed = await world.done(
        "POST",
        f"/v1/units/{north}/rename",
        {"name": "Far North"},
        if_match=await world.etag(f"/v1/units/{north}"),
    )
    assert (await world.seen(f"/v1/units/{north}", renamed))["name"] == "Far North"
    closed = await world.done("POST", f"/v1/units/{sales}/close")
    listed = (await world.seen(f"/v1/organisations/{acme}/units?limit=200", closed))["items"]
    assert {(unit["unit_id"], unit["closed"]) for unit in listed} == {
        (str(acme), False),
        (str(sales), True),
        (str(trade), False),
        (str(north), False),
    }


async def test_an_organisation_says_what_it_calls_its_grades(world: World) -> None:
    acme = await world.open_acme()
    grades = [{"label": "Associate", "grade": 3}, {"label": "Director", "grade": 12}]
    path = f"/v1/organisations/{acme}"
    assert (await world.ask("PUT", f"{path}/grades", {"grades": grades})).status_code == 428
    await world.seen(path, await world.done("PUT", path, {"name": "Acme"}))
    mapped = await world.done("PUT", f"{path}/grades", {"grades": grades}, if_match=await world.etag(path))
    assert (await world.seen(path, mapped))["grades"] == grades
    stale = await world.ask("PUT", f"{path}/grades", {"grades": []}, if_match='"1"')
    assert problem(stale) == (412, "stale-version")


async def test_a_person_joins_moves_goes_on_leave_returns_and_leaves(world: World) -> None:
    acme = await world.open_acme()
    sales = await world.open_unit(acme, "Sales")
    boss = await world.join(acme, grade=12)
    ada = await world.join(sales, manager_id=str(boss), given_name="Ada", family_name="Lovelace")
    path = f"/v1/people/{ada}"
    place = {"unit_id": str(acme), "grade": 8, "manager_id": str(boss), "in_role_since": "2026-01-01"}
    moved = await world.done("POST", f"{path}/move", place, if_match=await world.etag(path))
    shown = await world.seen(path, moved)
    assert {name: shown[name] for name in place} == place
    assert (shown["standing"], shown["given_name"], shown["contact"]["family_name"]) == (
        "employed",
        "Ada",
        "Lovelace",
    )
    away = await world.done("POST", f"{path}/leave", {"until": "2026-12-01"})
    shown = await world.seen(path, away)
    assert (shown["standing"], shown["leave_until"]) == ("on_leave", "2026-12-01")
    back = await world.done("POST", f"{path}/return")
    assert (await world.seen(path, back))["standing"] == "employed"
    left = await world.done("POST", f"{path}/left")
    assert (await world.seen(path, left))["standing"] == "gone"
    here = (await world.seen("/v1/people", left))["items"]
    gone = (await world.seen("/v1/people?gone=true", left))["items"]
    assert ([each["person_id"] for each in here], [each["person_id"] for each in gone]) == (
        [str(boss)],
        [str(ada)],
    )


async def test_a_list_is_read_page_by_page_and_misses_nobody(world: World) -> None:
    acme = await world.open_acme()
    sales = await world.open_unit(acme, "Sales")
    joined = {str(await world.join(acme)) for _ in range(4)} | {
        str(await world.join(sales)) for _ in range(3)
    }
    for each in joined:
        await world.seen(f"/v1/people/{each}")
    seen: list[str] = []
    path = "/v1/people?limit=2"
    while True:
        page = await world.seen(path)
        seen += [each["person_id"] for each in page["items"]]
        if page["next"] is None:
            break
        path = f"/v1/people?limit=2&cursor={page['next']}"
    assert len(seen) == len(set(seen)) == 7
    assert set(seen) == joined
    assert len((await world.seen(f"/v1/people?unit_id={sales}"))["items"]) == 3
    assert (await world.ask("GET", f"{path}&gone=true")).status_code == 422


async def test_everybody_sees_what_is_theirs_and_no_more(world: World) -> None:
    acme = await world.open_acme()
    sales, trade = await world.open_unit(acme, "Sales"), await world.open_unit(acme, "Trade")
    ada, ben = await world.join(sales), await world.join(trade)
    world.tokens.give("coordinator", UserRole.COORDINATOR, units=frozenset({sales}))
    world.tokens.give("hr of sales", UserRole.HR_ADMIN, units=frozenset({sales}))
    world.tokens.give("ada", UserRole.PARTICIPANT, id_=ada)
    for role in (UserRole.ANALYST, UserRole.OPS):
        world.tokens.give(role, role, units=frozenset({acme}))

    assert (await world.seen(f"/v1/people/{ada}", who="ada"))["contact"]["given_name"] == "Ada"
    assert (await world.seen(f"/v1/people/{ada}", who="hr of sales"))["contact"] is not None
    overseen = await world.seen(f"/v1/people/{ada}", who="coordinator")
    assert (overseen["given_name"], overseen["contact"]) == ("Ada", None)
    for who in ("ada", "coordinator", "hr of sales"):
        assert problem(await world.ask("GET", f"/v1/people/{ben}", who=who)) == (404, "not-found")
    for who in (UserRole.ANALYST, UserRole.OPS):
        assert problem(await world.ask("GET", f"/v1/people/{ada}", who=who)) == (404, "not-found")
        assert problem(await world.ask("GET", "/v1/people", who=who)) == (403, "forbidden")
    for who in ("coordinator", "hr of sales"):
        assert [each["person_id"] for each in (await world.seen("/v1/people", who=who))["items"]] == [
            str(ada)
        ]
        units = (await world.seen(f"/v1/organisations/{acme}/units", who=who))["items"]
        assert [unit["unit_id"] for unit in units] == [str(sales)]

    # Nobody writes but HR, and HR only within its units, at both ends.
    place = {"unit_id": str(trade), "grade": 8, "manager_id": None, "in_role_since": SINCE}
    moving = f"/v1/people/{ada}/move"
    seen = await world.etag(f"/v1/people/{ada}")
    assert problem(await world.ask("POST", moving, place, who="coordinator", if_match=seen)) == (
        404,
        "not-found",
    )
    assert problem(await world.ask("POST", moving, place, who="hr of sales", if_match=seen)) == (
        403,
        "forbidden",
    )
    for who in ("ada", "coordinator", UserRole.OPS):
        assert problem(await world.ask("POST", "/v1/people", world.person(sales), who=who)) == (
            403,
            "forbidden",
        )
    assert problem(await world.ask("POST", "/v1/people", world.person(trade), who="hr of sales")) == (
        403,
        "forbidden",
    )
    unit = {"parent_id": str(acme), "name": "South"}
    assert problem(await world.ask("POST", "/v1/units", unit, who="hr of sales")) == (403, "forbidden")
    assert problem(await world.ask("POST", f"/v1/units/{trade}/close", who="hr of sales")) == (
        404,
        "not-found",
    )
    foreign = await world.ask("PUT", f"/v1/organisations/{uuid4()}", {"name": "Ajax"})
    assert problem(foreign) == (403, "forbidden")
    unheard = await world.ask("GET", "/v1/people", who="mallory")
    assert unheard.status_code == 401


async def test_only_oneself_agrees_and_hr_may_note_that_one_does_not_any_more(world: World) -> None:
    ada = await world.join(await world.open_acme())
    world.tokens.give("ada", UserRole.PARTICIPANT, id_=ada)
    give, withdraw = (f"/v1/people/{ada}/consents/quotes/{word}" for word in ("give", "withdraw"))
    assert (await world.ask("POST", give)).status_code == 403
    given = await world.done("POST", give, who="ada")
    assert (await world.seen(f"/v1/people/{ada}", given))["consents"] == ["quotes"]
    withdrawn = await world.done("POST", withdraw)
    assert (await world.seen(f"/v1/people/{ada}", withdrawn))["consents"] == []
    assert (await world.ask("POST", give.replace("quotes", "fun"), who="ada")).status_code == 422


async def test_names_are_read_many_at_a_time(world: World) -> None:
    acme = await world.open_acme()
    ada, ben, nobody = await world.join(acme), await world.join(acme, given_name="Ben"), uuid4()
    world.tokens.give("ada", UserRole.PARTICIPANT, id_=ada)
    erased = await world.done("POST", f"/v1/people/{ben}/erase")
    await world.seen(f"/v1/people/{ben}", erased)
    told = await world.done("POST", "/v1/names", {"ids": [str(ben), str(nobody), str(ada)]}, who="ada")
    assert [(each["state"], each["given_name"]) for each in told.json()["names"]] == [
        ("erased", None),
        ("unknown", None),
        ("ok", "Ada"),
    ]
    many = await world.ask("POST", "/v1/names", {"ids": [str(uuid4()) for _ in range(201)]})
    assert many.status_code == 422


async def test_contact_data_change_without_an_event(world: World) -> None:
    acme = await world.open_acme()
    ada, ben = await world.join(acme), await world.join(acme, user_name="Ben", external_id="ben")
    before = await world.events()
    details = {"external_id": "ada", "user_name": "ada", "given_name": "Augusta", "family_name": "King"}
    await world.done("PUT", f"/v1/people/{ada}/contact", details)
    shown = await world.seen(f"/v1/people/{ada}")
    assert (shown["given_name"], shown["contact"]["mail"]) == ("Augusta", None)
    taken = await world.ask("PUT", f"/v1/people/{ada}/contact", details | {"user_name": "BEN"})
    assert problem(taken) == (409, "user-name-taken")
    taken = await world.ask("PUT", f"/v1/people/{ada}/contact", details | {"external_id": "ben"})
    assert problem(taken) == (409, "external-id-taken")
    assert (await world.ask("PUT", f"/v1/people/{uuid4()}/contact", details)).status_code == 404
    assert (await world.seen(f"/v1/people/{ben}"))["contact"]["user_name"] == "Ben"
    assert await world.events() == before


async def test_a_repeated_command_is_answered_as_before_and_happens_once(world: World) -> None:
    acme = await world.open_acme()
    body, key = world.person(acme), uuid4()
    first, again = [await world.done("POST", "/v1/people", body, key=key) for _ in range(2)]
    assert first.json() == again.json()
    other = await world.ask("POST", "/v1/people", body | {"given_name": "Eve", "grade": 9}, key=key)
    assert problem(other) == (422, "idempotency-key-reused")
    shown = await world.seen(f"/v1/people/{first.json()['person_id']}", first)
    assert (shown["given_name"], shown["grade"]) == ("Ada", GRADE)
    # Also when meanwhile somebody else has taken the id it named.
    details = {name: body[name] for name in ("user_name", "given_name", "family_name")}
    await world.done(
        "PUT", f"/v1/people/{first.json()['person_id']}/contact", details | {"external_id": "moved"}
    )
    await world.join(acme, external_id=body["external_id"])
    assert (await world.done("POST", "/v1/people", body, key=key)).json() == first.json()
    opened = [
        await world.done("POST", "/v1/units", {"parent_id": str(acme), "name": "Sales"}, key="one")
        for _ in range(2)
    ]
    assert opened[0].json() == opened[1].json()
    kinds = [kind for _, kind in await world.events()]
    assert kinds == ["OrganisationOpened", "PersonJoined", "PersonJoined", "UnitOpened"]


async def test_what_died_between_names_and_event_counts_for_nothing_and_is_completed_or_forgotten(
    world: World, owner_pool: asyncpg.Pool
) -> None:
    acme = await world.open_acme()
    stray = contacts.Contact("e1", "stray", "Ada", "Byron", None)
    lost = uuid4()
    await contacts.write_first(world.pool, lost, acme, stray)
    assert (await world.ask("GET", f"/v1/people/{lost}")).status_code == 404
    told = await world.done("POST", "/v1/names", {"ids": [str(lost)]})
    assert told.json()["names"][0]["state"] == "unknown"

    # Within a minute the row may be somebody's who is still at it; after that it is in nobody's way.
    body = world.person(acme, external_id="e1", user_name="STRAY")
    assert problem(await world.ask("POST", "/v1/people", body)) == (409, "external-id-taken")
    await owner_pool.execute("UPDATE contacts SET updated_at = updated_at - interval '2 minutes'")
    ada = (await world.done("POST", "/v1/people", body)).json()["person_id"]
    await owner_pool.execute("UPDATE contacts SET updated_at = updated_at - interval '2 days'")
    other = uuid4()
    await contacts.write_first(world.pool, other, acme, contacts.Contact("e2", "other", "B", "C", None))
    assert not await contacts.forget_strays(world.pool)
    kept = await world.pool.fetch("SELECT person_id FROM contacts")
    assert {row["person_id"] for row in kept} == {UUID(ada), other}
    await owner_pool.execute("UPDATE contacts SET updated_at = updated_at - interval '2 days'")
    await contacts.forget_strays(world.pool)
    kept = await world.pool.fetch("SELECT person_id FROM contacts")
    assert {row["person_id"] for row in kept} == {UUID(ada)}


async def test_an_erasure_takes_the_names_and_is_acknowledged(world: World) -> None:
    acme = await world.open_acme()
    body, key, erasing = world.person(acme), uuid4(), uuid4()
    ada = (await world.done("POST", "/v1/people", body, key=key)).json()["person_id"]
    erased = await world.done("POST", f"/v1/people/{ada}/erase", key=erasing)
    shown = await world.seen(f"/v1/people/{ada}", erased)
    assert (shown["standing"], shown["given_name"], shown["contact"], shown["grade"]) == (
        "erased",
        None,
        None,
        None,
    )

    async def acknowledged() -> bool:
        return (UUID(ada), "ErasureAcknowledged") in await world.events()

    await until(acknowledged)
    assert await world.pool.fetchval("SELECT count(*) FROM contacts") == 0
    ledger = await world.pool.fetch("SELECT type FROM ledger WHERE key = $1 ORDER BY tx, position", UUID(ada))
    assert [row["type"].split(".")[2] for row in ledger] == [
        "PersonJoined",
        "PersonMoved",
        "PersonLeft",
        "PersonErased",
        "PersonErasureAcknowledged",
    ]
    # A late retry of the joining, or of the erasing, brings nobody back.
    again = await world.done("POST", "/v1/people", body, key=key)
    assert again.json() == {"person_id": ada}
    await world.done("POST", f"/v1/people/{ada}/erase", key=erasing)
    await world.done("POST", f"/v1/people/{ada}/erase")
    assert await world.pool.fetchval("SELECT count(*) FROM contacts") == 0
    assert (await world.ask("PUT", f"/v1/people/{ada}/contact", _details(body))).status_code == 404


def _details(body: dict[str, object]) -> dict[str, object]:
    names = ("external_id", "user_name", "given_name", "family_name", "mail")
    return {name: body[name] for name in names}


async def test_a_manager_below_or_unheard_of_is_refused(world: World) -> None:
    acme = await world.open_acme()
    boss = await world.join(acme)
    ada = await world.join(acme, manager_id=str(boss))
    ben = await world.join(acme, manager_id=str(ada))
    place = {"unit_id": str(acme), "grade": 9, "in_role_since": SINCE}
    seen = await world.etag(f"/v1/people/{boss}")
    for manager, slug in ((ben, "manager-below"), (boss, "manager-of-oneself"), (uuid4(), "unknown-manager")):
        body = place | {"manager_id": str(manager)}
        refused = await world.ask("POST", f"/v1/people/{boss}/move", body, if_match=seen)
        assert problem(refused) == (409, slug)
    left = await world.done("POST", f"/v1/people/{ben}/left")
    await world.seen(f"/v1/people/{ben}", left)
    refused = await world.ask("POST", "/v1/people", world.person(acme, manager_id=str(ben)))
    assert problem(refused) == (409, "unknown-manager")


async def test_two_replicas_take_what_comes_at_once_and_lose_and_double_nothing(
    dsns: Dsns, pool: asyncpg.Pool
) -> None:
    async with running(dsns, pool, replicas=2) as world:
        acme = await world.open_acme()
        bodies = [(world.person(acme), uuid4()) for _ in range(40)]
        answers = await asyncio.gather(
            *(world.ask("POST", "/v1/people", body, key=key) for body, key in bodies for _ in range(2))
        )
        joined = [answer.json()["person_id"] for answer in answers if answer.status_code == 201]
        assert {answer.status_code for answer in answers} <= {201, 409}
        assert len(set(joined)) == 40
        # Everybody at once wants the same name of a unit: one gets it.
        opened = await asyncio.gather(
            *(world.ask("POST", "/v1/units", {"parent_id": str(acme), "name": "Sales"}) for _ in range(8))
        )
        assert sorted(answer.status_code for answer in opened) == [201] + [409] * 7
        kinds = [kind for _, kind in await world.events()]
        assert (kinds.count("PersonJoined"), kinds.count("UnitOpened")) == (40, 1)
        last = opened[[answer.status_code for answer in opened].index(201)]
        assert len((await world.seen("/v1/people?limit=200", last))["items"]) == 40


async def test_a_leave_that_is_over_is_none(world: World) -> None:
    ada = await world.join(await world.open_acme())
    yesterday = (world.clock.now() - timedelta(days=1)).date().isoformat()
    assert problem(await world.ask("POST", f"/v1/people/{ada}/leave", {"until": yesterday})) == (
        409,
        "leave-is-over",
    )


@pytest.mark.parametrize("path", ["move", "leave", "return", "left", "erase"])
async def test_nothing_is_done_to_nobody(world: World, path: str) -> None:
    await world.open_acme()
    refused = await world.ask("POST", f"/v1/people/{uuid4()}/{path}", {}, if_match='"1"')
    assert refused.status_code in {404, 422}
