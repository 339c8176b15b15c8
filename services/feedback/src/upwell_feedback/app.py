"""The composition root of feedback: the only module that knows everything."""

from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import asyncpg
from fastapi import FastAPI

from upwell_feedback import reactions
from upwell_feedback.aggregates import AGGREGATES, COMMANDS, EVENTS
from upwell_feedback.api import routers
from upwell_feedback.commands import carrying_out
from upwell_feedback.projections import programmes, reflections
from upwell_feedback.publishing import publishing
from upwell_feedback.settings import FeedbackSettings
from upwell_shared import units
from upwell_shared.clock import Clock
from upwell_shared.composing import Parts
from upwell_shared.consuming import Handlers, reactions_of
from upwell_shared.contracts import directory, matching, sessions
from upwell_shared.contracts.feedback import CONTRACT
from upwell_shared.handling import Handler
from upwell_shared.migrating import CHASSIS
from upwell_shared.privacy import KeyStore, Texts
from upwell_shared.projecting import Projection
from upwell_shared.service import Role, Service
from upwell_shared.web.app import create_app
from upwell_shared.web.policies import Authenticator
from upwell_shared.worker import Worker

NAME = CONTRACT.owner
OWN: tuple[Projection[Any], ...] = (reflections,)
FOREIGN: tuple[Projection[Any], ...] = (units, programmes)
PROJECTIONS = (*OWN, *FOREIGN)
CONSUMED = (directory.CONTRACT, matching.CONTRACT, sessions.CONTRACT)


class Feedback:
    """The service in one process: its workers and its HTTP application, as far as the asked roles need them."""

    def __init__(
        self,
        settings: FeedbackSettings,
        pool: asyncpg.Pool,
        keys_pool: asyncpg.Pool,
        *,
        clock: Clock | None = None,
    ) -> None:
        self._parts = Parts(settings, pool, CONTRACT, EVENTS, clock)
        self.store = self._parts.store
        self.texts = Texts(pool, KeyStore(keys_pool))
        self.handler = Handler(self.store, self._parts.clock, CONTRACT, publishing, AGGREGATES)

    @property
    def closing(self) -> Sequence[Callable[[], Coroutine[Any, Any, None]]]:
        return self._parts.closing

    def app(self, authenticator: Authenticator) -> FastAPI:
        pool = self._parts.pool
        routes = routers(self.handler, self.store, self.texts)
        return create_app(NAME, *routes, authenticator=authenticator, ping=lambda: pool.fetchval("SELECT 1"))

    def workers(self, roles: Sequence[Role]) -> list[Worker]:
        """Without a ticker: nothing here is due at a time. A request that nobody answers stays as it is."""
        parts = self._parts
        found: list[Worker] = []
        if "relay" in roles:
            found.append(parts.relay())
        if "consume" in roles:
            found += parts.consumer(CONSUMED, Handlers(FOREIGN, reactions_of(reactions), COMMANDS))
        if "work" in roles:
            carry = carrying_out(self.handler, self.store, self.texts)
            found += [*parts.projectors(OWN), parts.todos(COMMANDS, carry), parts.forgetting()]
        return found


SERVICE = Service(
    name=NAME,
    settings=FeedbackSettings,
    contract=lambda _: CONTRACT,
    sources=[CHASSIS],
    projections=PROJECTIONS,
    compose=Feedback,
    keeps_texts=True,
)
