"""Read models on real PostgreSQL: equal rows whatever the pages, the crashes and the rebuilds."""

import asyncio
import random
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.shared.conftest import APP, READER, Dsns
from tests.shared.crashes import Fuse, Interruption, everywhere
from tests.shared.example.app import EVENTS, TIMERS, handler
from tests.shared.example.domain.booking import CancelBooking
from tests.shared.example.domain.room import FreeSeat, OpenRoom, RoomOpened, SeatFreed, SeatTaken, TakeSeat
from tests.shared.example.projections import who_sits_where
from tests.shared.test_event_store import call_append, to_stream
from tests.shared.world import NOW, all_events, asked, open_room, request_booking
from upwell_shared import projecting
from upwell_shared.database import Connection, create_pool
from upwell_shared.events import Position, Recorded
from upwell_shared.handling import Handler
from upwell_shared.projecting import (
    Projection,
    ProjectionSuperseded,
    Projector,
    RebuildAbandoned,
    ensure,
    enter,
    reached,
)
from upwell_shared.testing import FixedClock, rows_in_pages

ROLES = {"app_role": APP, "reader_role": READER}
PAGE = 3


@pytest.fixture
def here(pool: asyncpg.Pool) -> Handler:
    return handler(pool, FixedClock(NOW))


@pytest.fixture(autouse=True)
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("upwell_shared.projecting._PAGE", PAGE)


@dataclass
class Seats:
    """`who_sits_where`, of whatever version, with something in its way if a test wants so."""

    version: int = 1
    name: str = who_sits_where.name
    tables: str = who_sits_where.tables
    fails_at: int | None = None
    entered: asyncio.Event = field(default_factory=asyncio.Event)
    may_go_on: asyncio.Event | None = None

    async def project(self, connection: Connection, events: Sequence[Recorded[Any]]) -> None:
        self.entered.set()
        if self.may_go_on is not None:
            await self.may_go_on.wait()
        await who_sits_where.project(connection, events)
        if self.fails_at is not None and any(recorded.version >= self.fails_at for recorded in events):
            raise ZeroDivisionError


class SeatsAtOnce(Seats):
    """The same rows, by three statements a page, however many events it has."""

    async def project(self, connection: Connection, events: Sequence[Recorded[Any]]) -> None:
        opened = [(r.stream_id, r.event.seats) for r in events if isinstance(r.event, RoomOpened)]
        taken = [(r.stream_id, r.event.booking_id) for r in events if isinstance(r.event, SeatTaken)]
        freed = [(r.stream_id, r.event.booking_id) for r in events if isinstance(r.event, SeatFreed)]
        await connection.executemany("INSERT INTO rooms VALUES ($1, $2)", opened)
        await connection.executemany("INSERT INTO seats VALUES ($1, $2)", taken)
        await connection.executemany("DELETE FROM seats WHERE room_id = $1 AND booking_id = $2", freed)


async def live_a_little(here: Handler, *, rooms: int = 2, rounds: int = 6, seed: int = 5) -> list[UUID]:
    """Some rooms with seats taken and freed."""
    rng = random.Random(seed)
    opened = [await open_room(here, seats=100_000) for _ in range(rooms)]
    for _ in range(rounds):
        room_id, booking_id = rng.choice(opened), uuid4()
        await here.send(room_id, TakeSeat(booking_id=booking_id), asked())
        if rng.random() < 0.4:
            await here.send(room_id, FreeSeat(booking_id=booking_id), asked())
    return opened


Rows = dict[str, list[tuple[Any, ...]]]


async def rows(pool: asyncpg.Pool) -> Rows:
    """What readers see."""
    return {
        table: sorted(map(tuple, await pool.fetch(statement)))
        for table, statement in {"seats": "SELECT * FROM seats", "rooms": "SELECT * FROM rooms"}.items()
    }


async def folded(pool: asyncpg.Pool) -> Rows:
    """What they ought to see, from the events and nothing else."""
    rooms, seats = [], set()
    for recorded in await all_events(pool):
        match recorded.event:
            case RoomOpened(seats=number):
                rooms.append((recorded.stream_id, number))
            case SeatTaken(booking_id=booking_id):
                seats.add((recorded.stream_id, booking_id))
            case SeatFreed(booking_id=booking_id):
                seats.remove((recorded.stream_id, booking_id))
    return {"seats": sorted(seats), "rooms": sorted(rooms)}


async def catch_up(pool: asyncpg.Pool, projection: Projection[Any] = who_sits_where) -> int:
    projector, pages = Projector(pool, EVENTS, projection), 0
    while await projector.step():
        pages += 1
    return pages


def rebuilding(
    pool: asyncpg.Pool, owner: asyncpg.Pool, projection: Projection[Any] = who_sits_where
) -> Coroutine[Any, Any, int]:
    return Projector(pool, EVENTS, projection).rebuild(owner, **ROLES)


async def generations(pool: asyncpg.Pool) -> list[tuple[int, int, bool]]:
    found = await pool.fetch(
        "SELECT generation, version, live FROM projections WHERE name = $1 ORDER BY generation",
        who_sits_where.name,
    )
    return [tuple(row) for row in found]


async def schemas(pool: asyncpg.Pool) -> int:
    return int(
        await pool.fetchval(
            "SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'projection_' || $1 || '%'",
            who_sits_where.name,
        )
    )


async def is_sound(pool: asyncpg.Pool) -> bool:
    """One generation is live, it shows what happened, and nothing lies about that nobody knows of."""
    await catch_up(pool)
    known = await generations(pool)
    return (
        [live for _, _, live in known].count(True) == 1
        and await schemas(pool) == len(known)
        and await rows(pool) == await folded(pool)
    )


# Pages.


async def test_the_same_events_in_any_pages_give_the_same_rows(
    pool: asyncpg.Pool, owner_pool: asyncpg.Pool, here: Handler
) -> None:
    [room_id, *_] = await live_a_little(here, rounds=12)
    bookings = [await request_booking(here, room_id) for _ in range(4)]
    await here.send(bookings[-1], CancelBooking(), asked())
    history = await all_events(pool)
    async with owner_pool.acquire() as connection:
        projections: list[Projection[Any]] = [who_sits_where, TIMERS]
        whole = [await rows_in_pages(connection, projection, history) for projection in projections]
        assert (len(whole[0]["rooms"]), len(whole[1]["timers"])) == (2, 3)
        loop = asyncio.get_running_loop()

        @settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
        @given(st.sets(st.integers(1, len(history) - 1)))
        def holds(cuts: set[int]) -> None:
            for projection, wanted in zip(projections, whole, strict=True):
                work = rows_in_pages(connection, projection, history, sorted(cuts))
                assert asyncio.run_coroutine_threadsafe(work, loop).result() == wanted

        await asyncio.to_thread(holds)


async def test_a_projector_reads_page_by_page_until_it_has_caught_up(
    pool: asyncpg.Pool, here: Handler
) -> None:
    await live_a_little(here)
    events = len(await all_events(pool))
    assert await catch_up(pool) == -(-events // PAGE)
    assert await rows(pool) == await folded(pool)
    assert await catch_up(pool) == 0


async def test_a_page_may_end_in_the_middle_of_a_transaction(pool: asyncpg.Pool) -> None:
    rooms = [uuid4() for _ in range(2 * PAGE + 1)]
    async with pool.acquire() as connection:
        streams = [to_stream(room_id, 0, RoomOpened(seats=1)) for room_id in rooms]
        assert await call_append(connection, *streams) == ["written"]
    assert await catch_up(pool) == 3
    assert (await rows(pool))["rooms"] == sorted((room_id, 1) for room_id in rooms)


async def test_a_projector_waits_for_an_older_open_append(pool: asyncpg.Pool) -> None:
    first, second = uuid4(), uuid4()
    async with pool.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        await call_append(connection, to_stream(first, 0, RoomOpened(seats=1)))
        async with pool.acquire() as other:
            await call_append(other, to_stream(second, 0, RoomOpened(seats=2)))
        assert await catch_up(pool) == 0
        assert (await rows(pool))["rooms"] == []
        assert not await reached(pool, who_sits_where.name, second, 1)
        await transaction.commit()
    await catch_up(pool)
    assert (await rows(pool))["rooms"] == sorted([(first, 1), (second, 2)])


async def test_a_version_is_reached_once_its_page_is_folded(pool: asyncpg.Pool, here: Handler) -> None:
    room_id = await open_room(here, seats=9)
    for _ in range(PAGE):
        await here.send(room_id, TakeSeat(booking_id=uuid4()), asked())

    async def versions_reached() -> list[int]:
        return [v for v in range(1, PAGE + 3) if await reached(pool, who_sits_where.name, room_id, v)]

    projector = Projector(pool, EVENTS, who_sits_where)
    assert await versions_reached() == []
    assert await projector.step()
    assert await versions_reached() == [1, 2, 3]
    assert await projector.step()
    assert await versions_reached() == [1, 2, 3, 4]
    assert not await reached(pool, "no such projection", room_id, 1)
    assert not await reached(pool, who_sits_where.name, uuid4(), 1)


# Doing it twice, and dying in it.


async def test_two_projectors_at_once_double_nothing(pool: asyncpg.Pool, here: Handler) -> None:
    for _ in range(5):
        await live_a_little(here)
        await asyncio.gather(*(catch_up(pool) for _ in range(3)))
        assert await rows(pool) == await folded(pool)


async def test_a_projector_that_dies_anywhere_goes_on_where_its_rows_end(
    pool: asyncpg.Pool, here: Handler
) -> None:
    async def scenario(fuse: Fuse) -> None:
        await live_a_little(here, rooms=1, rounds=3)
        with fuse.dying():
            await catch_up(fuse.pool(pool))
        await catch_up(pool)
        assert await rows(pool) == await folded(pool)

    assert await everywhere(scenario) >= 2 * 12


async def test_a_projector_overtaken_anywhere_doubles_nothing(pool: asyncpg.Pool, here: Handler) -> None:
    """A replica that lost its lease without knowing it."""

    async def scenario(interruption: Interruption) -> None:
        await live_a_little(here, rooms=1, rounds=3)
        others: list[asyncio.Task[Any]] = []

        async def overtake() -> None:
            others.append(asyncio.create_task(catch_up(pool)))
            await done_or_waiting(others[0], pool)

        interruption.action = overtake
        await catch_up(interruption.pool(pool))
        await asyncio.gather(*others)
        await catch_up(pool)
        assert await rows(pool) == await folded(pool)

    assert await everywhere(scenario, Interruption) >= 2 * 12


_WAITING = """
SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE NOT granted AND datname = current_database()
"""


async def done_or_waiting(task: asyncio.Task[Any], pool: asyncpg.Pool) -> None:
    """Until the task has ended, or waits for a lock that somebody holds."""
    while not task.done() and not await pool.fetchval(_WAITING):
        await asyncio.sleep(0.001)


async def test_a_page_that_fails_leaves_no_trace(pool: asyncpg.Pool, here: Handler) -> None:
    room_id = await open_room(here, seats=9)
    for _ in range(PAGE + 1):
        await here.send(room_id, TakeSeat(booking_id=uuid4()), asked())
    failing = Projector(pool, EVENTS, Seats(fails_at=PAGE + 1))
    assert await failing.step()
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            await failing.step()
    assert len((await rows(pool))["seats"]) == PAGE - 1
    await catch_up(pool)
    assert await rows(pool) == await folded(pool)


# Rebuilding.


async def test_a_rebuild_gives_the_rows_of_the_live_one(
    pool: asyncpg.Pool, owner_pool: asyncpg.Pool, here: Handler
) -> None:
    await live_a_little(here)
    await catch_up(pool)
    live = await rows(pool)
    assert await rebuilding(pool, owner_pool) == 2
    assert await rows(pool) == live == await folded(pool)
    assert await generations(pool) == [(1, 1, False), (2, 1, True)]
    assert await rebuilding(pool, owner_pool) == 3
    assert await generations(pool) == [(2, 1, False), (3, 1, True)]
    assert await is_sound(pool)


async def test_a_rebuild_while_the_live_one_lags_does_not_go_back(
    pool: asyncpg.Pool, owner_pool: asyncpg.Pool, here: Handler
) -> None:
    await live_a_little(here)
    await Projector(pool, EVENTS, who_sits_where).step()
    await rebuilding(pool, owner_pool)
    assert await rows(pool) == await folded(pool)
    assert await catch_up(pool) == 0


@asynccontextmanager
async def under_way(*work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """While the block runs, so does that; what it raises is raised here."""
    tasks = [asyncio.create_task(each) for each in work]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
    for error in ended:
        if isinstance(error, Exception):
            raise error


async def test_rebuilds_under_appends_readers_and_a_live_projector_show_all_and_never_nothing(
    pool: asyncpg.Pool, owner_pool: asyncpg.Pool, here: Handler, dsns: Dsns
) -> None:
    rooms = await live_a_little(here, rooms=3, rounds=30)
    await catch_up(pool)
    at_least = [len((await rows(pool))["seats"])]
    reads: list[int] = []
    reader = await create_pool(dsns.reader, application_name="reader", size=2)

    async def append() -> None:
        while True:
            await here.send(random.choice(rooms), TakeSeat(booking_id=uuid4()), asked())

    async def project() -> None:
        while True:
            await Projector(pool, EVENTS, who_sits_where).step()
            await asyncio.sleep(0)

    async def read() -> None:
        while True:
            reads.append(await reader.fetchval("SELECT count(*) FROM seats"))

    async with under_way(append(), project(), read(), read()):
        for _ in range(4):
            await rebuilding(pool, owner_pool)
    assert len(reads) > 50
    assert min(reads) >= at_least[0]
    assert await is_sound(pool)
    await reader.close()


async def test_who_reads_in_one_transaction_is_not_shown_half_a_switch(
    pool: asyncpg.Pool, owner_pool: asyncpg.Pool, here: Handler
) -> None:
    await live_a_little(here)
    await catch_up(pool)
    async with pool.acquire() as connection, connection.transaction(isolation="repeatable_read"):
        before = await connection.fetchval("SELECT count(*) FROM seats")
        assert await connection.fetchval("SELECT count(*) FROM rooms") == 2
        rebuild = asyncio.create_task(rebuilding(pool, owner_pool))
        await done_or_waiting(rebuild, pool)
        assert not rebuild.done(), "the switch waits for the reader"
        assert await connection.fetchval("SELECT count(*) FROM seats") == before
        assert await connection.fetchval("SELECT count(*) FROM rooms") == 2
    await rebuild
    assert await is_sound(pool)


async def test_a_rebuild_that_fails_leaves_the_live_one_as_it_was(
    pool: asyncpg.Pool, owner_pool: asyncpg.Pool, here: Handler
) -> None:
    await live_a_little(here)
    await catch_up(pool)
    live = await rows(pool)
    with pytest.raises(ZeroDivisionError):
        await rebuilding(pool, owner_pool, Seats(version=2, fails_at=3))
    assert await rows(pool) == live
    assert await generations(pool) == [(1, 1, True), (2, 2, False)]
    await rebuilding(pool, owner_pool)
    assert await generations(pool) == [(1, 1, False), (3, 1, True)]
    assert await is_sound(pool)


async def test_a_rebuild_that_dies_anywhere_leaves_the_old_rows_or_the_new(
    pool: asyncpg.Pool, owner_pool: asyncpg.Pool, here: Handler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("upwell_shared.projecting._PAGE", 500)
    await live_a_little(here, rooms=1, rounds=2)

    async def scenario(fuse: Fuse) -> None:
        with fuse.dying():
            await rebuilding(pool, fuse.pool(owner_pool), SeatsAtOnce())
        assert await is_sound(pool)
        await rebuilding(pool, owner_pool)
        assert await is_sound(pool)
        assert len(await generations(pool)) == 2

    assert await everywhere(scenario) >= 2 * 25


async def test_a_rebuild_overtaken_by_appends_and_the_live_projector_anywhere_misses_nothing(
    pool: asyncpg.Pool, owner_pool: asyncpg.Pool, here: Handler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("upwell_shared.projecting._PAGE", 500)
    await live_a_little(here, rooms=1, rounds=2)

    async def scenario(interruption: Interruption) -> None:
        await catch_up(pool)
        others: list[asyncio.Task[Any]] = []
        shown: list[UUID] = []

        async def overtake() -> None:
            rooms = await live_a_little(here, rooms=1, rounds=2, seed=1)
            others.append(asyncio.create_task(catch_up(pool)))
            await done_or_waiting(others[0], pool)
            shown.extend([room for room in rooms if await reached(pool, who_sits_where.name, room, 3)])

        interruption.action = overtake
        await rebuilding(pool, interruption.pool(owner_pool), SeatsAtOnce())
        for room in shown:
            assert await reached(pool, who_sits_where.name, room, 3), "what was shown is shown"
        await asyncio.gather(*others)
        assert await is_sound(pool)

    assert await everywhere(scenario, Interruption) >= 2 * 25


async def test_of_two_rebuilds_the_later_takes_the_place_of_the_earlier(
    pool: asyncpg.Pool, owner_pool: asyncpg.Pool, here: Handler
) -> None:
    await live_a_little(here)
    held = Seats(may_go_on=asyncio.Event())
    first = asyncio.create_task(rebuilding(pool, owner_pool, held))
    await held.entered.wait()
    second = asyncio.create_task(rebuilding(pool, owner_pool))
    await done_or_waiting(second, pool)
    assert held.may_go_on is not None
    held.may_go_on.set()
    assert await second == 3
    with pytest.raises(RebuildAbandoned):
        await first
    assert await generations(pool) == [(1, 1, False), (3, 1, True)]
    assert await is_sound(pool)


async def test_a_rebuild_overtaken_by_another_anywhere_leaves_one_sound_generation(
    pool: asyncpg.Pool, owner_pool: asyncpg.Pool, here: Handler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("upwell_shared.projecting._PAGE", 500)
    await live_a_little(here, rooms=1, rounds=2)

    async def scenario(interruption: Interruption) -> None:
        others: list[asyncio.Task[Any]] = []

        async def overtake() -> None:
            others.append(asyncio.create_task(rebuilding(pool, owner_pool)))
            await done_or_waiting(others[0], pool)

        interruption.action = overtake
        outcomes: list[Any] = await asyncio.gather(
            rebuilding(pool, interruption.pool(owner_pool), SeatsAtOnce()), return_exceptions=True
        )
        outcomes += await asyncio.gather(*others, return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} <= {int, RebuildAbandoned}, outcomes
        assert int in {type(outcome) for outcome in outcomes}
        assert await is_sound(pool)

    assert await everywhere(scenario, Interruption) >= 2 * 25


async def test_rebuilds_of_two_projections_at_once_do_not_disturb_each_other(
    pool: asyncpg.Pool, owner_pool: asyncpg.Pool, here: Handler
) -> None:
    await live_a_little(here)
    for _ in range(5):
        await asyncio.gather(rebuilding(pool, owner_pool), rebuilding(pool, owner_pool, TIMERS))
    assert await is_sound(pool)


async def test_a_rebuild_to_another_version_supersedes_this_one(
    pool: asyncpg.Pool, owner_pool: asyncpg.Pool, here: Handler
) -> None:
    await live_a_little(here)
    new = Seats(version=2)
    with pytest.raises(
        ProjectionSuperseded, match="version 2 of projection who_sits_where is not the live one"
    ):
        await Projector(pool, EVENTS, new).step()
    await rebuilding(pool, owner_pool, new)
    with pytest.raises(ProjectionSuperseded, match="version 1 of"):
        await Projector(pool, EVENTS, who_sits_where).step()
    await open_room(here, seats=1)
    await catch_up(pool, new)
    assert await rows(pool) == await folded(pool)


async def test_a_table_a_new_version_no_longer_has_is_not_shown_any_more(
    pool: asyncpg.Pool, owner_pool: asyncpg.Pool, here: Handler
) -> None:
    await live_a_little(here)
    await rebuilding(pool, owner_pool)

    class OnlyRooms(Seats):
        async def project(self, connection: Connection, events: Sequence[Recorded[Any]]) -> None:
            await who_sits_where.project(
                connection, [recorded for recorded in events if isinstance(recorded.event, RoomOpened)]
            )

    await rebuilding(pool, owner_pool, OnlyRooms(2, tables="CREATE TABLE rooms (room_id uuid, seats int);"))
    assert len(await pool.fetch("SELECT * FROM rooms")) == 2
    with pytest.raises(asyncpg.UndefinedTableError):
        await pool.fetch("SELECT * FROM seats")


async def test_a_new_version_may_add_a_column_and_readers_follow(
    pool: asyncpg.Pool, owner_pool: asyncpg.Pool, here: Handler
) -> None:
    await live_a_little(here)
    await catch_up(pool)
    assert set((await pool.fetch("SELECT * FROM rooms"))[0].keys()) == {"room_id", "seats"}
    wider = who_sits_where.tables.replace(
        "seats int NOT NULL", "seats int NOT NULL, colour text DEFAULT 'red'"
    )
    await rebuilding(pool, owner_pool, Seats(version=2, tables=wider))
    assert set((await pool.fetch("SELECT * FROM rooms"))[0].keys()) == {"room_id", "seats", "colour"}


async def test_only_the_version_that_is_live_may_be_entered(pool: asyncpg.Pool) -> None:
    async with pool.acquire() as connection, connection.transaction():
        await enter(connection, who_sits_where)
        await connection.execute("INSERT INTO seats VALUES ($1, $2)", uuid4(), uuid4())
        with pytest.raises(ProjectionSuperseded):
            await enter(connection, Seats(version=2))
    assert len((await rows(pool))["seats"]) == 1
    assert await pool.fetchval("SELECT current_schema()") == "public", "the session's own path is untouched"


async def test_tables_are_made_once_by_several_at_once(pool: asyncpg.Pool, owner_pool: asyncpg.Pool) -> None:
    other = Seats(name="seats_again", tables="CREATE TABLE seats_again (room_id uuid);")
    await asyncio.gather(*(ensure(owner_pool, [who_sits_where, other], **ROLES) for _ in range(3)))
    assert await pool.fetchval("SELECT count(*) FROM projections WHERE name = 'seats_again'") == 1
    assert await pool.fetch("SELECT * FROM seats_again") == []


async def test_an_own_projection_that_comes_later_begins_at_the_first_event(
    pool: asyncpg.Pool, owner_pool: asyncpg.Pool, here: Handler
) -> None:
    """Only what others published is past; so the tables wait for a version, and its projector gives them one."""
    await live_a_little(here)
    await pool.execute(
        "INSERT INTO progress VALUES ('reader', 'upwell.example.v1', $1, 1, $2, 0)", uuid4(), uuid4()
    )
    later = Seats(version=3, name="rooms_again", tables="CREATE TABLE rooms_again (room_id uuid);")

    async def project(connection: Connection, events: Sequence[Recorded[Any]]) -> None:
        opened = [(r.stream_id,) for r in events if isinstance(r.event, RoomOpened)]
        await connection.executemany("INSERT INTO rooms_again VALUES ($1)", opened)

    later.project = project  # type: ignore[method-assign]
    await ensure(owner_pool, [later], **ROLES)
    async with pool.acquire() as connection:
        with pytest.raises(ProjectionSuperseded, match="rebuild it"):
            await enter(connection, later)
    await catch_up(pool, later)
    assert await pool.fetchval("SELECT count(*) FROM rooms_again") == 2
    assert await pool.fetchval("SELECT version FROM projections WHERE name = 'rooms_again'") == 3


# Whoever migrates or switches has this lock until its transaction ends.
_HOLDS = "SELECT EXISTS (SELECT FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'advisory')"


async def test_a_rebuild_reads_one_page_at_most_while_it_holds_the_live_one(
    pool: asyncpg.Pool, owner_pool: asyncpg.Pool, here: Handler
) -> None:
    """The live projector gets three pages ahead between the last fold and the hold: the first hold is let go."""
    await live_a_little(here)
    await catch_up(pool)
    held: list[int] = []
    late: list[str] = []

    class Watched(Seats):
        async def project(self, connection: Connection, events: Sequence[Recorded[Any]]) -> None:
            await super().project(connection, events)
            if await connection.fetchval(_HOLDS):
                held.append(len(events))

    real = projecting.hold_live

    async def hold_late(connection: Connection, name: str) -> Position:
        if not late:
            late.append(name)
            for _ in range(3 * PAGE):
                await open_room(here, seats=1)
            await catch_up(pool)
        return await real(connection, name)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(projecting, "hold_live", hold_late)
        await rebuilding(pool, owner_pool, Watched())
    assert held == [PAGE]
    assert await is_sound(pool)


async def test_roles_may_do_in_new_tables_what_they_may_do_in_old(
    pool: asyncpg.Pool, owner_pool: asyncpg.Pool, here: Handler, dsns: Dsns
) -> None:
    await rebuilding(pool, owner_pool)
    await here.send(uuid4(), OpenRoom(seats=1), asked())
    await catch_up(pool)
    reader = await asyncpg.connect(dsns.reader)
    assert await reader.fetchval("SELECT count(*) FROM rooms") == 1
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await reader.execute("DELETE FROM rooms")
    await reader.close()
