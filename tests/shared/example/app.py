"""The composition root of the example: the only module that knows everything."""

from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import asyncpg
from fastapi import FastAPI

from tests.shared.example import api, reactions, timing
from tests.shared.example.aggregates import AGGREGATES, BOOKING, COMMANDS, EVENTS, ROOM
from tests.shared.example.contract import contract
from tests.shared.example.projections import how_bookings_stand, who_sits_where
from tests.shared.example.publishing import publishing
from tests.shared.example.settings import ExampleSettings
from upwell_shared.clock import Clock
from upwell_shared.composing import Parts
from upwell_shared.consuming import Handlers, reactions_of
from upwell_shared.event_store import EventStore
from upwell_shared.handling import Handler
from upwell_shared.migrating import CHASSIS
from upwell_shared.projecting import Projection
from upwell_shared.service import Role, Service
from upwell_shared.timers import Timers
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
    "SERVICE",
    "Example",
    "handler",
]

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
        self.contract = contract(settings.owner)
        self._parts = Parts(settings, pool, self.contract, EVENTS, clock)
        self.clock = self._parts.clock
        self.store = self._parts.store
        self.handler = Handler(self.store, self.clock, self.contract, publishing, AGGREGATES)

    @property
    def closing(self) -> Sequence[Callable[[], Coroutine[Any, Any, None]]]:
        return self._parts.closing

    def app(self, authenticator: Authenticator) -> FastAPI:
        pool = self._parts.pool
        routes = api.router(self.handler, pool, self.clock)
        return create_app(
            "example", routes, authenticator=authenticator, ping=lambda: pool.fetchval("SELECT 1")
        )

    def workers(self, roles: Sequence[Role]) -> list[Worker]:
        parts = self._parts
        found: list[Worker] = []
        if "relay" in roles:
            found.append(parts.relay())
        if "consume" in roles:
            found += parts.consumer([self.contract], Handlers(FOREIGN, reactions_of(reactions), COMMANDS))
        if "work" in roles:
            found += [
                *parts.projectors(OWN),
                *parts.promises(COMMANDS, self.handler.send),
                parts.forgetting(),
            ]
        return found


SERVICE = Service(
    name="example",
    settings=ExampleSettings,
    contract=lambda settings: contract(settings.owner),
    sources=[CHASSIS],
    projections=PROJECTIONS,
    compose=Example,
)
open_pool = SERVICE.open_pool
