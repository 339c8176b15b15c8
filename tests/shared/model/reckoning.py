"""What must hold when all is quiet, from tables and log alone: nothing here asks the parts that were at work."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg

from tests.shared.example.app import EVENTS
from tests.shared.example.contract import contract
from tests.shared.example.domain import booking, room
from tests.shared.example.publishing import publishing
from tests.shared.model.asked import Asked, booking_id, room_id
from tests.shared.model.log import log_id_of
from tests.shared.model.parts import CONSUMER
from tests.shared.model.program import ROOMS, CancelBooking, ConfirmBooking, OpenRoom, RequestBooking
from tests.shared.model.world import World
from upwell_shared.contracts import Publication, record_headers
from upwell_shared.events import Recorded
from upwell_shared.tail import recorded
from upwell_shared.todos import todo_id


@dataclass
class Booking:
    """A booking after some of its events, folded by hand. `history` holds its situation at each version.

    `opened_by` is the event that requested it.
    """

    room_id: UUID
    expires_at: datetime
    opened_by: UUID
    history: list[str] = field(default_factory=lambda: ["none", "requested"])

    @property
    def now(self) -> str:
        return self.history[-1]


@dataclass
class Room:
    """A room likewise; `history` holds who sat there at each version."""

    seats: int
    history: list[frozenset[UUID]] = field(default_factory=lambda: [frozenset(), frozenset()])

    @property
    def now(self) -> frozenset[UUID]:
        return self.history[-1]


class Facts:
    """The events as they stand, in commit order, and what they come to."""

    def __init__(self, events: Sequence[Recorded[Any]]) -> None:
        self.events = events
        self.bookings: dict[UUID, Booking] = {}
        self.rooms: dict[UUID, Room] = {}
        self.by_command: defaultdict[UUID, list[Recorded[Any]]] = defaultdict(list)
        self.versions: Counter[UUID] = Counter()
        self.freed: Counter[UUID] = Counter()
        self.taken: Counter[UUID] = Counter()
        for event in events:
            self.versions[event.stream_id] += 1
            assert event.version == self.versions[event.stream_id], f"out of order or with a gap: {event}"
            self.by_command[event.envelope.command_id].append(event)
            self._fold(event.stream_id, event.event_id, event.event)

    def _fold(self, stream_id: UUID, event_id: UUID, event: Any) -> None:
        match event:
            case room.RoomOpened(seats=seats):
                assert stream_id not in self.rooms
                self.rooms[stream_id] = Room(seats)
            case room.SeatTaken(booking_id=who):
                held = self.rooms[stream_id]
                assert who not in held.now, f"{who} sits twice"
                assert len(held.now) < held.seats, f"more than {held.seats} seats are taken"
                held.history.append(held.now | {who})
                self.taken[who] += 1
            case room.SeatFreed(booking_id=who):
                held = self.rooms[stream_id]
                assert who in held.now, f"{who} is freed and did not sit"
                held.history.append(held.now - {who})
                self.freed[who] += 1
            case booking.BookingRequested(room_id=where, expires_at=expires_at):
                assert stream_id not in self.bookings
                self.bookings[stream_id] = Booking(where, expires_at, event_id)
            case booking.BookingConfirmed():
                assert self.bookings[stream_id].now == "requested"
                self.bookings[stream_id].history.append("confirmed")
            case booking.BookingCancelled():
                assert self.bookings[stream_id].now in {"requested", "confirmed"}
                self.bookings[stream_id].history.append("ended")
            case booking.BookingExpired():
                assert self.bookings[stream_id].now == "requested"
                self.bookings[stream_id].history.append("ended")
            case _:
                raise AssertionError(f"who did this? {event}")


async def facts_of(pool: asyncpg.Pool) -> Facts:
    """Everything that happened. Raises AssertionError if a rule of the example is broken by it, or heads disagree."""
    rows = await pool.fetch("SELECT * FROM events ORDER BY tx, position")
    facts = Facts([recorded(row, EVENTS) for row in rows])
    streams = {row["stream_id"]: row["version"] for row in await pool.fetch("SELECT * FROM streams")}
    assert streams == dict(facts.versions), "heads of streams and events disagree"
    return facts


async def reckon(world: World) -> None:
    """Raises AssertionError where the system is not what the model says."""
    pool = world.pool
    facts = await facts_of(pool)
    known = {row["command_id"] for row in await pool.fetch("SELECT command_id FROM commands")}
    _clients(world, facts, known)
    ledger = await check_ledger(pool, facts, world.owner)
    _reactions_and_timers(facts, ledger, known, {asked.command_id for asked in world.asked})
    check_seats(facts)
    await _log(world, ledger)
    await check_read_models(pool, facts, ledger, world.clock.now())
    await check_consumer(pool, ledger, CONSUMER)


def _clients(world: World, facts: Facts, known: set[UUID]) -> None:
    for asked in world.asked:
        events = facts.by_command.get(asked.command_id, [])
        if asked.outcome is None:
            assert asked.command_id not in known, f"refused and recorded: {asked}"
            assert not events, f"refused and carried out: {asked}"
            assert _rightly_refused(asked, facts), f"refused without a reason: {asked}"
            continue
        assert asked.command_id in known, f"acknowledged and not recorded: {asked}"
        assert len({event.at.tx for event in events}) <= 1, f"carried out more than once: {asked}"
        kinds = [type(event.event) for event in events]
        version = asked.outcome.version
        match asked.wish:
            case OpenRoom(number, seats):
                assert kinds == [room.RoomOpened], asked
                assert facts.rooms[room_id(number)].seats == seats
            case RequestBooking(number):
                assert kinds == [booking.BookingRequested], asked
                assert facts.bookings[booking_id(number)].room_id == room_id(number % ROOMS)
            case ConfirmBooking(number):
                assert kinds in ([booking.BookingConfirmed, room.SeatTaken], []), asked
                assert facts.bookings[booking_id(number)].history[version] == "confirmed", asked
            case CancelBooking(number):
                assert kinds in ([booking.BookingCancelled], []), asked
                assert facts.bookings[booking_id(number)].history[version] == "ended", asked
        if events:
            assert events[0].version == version, f"answered with another version: {asked}"


def _rightly_refused(asked: Asked, facts: Facts) -> bool:
    """Whether the rule held at some moment of the attempt that was refused."""

    def moments(stream_id: UUID, history: Sequence[Any]) -> Sequence[Any]:
        return history[asked.before.get(stream_id, 0) : asked.after.get(stream_id, 0) + 1]

    match asked.wish, asked.refusal:
        case OpenRoom(number), room.RoomAlreadyOpened:
            return room_id(number) in asked.after
        case RequestBooking(number), booking.AlreadyRequested:
            return booking_id(number) in asked.after
        case ((ConfirmBooking(number) | CancelBooking(number)), booking.NotRequested):
            return booking_id(number) not in asked.before
        case ConfirmBooking(number), booking.BookingClosed:
            held = facts.bookings[booking_id(number)]
            return "ended" in moments(booking_id(number), held.history)
        case ConfirmBooking(number), room.UnknownRoom:
            return room_id(number % ROOMS) not in asked.before
        case ConfirmBooking(number), room.RoomFull:
            where = room_id(number % ROOMS)
            return any(
                len(who) == facts.rooms[where].seats for who in moments(where, facts.rooms[where].history)
            )
    return False


def _reactions_and_timers(
    facts: Facts, ledger: Sequence[asyncpg.Record], known: set[UUID], asked: set[UUID]
) -> None:
    freeing = {}
    for row in ledger:
        if row["type"].endswith(".BookingEnded.v1"):
            where = UUID(json.loads(row["body"])["room_id"])
            freeing[todo_id(row["event_id"], "free_the_seat", where, "FreeSeat")] = row["key"]
    expiring = {
        todo_id(held.opened_by, "expiry", stream_id, "ExpireBooking"): stream_id
        for stream_id, held in facts.bookings.items()
    }
    assert freeing.keys() <= known, "a booking ended, and its room was not told"
    stray = known - asked - freeing.keys() - expiring.keys()
    assert not stray, f"nobody asked for {stray}"
    for command_id, events in facts.by_command.items():
        said = [event.event for event in events]
        if command_id in freeing:
            assert said == [room.SeatFreed(booking_id=freeing[command_id])], said
        elif command_id in expiring:
            assert said == [booking.BookingExpired()], said
            assert events[0].stream_id == expiring[command_id]
            assert events[0].recorded_at >= facts.bookings[events[0].stream_id].expires_at
        else:
            assert command_id in asked, f"nobody asked for {said}"


def check_seats(facts: Facts) -> None:
    """A confirmed booking took one seat; one that ended after that freed it once."""
    for stream_id, held in facts.bookings.items():
        sat = "confirmed" in held.history
        assert facts.taken[stream_id] == int(sat), f"{held} took {facts.taken[stream_id]} seats"
        freed = int(sat and held.now == "ended")
        assert facts.freed[stream_id] == freed, f"{held} freed {facts.freed[stream_id]} seats"


async def check_ledger(pool: asyncpg.Pool, facts: Facts, owner: str) -> Sequence[asyncpg.Record]:
    """The ledger, which is what `publishing` makes of the events, in their order, byte for byte."""
    ledger = await pool.fetch("SELECT * FROM ledger ORDER BY tx, position")
    deciders: dict[UUID, Any] = {}
    sequences: Counter[tuple[UUID, str]] = Counter()
    expected: list[Publication] = []
    published = contract(owner)
    for event in facts.events:
        kind: Any = room if type(event.event).__module__ == room.__name__ else booking
        decider = kind.room if kind is room else kind.booking
        state = decider.evolve(deciders.get(event.stream_id, decider.initial), event.event)
        deciders[event.stream_id] = state
        for told in publishing(event.stream_id, event.event, state):
            sequences[event.stream_id, told.audience] += 1
            publication = published.publish(
                told,
                source_event_id=event.event_id,
                stream_id=event.stream_id,
                sequence=sequences[event.stream_id, told.audience],
                recorded_at=event.recorded_at,
                envelope=event.envelope,
            )
            expected.append(publication)
    columns = ("event_id", "channel", "key", "partition", "sequence", "type", "headers", "body")
    assert [[row[c] for c in columns] for row in ledger] == [
        [getattr(publication, c) for c in columns] for publication in expected
    ], "the ledger is not what the events come to"
    return ledger


async def _log(world: World, ledger: Sequence[asyncpg.Record]) -> None:
    """The present log holds the whole ledger, and of each key the first copies stand in order."""
    log_id = (await world.log.identity()).log_id
    assert log_id is not None
    found: defaultdict[tuple[str, str], list[Any]] = defaultdict(list)
    for (channel, partition), records in (await world.log.everything(len(ledger))).items():
        first: dict[Any, None] = {}
        for record in records:
            if log_id_of(record) == log_id:
                headers = tuple((n, bytes(v or b"")) for n, v in record.headers)
                first.setdefault((partition, record.key, headers, record.value))
        for copy in first:
            found[channel, copy[1].decode()].append(copy)
    expected: defaultdict[tuple[str, str], list[Any]] = defaultdict(list)
    for row in ledger:
        headers = tuple(record_headers(row["headers"], log_id))
        key = str(row["key"])
        expected[row["channel"], key].append((row["partition"], key.encode(), headers, row["body"]))
    assert found == expected, "the log is not what the ledger comes to"


_STANDING = {"BookingOpened": "requested", "BookingAgreed": "confirmed", "BookingEnded": "ended"}


async def check_read_models(
    pool: asyncpg.Pool, facts: Facts, ledger: Sequence[asyncpg.Record], now: datetime
) -> None:
    """Own and foreign projections are what an independent fold comes to, each change counted once."""
    standing: dict[UUID, tuple[UUID, UUID, str, int]] = {}
    for row in ledger:
        if said := _STANDING.get(row["type"].split(".")[2]):
            changes = standing[row["key"]][3] if row["key"] in standing else 0
            standing[row["key"]] = (row["key"], UUID(json.loads(row["body"])["room_id"]), said, changes + 1)
    await _expect(pool, "SELECT * FROM bookings", standing.values())
    seats = ((stream_id, who) for stream_id, held in facts.rooms.items() for who in held.now)
    await _expect(pool, "SELECT * FROM seats", seats)
    rooms = ((stream_id, held.seats) for stream_id, held in facts.rooms.items())
    await _expect(pool, "SELECT * FROM rooms", rooms)
    pending = [(i, "expiry", b.expires_at) for i, b in facts.bookings.items() if b.now == "requested"]
    await _expect(pool, "SELECT stream_id, name, due_at FROM timers", pending)
    assert all(due_at > now for *_, due_at in pending), "a booking is past its time and stands"


async def check_consumer(pool: asyncpg.Pool, ledger: Sequence[asyncpg.Record], consumer: str) -> None:
    """It has seen all of the ledger, has nothing left to do and nothing parked."""
    await _expect(pool, "SELECT type, parked_because FROM todos", [])
    await _expect(pool, "SELECT reason, type, sequence FROM dead_letters", [])
    last = {(row["channel"], row["key"]): (row["sequence"], row["event_id"]) for row in ledger}
    progress = "SELECT consumer, channel, stream_id, sequence, event_id, letters FROM progress"
    await _expect(pool, progress, ((consumer, *p, *e, 0) for p, e in last.items()))


async def _expect(pool: asyncpg.Pool, query: str, expected: Iterable[tuple[Any, ...]]) -> None:
    found, wanted = {tuple(row) for row in await pool.fetch(query)}, set(expected)
    assert found == wanted, f"{query}: wrongly there {found - wanted}, missing {wanted - found}"
