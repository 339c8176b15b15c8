"""The composition root of matching: the only module that knows everything."""

from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import asyncpg
from fastapi import FastAPI

from upwell_matching import reactions, rechecking, timing
from upwell_matching.aggregates import AGGREGATES, COMMANDS, EVENTS
from upwell_matching.api import routers
from upwell_matching.carrying_out import Means, carrying_out, forgetting
from upwell_matching.projections import cohorts, enrolments, match_runs, pairs, programmes, standings
from upwell_matching.publishing import publishing
from upwell_matching.running import find_pairs, propose_pairs
from upwell_matching.settings import MatchingSettings
from upwell_matching.sweeping import sweep
from upwell_shared import units
from upwell_shared.clock import Clock
from upwell_shared.composing import Parts
from upwell_shared.consuming import Handlers, reactions_of
from upwell_shared.contracts import directory
from upwell_shared.contracts.matching import CONTRACT
from upwell_shared.handling import Handler
from upwell_shared.lease import Lease
from upwell_shared.migrating import CHASSIS
from upwell_shared.projecting import Projection
from upwell_shared.service import Role, Service
from upwell_shared.timers import Timers
from upwell_shared.web.app import create_app
from upwell_shared.web.policies import Authenticator
from upwell_shared.worker import Worker

NAME = CONTRACT.owner
OWN: tuple[Projection[Any], ...] = (
    programmes,
    cohorts,
    enrolments,
    pairs,
    standings,
    match_runs,
    Timers(timing.timing, COMMANDS),
)
FOREIGN: tuple[Projection[Any], ...] = (units,)
PROJECTIONS = (*OWN, *FOREIGN)
HANDLERS = Handlers(FOREIGN, reactions_of(reactions), COMMANDS)

_HOUR = 3600.0
_SOLVING_SECONDS = 900.0


class Matching:
    """The service in one process: its workers and its HTTP application, as far as the asked roles need them."""

    def __init__(self, settings: MatchingSettings, pool: asyncpg.Pool, *, clock: Clock | None = None) -> None:
        self._parts = Parts(settings, pool, CONTRACT, EVENTS, clock)
        self.store = self._parts.store
        self.handler = Handler(self.store, self._parts.clock, CONTRACT, publishing, AGGREGATES)
        self.means = Means(self.handler, self.store, pool, self._parts.clock)
        self.carry = rechecking.carrying_out(self.means, carrying_out(self.means, forgetting(self.means)))

    @property
    def closing(self) -> Sequence[Callable[[], Coroutine[Any, Any, None]]]:
        return self._parts.closing

    def app(self, authenticator: Authenticator) -> FastAPI:
        pool = self._parts.pool
        return create_app(
            NAME,
            *routers(self.means),
            authenticator=authenticator,
            ping=lambda: pool.fetchval("SELECT 1"),
        )

    def workers(self, roles: Sequence[Role]) -> list[Worker]:
        parts = self._parts
        found: list[Worker] = []
        if "relay" in roles:
            found.append(parts.relay())
        if "consume" in roles:
            found += parts.consumer([directory.CONTRACT], HANDLERS)
        if "work" in roles:
            found += [
                *parts.projectors(OWN),
                *parts.promises(COMMANDS, self.carry),
                self._finder(),
                parts.alone("proposer", lambda _: propose_pairs(self.means)),
                parts.forgetting(),
                parts.chore("sweep", lambda: sweep(self.means), every=_HOUR),
            ]
        return found

    def _finder(self) -> Worker:
        """A large cohort is solved for longer than other steps may take."""
        lease = Lease(self._parts.pool, "finder")
        return Worker("finder", lambda _: find_pairs(self.means), lease=lease, step_limit=_SOLVING_SECONDS)


SERVICE = Service(
    name=NAME,
    settings=MatchingSettings,
    contract=lambda _: CONTRACT,
    sources=[CHASSIS],
    projections=PROJECTIONS,
    compose=Matching,
)
