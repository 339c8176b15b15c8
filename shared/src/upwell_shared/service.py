"""A service as a program: `python -m upwell_matching ROLE…`, where a role is api, relay, consume or work; or all of
them, or `migrate`. Settings come from the environment.
"""

import sys
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Generic, Literal, Protocol, TypeVar, get_args

import asyncpg
import structlog
from aiokafka.errors import KafkaError
from fastapi import FastAPI

from upwell_shared.clock import Clock, clock_from
from upwell_shared.contracts import Contract
from upwell_shared.database import create_pool
from upwell_shared.errors import UpwellError
from upwell_shared.event_store import EventStore
from upwell_shared.log_identity import ClusterClient
from upwell_shared.migrating import CHASSIS_KEYS, Source, migrate
from upwell_shared.observability import configure_logging
from upwell_shared.projecting import Projection, ensure
from upwell_shared.running import run_until
from upwell_shared.settings import ServiceSettings, load_settings
from upwell_shared.standing import Standing
from upwell_shared.tracing import begin_tracing
from upwell_shared.web.app import add_routes, create_app
from upwell_shared.web.operations import operations_router
from upwell_shared.web.policies import Authenticator, Nobody
from upwell_shared.web.serving import run, serve, stop_on_signals
from upwell_shared.web.tokens import TokenVerifier
from upwell_shared.worker import Worker

Role = Literal["api", "relay", "consume", "work"]
ROLES: tuple[Role, ...] = get_args(Role)

S = TypeVar("S", bound=ServiceSettings)

_log = structlog.get_logger()


class Composition(Protocol):
    """A service in one process, as its composition root makes it."""

    @property
    def store(self) -> EventStore: ...
    @property
    def closing(self) -> Sequence[Callable[[], Coroutine[Any, Any, None]]]:
        """What to close, in order, once all workers have ended."""
        ...

    def app(self, authenticator: Authenticator) -> FastAPI: ...
    def workers(self, roles: Sequence[Role]) -> list[Worker]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Service(Generic[S]):
    """A service before it runs. Its database roles are `<name>_app` and `<name>_reader`."""

    name: str
    settings: type[S]
    contract: Callable[[S], Contract]
    """Its own contract, whose channels it creates."""
    sources: Sequence[Source]
    """Its migrations, the chassis's first."""
    projections: Sequence[Projection[Any]]
    compose: Callable[..., Composition]
    """Takes the settings and the pool; and, where texts are kept, the pool of the keys' database."""
    keeps_texts: bool = False

    async def open_pool(self, settings: S) -> asyncpg.Pool:
        """A pool on the service's database."""
        return await create_pool(settings.database_url.reveal(), application_name=self.name)

    async def open_keys_pool(self, settings: S) -> asyncpg.Pool:
        """A pool on the database of the service's keys."""
        return await create_pool(_keys_dsn(settings), application_name=f"{self.name}-keys", size=2)

    async def migrate_keys(self, dsn: str) -> None:
        """The tables of the keys' database, as its owner."""
        await migrate(dsn, [CHASSIS_KEYS], app_role=f"{self.name}_app", reader_role=f"{self.name}_reader")

    async def migrate(self, dsn: str) -> None:
        """Tables and projections, as the database's owner; safe at any time and by several at once."""
        app_role, reader_role = f"{self.name}_app", f"{self.name}_reader"
        await migrate(dsn, self.sources, app_role=app_role, reader_role=reader_role)
        owner = await create_pool(dsn, application_name="migrate", size=2)
        try:
            await ensure(owner, self.projections, app_role=app_role, reader_role=reader_role)
        finally:
            await owner.close()

    async def prepare(self, settings: S) -> None:
        """The role `migrate`: the database, and the channels."""
        with _unless(_NO_DATABASE, DatabaseUnreachable):
            await self.migrate(settings.database_url.reveal())
            if self.keeps_texts:
                await self.migrate_keys(_keys_dsn(settings))
        with _unless((OSError, KafkaError), BrokerUnreachable):
            async with ClusterClient(settings.kafka_bootstrap) as cluster:
                await cluster.create(self.contract(settings).channels)

    async def run(self, settings: S, roles: Sequence[Role], authenticator: Authenticator) -> None:
        """Serves and works until a signal says to stop. Without the role api, health and metrics alone are served.

        Raises what the event store refuses to start on.
        """
        stop = stop_on_signals()
        with _unless(_NO_DATABASE, DatabaseUnreachable):
            pools = [await self.open_pool(settings)]
            if self.keeps_texts:
                pools.append(await self.open_keys_pool(settings))
        composed = self.compose(settings, *pools)
        await composed.store.start(self.sources)
        workers = composed.workers(roles)
        clock = clock_from(settings.clock_file)
        if "api" in roles:
            app = served(composed, pools[0], authenticator, clock)
        else:
            app = overseen(self.name, pools[0], clock)
        await run_until(
            stop,
            *workers,
            serving=serve(app, settings, stop),
            closing=[*composed.closing, *(pool.close for pool in pools)],
        )

    def entry(self, arguments: Sequence[str], authenticator: Authenticator | None = None) -> int:
        """What `__main__` returns to the system: 0; or 2, after one line on stderr, when it was not understood, or
        when something Upwell has a name for keeps it from running. Where from, is in the log at level debug.

        Without an authenticator, tokens of the issuer whose keys the settings name are believed.
        """
        roles = [role for role in ROLES if role in arguments or "all" in arguments]
        migrating = arguments == ["migrate"]
        if not migrating and not (roles and set(arguments) <= {*ROLES, "all"}):
            sys.stderr.write(f"{self.name}: use one or several of {', '.join(ROLES)}; or all; or migrate\n")
            return 2
        settings = load_settings(self.settings)
        configure_logging(self.name, settings.log_level)
        begin_tracing()
        try:
            if migrating:
                run(self.prepare(settings))
            else:
                run(self.run(settings, roles, authenticator or authenticator_from(settings)))
        except UpwellError as error:
            _log.debug("refused", exc_info=error)
            sys.stderr.write(f"{self.name}: {error}\n")
            return 2
        return 0


def served(composed: Composition, pool: asyncpg.Pool, authenticator: Authenticator, clock: Clock) -> FastAPI:
    """The application of a service as it is served: with what operators do and see, which no composition root can forget.

    `clock` is the one of `recorded_at`.
    """
    app = composed.app(authenticator)
    add_routes(app, operations_router(pool))
    app.state.standing = Standing(pool, clock)
    return app


def overseen(name: str, pool: asyncpg.Pool, clock: Clock) -> FastAPI:
    """What a process serves that has other roles than api: its health, and what only it can count."""
    app = create_app(name, authenticator=Nobody(), ping=lambda: pool.fetchval("SELECT 1"))
    app.state.standing = Standing(pool, clock)
    return app


class DatabaseUnreachable(UpwellError):
    """The database does not answer, or does not let this service in: check UPWELL_<SERVICE>_DATABASE_URL."""


class BrokerUnreachable(UpwellError):
    """The broker does not answer: check UPWELL_KAFKA_BOOTSTRAP."""


_NO_DATABASE = (
    OSError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.CannotConnectNowError,
    asyncpg.TooManyConnectionsError,
)


@contextmanager
def _unless(errors: tuple[type[Exception], ...], told: type[UpwellError]) -> Iterator[None]:
    try:
        yield
    except errors as error:
        raise told from error


def authenticator_from(settings: ServiceSettings) -> Authenticator:
    """Believes the tokens of the issuer that the settings name; nobody without one. Raises UnreadableKeys."""
    return Nobody() if settings.issuer_keys_file is None else TokenVerifier.of(settings.issuer_keys_file)


def _keys_dsn(settings: ServiceSettings) -> str:
    if settings.keys_database_url is None:
        raise KeysDatabaseMissing
    return settings.keys_database_url.reveal()


class KeysDatabaseMissing(UpwellError):
    """This service keeps texts: name the database of their keys in UPWELL_<SERVICE>_KEYS_DATABASE_URL."""
