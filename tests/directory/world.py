"""The directory in this process, on a real database, with people who ask it things."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import httpx2

from upwell_directory.app import Directory
from upwell_directory.settings import DirectorySettings
from upwell_shared.errors import Unauthenticated
from upwell_shared.running import run_until
from upwell_shared.settings import Dsn
from upwell_shared.testing import FixedClock
from upwell_shared.testing.databases import Dsns
from upwell_shared.web.policies import Principal, UserRole

GRADE, SINCE = 7, "2024-01-01"


class Tokens:
    """An authenticator that knows the principals it was given by name."""

    def __init__(self) -> None:
        self.known: dict[str, Principal] = {}

    def give(
        self, name: str, *roles: UserRole, units: frozenset[UUID] = frozenset(), id_: UUID | None = None
    ) -> None:
        self.known[name] = Principal(id_ or uuid4(), frozenset(roles), units)

    async def authenticate(self, token: str) -> Principal:
        if token not in self.known:
            raise Unauthenticated
        return self.known[token]


class World:
    """One organisation, Acme, with an HR admin of all of it."""

    def __init__(
        self, pool: asyncpg.Pool, tokens: Tokens, clients: list[httpx2.AsyncClient], clock: FixedClock
    ) -> None:
        self.pool = pool
        self.tokens = tokens
        self.clients = clients
        self.clock = clock
        self.acme = uuid4()
        tokens.give("hr", UserRole.HR_ADMIN, units=frozenset({self.acme}))
        self._asked = 0

    @property
    def http(self) -> httpx2.AsyncClient:
        """The replicas in turn."""
        self._asked += 1
        return self.clients[self._asked % len(self.clients)]

    async def ask(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        who: str = "hr",
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
        assert response.status_code in {200, 201, 204}, response.text
        return response

    async def seen(self, path: str, after: httpx2.Response | None = None, *, who: str = "hr") -> Any:
        """What a read shows that waits for an earlier answer."""
        headers = {} if after is None else {"Upwell-After": after.headers["Upwell-Position"]}
        response = await self.ask("GET", path, who=who, headers=headers)
        assert response.status_code == 200, response.text
        assert "Upwell-Stale" not in response.headers
        return response.json()

    async def open_acme(self) -> UUID:
        await self.done("PUT", f"/v1/organisations/{self.acme}", {"name": "Acme"})
        return self.acme

    async def open_unit(self, parent: UUID, name: str) -> UUID:
        opened = await self.done("POST", "/v1/units", {"parent_id": str(parent), "name": name})
        return UUID(opened.json()["unit_id"])

    def person(self, unit: UUID, **changes: object) -> dict[str, object]:
        """The body of somebody who joins."""
        name = uuid4().hex[:12]
        return {
            "organisation_id": str(self.acme),
            "external_id": name,
            "user_name": name,
            "given_name": "Ada",
            "family_name": "Byron",
            "mail": f"{name}@example.org",
            "unit_id": str(unit),
            "grade": GRADE,
            "manager_id": None,
            "in_role_since": SINCE,
        } | changes

    async def join(self, unit: UUID, **changes: object) -> UUID:
        joined = await self.done("POST", "/v1/people", self.person(unit, **changes))
        return UUID(joined.json()["person_id"])

    async def etag(self, path: str) -> str:
        return str((await self.ask("GET", path)).headers["ETag"])

    async def events(self) -> list[tuple[UUID, str]]:
        rows = await self.pool.fetch("SELECT stream_id, type FROM events ORDER BY tx, position")
        return [(row["stream_id"], row["type"]) for row in rows]


@asynccontextmanager
async def running(dsns: Dsns, pool: asyncpg.Pool, replicas: int = 1) -> AsyncIterator[World]:
    """So many whole processes' worth of directory, api and work, on one database."""
    settings = DirectorySettings(database_url=Dsn(dsns.app))
    clock, tokens, stop = FixedClock(), Tokens(), asyncio.Event()
    directories = [Directory(settings, pool, clock=clock) for _ in range(replicas)]
    working = [
        asyncio.create_task(run_until(stop, *directory.workers(["work"]), closing=directory.closing))
        for directory in directories
    ]
    clients = [
        httpx2.AsyncClient(
            transport=httpx2.ASGITransport(directory.app(tokens)), base_url="http://directory", timeout=30
        )
        for directory in directories
    ]
    try:
        yield World(pool, tokens, clients, clock)
    finally:
        stop.set()
        await asyncio.gather(*working)
        for client in clients:
            await client.aclose()
