"""Carrying out commands on real PostgreSQL: once, all or nothing, and what is answered when it comes again."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import orjson
import pytest

from tests.shared.conftest import Dsns
from tests.shared.crashes import Fuse, everywhere
from tests.shared.example.app import AGGREGATES, BOOKING, EVENTS, ROOM, handler
from tests.shared.example.contract import contract
from tests.shared.example.domain.booking import (
    BookingConfirmed,
    CancelBooking,
    ConfirmBooking,
    ExpireBooking,
)
from tests.shared.example.domain.room import (
    FreeSeat,
    OpenRoom,
    RoomAlreadyOpened,
    RoomFull,
    RoomOpened,
    SeatFreed,
    SeatTaken,
    TakeSeat,
    UnknownRoom,
)
from tests.shared.example.publishing import publishing
from tests.shared.wire import Wire, wire
from tests.shared.world import NOW, all_events, asked, confirm, open_room, request_booking
from upwell_shared.clock import Clock
from upwell_shared.database import create_pool
from upwell_shared.decider import DomainError
from upwell_shared.errors import ConcurrentUpdate, IdempotencyKeyReused, NotFound, StaleVersion
from upwell_shared.event_store import Append, Appended, EventStore, Loaded
from upwell_shared.events import START
from upwell_shared.handling import Handler, Intent
from upwell_shared.retrying import is_transient, retry
from upwell_shared.tail import ledger_after
from upwell_shared.testing import FixedClock

HOUR_LATER = NOW.replace(hour=10)


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock(NOW)


@pytest.fixture
def here(pool: asyncpg.Pool, clock: Clock) -> Handler:
    """The handler of one process."""
    return handler(pool, clock)


@pytest.fixture
async def there(dsns: Dsns, clock: Clock) -> AsyncIterator[Handler]:
    """The handler of another process on the same database."""
    pool = await create_pool(dsns.app, application_name="there")
    yield handler(pool, clock)
    await pool.close()


class Interrupted(EventStore):
    """A store in whose process something happens between loading and appending, as often as asked."""

    def __init__(self, pool: asyncpg.Pool, happens: Callable[[], Awaitable[object]], times: int) -> None:
        super().__init__(pool, EVENTS)
        self.loads = 0
        self._happens = happens
        self._times = times

    async def load(self, *stream_ids: UUID) -> dict[UUID, Loaded]:
        loaded = await super().load(*stream_ids)
        self.loads += 1
        if self.loads <= self._times:
            await self._happens()
        return loaded


def handling_with(store: EventStore) -> Handler:
    return Handler(store, FixedClock(NOW), contract(), publishing, AGGREGATES)


async def test_a_command_is_carried_out_and_its_facts_tell_where_they_come_from(
    here: Handler, pool: asyncpg.Pool
) -> None:
    envelope, room_id = asked(), uuid4()
    outcome = await here.handle(Intent(ROOM, room_id, OpenRoom(seats=2)), envelope=envelope, body={"room": 1})
    assert (outcome.version, outcome.repeated, outcome.body) == (1, False, {"room": 1})
    assert outcome.position == f"example/{room_id}@1.0.0"
    [recorded] = await all_events(pool)
    assert (recorded.stream_id, recorded.version, recorded.event) == (room_id, 1, RoomOpened(seats=2))
    assert (recorded.envelope, recorded.recorded_at) == (envelope, NOW)


async def test_a_command_finds_its_kind_of_stream_by_its_class(here: Handler, pool: asyncpg.Pool) -> None:
    await here.send(uuid4(), OpenRoom(seats=2), asked())
    assert [recorded.event for recorded in await all_events(pool)] == [RoomOpened(seats=2)]


async def test_a_command_on_two_streams_is_written_to_both(here: Handler, pool: asyncpg.Pool) -> None:
    room_id = await open_room(here, seats=1)
    booking_id = await request_booking(here, room_id)
    outcome = await confirm(here, booking_id, room_id)
    assert outcome.position == f"example/{booking_id}@2.2.0"
    written = await all_events(pool)
    assert [recorded.event for recorded in written[2:]] == [
        BookingConfirmed(confirmed_at=NOW),
        SeatTaken(booking_id=booking_id),
    ]
    assert len({recorded.at.tx for recorded in written[2:]}) == 1


async def test_a_command_on_two_streams_is_written_to_none_when_one_refuses(
    here: Handler, pool: asyncpg.Pool
) -> None:
    room_id = await open_room(here, seats=0)
    booking_id = await request_booking(here, room_id)
    with pytest.raises(RoomFull):
        await confirm(here, booking_id, room_id)
    assert len(await all_events(pool)) == 2


async def test_a_stream_of_another_kind_is_not_found(here: Handler, pool: asyncpg.Pool) -> None:
    """A room's id where a booking's belongs is a caller's mistake, not ours."""
    room_id = await open_room(here, seats=1)
    with pytest.raises(NotFound):
        await here.handle(Intent(BOOKING, room_id, ConfirmBooking(now=NOW)), envelope=asked())
    assert len(await all_events(pool)) == 1


async def until_answered(attempt: Callable[[], Awaitable[object]]) -> type[DomainError] | None:
    """What a patient caller is told in the end: the refusal, or None."""
    while True:
        try:
            await attempt()
        except ConcurrentUpdate:
            continue
        except DomainError as refusal:
            return type(refusal)
        return None


async def test_two_processes_together_give_away_no_seat_twice(
    here: Handler, there: Handler, pool: asyncpg.Pool
) -> None:
    room_id = await open_room(here, seats=3)
    bookings = [await request_booking(here, room_id) for _ in range(14)]
    answers = await asyncio.gather(
        *(
            until_answered(lambda b=b, h=h: confirm(h, b, room_id))  # type: ignore[misc]
            for n, b in enumerate(bookings)
            for h in [(here, there)[n % 2]]
        )
    )
    assert sorted(answers, key=repr) == [RoomFull] * 11 + [None] * 3
    confirmed = [type(recorded.event) for recorded in (await all_events(pool))[15:]]
    assert sorted(confirmed, key=repr) == [BookingConfirmed] * 3 + [SeatTaken] * 3


# If-Match.


async def test_who_looked_at_a_version_since_changed_is_told_so(here: Handler, pool: asyncpg.Pool) -> None:
    room_id = await open_room(here, seats=2)
    await here.send(room_id, TakeSeat(booking_id=uuid4()), asked())
    for stale in (0, 1, 3):
        with pytest.raises(StaleVersion):
            await here.handle(Intent(ROOM, room_id, TakeSeat(booking_id=uuid4()), stale), envelope=asked())
    assert len(await all_events(pool)) == 2


async def test_who_looked_at_the_present_version_goes_on(here: Handler) -> None:
    room_id = await open_room(here, seats=2)
    outcome = await here.handle(Intent(ROOM, room_id, TakeSeat(booking_id=uuid4()), 1), envelope=asked())
    assert outcome.version == 2


async def test_of_two_who_looked_at_the_same_version_one_goes_on(here: Handler, there: Handler) -> None:
    room_id = await open_room(here, seats=5)
    answers = await asyncio.gather(
        *(
            h.handle(Intent(ROOM, room_id, TakeSeat(booking_id=uuid4()), 1), envelope=asked())
            for h in (here, there)
        ),
        return_exceptions=True,
    )
    assert sorted(type(answer).__name__ for answer in answers) == ["Outcome", "StaleVersion"]


async def test_a_repetition_with_the_version_it_changed_itself_is_given_the_first_answer(
    here: Handler,
) -> None:
    room_id, envelope = await open_room(here, seats=2), asked()
    intent = Intent(ROOM, room_id, TakeSeat(booking_id=uuid4()), 1)
    first = await here.handle(intent, envelope=envelope)
    again = await here.handle(intent, envelope=envelope)
    assert (again.position, again.version, again.repeated) == (first.position, 2, True)


# The same command again.


async def test_a_repeated_command_is_given_the_first_answer(
    here: Handler, there: Handler, pool: asyncpg.Pool
) -> None:
    room_id, envelope = await open_room(here, seats=5), asked()
    intent = Intent(ROOM, room_id, TakeSeat(booking_id=uuid4()))
    first = await here.handle(intent, envelope=envelope, fingerprint=b"f", body={"seat": 1})
    await here.send(room_id, TakeSeat(booking_id=uuid4()), asked())
    for process in (here, there):
        again = await process.handle(intent, envelope=envelope, fingerprint=b"f", body={"seat": 2})
        assert (again.repeated, first.repeated) == (True, False)
        assert (again.position, again.version, again.body) == (first.position, first.version, {"seat": 1})
    assert len(await all_events(pool)) == 3


async def test_a_repeated_command_that_would_be_refused_now_is_given_the_first_answer(here: Handler) -> None:
    room_id, envelope = uuid4(), asked()
    first = await here.send(room_id, OpenRoom(seats=1), envelope)
    again = await here.send(room_id, OpenRoom(seats=1), envelope)
    assert (again.position, again.repeated) == (first.position, True)
    with pytest.raises(RoomAlreadyOpened):
        await here.send(room_id, OpenRoom(seats=1), asked())


async def test_a_repeated_command_that_would_do_more_now_does_nothing(
    here: Handler, pool: asyncpg.Pool
) -> None:
    """The seat was taken, and freed since: to take it again is another intention."""
    room_id, booking_id, envelope = await open_room(here, seats=1), uuid4(), asked()
    await here.send(room_id, TakeSeat(booking_id=booking_id), envelope)
    await here.send(room_id, FreeSeat(booking_id=booking_id), asked())
    again = await here.send(room_id, TakeSeat(booking_id=booking_id), envelope)
    assert (again.version, again.repeated) == (2, True)
    assert len(await all_events(pool)) == 3


@pytest.mark.parametrize("processes", [1, 2])
async def test_a_command_repeated_while_it_is_carried_out_happens_once(
    here: Handler, there: Handler, pool: asyncpg.Pool, processes: int
) -> None:
    room_id = await open_room(here, seats=5)
    for _ in range(10):
        before, envelope = len(await all_events(pool)), asked()
        intent = Intent(ROOM, room_id, TakeSeat(booking_id=uuid4()))
        outcomes = await asyncio.gather(
            *(h.handle(intent, envelope=envelope) for h in (here, there, here, there)[:: 3 - processes])
        )
        assert sorted(outcome.repeated for outcome in outcomes)[:2] == [False, True]
        assert sum(not outcome.repeated for outcome in outcomes) == 1
        assert len({(outcome.position, outcome.version) for outcome in outcomes}) == 1
        assert len(await all_events(pool)) == before + 1
        await here.send(room_id, FreeSeat(booking_id=intent.command.booking_id), asked())


async def test_a_command_with_nothing_to_do_is_remembered(here: Handler, pool: asyncpg.Pool) -> None:
    room_id, envelope = await open_room(here, seats=1), asked()
    intent = Intent(ROOM, room_id, FreeSeat(booking_id=uuid4()))
    first = await here.handle(intent, envelope=envelope, body={"freed": False})
    again = await here.handle(intent, envelope=envelope)
    assert (first.version, first.repeated) == (1, False)
    assert (again.position, again.body, again.repeated) == (first.position, {"freed": False}, True)
    assert len(await all_events(pool)) == 1


async def test_nothing_to_do_on_a_stream_that_does_not_exist_makes_none(
    here: Handler, pool: asyncpg.Pool
) -> None:
    outcome = await here.send(uuid4(), ExpireBooking(now=NOW), asked())
    assert outcome.version == 0
    assert await pool.fetchval("SELECT count(*) FROM streams") == 0


@pytest.mark.parametrize("seats", [1, 0], ids=["that would be accepted", "that would be refused"])
async def test_the_same_id_for_another_request_is_a_mistake(
    here: Handler, pool: asyncpg.Pool, seats: int
) -> None:
    room_id, envelope = await open_room(here, seats=1), asked()
    await here.handle(
        Intent(ROOM, room_id, TakeSeat(booking_id=uuid4())), envelope=envelope, fingerprint=b"a"
    )
    other = await open_room(here, seats)
    for fingerprint in (b"b", None):
        with pytest.raises(IdempotencyKeyReused):
            await here.handle(
                Intent(ROOM, other, TakeSeat(booking_id=uuid4())), envelope=envelope, fingerprint=fingerprint
            )
    assert len(await all_events(pool)) == 3


async def test_a_refusal_is_not_remembered(here: Handler, pool: asyncpg.Pool) -> None:
    room_id, envelope = uuid4(), asked()
    intent = Intent(ROOM, room_id, TakeSeat(booking_id=uuid4()))
    with pytest.raises(UnknownRoom):
        await here.handle(intent, envelope=envelope)
    assert await pool.fetchval("SELECT count(*) FROM commands") == 0
    await here.send(room_id, OpenRoom(seats=1), asked())
    outcome = await here.handle(intent, envelope=envelope)
    assert (outcome.version, outcome.repeated) == (2, False)


# Conflicts.


async def test_nothing_to_do_on_one_stream_is_decided_again_when_that_stream_has_moved(
    here: Handler, pool: asyncpg.Pool
) -> None:
    """The room had taken the seat already, and freed it before the booking was confirmed."""
    room_id = await open_room(here, seats=1)
    booking_id = await request_booking(here, room_id)
    await here.send(room_id, TakeSeat(booking_id=booking_id), asked())
    freed = FreeSeat(booking_id=booking_id)
    store = Interrupted(pool, lambda: here.send(room_id, freed, asked()), times=1)
    await confirm(handling_with(store), booking_id, room_id)
    happened = [type(recorded.event) for recorded in await all_events(pool)][-3:]
    assert happened == [SeatFreed, BookingConfirmed, SeatTaken]


async def test_intents_are_one_for_each_stream(here: Handler) -> None:
    twice = [Intent(ROOM, uuid4(), OpenRoom(seats=1))] * 2
    for intents in ([], twice):
        with pytest.raises(ValueError, match="one intent for each stream"):
            await here.handle(*intents, envelope=asked())


async def test_who_is_overtaken_decides_again_on_what_is_there_now(here: Handler, pool: asyncpg.Pool) -> None:
    room_id = await open_room(here, seats=5)
    store = Interrupted(pool, lambda: here.send(room_id, TakeSeat(booking_id=uuid4()), asked()), times=2)
    outcome = await handling_with(store).send(room_id, TakeSeat(booking_id=uuid4()), asked())
    assert (outcome.version, store.loads) == (4, 3)


async def test_who_is_overtaken_is_refused_by_what_is_there_now(here: Handler, pool: asyncpg.Pool) -> None:
    room_id = await open_room(here, seats=1)
    store = Interrupted(pool, lambda: here.send(room_id, TakeSeat(booking_id=uuid4()), asked()), times=1)
    with pytest.raises(RoomFull):
        await handling_with(store).send(room_id, TakeSeat(booking_id=uuid4()), asked())


async def test_who_is_overtaken_three_times_is_told_so_and_may_try_again(
    here: Handler, pool: asyncpg.Pool
) -> None:
    room_id, envelope = await open_room(here, seats=9), asked()
    store = Interrupted(pool, lambda: here.send(room_id, TakeSeat(booking_id=uuid4()), asked()), times=3)
    intent = Intent(ROOM, room_id, TakeSeat(booking_id=uuid4()))
    with pytest.raises(ConcurrentUpdate):
        await handling_with(store).handle(intent, envelope=envelope)
    assert (store.loads, len(await all_events(pool))) == (3, 4)
    outcome = await handling_with(store).handle(intent, envelope=envelope)
    assert (outcome.version, outcome.repeated) == (5, False)


async def test_who_is_overtaken_by_its_own_repetition_is_given_its_answer(
    here: Handler, pool: asyncpg.Pool
) -> None:
    room_id, envelope = await open_room(here, seats=9), asked()
    command = TakeSeat(booking_id=uuid4())
    store = Interrupted(pool, lambda: here.send(room_id, command, envelope), times=1)
    outcome = await handling_with(store).send(room_id, command, envelope)
    assert (outcome.version, outcome.repeated, store.loads) == (2, True, 1)


# What is published.


async def test_each_channel_counts_each_stream_for_itself_and_without_gaps(
    here: Handler, there: Handler, pool: asyncpg.Pool
) -> None:
    room_id = await open_room(here, seats=2)

    async def a_life(process: Handler, *, expires: bool) -> UUID:
        booking_id = await request_booking(process, room_id)
        if expires:
            await process.send(booking_id, ExpireBooking(now=NOW.replace(day=9)), asked())
        else:
            await until_answered(lambda: confirm(process, booking_id, room_id))
            await process.send(booking_id, CancelBooking(), asked())
            await until_answered(lambda: process.send(room_id, FreeSeat(booking_id=booking_id), asked()))
        return booking_id

    booked = [await a_life((here, there)[n % 2], expires=n % 3 == 0) for n in range(6)]
    async with pool.acquire() as connection:
        ledger = await ledger_after(connection, START, 1_000)
    for n, booking_id in enumerate(booked):
        told = [(r.channel, r.sequence, r.type.split(".")[2]) for r in ledger if r.key == booking_id]
        public, internal = "upwell.example.v1", "upwell.example.internal.v1"
        expired = [(public, 1, "BookingOpened"), (public, 2, "BookingEnded"), (internal, 1, "BookingLapsed")]
        ended = [(public, 1, "BookingOpened"), (public, 2, "BookingAgreed"), (public, 3, "BookingEnded")]
        assert told == (expired if n % 3 == 0 else ended)
    assert {row.key for row in ledger} == set(booked)
    assert len({row.event_id for row in ledger}) == len(ledger)


async def test_what_is_published_says_in_its_headers_where_it_comes_from(
    here: Handler, pool: asyncpg.Pool, clock: FixedClock
) -> None:
    room_id = await open_room(here, seats=2)
    booking_id, envelope = await request_booking(here, room_id), asked()
    clock.set(HOUR_LATER)
    outcome = await confirm(here, booking_id, room_id, envelope)
    async with pool.acquire() as connection:
        told = (await ledger_after(connection, START, 10))[-1]
    headers: dict[str, Any] = dict(orjson.loads(told.headers))
    assert headers["ce_type"] == told.type == "upwell.example.BookingAgreed.v1"
    assert headers["ce_id"] == str(told.event_id)
    assert headers["ce_partitionkey"] == str(told.key) == str(booking_id)
    assert headers["ce_sequence"].lstrip("0") == str(told.sequence) == "2"
    assert headers["ce_correlationid"] == str(envelope.correlation_id)
    assert told.recorded_at == HOUR_LATER
    assert headers["ce_time"].startswith("2026-03-02T10:00:00")
    assert orjson.loads(told.body)["room_id"] == str(room_id)
    assert outcome.position == f"example/{booking_id}@2.2.0"


# Trouble.


@pytest.fixture
async def frail(dsns: Dsns) -> AsyncIterator[tuple[asyncpg.Pool, Wire]]:
    """A pool by way of a wire that the test may cut."""
    async with wire(dsns.app) as between:
        pool = await create_pool(between.dsn, application_name="frail")
        yield pool, between
        await pool.close()


async def test_a_database_that_goes_away_before_the_append_writes_nothing_until_asked_again(
    here: Handler, pool: asyncpg.Pool, frail: tuple[asyncpg.Pool, Wire]
) -> None:
    far, between = frail
    room_id, envelope = await open_room(here, seats=2), asked()
    process = handling_with(Interrupted(far, between.down, times=1))
    intent = Intent(ROOM, room_id, TakeSeat(booking_id=uuid4()))
    with pytest.raises(Exception) as trouble:
        await process.handle(intent, envelope=envelope)
    assert is_transient(trouble.value)
    assert len(await all_events(pool)) == 1
    await between.up()
    outcome = await process.handle(intent, envelope=envelope)
    assert (outcome.version, outcome.repeated) == (2, False)


async def test_an_append_whose_answer_was_lost_is_recognised_when_asked_again(
    here: Handler, pool: asyncpg.Pool, frail: tuple[asyncpg.Pool, Wire]
) -> None:
    far, between = frail
    room_id, envelope = await open_room(here, seats=2), asked()
    process = handler(far, FixedClock(NOW))
    intent = Intent(ROOM, room_id, TakeSeat(booking_id=uuid4()))
    between.cut_at_answer(b"written")
    with pytest.raises(Exception) as trouble:
        await process.handle(intent, envelope=envelope, body={"seat": 1})
    assert is_transient(trouble.value)
    assert between.cuts == 1
    assert len(await all_events(pool)) == 2, "it was written"
    again = await process.handle(intent, envelope=envelope, body={"seat": 2})
    assert (again.repeated, again.version, again.body) == (True, 2, {"seat": 1})
    assert len(await all_events(pool)) == 2


async def test_a_connection_lost_under_a_shared_append_fails_it_at_once_for_all_that_share_it(
    here: Handler, pool: asyncpg.Pool, frail: tuple[asyncpg.Pool, Wire]
) -> None:
    """Nobody knows what was written; each asks again, and each is in the store once."""
    far, between = frail
    rooms, process = [uuid4() for _ in range(12)], handler(far, FixedClock(NOW))
    envelopes = [asked() for _ in rooms]

    async def ask() -> list[Any]:
        return await asyncio.gather(
            *(process.send(room, OpenRoom(seats=1), e) for room, e in zip(rooms, envelopes, strict=True)),
            return_exceptions=True,
        )

    between.cut_at_answer(b"written")
    first = await ask()
    lost = [answer for answer in first if isinstance(answer, Exception)]
    assert lost
    assert [error for error in lost if not is_transient(error)] == []
    second = await ask()
    assert {outcome.version for outcome in second} == {1}
    assert sorted(recorded.stream_id for recorded in await all_events(pool)) == sorted(rooms)


async def test_connections_ended_by_the_server_lose_and_double_nothing(
    here: Handler, pool: asyncpg.Pool, dsns: Dsns
) -> None:
    room_id = await open_room(here, seats=99)
    administrator = await asyncpg.connect(dsns.superuser)

    async def end_all_connections() -> None:
        await administrator.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )

    process = handling_with(Interrupted(pool, end_all_connections, times=5))
    for _ in range(5):
        envelope, command = asked(), TakeSeat(booking_id=uuid4())
        await retry(lambda e=envelope, c=command: process.send(room_id, c, e), attempts=10)  # type: ignore[misc]
    await administrator.close()
    taken = [r.event.booking_id for r in await all_events(pool) if isinstance(r.event, SeatTaken)]
    assert len(taken) == len(set(taken)) == 5


async def test_a_process_that_dies_anywhere_in_a_command_leaves_it_done_or_not_done(
    here: Handler, pool: asyncpg.Pool, clock: Clock
) -> None:
    room_id = await open_room(here, seats=1_000)

    async def scenario(fuse: Fuse) -> None:
        booking_id, envelope = await request_booking(here, room_id), asked()
        with fuse.dying():
            await confirm(handler(fuse.pool(pool), clock), booking_id, room_id, envelope)
        # Were it done already, doing it again would now have an effect.
        await here.send(room_id, FreeSeat(booking_id=booking_id), asked())
        outcome = await confirm(here, booking_id, room_id, envelope)
        assert outcome.version == 2
        rows = [r.event for r in await all_events(pool) if r.envelope.command_id == envelope.command_id]
        assert rows == [BookingConfirmed(confirmed_at=NOW), SeatTaken(booking_id=booking_id)]

    assert await everywhere(scenario) == 6, "loading both and appending, before and after"


async def test_a_caller_that_gives_up_takes_nothing_from_those_it_shares_an_append_with(
    pool: asyncpg.Pool,
) -> None:
    rooms, everybody = [uuid4() for _ in range(5)], asyncio.Barrier(6)
    process = handling_with(Interrupted(pool, everybody.wait, times=5))
    tasks = [asyncio.create_task(process.send(room, OpenRoom(seats=1), asked())) for room in rooms]
    await everybody.wait()
    tasks[2].cancel()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(outcome).__name__ for outcome in outcomes].count("Outcome") == 4
    assert isinstance(outcomes[2], asyncio.CancelledError)
    assert {recorded.stream_id for recorded in await all_events(pool)} >= {*rooms} - {rooms[2]}


async def test_stopping_waits_for_what_was_taken(pool: asyncpg.Pool) -> None:
    store, commands = EventStore(pool, EVENTS), [asked() for _ in range(5)]
    taken = [
        asyncio.create_task(store.append(Append(envelope=e, recorded_at=NOW, result="{}"))) for e in commands
    ]
    await asyncio.sleep(0)  # all have handed in what they want
    await store.stop()
    assert await pool.fetchval("SELECT count(*) FROM commands") == 5
    assert await asyncio.gather(*taken) == [Appended.WRITTEN] * 5
