"""The whole pipeline on a broker of its own, under load, when the log is lost: everything arrives, and arrives once.

Two relays, of which one stands by, and two consumers in a group; clients book, confirm and cancel all the time. What
is read at the end is reckoned against the events by folds that share nothing with the parts that were at work.
"""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from uuid import UUID, uuid4

import asyncpg
import pytest

from tests.shared.consuming_broker import until
from tests.shared.example.app import BOOKING, COMMANDS, EVENTS, FOREIGN, ROOM, TIMERS, handler
from tests.shared.example.contract import contract
from tests.shared.example.domain.booking import CancelBooking, ConfirmBooking, RequestBooking
from tests.shared.example.domain.room import OpenRoom, RoomFull, TakeSeat
from tests.shared.example.projections import who_sits_where
from tests.shared.example.reactions import free_the_seat
from tests.shared.model.reckoning import (
    check_consumer,
    check_ledger,
    check_read_models,
    check_seats,
    facts_of,
)
from tests.shared.relay_world import Sent, delete_channels, drain, in_order, world, write
from tests.shared.relay_world import World as Published
from tests.shared.test_relay_faults import (
    Server,
    all_channels_deleted,
    emptied_disks,
    new_cluster,
    server,
)
from upwell.servers.apache_kafka import ApacheKafka
from upwell.servers.testing import SharedBroker
from upwell_shared.clock import WallClock
from upwell_shared.consuming import Consumer, ConsumerSettings, Handlers
from upwell_shared.events import Envelope
from upwell_shared.handling import Handler, Intent
from upwell_shared.lease import Lease
from upwell_shared.log_identity import ClusterClient
from upwell_shared.projecting import Projector
from upwell_shared.retrying import retry
from upwell_shared.running import Wakes
from upwell_shared.todos import TodoWorker
from upwell_shared.worker import Worker

__all__ = ["server"]

_CLIENTS = 4
_BOOKINGS_BEFORE = 100
_BOOKINGS_AFTER = 20
_PAUSE = 0.01
"""Between two commands of a client: a load that leaves the machine room to heal."""

# How far everything is behind what was written, in events and in promises.
_BEHIND = """
SELECT (SELECT count(*) FROM (SELECT channel, key, max(sequence) AS sequence FROM ledger GROUP BY channel, key) l
        LEFT JOIN progress p ON p.channel = l.channel AND p.stream_id = l.key
        WHERE coalesce(p.sequence, 0) < l.sequence)
     + (SELECT count(*) FROM todos)
     + (SELECT count(*) FROM events e, projections p
        WHERE p.live AND p.name IN ('who_sits_where', 'timers') AND (e.tx, e.position) > (p.tx, p.position))
"""


@dataclass
class Clients:
    """They book, confirm and cancel until told to stop, and keep what they were told, and may rely on."""

    handler: Handler
    clock: WallClock = field(default_factory=WallClock)
    booked: set[UUID] = field(default_factory=set)
    confirmed: set[UUID] = field(default_factory=set)
    cancelled: set[UUID] = field(default_factory=set)

    async def run(self, seed: int) -> None:
        chance, room = random.Random(seed), uuid4()
        here: set[UUID] = set()
        await self._ask(Intent(ROOM, room, OpenRoom(seats=3)))
        while True:
            booking, now = uuid4(), self.clock.now()
            await self._ask(Intent(BOOKING, booking, RequestBooking(room_id=room, now=now)))
            self.booked.add(booking)
            here.add(booking)
            try:
                await self._ask(
                    Intent(BOOKING, booking, ConfirmBooking(now=now)),
                    Intent(ROOM, room, TakeSeat(booking_id=booking)),
                )
                self.confirmed.add(booking)
            except RoomFull:
                # Where all that sat here have cancelled, their seats are still being freed.
                mine = sorted(here & self.confirmed)
                for leaving in chance.sample(mine, min(1, len(mine))):
                    self.confirmed.remove(leaving)
                    await self._ask(Intent(BOOKING, leaving, CancelBooking()))
                    self.cancelled.add(leaving)

    async def _ask(self, *intents: Intent) -> None:
        await self.handler.handle(*intents, envelope=Envelope(command_id=uuid4(), correlation_id=uuid4()))
        await asyncio.sleep(_PAUSE)


@dataclass(frozen=True)
class Pipeline:
    """A service and its reader, all at work with the settings of the product, in one database."""

    pool: asyncpg.Pool
    published: Published
    clients: Clients

    async def behind(self) -> int:
        return int(await self.pool.fetchval(_BEHIND))

    async def caught_up(self) -> bool:
        return await self.behind() == 0


@asynccontextmanager
async def at_work(pool: asyncpg.Pool, bootstrap: str, settings: ConsumerSettings) -> AsyncIterator[Pipeline]:
    owner = f"lost{uuid4().hex[:10]}"
    published = Published(pool, bootstrap, contract=contract(owner))
    wakes, clock = Wakes(), WallClock()
    carry = handler(pool, clock, owner=owner, on_written=wakes)
    relays = [published.relay() for _ in range(2)]
    handlers = Handlers(FOREIGN, (free_the_seat,), COMMANDS)
    consumers = [
        Consumer(
            f"{owner}.readers",
            pool,
            bootstrap,
            [published.contract],
            handlers,
            settings=settings,
            clock=clock,
        )
        for _ in range(2)
    ]
    workers = [
        *(Worker("relay", relay.step, lease=Lease(pool, "relay"), wake=wakes.new()) for relay in relays),
        *(Worker("consume", consumer.step) for consumer in consumers),
        Worker("todos", TodoWorker(pool, COMMANDS, carry.send, clock).step),
        *(
            Worker(p.name, Projector(pool, EVENTS, p).step, wake=wakes.new())
            for p in (who_sits_where, TIMERS)
        ),
    ]
    running = [asyncio.create_task(worker.run(), name=worker.name) for worker in workers]
    try:
        yield Pipeline(pool, published, Clients(carry))
    finally:
        await asyncio.gather(*(worker.stop() for worker in workers))
        await asyncio.gather(*running)
        await asyncio.gather(*(relay.close() for relay in relays), *(c.close() for c in consumers))


@asynccontextmanager
async def under_load(clients: Clients) -> AsyncIterator[None]:
    """A client that fails fails the test; in the end each leaves the command it is at without an answer."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(clients.run(seed)) for seed in range(_CLIENTS)]
        yield
        for task in tasks:
            task.cancel()


@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    "lose", [new_cluster, emptied_disks, all_channels_deleted], ids=lambda lose: lose.__name__
)
async def test_a_log_lost_under_load_heals_by_itself_with_nothing_lost_or_doubled(
    pool: asyncpg.Pool, server: Server, lose: Callable[[Server, Published], Awaitable[None]]
) -> None:
    real = isinstance(server, ApacheKafka)
    settings = (
        ConsumerSettings()
        if real
        else ConsumerSettings(session_timeout_ms=1_000, heartbeat_interval_ms=200, fetch_max_wait_ms=20)
    )
    async with at_work(pool, await server.start(), settings) as pipeline:
        clients = pipeline.clients
        async with under_load(clients):
            await booked(clients, _BOOKINGS_BEFORE)
            former = await current(pool)
            await lose(server, pipeline.published)
            lost_at = time.monotonic()

            async def begun_anew() -> bool:
                return await current(pool) != former

            await until(begun_anew)
            begun_after = time.monotonic() - lost_at
            await booked(clients, len(clients.booked) + _BOOKINGS_AFTER)
        await until(pipeline.caught_up, pipeline.behind)
        seconds = time.monotonic() - lost_at
    kind = "Apache Kafka" if real else "Tansu"
    print(
        f"{kind}, {lose.__name__}: log begun anew after {begun_after:.1f} s, all caught up after {seconds:.1f} s"
    )
    await reckon(pipeline)


async def booked(clients: Clients, count: int) -> None:
    async def so_many() -> bool:
        return len(clients.booked) >= count

    await until(so_many)


async def current(pool: asyncpg.Pool) -> UUID | None:
    """The log the relay fills."""
    log_id: UUID | None = await pool.fetchval("SELECT log_id FROM cursors")
    return log_id


async def reckon(pipeline: Pipeline) -> None:
    pool, clients, published = pipeline.pool, pipeline.clients, pipeline.published
    facts = await facts_of(pool)
    situations = {stream_id: booking.now for stream_id, booking in facts.bookings.items()}
    assert clients.booked <= situations.keys(), "acknowledged and lost"
    assert all(situations[booking] == "ended" for booking in clients.cancelled)
    assert all(situations[booking] == "confirmed" for booking in clients.confirmed)
    check_seats(facts)
    ledger = await check_ledger(pool, facts, published.contract.owner)
    await check_read_models(pool, facts, ledger, clients.clock.now())
    await check_consumer(pool, ledger, f"{published.contract.owner}.readers")
    public = [
        Sent(r["key"], r["sequence"], r["event_id"]) for r in ledger if r["channel"] == published.public
    ]
    assert in_order(await published.read(len(public)), public)


async def test_an_offset_given_out_twice_begins_a_new_log_at_once(
    pool: asyncpg.Pool, broker: SharedBroker
) -> None:
    """Not only when it is time to look again: meanwhile every page would go into a log that lacks its beginning."""
    here = world(pool, broker.bootstrap)
    rows = await write(pool, here.public, keys=30, each=4)
    async with here.relaying(check_every=1e9) as (relay, term), ClusterClient(here.bootstrap) as client:
        await drain(relay, term)
        former = await here.log_id()
        assert former is not None
        # Somebody restores the channels without what was in them, and all that tells is an offset.
        await delete_channels(client, here.public)
        await client.create(here.contract.channels)
        rows += await write(pool, here.public, keys=30, each=1, seed=2)
        await retry(lambda: drain(relay, term), attempts=20)
    assert await here.log_id() != former
    assert in_order(await here.read(len(rows)), rows)
