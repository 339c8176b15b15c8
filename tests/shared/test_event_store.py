"""The event store on real PostgreSQL: what it keeps, what it refuses, and the order its readers see."""

import asyncio
import random
from collections.abc import Sequence
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from uuid_utils.compat import uuid7

from tests.shared.conftest import Dsns
from tests.shared.example.app import COMMANDS, EVENTS, handler
from tests.shared.example.domain.room import FreeSeat, RoomOpened, SeatTaken
from upwell_shared.clock import WallClock
from upwell_shared.database import create_pool
from upwell_shared.event_store import Append, Appended, EventStore, StreamAppend
from upwell_shared.event_store.appending import APPEND, columns
from upwell_shared.events import START, Envelope, Position, Recorded, UnknownEvent
from upwell_shared.tail import events_after
from upwell_shared.todos import Todo, TodoWorker, insert


def envelope(command_id: UUID | None = None) -> Envelope:
    return Envelope(command_id=command_id or uuid4(), correlation_id=uuid4())


def to_stream(stream_id: UUID, expected: int, *events: object) -> StreamAppend:
    return StreamAppend(
        stream_id=stream_id,
        type="room",
        expected=expected,
        events=[(uuid7(), EVENTS.encode(e)) for e in events],
    )


def append(*streams: StreamAppend, command_id: UUID | None = None) -> Append:
    return Append(envelope=envelope(command_id), recorded_at=WallClock().now(), result="{}", streams=streams)


async def read(pool: asyncpg.Pool, after: Position = START, limit: int = 10_000) -> Sequence[Recorded[Any]]:
    async with pool.acquire() as connection:
        return await events_after(connection, EVENTS, after, limit)


@pytest.fixture
def store(pool: asyncpg.Pool) -> EventStore:
    return EventStore(pool, EVENTS)


async def test_a_stream_is_loaded_as_it_was_appended(store: EventStore) -> None:
    room, booking = uuid4(), uuid4()
    assert await store.append(append(to_stream(room, 0, RoomOpened(seats=2)))) is Appended.WRITTEN
    assert await store.append(append(to_stream(room, 1, SeatTaken(booking_id=booking)))) is Appended.WRITTEN
    loaded = (await store.load(room))[room]
    assert (loaded.version, loaded.events) == (2, [RoomOpened(seats=2), SeatTaken(booking_id=booking)])


async def test_a_stream_that_does_not_exist_is_at_version_zero(store: EventStore) -> None:
    nowhere = uuid4()
    loaded = (await store.load(nowhere))[nowhere]
    assert (loaded.version, loaded.events) == (0, [])


async def test_a_stale_version_is_a_conflict_and_writes_nothing(
    store: EventStore, pool: asyncpg.Pool
) -> None:
    room, other = uuid4(), uuid4()
    await store.append(append(to_stream(room, 0, RoomOpened(seats=1))))
    stale = append(to_stream(other, 0, RoomOpened(seats=1)), to_stream(room, 0, RoomOpened(seats=9)))
    assert await store.append(stale) is Appended.CONFLICT
    assert len(await read(pool)) == 1
    assert await pool.fetchval("SELECT count(*) FROM streams") == 1
    assert await pool.fetchval("SELECT count(*) FROM commands") == 1


async def test_of_two_appends_at_once_one_is_written(store: EventStore, pool: asyncpg.Pool) -> None:
    room = uuid4()
    second_process = EventStore(pool, EVENTS)
    outcomes = await asyncio.gather(
        *(s.append(append(to_stream(room, 0, RoomOpened(seats=1)))) for s in (store, second_process, store))
    )
    assert sorted(outcomes) == ["conflict", "conflict", "written"]
    assert len(await read(pool)) == 1


async def test_streams_of_one_command_are_written_all_or_none(store: EventStore, pool: asyncpg.Pool) -> None:
    ids = [uuid4() for _ in range(3)]
    together = append(*(to_stream(i, 0, RoomOpened(seats=1)) for i in ids))
    assert await store.append(together) is Appended.WRITTEN
    assert {(await store.load(*ids))[i].version for i in ids} == {1}


async def test_a_conflict_in_a_shared_batch_costs_the_other_commands_nothing(store: EventStore) -> None:
    taken = uuid4()
    await store.append(append(to_stream(taken, 0, RoomOpened(seats=1))))
    fresh = [uuid4() for _ in range(20)]
    outcomes = await asyncio.gather(
        *(store.append(append(to_stream(i, 0, RoomOpened(seats=1)))) for i in fresh[:10]),
        store.append(append(to_stream(taken, 0, RoomOpened(seats=1)))),
        *(store.append(append(to_stream(i, 0, RoomOpened(seats=1)))) for i in fresh[10:]),
    )
    assert outcomes.count(Appended.WRITTEN) == 20
    assert outcomes[10] is Appended.CONFLICT
    assert {loaded.version for loaded in (await store.load(*fresh)).values()} == {1}


async def test_a_command_that_the_database_refuses_costs_the_other_commands_nothing(
    store: EventStore,
) -> None:
    good, bad = uuid4(), uuid4()
    broken = StreamAppend(
        stream_id=bad,
        type="room",
        expected=0,
        events=[(uuid7(), EVENTS.encode(RoomOpened(seats=1))._replace(data="{"))],
    )
    first = asyncio.create_task(store.append(append(to_stream(uuid4(), 0, RoomOpened(seats=1)))))
    outcomes = await asyncio.gather(
        first,
        store.append(append(broken)),
        store.append(append(to_stream(good, 0, RoomOpened(seats=1)))),
        return_exceptions=True,
    )
    assert (outcomes[0], outcomes[2]) == (Appended.WRITTEN, Appended.WRITTEN)
    assert isinstance(outcomes[1], asyncpg.InvalidTextRepresentationError)
    assert (await store.load(bad))[bad].version == 0


async def test_appends_of_one_process_to_one_stream_keep_their_order(store: EventStore) -> None:
    room = uuid4()
    bookings = [uuid4() for _ in range(30)]
    outcomes = await asyncio.gather(
        store.append(append(to_stream(room, 0, RoomOpened(seats=30)))),
        *(
            store.append(append(to_stream(room, n, SeatTaken(booking_id=b))))
            for n, b in enumerate(bookings, 1)
        ),
    )
    assert set(outcomes) == {Appended.WRITTEN}
    assert (await store.load(room))[room].events[1:] == [SeatTaken(booking_id=b) for b in bookings]


async def test_a_known_command_id_writes_nothing_again(store: EventStore, pool: asyncpg.Pool) -> None:
    room, command = uuid4(), uuid4()
    await store.append(append(to_stream(room, 0, RoomOpened(seats=1)), command_id=command))
    again = append(to_stream(room, 1, SeatTaken(booking_id=uuid4())), command_id=command)
    assert await store.append(again) is Appended.DUPLICATE
    elsewhere = append(to_stream(uuid4(), 0, RoomOpened(seats=1)), command_id=command)
    assert await store.append(elsewhere) is Appended.DUPLICATE
    assert len(await read(pool)) == 1
    assert await pool.fetchval("SELECT count(*) FROM streams") == 1
    answer = await store.answer(command)
    assert answer is not None
    assert answer.result == "{}"


async def test_an_append_after_another_write_of_its_transaction_is_refused(pool: asyncpg.Pool) -> None:
    """The first-write guard: without it a stream's version 2 could be read before its version 1."""
    async with pool.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute("UPDATE streams SET version = version WHERE stream_id = $1", uuid4())
        await connection.execute("INSERT INTO commands (command_id, result) VALUES ($1, '{}')", uuid4())
        with pytest.raises(
            asyncpg.PostgresError, match="must be the first write of its transaction"
        ) as refused:
            await call_append(connection, to_stream(uuid4(), 0, RoomOpened(seats=1)))
        assert refused.value.sqlstate == "UW001"
        await transaction.rollback()


async def call_append(connection: Any, *streams: StreamAppend, command_id: UUID | None = None) -> Any:
    """The SQL function on a connection of the test's choice, so that its transaction can be held open."""
    return await connection.fetchval(APPEND, *columns([append(*streams, command_id=command_id)]))


async def test_a_reader_waits_for_an_older_open_append_and_then_reads_in_order(pool: asyncpg.Pool) -> None:
    """The barrier: with A open, B's later commit is not shown; after A's commit both are, A first."""
    a, b = uuid4(), uuid4()
    async with pool.acquire() as first:
        transaction = first.transaction()
        await transaction.start()
        assert await call_append(first, to_stream(a, 0, RoomOpened(seats=1))) == ["written"]
        async with pool.acquire() as second:
            assert await call_append(second, to_stream(b, 0, RoomOpened(seats=1))) == ["written"]
        assert await pool.fetchval("SELECT count(*) FROM events") == 1, "B is committed"
        assert await read(pool) == []
        await transaction.commit()
    assert [recorded.stream_id for recorded in await read(pool)] == [a, b]


async def test_sixteen_writers_and_a_reader_miss_nothing_and_keep_every_stream_in_order(dsns: Dsns) -> None:
    """Writers hold their transactions open for random moments, reactions run; a reader follows from start to end."""
    pool = await create_pool(dsns.app, application_name="writers", size=24)
    rng = random.Random(20)
    streams = [uuid4() for _ in range(6)]
    bookings = [uuid4() for _ in range(4)]
    written: list[tuple[UUID, int]] = []
    done, over = asyncio.Event(), asyncio.Event()

    async def writer() -> None:
        store = EventStore(pool, EVENTS)
        for _ in range(25):
            stream_id = rng.choice(streams)
            head = (await store.load(stream_id))[stream_id].version
            event = SeatTaken(booking_id=rng.choice(bookings)) if head else RoomOpened(seats=9)
            async with pool.acquire() as connection, connection.transaction():
                outcome = await call_append(connection, to_stream(stream_id, head, event))
                # Commit late: what commits meanwhile was written later and must wait for this one.
                await asyncio.sleep(rng.random() * 0.01)
            if outcome == ["written"]:
                written.append((stream_id, head + 1))

    async def reactor() -> None:
        """Promises commands in transactions of some length, as a consumer does, and has them carried out."""
        worker = TodoWorker(pool, COMMANDS, handler(pool, WallClock()).send, WallClock())
        while not done.is_set():
            command = COMMANDS.encode(FreeSeat(booking_id=rng.choice(bookings)))
            todo = Todo(uuid4(), rng.choice(streams), *command, uuid4(), None, None)
            async with pool.acquire() as connection, connection.transaction():
                await insert(connection, [todo])
                await asyncio.sleep(rng.random() * 0.005)
            await worker.step()

    async def reader() -> list[tuple[UUID, int]]:
        seen: list[tuple[UUID, int]] = []
        at, finished = START, False
        while True:
            finished = over.is_set()
            page = await read(pool, at, 7)
            seen += [(r.stream_id, r.version) for r in page]
            if page:
                at = page[-1].at
            elif finished:
                return seen
            else:
                await asyncio.sleep(0.001)

    following = [asyncio.create_task(each) for each in (reactor(), reactor())]
    reading = asyncio.create_task(reader())
    await asyncio.gather(*(writer() for _ in range(16)))
    done.set()
    await asyncio.gather(*following)
    over.set()
    seen = await reading
    stored = await pool.fetch("SELECT stream_id, version, type FROM events")
    assert len(written) > 100
    assert {row["type"] for row in stored} == {"RoomOpened", "SeatTaken", "SeatFreed"}
    assert sorted(seen) == sorted((row["stream_id"], row["version"]) for row in stored)
    assert set(written) <= set(seen)
    for stream_id in streams:
        versions = [version for seen_id, version in seen if seen_id == stream_id]
        assert versions == list(range(1, len(versions) + 1))
    await pool.close()


async def test_the_database_refuses_to_change_or_remove_a_fact(
    pool: asyncpg.Pool, owner_pool: asyncpg.Pool
) -> None:
    await EventStore(pool, EVENTS).append(append(to_stream(uuid4(), 0, RoomOpened(seats=1))))
    for statement in ("UPDATE events SET version = 2", "DELETE FROM events", "DELETE FROM ledger"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await pool.execute(statement)
    for statement in (
        "UPDATE events SET version = 2",
        "DELETE FROM events",
        "TRUNCATE events",
        "DELETE FROM ledger",
    ):
        with pytest.raises(asyncpg.PostgresError, match="never changed") as refused:
            await owner_pool.execute(statement)
        assert refused.value.sqlstate == "UW002"


async def test_the_reader_role_reads_and_cannot_write(dsns: Dsns) -> None:
    connection = await asyncpg.connect(dsns.reader)
    assert await connection.fetchval("SELECT count(*) FROM events") == 0
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await connection.execute("INSERT INTO commands (command_id, result) VALUES ($1, '{}')", uuid4())
    await connection.close()


async def test_an_unknown_type_or_version_in_the_store_is_named(
    store: EventStore, owner_pool: asyncpg.Pool
) -> None:
    room = uuid4()
    future = StreamAppend(
        stream_id=room,
        type="room",
        expected=0,
        events=[(uuid7(), EVENTS.encode(RoomOpened(seats=1))._replace(schema_version=7))],
    )
    await store.append(append(future))
    with pytest.raises(UnknownEvent, match="RoomOpened version 7 is unknown to this release"):
        await store.load(room)


async def test_command_ids_past_their_horizon_are_forgotten_in_small_batches(
    store: EventStore, pool: asyncpg.Pool
) -> None:
    await pool.execute(
        "INSERT INTO commands (command_id, result, recorded_at)"
        " SELECT gen_random_uuid(), '{}', now() - make_interval(days => 31) FROM generate_series(1, 700)"
    )
    await store.append(append(to_stream(uuid4(), 0, RoomOpened(seats=1))))
    rounds = 0
    while await store.forget_commands():
        rounds += 1
    assert rounds == 2
    assert await pool.fetchval("SELECT count(*) FROM commands") == 1
