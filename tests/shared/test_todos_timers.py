"""To-dos and timers: what a service has promised itself happens once, in order, whatever dies in between."""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, ClassVar
from uuid import UUID, uuid4

import asyncpg
import pytest

from tests.shared.crashes import Fuse, everywhere
from tests.shared.example.app import COMMANDS, EVENTS, TIMERS, handler
from tests.shared.example.domain.booking import (
    BookingExpired,
    BookingRequested,
    CancelBooking,
    ConfirmBooking,
    RequestBooking,
)
from tests.shared.example.domain.room import FreeSeat, OpenRoom, RoomOpened, SeatFreed, SeatTaken, TakeSeat
from tests.shared.world import NOW, all_events, asked, open_room, request_booking
from upwell_shared.errors import ConcurrentUpdate, NotFound
from upwell_shared.events import Envelope, EventCodec, Recorded, UnknownEvent
from upwell_shared.handling import Handler, Outcome
from upwell_shared.projecting import Projector
from upwell_shared.testing import FixedClock
from upwell_shared.timers import ClearTimer, SetTimer, Ticker, Timers
from upwell_shared.todos import Carry, Todo, TodoWorker, due_now, insert, todo_id

WEEK = timedelta(days=7)
TWO_DAYS = timedelta(days=2)


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock(NOW)


@pytest.fixture
def here(pool: asyncpg.Pool, clock: FixedClock) -> Handler:
    return handler(pool, clock)


def todo(stream_id: UUID, command: object, command_id: UUID | None = None) -> Todo:
    encoded = COMMANDS.encode(command)
    return Todo(command_id or uuid4(), stream_id, *encoded, uuid4(), uuid4(), None)


async def promise(pool: asyncpg.Pool, *todos: Todo) -> None:
    async with pool.acquire() as connection, connection.transaction():
        await insert(connection, todos)


async def open_todos(pool: asyncpg.Pool) -> int:
    return int(await pool.fetchval("SELECT count(*) FROM todos WHERE parked_because IS NULL"))


async def make_due(pool: asyncpg.Pool) -> None:
    """As if every wait were over."""
    await pool.execute("UPDATE todos SET next_try_at = '-infinity'")


async def parked(pool: asyncpg.Pool) -> dict[UUID, str]:
    rows = await pool.fetch("SELECT command_id, parked_because FROM todos WHERE parked_because IS NOT NULL")
    return dict(map(tuple, rows))


async def work_off(worker: TodoWorker, most: int = 20) -> None:
    """Steps until there is nothing to do; a worker that never comes to that point has failed."""
    for _ in range(most):
        if not await worker.step():
            return
    raise AssertionError("the worker finds no end")


@pytest.fixture
def worker(pool: asyncpg.Pool, here: Handler, clock: FixedClock) -> TodoWorker:
    return TodoWorker(pool, COMMANDS, here.send, clock)


# To-dos.


async def test_a_todo_is_carried_out_and_tells_where_it_comes_from(
    pool: asyncpg.Pool, worker: TodoWorker
) -> None:
    wanted = todo(uuid4(), OpenRoom(seats=2))._replace(traceparent="00-1-2-01")
    await promise(pool, wanted)
    assert await worker.step()
    [recorded] = await all_events(pool)
    assert (recorded.stream_id, recorded.event) == (wanted.stream_id, RoomOpened(seats=2))
    assert recorded.envelope == Envelope(
        command_id=wanted.command_id,
        correlation_id=wanted.correlation_id,
        causation_id=wanted.causation_id,
        traceparent="00-1-2-01",
    )
    assert await pool.fetchval("SELECT count(*) FROM todos") == 0, (
        "gone with the append, not at a second look"
    )


async def test_a_todo_is_decided_at_the_time_it_is_carried_out(
    pool: asyncpg.Pool, worker: TodoWorker, clock: FixedClock
) -> None:
    booking_id, room_id = uuid4(), uuid4()
    await promise(pool, todo(booking_id, RequestBooking(room_id=room_id, now=NOW)))
    clock.forward(WEEK)
    await work_off(worker)
    [recorded] = await all_events(pool)
    assert recorded.event == BookingRequested(room_id=room_id, expires_at=NOW + WEEK + TWO_DAYS)


def test_a_command_without_a_time_stays_as_it_is() -> None:
    command = CancelBooking()
    assert due_now(command, FixedClock()) is command


async def test_a_todo_promised_twice_is_there_once(pool: asyncpg.Pool) -> None:
    wanted = todo(uuid4(), OpenRoom(seats=2))
    await promise(pool, wanted, wanted._replace(command='{"seats": 9}'))
    await promise(pool, wanted)
    assert [r["command"] for r in await pool.fetch("SELECT command FROM todos")] == ['{"seats":2}']


async def test_nothing_promised_is_nothing_written(pool: asyncpg.Pool) -> None:
    await promise(pool)
    assert await pool.fetchval("SELECT count(*) FROM todos") == 0


async def test_the_same_cause_reason_and_target_are_the_same_todo() -> None:
    cause, target = uuid4(), uuid4()
    ids = {
        todo_id(cause, "free_the_seat", target, "FreeSeat"),
        todo_id(cause, "free_the_seat", target, "FreeSeat"),
        todo_id(uuid4(), "free_the_seat", target, "FreeSeat"),
        todo_id(cause, "free_another", target, "FreeSeat"),
        todo_id(cause, "free_the_seat", uuid4(), "FreeSeat"),
        todo_id(cause, "free_the_seat", target, "TakeSeat"),
    }
    assert len(ids) == 5


async def test_todos_of_a_stream_are_carried_out_as_promised_and_one_at_a_time(
    pool: asyncpg.Pool, here: Handler, clock: FixedClock
) -> None:
    rooms = [await open_room(here, seats=1) for _ in range(5)]
    wanted = [
        todo(room_id, command)
        for n in range(8)
        for room_id in rooms
        for command in [(TakeSeat if n % 2 == 0 else FreeSeat)(booking_id=UUID(int=n // 2))]
    ]
    under_way: set[UUID] = set()

    async def carry(stream_id: UUID, command: object, envelope: Envelope) -> Outcome:
        assert stream_id not in under_way
        under_way.add(stream_id)
        outcome = await here.send(stream_id, command, envelope)
        under_way.remove(stream_id)
        return outcome

    await promise(pool, *wanted)
    await work_off(TodoWorker(pool, COMMANDS, carry, clock))
    assert await parked(pool) == {}
    for room_id in rooms:
        happened = [r.event for r in await all_events(pool) if r.stream_id == room_id][1:]
        assert happened == [kind(booking_id=UUID(int=n)) for n in range(4) for kind in (SeatTaken, SeatFreed)]


async def test_more_todos_than_a_page_are_all_carried_out(pool: asyncpg.Pool, worker: TodoWorker) -> None:
    await promise(pool, *(todo(uuid4(), OpenRoom(seats=1)) for _ in range(450)))
    await work_off(worker)
    assert len(await all_events(pool)) == 450


async def test_a_todo_that_a_rule_refuses_is_parked_with_its_reason_and_the_next_go_on(
    pool: asyncpg.Pool, worker: TodoWorker, here: Handler
) -> None:
    room_id = await open_room(here, seats=0)
    refused = todo(room_id, TakeSeat(booking_id=uuid4()))
    again, elsewhere = todo(room_id, OpenRoom(seats=1)), todo(uuid4(), OpenRoom(seats=1))
    behind = todo(room_id, FreeSeat(booking_id=uuid4()))
    await promise(pool, refused, again, behind, elsewhere)
    await work_off(worker)
    assert await parked(pool) == {
        refused.command_id: "room-full",
        again.command_id: "room-already-opened",
    }
    assert await open_todos(pool) == 0
    assert await pool.fetchval("SELECT count(*) FROM commands WHERE command_id = $1", behind.command_id) == 1
    assert len(await all_events(pool)) == 2


@pytest.mark.parametrize(
    "unreadable",
    [{"type": "PaintRoom"}, {"command": "{}"}, {"command": '{"seats": "many"}'}],
    ids=["unknown type", "missing field", "wrong field"],
)
async def test_a_todo_this_release_cannot_read_waits_for_one_that_can_and_holds_up_its_stream_alone(
    pool: asyncpg.Pool, worker: TodoWorker, unreadable: dict[str, str]
) -> None:
    """As during a rolling restart: a newer release promised it, an older one finds it."""
    room_id, elsewhere = uuid4(), uuid4()
    strange = todo(room_id, OpenRoom(seats=1))._replace(**unreadable)  # type: ignore[arg-type]
    behind = todo(room_id, TakeSeat(booking_id=uuid4()))
    await promise(pool, strange, behind, todo(elsewhere, OpenRoom(seats=2)))
    await work_off(worker)
    assert (await parked(pool), await open_todos(pool)) == ({}, 2)
    assert [recorded.event for recorded in await all_events(pool)] == [RoomOpened(seats=2)]

    known = todo(room_id, OpenRoom(seats=1))
    await pool.execute(
        "UPDATE todos SET type = $1, schema_version = $2, command = $3::text::json WHERE command_id = $4",
        *(known.type, known.schema_version, known.command, strange.command_id),
    )
    await make_due(pool)
    await work_off(worker)
    assert (await parked(pool), await open_todos(pool)) == ({}, 0)
    happened = [type(r.event) for r in await all_events(pool) if r.stream_id == room_id]
    assert happened == [RoomOpened, SeatTaken]


def open_room_of_a_later_release() -> type[Any]:
    @dataclass(frozen=True, slots=True, kw_only=True)
    class OpenRoom:
        schema_version: ClassVar[int] = 2
        seats: int

    return OpenRoom


async def test_a_todo_written_by_an_older_release_is_raised_to_the_present_command(
    pool: asyncpg.Pool, here: Handler, clock: FixedClock
) -> None:
    def chairs_became_seats(data: dict[str, Any]) -> dict[str, Any]:
        return {"seats": data["chairs"]}

    present = open_room_of_a_later_release()
    commands = EventCodec(present, upcasters={("OpenRoom", 1): chairs_became_seats})

    async def carry(stream_id: UUID, command: Any, envelope: Envelope) -> Outcome:
        assert command == present(seats=3)
        return await here.send(stream_id, OpenRoom(seats=command.seats), envelope)

    await promise(pool, Todo(uuid4(), uuid4(), "OpenRoom", 1, '{"chairs": 3}', uuid4(), None, None))
    await work_off(TodoWorker(pool, commands, carry, clock))
    assert [recorded.event for recorded in await all_events(pool)] == [RoomOpened(seats=3)]


async def test_many_todos_that_cannot_go_through_now_hold_up_nobody_else(
    pool: asyncpg.Pool, here: Handler, clock: FixedClock
) -> None:
    async def carry(stream_id: UUID, command: object, envelope: Envelope) -> Outcome:
        if isinstance(command, TakeSeat):
            raise ConcurrentUpdate
        return await here.send(stream_id, command, envelope)

    stuck = [todo(uuid4(), TakeSeat(booking_id=uuid4())) for _ in range(250)]
    await promise(pool, *stuck, todo(uuid4(), OpenRoom(seats=1)))
    await work_off(TodoWorker(pool, COMMANDS, carry, clock))
    assert [recorded.event for recorded in await all_events(pool)] == [RoomOpened(seats=1)]
    assert (await open_todos(pool), await parked(pool)) == (250, {})


async def test_a_todo_for_a_stream_of_another_kind_is_parked(
    pool: asyncpg.Pool, worker: TodoWorker, here: Handler
) -> None:
    wrong = todo(await open_room(here, seats=1), CancelBooking())
    await promise(pool, wrong)
    await work_off(worker)
    assert await parked(pool) == {wrong.command_id: NotFound.__name__}


async def test_a_todo_that_fails_for_good_is_parked_and_holds_nobody_up(
    pool: asyncpg.Pool, here: Handler, clock: FixedClock
) -> None:
    async def carry(stream_id: UUID, command: object, envelope: Envelope) -> Outcome:
        if isinstance(command, TakeSeat):
            raise KeyError("a mistake of ours")
        return await here.send(stream_id, command, envelope)

    wrong = todo(uuid4(), TakeSeat(booking_id=uuid4()))
    await promise(pool, wrong, todo(wrong.stream_id, OpenRoom(seats=1)))
    await work_off(TodoWorker(pool, COMMANDS, carry, clock))
    assert await parked(pool) == {wrong.command_id: "KeyError"}
    assert [recorded.event for recorded in await all_events(pool)] == [RoomOpened(seats=1)]


@pytest.mark.parametrize(
    "trouble",
    [ConnectionResetError(), asyncpg.DeadlockDetectedError(), ConcurrentUpdate(), UnknownEvent()],
    ids=lambda error: type(error).__name__,
)
async def test_a_todo_that_fails_without_fault_of_its_own_stays_open_with_those_behind_it(
    pool: asyncpg.Pool, here: Handler, clock: FixedClock, trouble: Exception
) -> None:
    """UnknownEvent here is a fact on the stream, written by a newer release during a rolling restart."""
    troubled, well = uuid4(), uuid4()
    broken = True

    async def carry(stream_id: UUID, command: object, envelope: Envelope) -> Outcome:
        if broken and stream_id == troubled:
            raise trouble
        return await here.send(stream_id, command, envelope)

    worker = TodoWorker(pool, COMMANDS, carry, clock)
    await promise(
        pool,
        todo(troubled, OpenRoom(seats=1)),
        todo(troubled, TakeSeat(booking_id=uuid4())),
        todo(well, OpenRoom(seats=1)),
    )
    await worker.step()
    assert {recorded.stream_id for recorded in await all_events(pool)} == {well}
    assert (await open_todos(pool), await parked(pool)) == (2, {})
    # However slow this machine is, the wait is not over yet.
    await pool.execute("UPDATE todos SET next_try_at = next_try_at + interval '1 hour' WHERE attempts > 0")
    assert await worker.step() is False, "not at once again"
    broken = False
    await make_due(pool)
    await work_off(worker)
    happened = [r.event for r in await all_events(pool) if r.stream_id == troubled]
    assert [type(event) for event in happened] == [RoomOpened, SeatTaken]


@pytest.mark.parametrize(
    "command",
    [OpenRoom(seats=1), TakeSeat(booking_id=UUID(int=1)), FreeSeat(booking_id=UUID(int=2))],
    ids=["that would be refused now", "with nothing to do now", "with nothing to do ever"],
)
async def test_a_todo_promised_again_after_it_was_done_is_done(
    pool: asyncpg.Pool, worker: TodoWorker, command: object
) -> None:
    """As when a consumer or a timer starts again from the beginning."""
    room_id = uuid4()
    first = todo(room_id, OpenRoom(seats=1))
    wanted = first if command == OpenRoom(seats=1) else todo(room_id, command)
    await promise(pool, *dict.fromkeys([first, wanted]))
    await work_off(worker)
    before = len(await all_events(pool))
    await promise(pool, wanted)
    await work_off(worker)
    assert (len(await all_events(pool)), await open_todos(pool), await parked(pool)) == (before, 0, {})


async def test_two_workers_do_nothing_twice(pool: asyncpg.Pool, clock: FixedClock) -> None:
    rooms = [uuid4() for _ in range(60)]
    await promise(pool, *(todo(room_id, OpenRoom(seats=1)) for room_id in rooms))
    workers = [TodoWorker(pool, COMMANDS, handler(pool, clock).send, clock) for _ in range(2)]
    await asyncio.gather(*map(work_off, workers))
    assert sorted(recorded.stream_id for recorded in await all_events(pool)) == sorted(rooms)
    assert (await open_todos(pool), await parked(pool)) == (0, {})


async def test_a_todo_is_carried_out_once_wherever_its_worker_dies(
    pool: asyncpg.Pool, here: Handler, worker: TodoWorker, clock: FixedClock
) -> None:
    async def scenario(fuse: Fuse) -> None:
        room_id, booking_id = uuid4(), uuid4()
        wanted = [
            todo(room_id, OpenRoom(seats=1)),
            todo(room_id, TakeSeat(booking_id=booking_id)),
            todo(room_id, TakeSeat(booking_id=uuid4())),
            todo(room_id, FreeSeat(booking_id=booking_id)),
        ]
        await promise(pool, *wanted)
        dying = fuse.pool(pool)
        with fuse.dying():
            await work_off(TodoWorker(dying, COMMANDS, handler(dying, clock).send, clock))
        await work_off(worker)
        happened = [type(r.event) for r in await all_events(pool) if r.stream_id == room_id]
        assert happened == [RoomOpened, SeatTaken, SeatFreed]
        assert wanted[2].command_id in await parked(pool)
        assert await open_todos(pool) == 0

    assert await everywhere(scenario) >= 2 * 10


async def test_a_todo_done_before_is_settled_wherever_its_worker_dies(
    pool: asyncpg.Pool, here: Handler, worker: TodoWorker, clock: FixedClock
) -> None:
    async def scenario(fuse: Fuse) -> None:
        wanted = todo(uuid4(), OpenRoom(seats=1))
        await promise(pool, wanted)
        await work_off(worker)
        await promise(pool, wanted)
        dying = fuse.pool(pool)
        with fuse.dying():
            await work_off(TodoWorker(dying, COMMANDS, handler(dying, clock).send, clock))
        await work_off(worker)
        assert len([r for r in await all_events(pool) if r.stream_id == wanted.stream_id]) == 1
        assert (await open_todos(pool), await parked(pool)) == (0, {})

    assert await everywhere(scenario) >= 2 * 4


# Timers.


@dataclass
class Reminders:
    """The timers of a test: what each version of a stream sets and clears."""

    plan: dict[int, list[SetTimer | ClearTimer]]

    def __call__(self, recorded: Recorded[Any]) -> Iterable[SetTimer | ClearTimer]:
        return self.plan.get(recorded.version, [])


async def timers_there(pool: asyncpg.Pool) -> list[tuple[str, datetime, str]]:
    rows = await pool.fetch("SELECT name, due_at, command::text FROM timers ORDER BY name")
    return [tuple(row) for row in rows]


async def catch_up(pool: asyncpg.Pool, timers: Timers = TIMERS) -> None:
    projector = Projector(pool, EVENTS, timers)
    while await projector.step():
        pass


@pytest.mark.parametrize("page", [1, 2, 500])
async def test_of_several_changes_to_a_timer_the_last_counts_in_one_page_and_across_pages(
    pool: asyncpg.Pool, here: Handler, monkeypatch: pytest.MonkeyPatch, page: int
) -> None:
    monkeypatch.setattr("upwell_shared.projecting._PAGE", page)
    first, second = NOW + TWO_DAYS, NOW + WEEK
    at_first, at_second = FreeSeat(booking_id=UUID(int=1)), FreeSeat(booking_id=UUID(int=2))
    plan = Reminders(
        {
            1: [SetTimer("replaced", first, at_first), SetTimer("cleared", first, at_first)],
            2: [
                SetTimer("replaced", second, at_second),
                SetTimer("both", first, at_first),
                ClearTimer("both"),
            ],
            3: [ClearTimer("cleared"), ClearTimer("never set"), SetTimer("kept", first, at_first)],
            4: [ClearTimer("set again"), SetTimer("set again", second, at_second)],
        }
    )
    room_id = await open_room(here, seats=9)
    for _ in range(3):
        await here.send(room_id, TakeSeat(booking_id=uuid4()), asked())
    await catch_up(pool, Timers(plan, COMMANDS))
    assert await timers_there(pool) == [
        ("kept", first, COMMANDS.encode(at_first).data),
        ("replaced", second, COMMANDS.encode(at_second).data),
        ("set again", second, COMMANDS.encode(at_second).data),
    ]


async def test_a_timer_is_due_at_its_very_moment_and_not_before(
    pool: asyncpg.Pool, here: Handler, worker: TodoWorker, clock: FixedClock
) -> None:
    ticker, booking_id = Ticker(pool, clock), await request_booking(here, uuid4())
    await catch_up(pool)
    clock.set(NOW + TWO_DAYS - timedelta(microseconds=1))
    await ticker.step()
    assert await open_todos(pool) == 0
    clock.set(NOW + TWO_DAYS)
    await ticker.step()
    assert (await open_todos(pool), await timers_there(pool)) == (1, [])
    await work_off(worker)
    assert [r.event for r in await all_events(pool) if r.stream_id == booking_id][1:] == [BookingExpired()]


async def test_a_timer_set_again_for_the_same_moment_after_it_was_issued_is_issued_again(
    pool: asyncpg.Pool, here: Handler, worker: TodoWorker, clock: FixedClock
) -> None:
    """What it asks for depends on the event that set it, not on the hour."""
    taken = [uuid4(), uuid4()]
    plan = Reminders(
        {
            version: [SetTimer("leave", NOW, FreeSeat(booking_id=booking))]
            for version, booking in zip((2, 4), taken, strict=True)
        }
    )
    room_id = await open_room(here, seats=9)
    for booking in taken:
        await here.send(room_id, TakeSeat(booking_id=booking), asked())
        await catch_up(pool, Timers(plan, COMMANDS))
        await tick(Ticker(pool, clock), worker)
    freed = [r.event for r in await all_events(pool) if isinstance(r.event, SeatFreed)]
    assert freed == [SeatFreed(booking_id=booking) for booking in taken]


async def test_a_cleared_timer_does_nothing(
    pool: asyncpg.Pool, here: Handler, worker: TodoWorker, clock: FixedClock
) -> None:
    booking_id = await request_booking(here, uuid4())
    await catch_up(pool)
    await here.send(booking_id, ConfirmBooking(now=NOW), asked())
    await catch_up(pool)
    clock.forward(WEEK)
    await Ticker(pool, clock).step()
    assert (await open_todos(pool), await timers_there(pool)) == (0, [])


async def test_a_timer_that_comes_due_before_it_is_known_to_be_cleared_decides_nothing(
    pool: asyncpg.Pool, here: Handler, worker: TodoWorker, clock: FixedClock
) -> None:
    booking_id = await request_booking(here, uuid4())
    await catch_up(pool)
    await here.send(booking_id, ConfirmBooking(now=NOW), asked())
    clock.forward(WEEK)
    await Ticker(pool, clock).step()
    assert await open_todos(pool) == 1
    await work_off(worker)
    assert (len(await all_events(pool)), await parked(pool)) == (2, {})


async def tick(ticker: Ticker, worker: TodoWorker) -> None:
    while await ticker.step():
        pass
    await work_off(worker)


async def test_after_a_week_without_a_ticker_everything_due_happens_once_and_in_due_order(
    pool: asyncpg.Pool,
    here: Handler,
    worker: TodoWorker,
    clock: FixedClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("upwell_shared.timers._PAGE", 7)
    bookings = []
    for hour in range(40):
        booking_id = uuid4()
        await here.send(
            booking_id, RequestBooking(room_id=uuid4(), now=NOW + timedelta(hours=40 - hour)), asked()
        )
        bookings.append(booking_id)
    later = uuid4()
    await here.send(later, RequestBooking(room_id=uuid4(), now=NOW + WEEK), asked())
    await catch_up(pool)
    clock.forward(WEEK)
    ticker = Ticker(pool, clock)
    while await ticker.step():
        pass
    issued = [r["stream_id"] for r in await pool.fetch("SELECT stream_id FROM todos ORDER BY number")]
    assert issued == bookings[::-1]
    await tick(ticker, worker)
    await catch_up(pool)
    await tick(ticker, worker)
    expired = [r.stream_id for r in await all_events(pool) if isinstance(r.event, BookingExpired)]
    assert sorted(expired) == sorted(bookings)
    assert len(await timers_there(pool)) == 1


async def test_timers_made_again_from_zero_are_issued_again_and_nothing_happens_twice(
    pool: asyncpg.Pool, owner_pool: asyncpg.Pool, here: Handler, worker: TodoWorker, clock: FixedClock
) -> None:
    """Some timers are cleared by what they led to; this one is not, and so comes again after a rebuild."""
    free = FreeSeat(booking_id=UUID(int=1))
    timers = Timers(Reminders({1: [SetTimer("free", NOW + TWO_DAYS, free)]}), COMMANDS)
    rooms = []
    for _ in range(3):
        rooms.append(await open_room(here, seats=2))
        await here.send(rooms[-1], TakeSeat(booking_id=UUID(int=1)), asked())
    await catch_up(pool, timers)
    clock.forward(WEEK)
    await tick(Ticker(pool, clock), worker)
    await here.send(rooms[0], TakeSeat(booking_id=UUID(int=1)), asked())
    before = len(await all_events(pool))
    await Projector(pool, EVENTS, timers).rebuild(
        owner_pool, app_role="example_app", reader_role="example_reader"
    )
    assert len(await timers_there(pool)) == 3
    await tick(Ticker(pool, clock), worker)
    assert len(await all_events(pool)) == before
    assert (await open_todos(pool), await parked(pool), await timers_there(pool)) == (0, {}, [])


async def test_what_is_due_happens_once_wherever_projector_ticker_and_worker_die(
    pool: asyncpg.Pool, here: Handler, worker: TodoWorker, clock: FixedClock
) -> None:
    async def work(pool: asyncpg.Pool) -> None:
        carry: Carry = handler(pool, clock).send
        await catch_up(pool)
        await tick(Ticker(pool, clock), TodoWorker(pool, COMMANDS, carry, clock))

    async def scenario(fuse: Fuse) -> None:
        booking_id = await request_booking(here, uuid4())
        clock.forward(WEEK)
        with fuse.dying():
            await work(fuse.pool(pool))
        await work(pool)
        await catch_up(pool)
        events: Sequence[Any] = [r.event for r in await all_events(pool) if r.stream_id == booking_id]
        assert events[1:] == [BookingExpired()]
        assert (await open_todos(pool), await parked(pool), await timers_there(pool)) == (0, {}, [])

    assert await everywhere(scenario) >= 2 * 12
