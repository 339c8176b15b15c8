"""The composition root of the example: the only module that knows everything."""

from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Literal, get_args

import asyncpg
from fastapi import FastAPI

from tests.shared.example import api, timing
from tests.shared.example.aggregates import AGGREGATES, BOOKING, COMMANDS, EVENTS, ROOM
from tests.shared.example.contract import contract
from tests.shared.example.projections import how_bookings_stand, who_sits_where
from tests.shared.example.publishing import publishing
from tests.shared.example.reactions import free_the_seat
from tests.shared.example.settings import ExampleSettings
from upwell_shared.clock import Clock, clock_from
from upwell_shared.consuming import Handlers, Retrier
from upwell_shared.consuming.consumer import Consumer, ConsumerSettings
from upwell_shared.database import create_pool
from upwell_shared.event_store import EventStore
from upwell_shared.handling import Handler
from upwell_shared.lease import Lease
from upwell_shared.log_identity import ClusterClient
from upwell_shared.migrating import CHASSIS, migrate
from upwell_shared.projecting import Projection, Projector, ensure
from upwell_shared.relay import Relay
from upwell_shared.running import Wakes
from upwell_shared.timers import Ticker, Timers
from upwell_shared.todos import TodoWorker
from upwell_shared.web.app import create_app
from upwell_shared.web.policies import Authenticator
from upwell_shared.worker import Worker

__all__ = [
    "AGGREGATES",
    "BOOKING",
    "COMMANDS",
    "EVENTS",
    "FOREIGN",
    "OWN",
    "PROJECTIONS",
    "ROOM",
    "Example",
    "handler",
]

Role = Literal["api", "relay", "consume", "work"]
ROLES: tuple[Role, ...] = get_args(Role)

TIMERS = Timers(timing.timing, COMMANDS)
OWN: tuple[Projection[Any], ...] = (who_sits_where, TIMERS)
FOREIGN: tuple[Projection[Any], ...] = (how_bookings_stand,)
PROJECTIONS = (*OWN, *FOREIGN)


def handler(
    pool: asyncpg.Pool, clock: Clock, *, owner: str = "example", on_written: Callable[[], None] = lambda: None
) -> Handler:
    return Handler(EventStore(pool, EVENTS, on_written), clock, contract(owner), publishing, AGGREGATES)


class Example:
    """The service in one process: its workers and its HTTP application, as far as the asked roles need them."""

    def __init__(self, settings: ExampleSettings, pool: asyncpg.Pool, *, clock: Clock | None = None) -> None:
        self.settings = settings
        self.pool = pool
        self.clock = clock or clock_from(settings.clock_file)
        self.contract = contract(settings.owner)
        self.wakes = Wakes()
        self.store = EventStore(pool, EVENTS, self.wakes)
        self.handler = Handler(self.store, self.clock, self.contract, publishing, AGGREGATES)
        self.closing: list[Callable[[], Coroutine[Any, Any, None]]] = [self.store.stop]

    def app(self, authenticator: Authenticator) -> FastAPI:
        routes = api.router(self.handler, self.pool, self.clock)
        return create_app(
            "example", routes, authenticator=authenticator, ping=lambda: self.pool.fetchval("SELECT 1")
        )

    def workers(self, roles: Sequence[Role]) -> list[Worker]:
        found: list[Worker] = []
        if "relay" in roles:
            found.append(self._relay())
        if "consume" in roles:
            found += self._consume()
        if "work" in roles:
            found += self._work()
        return found

    def _relay(self) -> Worker:
        relay = Relay(
            self.pool,
            self.contract.owner,
            self.settings.kafka_bootstrap,
            idempotent=self.settings.kafka_idempotent,
            channels=self.contract.channels,
            clock=self.clock,
        )
        self.closing.append(relay.close)
        return Worker("relay", relay.step, lease=Lease(self.pool, "relay"), wake=self.wakes.new())

    def _consume(self) -> list[Worker]:
        consumer = Consumer(
            self.settings.owner,
            self.pool,
            self.settings.kafka_bootstrap,
            [self.contract],
            Handlers(FOREIGN, [free_the_seat], COMMANDS),
            settings=ConsumerSettings(
                session_timeout_ms=self.settings.consumer_session_ms,
                heartbeat_interval_ms=self.settings.consumer_heartbeat_ms,
                fetch_max_wait_ms=self.settings.consumer_fetch_wait_ms,
            ),
            clock=self.clock,
        )
        self.closing.append(consumer.close)
        return [
            Worker("consumer", consumer.step),
            Worker("retrier", Retrier(consumer.applier).step, poll=(0.25, 1.0), rested=1.0),
        ]

    def _work(self) -> list[Worker]:
        todos = TodoWorker(self.pool, COMMANDS, self.handler.send, self.clock)
        return [
            *(
                Worker(
                    f"projector-{projection.name}",
                    Projector(self.pool, EVENTS, projection).step,
                    lease=Lease(self.pool, f"projector-{projection.name}"),
                    wake=self.wakes.new(),
                )
                for projection in OWN
            ),
            Worker("to-dos", todos.step, lease=Lease(self.pool, "to-dos")),
            Worker(
                "ticker",
                Ticker(self.pool, self.clock).step,
                lease=Lease(self.pool, "ticker"),
                poll=(0.05, 0.25),
            ),
            Worker("command ids", lambda _: self.store.forget_commands(), poll=(1.0, 60.0), rested=60.0),
        ]


async def open_pool(settings: ExampleSettings) -> asyncpg.Pool:
    return await create_pool(settings.database_url.reveal(), application_name="example")


async def prepare(settings: ExampleSettings, *, app_role: str, reader_role: str) -> None:
    """`migrate`: tables, projections and channels, as the database's owner; safe at any time and by several at once."""
    await migrate(settings.database_url.reveal(), [CHASSIS], app_role=app_role, reader_role=reader_role)
    owner = await open_pool(settings)
    try:
        await ensure(owner, PROJECTIONS, app_role=app_role, reader_role=reader_role)
    finally:
        await owner.close()
    async with ClusterClient(settings.kafka_bootstrap) as cluster:
        await cluster.create(contract(settings.owner).channels)
