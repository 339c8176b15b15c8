"""The composition root of the gateway: the only module that knows everything."""

from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import asyncpg
from fastapi import APIRouter, FastAPI

from upwell_gateway import reactions
from upwell_gateway.aggregates import AGGREGATES, COMMANDS, EVENTS
from upwell_gateway.api import handing_on, login
from upwell_gateway.api.pages import pairs as pair_pages
from upwell_gateway.api.pages import people as people_pages
from upwell_gateway.api.pages import programmes as programme_pages
from upwell_gateway.api.pages import queue as queue_pages
from upwell_gateway.api.pages.access import access_to
from upwell_gateway.forgetting import forgetter
from upwell_gateway.forwarding import Forwarder
from upwell_gateway.issuer import Issuer
from upwell_gateway.projections import (
    cohorts,
    enrolments,
    pairs,
    people,
    programmes,
    reflections,
    sessions,
    timeline,
)
from upwell_gateway.publishing import publishing
from upwell_gateway.settings import GatewaySettings
from upwell_gateway.sources import SOURCES
from upwell_shared import erasing, units
from upwell_shared.clock import Clock
from upwell_shared.composing import Parts
from upwell_shared.consuming import Handlers, reactions_of
from upwell_shared.contracts.gateway import CONTRACT
from upwell_shared.handling import Handler
from upwell_shared.migrating import CHASSIS
from upwell_shared.projecting import Projection
from upwell_shared.service import Role, Service
from upwell_shared.web.app import create_app
from upwell_shared.web.policies import Authenticator
from upwell_shared.worker import Worker

NAME = CONTRACT.owner
PROJECTIONS: tuple[Projection[Any], ...] = (
    *(units, people, programmes, cohorts, enrolments),
    *(pairs, sessions, reflections, timeline),
)
HANDLERS = Handlers(PROJECTIONS, reactions_of(reactions), COMMANDS)

DESCRIPTION = (
    "One door for everybody: login, and pages that show what all services have told. Everything else is handed on to "
    "the service whose it is, by the first segment of its path, with the caller's token, and answered as that service "
    "answers it: organisations, units, people, names and imports to the directory; programmes, cohorts, enrolments, "
    "match-runs and pairs to matching; cadences to sessions; question-sets and reflections to feedback. Each describes "
    "its routes itself, at /v1/docs and /v1/openapi.json of its own address."
)

_REQUEST_SECONDS = 15.0
"""Longer than a service behind the gateway takes to say that it is late."""


class Gateway:
    """The service in one process: its workers and its HTTP application, as far as the asked roles need them."""

    def __init__(self, settings: GatewaySettings, pool: asyncpg.Pool, *, clock: Clock | None = None) -> None:
        self._settings = settings
        self._parts = Parts(settings, pool, CONTRACT, EVENTS, clock)
        self.store = self._parts.store
        self.handler = Handler(self.store, self._parts.clock, CONTRACT, publishing, AGGREGATES)

    @property
    def closing(self) -> Sequence[Callable[[], Coroutine[Any, Any, None]]]:
        return self._parts.closing

    def app(self, authenticator: Authenticator) -> FastAPI:
        """Raises UnreadableIssuerKey."""
        pool, settings = self._parts.pool, self._settings
        forwarder = Forwarder(settings.addresses())
        self._parts.closing.append(forwarder.close)
        access = access_to(pool)
        routers: list[APIRouter] = [
            programme_pages.router(pool, forwarder, access),
            pair_pages.router(pool, forwarder, access),
            people_pages.router(pool, forwarder, access),
            queue_pages.router(pool, forwarder, access, self._parts.clock),
            handing_on.router(forwarder),
        ]
        if settings.issuer_key_file is not None:
            routers.append(login.router(Issuer.of(settings.issuer_key_file)))
        return create_app(
            NAME,
            *routers,
            authenticator=authenticator,
            ping=lambda: pool.fetchval("SELECT 1"),
            description=DESCRIPTION,
            request_seconds=_REQUEST_SECONDS,
        )

    def workers(self, roles: Sequence[Role]) -> list[Worker]:
        """Without a ticker: nothing here is due at a time."""
        parts = self._parts
        found: list[Worker] = []
        if "relay" in roles:
            found.append(parts.relay())
        if "consume" in roles:
            found += parts.consumer([*SOURCES.values()], HANDLERS)
        if "work" in roles:
            carry = erasing.carrying_out(self.handler, forgetter(parts.pool))
            found += [parts.todos(COMMANDS, carry), parts.forgetting()]
        return found


SERVICE = Service(
    name=NAME,
    settings=GatewaySettings,
    contract=lambda _: CONTRACT,
    sources=[CHASSIS],
    projections=PROJECTIONS,
    compose=Gateway,
)
