"""Sessions in this process, on real databases, with a pair that asks it things."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import httpx2

from tests.service_process import until
from upwell_sessions.aggregates import COMMANDS
from upwell_sessions.app import CONSUMED, Sessions
from upwell_sessions.domain.cadence import cadence_id
from upwell_sessions.reactions import follow_the_pair, forget_the_erased
from upwell_sessions.settings import SessionsSettings
from upwell_shared.consuming import Handlers
from upwell_shared.contracts import Consumed, PublishedEvent
from upwell_shared.contracts.matching import PairCreated
from upwell_shared.errors import Unauthenticated
from upwell_shared.running import run_until
from upwell_shared.settings import Dsn
from upwell_shared.testing import FixedClock
from upwell_shared.testing.databases import Dsns
from upwell_shared.web.policies import Principal, UserRole

HANDLERS = Handlers((), [follow_the_pair, forget_the_erased], COMMANDS)
_CONTRACTS = {contract.owner: contract for contract in CONSUMED}


class Tokens:
    """An authenticator that knows the principals it was given by name."""

    def __init__(self) -> None:
        self.known: dict[str, Principal] = {}

    def give(self, name: str, *roles: UserRole, id_: UUID | None = None) -> UUID:
        self.known[name] = Principal(id_ or uuid4(), frozenset(roles or {UserRole.PARTICIPANT}))
        return self.known[name].id

    async def authenticate(self, token: str) -> Principal:
        if token not in self.known:
            raise Unauthenticated
        return self.known[token]


def created(
    mentor: UUID, mentee: UUID, *, sessions: int = 6, ends_on: date = date(2026, 9, 1)
) -> PairCreated:
    """A pair as matching tells of it."""
    return PairCreated(
        pair_id=uuid4(),
        programme_id=uuid4(),
        cohort_id=uuid4(),
        mentor_id=mentor,
        mentor_unit_id=uuid4(),
        mentor_organisation_id=uuid4(),
        mentee_id=mentee,
        mentee_unit_id=uuid4(),
        mentee_organisation_id=uuid4(),
        sessions=sessions,
        days_between=14,
        minutes=45,
        ends_on=ends_on,
    )


def consumed(owner: str, event: PublishedEvent) -> Consumed:
    """An event of another service as it comes from the log."""
    return Consumed(
        event_id=uuid4(),
        type=_CONTRACTS[owner].type_of(type(event)),
        owner=owner,
        stream_id=getattr(event, "pair_id", None) or event.person_id,  # type: ignore[attr-defined]
        sequence=1,
        recorded_at=datetime(2026, 3, 2, 9, tzinfo=UTC),
        correlation_id=uuid4(),
        causation_id=None,
        traceparent=None,
        log_id=None,
        audience=type(event).audience,
        event=event,
    )


class World:
    """A pair: ada is the mentor, ben the mentee, cleo neither."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        keys_pool: asyncpg.Pool,
        tokens: Tokens,
        clients: list[httpx2.AsyncClient],
        clock: FixedClock,
        services: list[Sessions],
    ) -> None:
        self.pool, self.keys_pool = pool, keys_pool
        self.tokens = tokens
        self.clients = clients
        self.services = services
        self.clock = clock
        self.ada, self.ben, self.cleo = (tokens.give(name) for name in ("ada", "ben", "cleo"))
        self._asked = 0

    @property
    def http(self) -> httpx2.AsyncClient:
        """The replicas in turn."""
        self._asked += 1
        return self.clients[self._asked % len(self.clients)]

    def at(self, **after: float) -> str:
        """So long after now."""
        return (self.clock.now() + timedelta(**after)).isoformat()

    async def hear(self, owner: str, *events: PublishedEvent) -> None:
        """These events have come, and their to-dos are done."""
        async with self.pool.acquire() as connection, connection.transaction():
            await HANDLERS.take(connection, [consumed(owner, event) for event in events])

        async def done() -> bool:
            return bool(
                await self.pool.fetchval("SELECT count(*) = 0 FROM todos WHERE parked_because IS NULL")
            )

        await until(done)

    async def pair(self, *, sessions: int = 6) -> UUID:
        """Ada and Ben become a pair."""
        event = created(self.ada, self.ben, sessions=sessions)
        await self.hear("matching", event)
        return event.pair_id

    async def ask(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        who: str = "ada",
        key: object = None,
        if_match: str | None = None,
        headers: dict[str, str] | None = None,
        **options: Any,
    ) -> httpx2.Response:
        told = {"Authorization": f"Bearer {who}", "Idempotency-Key": str(key or uuid4())} | (headers or {})
        if if_match is not None:
            told["If-Match"] = if_match
        if body is not None:
            options["json"] = body
        return await self.http.request(method, path, headers=told, **options)

    async def done(self, method: str, path: str, body: object = None, **options: Any) -> httpx2.Response:
        """The answer to a command that is carried out."""
        response = await self.ask(method, path, body, **options)
        assert response.status_code in {200, 201}, response.text
        return response

    async def refused(self, slug: str, method: str, path: str, body: object = None, **options: Any) -> None:
        """A command that a rule says no to."""
        response = await self.ask(method, path, body, **options)
        assert (response.status_code, response.json()["type"]) == (409, f"urn:upwell:problem:{slug}")

    async def seen(self, path: str, after: httpx2.Response | None = None, *, who: str = "ada") -> Any:
        """What a read shows that waits for an earlier answer."""
        headers = {} if after is None else {"Upwell-After": after.headers["Upwell-Position"]}
        response = await self.ask("GET", path, who=who, headers=headers)
        assert response.status_code == 200, response.text
        assert "Upwell-Stale" not in response.headers
        return response.json()

    async def book(self, pair: UUID, *, who: str = "ada", **after: float) -> str:
        """The path of a session that begins so long after now; within an hour where nothing is said."""
        path = f"/v1/cadences/{pair}/sessions"
        booked = await self.done("POST", path, {"starts_at": self.at(**(after or {"hours": 1}))}, who=who)
        return f"{path}/{booked.json()['session_id']}"

    async def events(self, pair: UUID) -> list[str]:
        """What has happened in a pair's cadence."""
        rows = await self.pool.fetch(
            "SELECT type FROM events WHERE stream_id = $1 ORDER BY version", cadence_id(pair)
        )
        return [row["type"] for row in rows]


@asynccontextmanager
async def running(
    dsns: Dsns,
    keys_dsns: Dsns,
    pool: asyncpg.Pool,
    keys_pool: asyncpg.Pool,
    *,
    replicas: int = 1,
    working: bool = True,
) -> AsyncIterator[World]:
    """So many whole processes' worth of sessions, api and (unless told otherwise) work, on one pair of databases."""
    settings = SessionsSettings(database_url=Dsn(dsns.app), keys_database_url=Dsn(keys_dsns.app))
    clock, tokens, stop = FixedClock(), Tokens(), asyncio.Event()
    services = [Sessions(settings, pool, keys_pool, clock=clock) for _ in range(replicas)]
    tasks = [
        asyncio.create_task(
            run_until(stop, *service.workers(["work"] if working else []), closing=service.closing)
        )
        for service in services
    ]
    clients = [
        httpx2.AsyncClient(
            transport=httpx2.ASGITransport(service.app(tokens)), base_url="http://sessions", timeout=30
        )
        for service in services
    ]
    try:
        yield World(pool, keys_pool, tokens, clients, clock, services)
    finally:
        stop.set()
        await asyncio.gather(*tasks)
        for client in clients:
            await client.aclose()
