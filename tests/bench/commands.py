"""Row 2: load, decide and append on streams of twenty events, beside the same with the library `eventsourcing`."""

import asyncio
import importlib.util
import json
import os
import sys
from collections.abc import AsyncIterator, Iterable
from typing import Any
from uuid import UUID, uuid4

import asyncpg
from uuid_utils.compat import uuid7

from tests.bench import appends
from tests.bench.rounds import AtLeast, Figures, Row, Segment, Watch, compare
from tests.bench.world import World, pool, settled
from tests.shared.conftest import Dsns
from tests.shared.example.aggregates import AGGREGATES, EVENTS, ROOM
from tests.shared.example.contract import BookingOpened, contract
from tests.shared.example.domain.room import RoomOpened, SeatTaken, TakeSeat
from upwell_shared.clock import WallClock
from upwell_shared.contracts import Contract, PublishedEvent
from upwell_shared.event_store import Append, EventStore, StreamAppend
from upwell_shared.events import Envelope
from upwell_shared.handling import Handler, Intent

CONCURRENCY = 8
EVENTS_A_STREAM = 20

# So many streams that each grows by a few events only while it is measured.
_STREAMS_A_SECOND = 1200
_PEER_STREAMS_A_SECOND = 250


async def rows(world: World) -> AsyncIterator[Row]:
    """Both the whole command and the append alone, and the library with and without its table lock."""
    if importlib.util.find_spec("eventsourcing") is None:
        world.rounds.say("  skipped: eventsourcing is in the environment of `make bench` only")
        return
    async with world.database() as dsns, pool(dsns.app) as app:
        await make_room_for_the_peer(dsns)
        store = EventStore(app, EVENTS)
        handler = Handler(store, WallClock(), contract(), tell_every_seat, AGGREGATES)
        readings = await world.rounds.measure(
            peer=peer(world, dsns, "get_and_save"),
            peer_without_lock=peer(world, dsns, "get_and_save", functions=True),
            ours=handled(world, dsns, store, handler),
            peer_save=peer(world, dsns, "save"),
            ours_append=appends.ours(store, CONCURRENCY, world.rounds.seconds),
        )
    for path, floor, ours, floor_is, goal in (
        ("load + decide + append", "peer", "ours", "eventsourcing get + save", AtLeast(8)),
        ("load + decide + append", "peer_without_lock", "ours", "the same without its table lock", None),
        ("append", "peer_save", "ours_append", "eventsourcing save", None),
    ):
        yield compare(
            path, readings[floor], readings[ours], floor_is=floor_is, concurrency=CONCURRENCY, goal=goal
        )


def tell_every_seat(stream_id: UUID, event: Any, state: Any) -> Iterable[PublishedEvent]:
    """One published event for each of our own, so that every command writes a ledger row."""
    del state
    if isinstance(event, SeatTaken):
        yield BookingOpened(booking_id=event.booking_id, room_id=stream_id)


def handled(world: World, dsns: Dsns, store: EventStore, handler: Handler) -> Segment:
    seconds = world.rounds.seconds

    async def segment(watch: Watch) -> Figures:
        rooms = await rooms_with_history(store, int(_STREAMS_A_SECOND * seconds))
        await settled(dsns.superuser)
        own = [rooms[n::CONCURRENCY] for n in range(CONCURRENCY)]

        async def worker(number: int, until: float) -> int:
            done = 0
            while now() < until:
                room = own[number][done % len(own[number])]
                envelope = Envelope(command_id=uuid4(), correlation_id=uuid4())
                await handler.handle(Intent(ROOM, room, TakeSeat(booking_id=uuid4())), envelope=envelope)
                done += 1
            return done

        now = asyncio.get_running_loop().time
        with watch:
            done = await asyncio.gather(*(worker(n, now() + seconds) for n in range(CONCURRENCY)))
        return watch.rate(sum(done))

    return segment


async def rooms_with_history(store: EventStore, count: int) -> list[UUID]:
    """So many streams of twenty events."""
    told, now = contract(), WallClock().now()
    rooms = [uuid4() for _ in range(count)]
    for start in range(0, count, 200):
        await asyncio.gather(
            *(store.append(_history(room, told, now)) for room in rooms[start : start + 200])
        )
    return rooms


def _history(room: UUID, told: Contract, now: Any) -> Append:
    envelope = Envelope(command_id=uuid4(), correlation_id=uuid4())
    taken = [SeatTaken(booking_id=uuid4()) for _ in range(EVENTS_A_STREAM - 1)]
    events = [(uuid7(), EVENTS.encode(event)) for event in (RoomOpened(seats=1000), *taken)]
    publications = [
        told.publish(
            BookingOpened(booking_id=event.booking_id, room_id=room),
            source_event_id=event.booking_id,
            stream_id=room,
            sequence=number,
            recorded_at=now,
            envelope=envelope,
        )
        for number, event in enumerate(taken, 1)
    ]
    return Append(
        envelope=envelope,
        recorded_at=now,
        result="[]",
        streams=[
            StreamAppend(
                stream_id=room,
                type="room",
                expected=0,
                events=events,
                publications=publications,
                public_sequence=len(publications),
            )
        ],
    )


async def make_room_for_the_peer(dsns: Dsns) -> None:
    """Schemas in which the library makes its tables."""
    connection = await asyncpg.connect(dsns.owner)
    await connection.execute("CREATE SCHEMA peer AUTHORIZATION example_owner")
    await connection.execute("CREATE SCHEMA peer_without_lock AUTHORIZATION example_owner")
    await connection.execute("GRANT ALL ON SCHEMA peer, peer_without_lock TO example_app")
    await connection.close()


def peer(world: World, dsns: Dsns, what: str, *, functions: bool = False) -> Segment:
    """The library in a process of its own, with threads as it wants them, in the same database."""
    seconds = world.rounds.seconds

    async def segment(watch: Watch) -> Figures:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.bench.peer", dsns.app, what, str(seconds), str(CONCURRENCY)),
            *(str(int(_PEER_STREAMS_A_SECOND * seconds)), str(EVENTS_A_STREAM), str(int(functions))),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env=dict(os.environ),
        )
        assert process.stdin is not None
        assert process.stdout is not None
        if await process.stdout.readline() != b"ready\n":
            raise RuntimeError("the process with eventsourcing failed, see above")
        await settled(dsns.superuser)
        with watch:
            process.stdin.write(b"go\n")
            done = json.loads(await process.stdout.readline())
        process.stdin.close()
        await process.wait()
        return watch.rate(done["operations"])

    return segment
