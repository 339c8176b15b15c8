"""The composition root of the example: the only module that knows everything."""

from collections.abc import Callable
from typing import Any

import asyncpg

from tests.shared.example import timing
from tests.shared.example.aggregates import AGGREGATES, BOOKING, COMMANDS, EVENTS, ROOM
from tests.shared.example.contract import contract
from tests.shared.example.projections import how_bookings_stand, who_sits_where
from tests.shared.example.publishing import publishing
from upwell_shared.clock import Clock
from upwell_shared.event_store import EventStore
from upwell_shared.handling import Handler
from upwell_shared.projecting import Projection
from upwell_shared.timers import Timers

__all__ = ["AGGREGATES", "BOOKING", "COMMANDS", "EVENTS", "FOREIGN", "OWN", "PROJECTIONS", "ROOM", "handler"]

TIMERS = Timers(timing.timing, COMMANDS)
OWN: tuple[Projection[Any], ...] = (who_sits_where, TIMERS)
FOREIGN: tuple[Projection[Any], ...] = (how_bookings_stand,)
PROJECTIONS = (*OWN, *FOREIGN)


def handler(
    pool: asyncpg.Pool, clock: Clock, *, owner: str = "example", on_written: Callable[[], None] = lambda: None
) -> Handler:
    return Handler(EventStore(pool, EVENTS, on_written), clock, contract(owner), publishing, AGGREGATES)
