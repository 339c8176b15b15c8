"""The directory's read models: the same rows however the events come in pages, and rebuilt as they were."""

import random
from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from tests.directory.files import made_up_people
from tests.directory.test_importing import sent
from tests.directory.world import World
from tests.service_process import until
from upwell_directory.aggregates import EVENTS
from upwell_directory.app import PROJECTIONS, SERVICE
from upwell_directory.domain import organisation, person
from upwell_directory.projections import people_by_unit, unit_tree
from upwell_shared.events import START, Envelope, Position, Recorded
from upwell_shared.projecting import Projector, has_read, head
from upwell_shared.tail import events_after
from upwell_shared.testing import rows_in_pages
from upwell_shared.web.positions import wait_until


def history(seed: int) -> list[Recorded[Any]]:
    """What could have happened: random commands on one tree and a few people, those that no rule refused."""
    chance = random.Random(seed)
    acme = UUID(int=1)
    units, people = [UUID(int=n) for n in range(1, 8)], [UUID(int=n) for n in range(101, 106)]
    states: dict[UUID, Any] = {acme: organisation.NoOrganisation()} | dict.fromkeys(people, person.Nobody())
    versions = dict.fromkeys(states, 0)
    found: list[Recorded[Any]] = []

    def place() -> person.Place:
        return person.Place(
            unit_id=chance.choice(units),
            grade=chance.randrange(1, 21),
            manager_id=None,
            in_role_since=date(2024, 1, chance.randrange(1, 29)),
        )

    def command(stream_id: UUID) -> Any:
        unit_id, parent_id, name = chance.choice(units), chance.choice(units), chance.choice("ABCDE")
        if stream_id == acme:
            return chance.choice(
                (
                    organisation.OpenUnit(unit_id=unit_id, parent_id=parent_id, name=name),
                    organisation.OpenUnit(unit_id=unit_id, parent_id=parent_id, name=name),
                    organisation.MoveUnit(unit_id=unit_id, parent_id=parent_id),
                    organisation.RenameUnit(unit_id=unit_id, name=name),
                    organisation.CloseUnit(unit_id=chance.choice(units[1:]), people=0),
                )
            )
        known = person.PlaceFacts(unit=person.UnitFacts(organisation_id=acme, is_open=True), line=())
        purpose = chance.choice(list(person.Purpose))
        return chance.choice(
            (
                person.JoinPerson(
                    person_id=stream_id,
                    organisation_id=acme,
                    place=place(),
                    known=known,
                    today=date(2026, 1, 1),
                ),
                person.MovePerson(person_id=stream_id, place=place(), known=known, today=date(2026, 1, 1)),
                person.SendOnLeave(until=None, today=date(2026, 1, 1)),
                person.ReturnFromLeave(),
                chance.choice((person.RecordLeaving(), person.ErasePerson())),
                person.GiveConsent(purpose=purpose),
                person.WithdrawConsent(purpose=purpose),
                person.AcknowledgeErasure(),
            )
        )

    def ask(stream_id: UUID, asked: Any) -> None:
        decider: Any = organisation.organisation if stream_id == acme else person.person
        try:
            events = decider.decide(asked, states[stream_id])
        except Exception:  # noqa: BLE001 whatever a rule says, it did not happen
            return
        states[stream_id] = decider.fold(events, states[stream_id])
        for event in events:
            versions[stream_id] += 1
            found.append(
                Recorded(
                    stream_id=stream_id,
                    version=versions[stream_id],
                    event=event,
                    event_id=uuid4(),
                    at=Position(1, len(found) + 1),
                    envelope=Envelope(command_id=uuid4(), correlation_id=uuid4()),
                    recorded_at=datetime(2026, 1, 1, tzinfo=UTC),
                )
            )

    ask(acme, organisation.OpenOrganisation(organisation_id=acme, name="Acme", taken=False))
    for _ in range(120):
        stream_id = chance.choice([acme, *people])
        ask(stream_id, command(stream_id))
    return found


@pytest.mark.parametrize("projection", PROJECTIONS, ids=lambda projection: projection.name)
async def test_any_cut_into_pages_gives_the_same_rows(projection: Any, owner_pool: asyncpg.Pool) -> None:
    async with owner_pool.acquire() as owner:
        for seed in range(6):
            events = history(seed)
            whole = await rows_in_pages(owner, projection, events)
            singly = await rows_in_pages(owner, projection, events, range(len(events)))
            chance = random.Random(seed)
            cuts = sorted(chance.sample(range(len(events)), 5))
            assert whole == singly == await rows_in_pages(owner, projection, events, cuts)


async def test_paths_are_those_of_the_tree(owner_pool: asyncpg.Pool) -> None:
    async with owner_pool.acquire() as owner:
        for seed in range(6):
            events = [recorded for recorded in history(seed) if recorded.stream_id == UUID(int=1)]
            tree = organisation.organisation.fold(recorded.event for recorded in events)
            assert isinstance(tree, organisation.Organisation)
            rows = (await rows_in_pages(owner, unit_tree, events))["units"]
            paths = {row[0]: row[5] for row in rows if not row[4]}
            assert paths == {unit_id: [*tree.path(unit_id)][::-1] for unit_id in tree.units}


async def test_rebuilt_from_zero_they_are_what_they_were(
    world: World, pool: asyncpg.Pool, owner_pool: asyncpg.Pool
) -> None:
    await world.open_acme()
    await sent(world, made_up_people(30))
    ada = next(iter((await world.seen("/v1/people?limit=1"))["items"]))["person_id"]
    await world.done("POST", f"/v1/people/{ada}/erase")

    async def acknowledged() -> bool:
        return (UUID(ada), "ErasureAcknowledged") in await world.events()

    await until(acknowledged)
    newest = await head(pool)
    for projection in (unit_tree, people_by_unit):
        name, tables = projection.name, ("units", "organisations") if projection is unit_tree else ("people",)
        assert await wait_until(lambda name=name: has_read(pool, name, newest))  # type: ignore[misc]
        before = [sorted(map(tuple, await pool.fetch(f"TABLE {table}")), key=repr) for table in tables]
        await Projector(pool, EVENTS, projection).rebuild(
            owner_pool, app_role=f"{SERVICE.name}_app", reader_role=f"{SERVICE.name}_reader"
        )
        assert before == [
            sorted(map(tuple, await pool.fetch(f"TABLE {table}")), key=repr) for table in tables
        ]


async def test_what_was_read_to_the_head_is_known_to_be(pool: asyncpg.Pool) -> None:
    assert await head(pool) == START
    assert await has_read(pool, unit_tree.name, START)
    assert not await has_read(pool, unit_tree.name, Position(1, 1))
    async with pool.acquire() as connection:
        assert await events_after(connection, EVENTS, START, 10) == []


async def test_a_line_of_managers_ends_even_where_two_moves_made_it_a_circle(pool: asyncpg.Pool) -> None:
    acme, ada, ben = (UUID(int=n) for n in (1, 101, 102))

    def joined(who: UUID, manager: UUID, number: int) -> Recorded[Any]:
        place = person.Place(unit_id=acme, grade=3, manager_id=manager, in_role_since=date(2024, 1, 1))
        return Recorded(
            stream_id=who,
            version=1,
            event=person.PersonJoined(organisation_id=acme, place=place),
            event_id=uuid4(),
            at=Position(1, number),
            envelope=Envelope(command_id=uuid4(), correlation_id=uuid4()),
            recorded_at=datetime(2026, 1, 1, tzinfo=UTC),
        )

    async with pool.acquire() as connection:
        await people_by_unit.project(connection, [joined(ada, ben, 1), joined(ben, ada, 2)])
    assert await people_by_unit.line(pool, ada) == {ada: 1, ben: 1}
    assert set(await people_by_unit.with_all_above(pool, [ada])) == {ada, ben}
    assert await people_by_unit.line(pool, uuid4()) == {}
