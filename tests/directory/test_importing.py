"""People from a file: planned as a whole, applied row by row, safe to send again."""

import asyncio
from datetime import date
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.directory.files import COLUMNS, Line, as_csv, made_up_people
from tests.directory.world import World, running
from tests.shared.crashes import Fuse, everywhere
from upwell_directory.aggregates import AGGREGATES, EVENTS
from upwell_directory.contacts import Contact
from upwell_directory.importing import running as importing
from upwell_directory.importing.planning import Known, plan
from upwell_directory.importing.reading import Row, read
from upwell_directory.importing.running import Import
from upwell_directory.projections.people_by_unit import Row as Person
from upwell_directory.projections.unit_tree import Unit
from upwell_directory.publishing import publishing
from upwell_shared.contracts.directory import CONTRACT
from upwell_shared.errors import Malformed
from upwell_shared.event_store import EventStore
from upwell_shared.events import Envelope
from upwell_shared.handling import Handler
from upwell_shared.testing.databases import Dsns
from upwell_shared.web.policies import UserRole

CSV = {"Content-Type": "text/csv"}


async def send(world: World, lines: list[Line] | bytes, query: str = "", **options: Any) -> httpx2.Response:
    content = lines if isinstance(lines, bytes) else as_csv(lines)
    headers = CSV | options.pop("headers", {})
    return await world.ask("POST", f"/v1/imports{query}", content=content, headers=headers, **options)


async def sent(world: World, lines: list[Line], query: str = "", **options: Any) -> dict[str, Any]:
    response = await send(world, lines, query, **options)
    assert response.status_code == 200, response.text
    report: dict[str, Any] = response.json()
    return report


def changed(lines: list[Line], external_id: str, /, **values: str) -> list[Line]:
    return [line | values if line["external_id"] == external_id else line for line in lines]


async def everybody(world: World) -> dict[str, Any]:
    """Who is here, by external id, once all that is stored is shown."""
    newest = await world.pool.fetchval(
        "SELECT format('directory/%s@%s.0.0', stream_id, version) FROM events ORDER BY tx DESC, position DESC LIMIT 1"
    )
    after = {"Upwell-After": str(newest)}
    found: dict[str, Any] = {}
    cursor = ""
    while True:
        page = (await world.ask("GET", f"/v1/people?limit=200{cursor}", headers=after)).json()
        found |= {each["contact"]["external_id"]: each for each in page["items"]}
        if page["next"] is None:
            return found
        cursor = f"&cursor={page['next']}"


async def test_a_whole_organisation_comes_in_as_the_file_has_it_and_once(world: World) -> None:
    await world.open_acme()
    lines = made_up_people()
    planned = await sent(world, lines, "?dry_run=true")
    assert (planned["state"], planned["rows_read"], planned["create"], planned["bad"]) == (
        "planned",
        107,
        107,
        0,
    )
    assert await world.pool.fetchval("SELECT count(*) FROM contacts") == 0
    assert len(await world.events()) == 1

    report = await sent(world, lines)
    assert (report["state"], report["create"], report["units_to_open"]) == ("done", 107, 7)
    there = await everybody(world)
    units = {
        unit["unit_id"]: unit
        for unit in (await world.seen(f"/v1/organisations/{world.acme}/units?limit=200"))["items"]
    }

    def path(unit_id: str) -> str:
        unit = units[unit_id]
        if unit["parent_id"] is None:
            return ""
        above = path(unit["parent_id"])
        return f"{above} / {unit['name']}" if above else unit["name"]

    for line in lines:
        shown = there[line["external_id"]]
        manager = there.get(line["manager_external_id"])
        assert path(shown["unit_id"]) == line["unit"]
        assert shown["manager_id"] == (manager and manager["person_id"])
        assert (str(shown["grade"]), shown["in_role_since"]) == (line["grade"], line["in_role_since"])
        assert shown["given_name"] == line["given_name"]
        assert shown["contact"]["mail"] == (line["mail"] or None)

    before = await world.events()
    again = await sent(world, lines)
    assert (again["create"], again["move"], again["correct"], again["unchanged"]) == (0, 0, 0, 107)
    assert await world.events() == before


async def test_only_what_differs_is_done(world: World) -> None:
    await world.open_acme()
    lines = made_up_people(40)
    await sent(world, lines)
    before = await world.events()
    lines = changed(lines, "105", grade="3")
    lines = changed(lines, "106", family_name="Renamed")
    lines = changed(lines, "107", unit="Sales / West")
    planned = await sent(world, lines, "?dry_run=true")
    assert (planned["create"], planned["move"], planned["correct"], planned["unchanged"]) == (0, 2, 1, 37)
    await sent(world, lines)
    assert sorted(kind for _, kind in (await world.events())[len(before) :]) == [
        "PersonMoved",
        "PersonMoved",
        "UnitOpened",
    ]
    assert (await everybody(world))["106"]["contact"]["family_name"] == "Renamed"


async def test_who_has_left_and_stands_in_the_file_joins_again(world: World) -> None:
    await world.open_acme()
    lines = made_up_people(5)
    await sent(world, lines)
    gone = (await everybody(world))["104"]["person_id"]
    await world.done("POST", f"/v1/people/{gone}/left")
    report = await sent(world, lines)
    assert (report["create"], report["unchanged"]) == (1, 4)
    assert (await everybody(world))["104"]["person_id"] == gone


async def test_managers_may_change_places(world: World) -> None:
    await world.open_acme()
    lines = made_up_people(3)
    lines = changed(changed(lines, "101", manager_external_id="100"), "102", manager_external_id="101")
    await sent(world, lines)
    turned = changed(
        changed(changed(lines, "100", manager_external_id="101"), "101", manager_external_id="102"),
        "102",
        manager_external_id="",
    )
    report = await sent(world, turned)
    assert (report["state"], report["move"], report["bad"]) == ("done", 3, 0)
    there = await everybody(world)
    assert there["100"]["manager_id"] == there["101"]["person_id"]
    assert there["102"]["manager_id"] is None


async def test_an_organisation_speaks_of_its_own_grades(world: World) -> None:
    acme = await world.open_acme()
    path = f"/v1/organisations/{acme}/grades"
    await world.done("PUT", path, {"grades": [{"label": "Director", "grade": 12}]}, if_match='"1"')
    lines = changed(made_up_people(2), "100", grade="director")
    lines = changed(lines, "101", grade="5")
    report = await sent(world, lines)
    line = 2 + [each["external_id"] for each in lines].index("101")
    assert report["state"] == "refused"
    assert [(bad["line"], bad["column"]) for bad in report["bad_rows"]] == [(line, "grade")]
    report = await sent(world, lines, "?skip_bad=true")
    assert (report["state"], report["create"], report["bad"]) == ("done", 1, 1)
    assert (await everybody(world))["100"]["grade"] == 12


@pytest.mark.parametrize(
    ("external_id", "values", "column"),
    [
        ("101", {"external_id": "102"}, "external_id"),
        ("101", {"external_id": ""}, "external_id"),
        ("101", {"external_id": "x" * 65}, "external_id"),
        ("101", {"user_name": "USER.2"}, "user_name"),
        ("101", {"user_name": "STANDING"}, "user_name"),
        ("101", {"given_name": ""}, "given_name"),
        ("101", {"family_name": "a\tb"}, "family_name"),
        ("101", {"mail": "nobody"}, "mail"),
        ("101", {"organisation": "Ajax"}, "organisation"),
        ("101", {"unit": "Sales / " + "x" * 121}, "unit"),
        ("101", {"unit": "Sales /  / North"}, "unit"),
        ("101", {"unit": "Sales / / North"}, "unit"),
        ("101", {"unit": "Sales /"}, "unit"),
        ("101", {"unit": "/ Sales"}, "unit"),
        ("101", {"unit": "/"}, "unit"),
        ("101", {"unit": " / ".join("abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwx")}, "unit"),
        ("101", {"grade": "21"}, "grade"),
        ("101", {"grade": "²"}, "grade"),
        ("101", {"manager_external_id": "101"}, "manager_external_id"),
        ("101", {"manager_external_id": "999"}, "manager_external_id"),
        ("100", {"manager_external_id": "103"}, "manager_external_id"),
        ("101", {"in_role_since": "15/01/2024"}, "in_role_since"),
        ("101", {"in_role_since": "1700000000"}, "in_role_since"),
        ("101", {"in_role_since": "2024-02-30"}, "in_role_since"),
        ("101", {"in_role_since": "2026-03-04"}, "in_role_since"),
    ],
)
async def test_a_bad_row_is_named_and_keeps_everything_out(
    world: World, external_id: str, values: Line, column: str
) -> None:
    acme = await world.open_acme()
    await world.join(acme, user_name="standing", external_id="standing")
    lines = [
        line | {"manager_external_id": "" if line["external_id"] == "100" else "100"}
        for line in made_up_people(4)
    ]
    before = await world.events()
    report = await sent(world, changed(lines, external_id, **values))
    assert report["state"] == "refused"
    assert {bad["column"] for bad in report["bad_rows"]} == {column}
    assert all(bad["detail"] for bad in report["bad_rows"])
    assert await world.events() == before
    assert await world.pool.fetchval("SELECT count(*) FROM contacts") == 1


@pytest.mark.parametrize(
    "content",
    [
        b"\xff\xfe",
        b"name,grade\r\nAda,3\r\n",
        ",".join([*COLUMNS, "salary"]).encode(),
        ",".join([*COLUMNS, "grade"]).encode(),
        ",".join(COLUMNS).encode() + b'\r\n"100,Ada',
        as_csv([]).replace(b",", b";"),
    ],
)
async def test_a_file_that_is_none_of_ours_is_refused_as_a_whole(world: World, content: bytes) -> None:
    await world.open_acme()
    response = await send(world, content)
    assert response.status_code == 422
    assert response.json()["errors"][0]["at"] == "#"
    with pytest.raises(Malformed):
        read(content)


async def test_what_is_sent_must_be_a_file_of_ours_and_not_too_large(world: World) -> None:
    await world.open_acme()
    assert (await send(world, b"x" * 5_000_001)).status_code == 413
    assert (await send(world, b"\x00")).status_code == 422
    assert (await send(world, [], headers={"Content-Type": "application/json"})).status_code == 415
    assert (await send(world, [], "?dryrun=true")).status_code == 422
    world.tokens.give("coordinator", UserRole.COORDINATOR, units=frozenset({world.acme}))
    assert (await send(world, [], who="coordinator")).status_code == 403
    empty = await sent(world, [])
    assert (empty["state"], empty["rows_read"]) == ("done", 0)


async def test_bad_rows_may_be_passed_over_with_whoever_needs_them(world: World) -> None:
    await world.open_acme()
    lines = [line | {"manager_external_id": ""} for line in made_up_people(6)]
    lines = changed(lines, "101", grade="99")
    lines = changed(lines, "102", manager_external_id="101")
    lines = changed(lines, "103", manager_external_id="102")
    report = await sent(world, lines, "?skip_bad=true")
    assert (report["state"], report["create"], report["bad"]) == ("done", 3, 3)
    assert set(await everybody(world)) == {"100", "104", "105"}


async def test_nobody_imports_beyond_their_units(world: World) -> None:
    acme = await world.open_acme()
    sales = await world.open_unit(acme, "Sales")
    await world.open_unit(acme, "IT")
    await world.join(acme, external_id="104")
    world.tokens.give("hr of sales", UserRole.HR_ADMIN, units=frozenset({sales}))
    lines = [line | {"manager_external_id": "", "unit": "Sales / New"} for line in made_up_people(5)]
    lines = changed(changed(lines, "101", unit="IT"), "102", unit="IT / Elsewhere")
    lines = changed(lines, "103", organisation=str(acme))
    report = await sent(world, lines, "?skip_bad=true", who="hr of sales")
    where = {each["external_id"]: number for number, each in enumerate(lines, 2)}
    assert {(bad["line"], bad["column"]) for bad in report["bad_rows"]} == {
        (where["101"], "unit"),
        (where["102"], "unit"),
        (where["104"], "external_id"),
    }
    assert (report["create"], report["units_to_open"]) == (2, 1)


async def test_an_import_goes_on_where_it_stopped(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    await world.open_acme()
    lines, key = made_up_people(), uuid4()
    monkeypatch.setattr(importing, "_CHUNK", 20)
    waiting: list[int] = []
    response: Any = None
    for seconds in (0.0, 0.0, 0.0, 60.0):
        monkeypatch.setattr("upwell_directory.api.imports._SECONDS", seconds)
        response = await send(world, lines, key=key)
        assert response.status_code == (202 if response.json()["state"] == "under_way" else 200)
        waiting.append(response.json()["remaining"])
    assert waiting == sorted({*waiting}, reverse=True)  # every request gets on
    assert waiting[-1] == 0
    assert len(await everybody(world)) == 107
    before = await world.events()
    assert (await send(world, lines, key=key)).json() == response.json()
    other = await send(world, lines[1:], key=key)
    assert (other.status_code, other.json()["type"]) == (422, "urn:upwell:problem:idempotency-key-reused")
    assert await world.events() == before


async def test_the_same_file_twice_at_once_makes_nobody_twice(dsns: Dsns, pool: asyncpg.Pool) -> None:
    async with running(dsns, pool, replicas=2) as world:
        await world.open_acme()
        lines = made_up_people()
        answers = await asyncio.gather(*(send(world, lines) for _ in range(2)))
        for answer in answers:
            assert answer.status_code in {200, 409}, answer.text
        report = await sent(world, lines)
        assert report["state"] == "done"
        assert len(await everybody(world)) == 107
        kinds = [kind for _, kind in await world.events()]
        assert (kinds.count("PersonJoined"), kinds.count("UnitOpened")) == (107, 7)
        assert (await sent(world, lines))["unchanged"] == 107


async def test_an_import_that_dies_anywhere_is_completed_by_the_same_request(world: World) -> None:
    async def handler(pool: asyncpg.Pool) -> Handler:
        return Handler(EventStore(pool, EVENTS), world.clock, CONTRACT, publishing, AGGREGATES)

    async def scenario(fuse: Fuse) -> None:
        world.acme = acme = uuid4()
        world.tokens.give("hr", UserRole.HR_ADMIN, units=frozenset({acme}))
        await world.open_acme()
        lines = [
            line | {"organisation": str(acme), "user_name": f"{acme}.{line['external_id']}", "unit": "Sales"}
            for line in made_up_people(3)
        ]
        envelope = Envelope(command_id=uuid4(), correlation_id=uuid4())

        async def run(pool: asyncpg.Pool) -> importing.Report:
            told = Import(
                pool,
                await handler(pool),
                envelope=envelope,
                fingerprint=b"",
                reach=frozenset({acme}),
                today=world.clock.now().date(),
            )
            return await told.run(as_csv(lines), skip_bad=False, seconds=60)

        with fuse.dying():
            await run(fuse.pool(world.pool))
        report = await run(world.pool)
        assert (report.state, report.bad) == ("done", 0)
        assert len(await everybody(world)) == 3
        kinds = await world.pool.fetch(
            "SELECT e.type FROM contacts c JOIN events e ON e.stream_id = c.person_id WHERE c.organisation_id = $1",
            acme,
        )
        assert [row["type"] for row in kinds] == ["PersonJoined"] * 3

    assert await everywhere(scenario) > 20


people_of_a_file = st.lists(
    st.tuples(st.integers(0, 7), st.none() | st.integers(0, 9)), unique_by=lambda pair: pair[0], max_size=8
)
people_there = st.dictionaries(st.integers(0, 9), st.none() | st.integers(0, 9))


@given(people_of_a_file, people_there)
def test_whatever_the_file_says_of_managers_the_plan_can_be_applied_step_by_step(
    asked: list[tuple[int, int | None]], there: dict[int, int | None]
) -> None:
    acme = UUID(int=1_000)
    rows = [
        Row(
            line,
            "Acme",
            (),
            Contact(str(who), f"u{who}", "A", "B", None),
            "3",
            None if above is None else str(above),
            date(2024, 1, 1),
        )
        for line, (who, above) in enumerate(asked, 2)
    ]
    managers = {UUID(int=who): None if above is None else UUID(int=above) for who, above in there.items()}
    known = Known(
        import_id=UUID(int=2_000),
        reach=frozenset({acme}),
        today=date(2026, 3, 2),
        units={acme: Unit(acme, acme, None, "Acme", closed=False, path=[acme], version=1)},
        grades={},
        contacts={
            (acme, str(who)): (UUID(int=who), Contact(str(who), f"u{who}", "A", "B", None)) for who in there
        },
        people={who: Person(who, acme, "employed", acme, 3, above) for who, above in managers.items()},
        user_names={},
    )
    planned = plan(rows, known)
    assert {step.line for step in planned.steps}.isdisjoint(fault.line for fault in planned.faults)
    assert {step.line for step in planned.steps} | {fault.line for fault in planned.faults} == {
        row.line for row in rows
    }
    for step in planned.steps:
        # Everybody's manager is there by now, and they are not above themselves.
        assert step.place.manager_id is None or step.place.manager_id in managers
        line: list[UUID] = []
        at = step.place.manager_id
        while at is not None and at not in line:
            line.append(at)
            at = managers.get(at)
        assert step.person_id not in line
        managers[step.person_id] = step.place.manager_id
