"""Units from a file: the limits of a tree are seen while it is planned, and what changes meanwhile is a row's fault."""

from datetime import date
from typing import Any
from uuid import UUID

import pytest

from tests.directory.files import made_up_people
from tests.directory.test_importing import everybody, sent
from tests.directory.world import World
from upwell_directory.contacts import Contact
from upwell_directory.domain.organisation import DEEPEST, MOST_UNITS
from upwell_directory.importing.planning import Known, Plan, plan
from upwell_directory.importing.reading import Row
from upwell_directory.importing.running import Import
from upwell_directory.projections.unit_tree import Unit

ACME = UUID(int=1_000)


def planned(paths: list[str], there: int = 1, managers: dict[int, int] | None = None) -> Plan:
    """One row for each path, from line 2 on, planned for an organisation with so many open units."""
    above = managers or {}
    rows = [
        Row(
            line,
            "Acme",
            tuple(path.split(" / ")),
            Contact(str(line), f"u{line}", "A", "B", None),
            "3",
            str(above[line]) if line in above else None,
            date(2024, 1, 1),
        )
        for line, path in enumerate(paths, 2)
    ]
    units = {ACME: Unit(ACME, ACME, None, "Acme", closed=False, path=[ACME], version=1)}
    for number in range(1, there):
        unit_id = UUID(int=10_000 + number)
        units[unit_id] = Unit(
            unit_id, ACME, ACME, f"U{number}", closed=False, path=[ACME, unit_id], version=1
        )
    return plan(
        rows,
        Known(
            import_id=UUID(int=2_000),
            reach=frozenset({ACME}),
            today=date(2026, 3, 2),
            units=units,
            grades={},
            contacts={},
            people={},
            user_names={},
        ),
    )


def path(levels: int) -> str:
    return " / ".join(f"L{level}" for level in range(levels))


def test_a_path_is_as_deep_as_a_tree_may_be_and_no_deeper() -> None:
    todo = planned([path(DEEPEST - 1), path(DEEPEST), "Sales"])
    assert [(fault.line, fault.column) for fault in todo.faults] == [(3, "unit")]
    assert [step.line for step in todo.steps] == [2, 4]
    assert len(todo.units) == DEEPEST
    assert planned([path(60)]).units == []


def test_there_is_room_for_so_many_units_and_no_more() -> None:
    todo = planned(["A", "B / C", "A", "D", "E"], there=MOST_UNITS - 2)
    assert [(fault.line, fault.column) for fault in todo.faults] == [(3, "unit"), (6, "unit")]
    assert [step.line for step in todo.steps] == [2, 4, 5]
    assert [unit.name for unit in todo.units] == ["A", "D"]
    assert planned(["U7", "U8"], there=MOST_UNITS).faults == []


def test_who_needs_somebody_there_is_no_room_for_falls_out_with_them() -> None:
    todo = planned(["A", "U1", "U2"], there=MOST_UNITS, managers={3: 2})
    assert [(fault.line, fault.column) for fault in todo.faults] == [(2, "unit"), (3, "manager_external_id")]
    assert [step.line for step in todo.steps] == [4]


async def test_a_path_that_is_too_deep_opens_nothing(world: World) -> None:
    await world.open_acme()
    lines = [line | {"manager_external_id": ""} for line in made_up_people(2)]
    lines[1]["unit"] = path(60)
    before = await world.events()
    for query in ("?dry_run=true", ""):
        report = await sent(world, lines, query)
        assert [(bad["line"], bad["column"]) for bad in report["bad_rows"]] == [(3, "unit")]
    assert await world.events() == before


async def test_a_unit_that_cannot_be_opened_any_more_is_the_fault_of_its_rows(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    acme = await world.open_acme()
    lines = [line | {"manager_external_id": "", "unit": ""} for line in made_up_people(4)]
    lines[1]["unit"], lines[2]["unit"], lines[3]["unit"] = "Sales", "Sales / North", "IT"
    preparing = Import._prepare  # noqa: SLF001 # what others do between a plan and its first step

    async def prepare(self: Import, content: bytes) -> Any:
        found = await preparing(self, content)
        await world.open_unit(acme, "sales")
        return found

    monkeypatch.setattr(Import, "_prepare", prepare)
    report = await sent(world, lines)
    assert report["state"] == "done"
    assert [(bad["line"], bad["column"]) for bad in report["bad_rows"]] == [(3, "unit"), (4, "unit")]
    assert set(await everybody(world)) == {lines[0]["external_id"], lines[3]["external_id"]}
    assert await world.pool.fetchval("SELECT count(*) FROM contacts") == 2
    monkeypatch.setattr(Import, "_prepare", preparing)
    report = await sent(world, lines)
    assert (report["create"], report["unchanged"], report["bad"]) == (2, 2, 0)


async def test_a_bad_row_is_told_all_that_is_wrong_with_it(world: World) -> None:
    acme = await world.open_acme()
    await world.join(acme, user_name="standing", external_id="standing")
    lines = [line | {"manager_external_id": ""} for line in made_up_people(4)]
    lines[0] |= {
        "given_name": "",
        "mail": "nobody",
        "unit": "A / / B",
        "grade": "99",
        "user_name": "Standing",
    }
    lines[1] |= {"grade": "99", "in_role_since": "2026-03-04", "unit": path(60), "manager_external_id": "999"}
    lines[2] |= {"external_id": "", "organisation": "Ajax", "grade": "99"}
    report = await sent(world, lines, "?skip_bad=true")
    assert {(bad["line"], bad["column"]) for bad in report["bad_rows"]} == {
        *((2, column) for column in ("given_name", "mail", "unit", "grade", "user_name")),
        *((3, column) for column in ("grade", "in_role_since", "unit", "manager_external_id")),
        *((4, column) for column in ("external_id", "organisation")),
    }
    assert len(report["bad_rows"]) == 11
    assert (report["rows_read"], report["bad"], report["create"]) == (4, 3, 1)
