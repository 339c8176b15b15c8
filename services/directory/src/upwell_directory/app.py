"""The composition root of the directory: the only module that knows everything."""

from collections.abc import Callable, Coroutine, Sequence
from importlib.resources import files
from typing import Any

import asyncpg
from fastapi import FastAPI

from upwell_directory import contacts, timing
from upwell_directory.aggregates import AGGREGATES, COMMANDS, EVENTS
from upwell_directory.api import routers
from upwell_directory.commands import carrying_out
from upwell_directory.importing.running import forget_imports
from upwell_directory.projections import people_by_unit, unit_tree
from upwell_directory.publishing import publishing
from upwell_directory.settings import DirectorySettings
from upwell_shared.clock import Clock
from upwell_shared.composing import Parts
from upwell_shared.contracts.directory import CONTRACT
from upwell_shared.handling import Handler
from upwell_shared.migrating import CHASSIS, Source
from upwell_shared.projecting import Projection
from upwell_shared.service import Role, Service
from upwell_shared.timers import Timers
from upwell_shared.web.app import create_app
from upwell_shared.web.policies import Authenticator
from upwell_shared.worker import Worker

NAME = CONTRACT.owner
MIGRATIONS = Source(NAME, files("upwell_directory").joinpath("migrations"))
PROJECTIONS: tuple[Projection[Any], ...] = (unit_tree, people_by_unit, Timers(timing.timing, COMMANDS))

_HOUR = 3600.0


class Directory:
    """The service in one process: its workers and its HTTP application, as far as the asked roles need them."""

    def __init__(
        self, settings: DirectorySettings, pool: asyncpg.Pool, *, clock: Clock | None = None
    ) -> None:
        self._parts = Parts(settings, pool, CONTRACT, EVENTS, clock)
        self.store = self._parts.store
        self.handler = Handler(self.store, self._parts.clock, CONTRACT, publishing, AGGREGATES)

    @property
    def closing(self) -> Sequence[Callable[[], Coroutine[Any, Any, None]]]:
        return self._parts.closing

    def app(self, authenticator: Authenticator) -> FastAPI:
        pool = self._parts.pool
        routes = routers(self.handler, pool, self._parts.clock)
        return create_app(NAME, *routes, authenticator=authenticator, ping=lambda: pool.fetchval("SELECT 1"))

    def workers(self, roles: Sequence[Role]) -> list[Worker]:
        """Nothing is consumed: no other service's fact concerns the directory."""
        parts, pool = self._parts, self._parts.pool
        found: list[Worker] = []
        if "relay" in roles:
            found.append(parts.relay())
        if "work" in roles:
            found += [
                *parts.projectors(PROJECTIONS),
                *parts.promises(COMMANDS, carrying_out(self.handler, pool)),
                parts.forgetting(),
                parts.chore("stray contacts", lambda: contacts.forget_strays(pool), every=_HOUR),
                parts.chore("old imports", lambda: forget_imports(pool), every=_HOUR),
            ]
        return found


SERVICE = Service(
    name=NAME,
    settings=DirectorySettings,
    contract=lambda _: CONTRACT,
    sources=[CHASSIS, MIGRATIONS],
    projections=PROJECTIONS,
    compose=Directory,
)
