"""The composition root of sessions: the only module that knows everything."""

from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import asyncpg
from fastapi import FastAPI

from upwell_sessions import api, reactions, timing
from upwell_sessions.aggregates import AGGREGATES, COMMANDS, EVENTS
from upwell_sessions.forgetting import carrying_out
from upwell_sessions.projections import commitments, sessions_by_pair
from upwell_sessions.publishing import publishing
from upwell_sessions.settings import SessionsSettings
from upwell_shared.clock import Clock
from upwell_shared.composing import Parts
from upwell_shared.consuming import Handlers, reactions_of
from upwell_shared.contracts import directory, matching
from upwell_shared.contracts.sessions import CONTRACT
from upwell_shared.handling import Handler
from upwell_shared.migrating import CHASSIS
from upwell_shared.privacy import KeyStore, Texts
from upwell_shared.projecting import Projection
from upwell_shared.service import Role, Service
from upwell_shared.timers import Timers
from upwell_shared.web.app import create_app
from upwell_shared.web.policies import Authenticator
from upwell_shared.worker import Worker

NAME = CONTRACT.owner
PROJECTIONS: tuple[Projection[Any], ...] = (
    sessions_by_pair,
    commitments,
    Timers(timing.timing, COMMANDS),
)
CONSUMED = (matching.CONTRACT, directory.CONTRACT)


class Sessions:
    """The service in one process: its workers and its HTTP application, as far as the asked roles need them."""

    def __init__(
        self,
        settings: SessionsSettings,
        pool: asyncpg.Pool,
        keys_pool: asyncpg.Pool,
        *,
        clock: Clock | None = None,
    ) -> None:
        self._parts = Parts(settings, pool, CONTRACT, EVENTS, clock)
        self.store = self._parts.store
        self.texts = Texts(pool, KeyStore(keys_pool))
        self.handler = Handler(self.store, self._parts.clock, CONTRACT, publishing, AGGREGATES)
        self.carry = carrying_out(self.handler, self.store, pool, self.texts)

    @property
    def closing(self) -> Sequence[Callable[[], Coroutine[Any, Any, None]]]:
        return self._parts.closing

    def app(self, authenticator: Authenticator) -> FastAPI:
        pool = self._parts.pool
        routes = api.routers(self.handler, self.store, self.texts, self._parts.clock)
        return create_app(NAME, *routes, authenticator=authenticator, ping=lambda: pool.fetchval("SELECT 1"))

    def workers(self, roles: Sequence[Role]) -> list[Worker]:
        parts = self._parts
        found: list[Worker] = []
        if "relay" in roles:
            found.append(parts.relay())
        if "consume" in roles:
            found += parts.consumer(CONSUMED, Handlers((), reactions_of(reactions), COMMANDS))
        if "work" in roles:
            found += [
                *parts.projectors(PROJECTIONS),
                *parts.promises(COMMANDS, self.carry),
                parts.forgetting(),
            ]
        return found


SERVICE = Service(
    name=NAME,
    settings=SessionsSettings,
    contract=lambda _: CONTRACT,
    sources=[CHASSIS],
    projections=PROJECTIONS,
    compose=Sessions,
    keeps_texts=True,
)
