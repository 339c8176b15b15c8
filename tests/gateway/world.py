"""The gateway in this process, on a real database, with people who ask it and owners behind it."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import httpx2

from tests.gateway.owners import Owner, owner
from tests.gateway.story import Story
from tests.gateway.telling import Reader
from upwell_gateway.app import Gateway
from upwell_gateway.issuer import make_keys
from upwell_gateway.settings import GatewaySettings
from upwell_shared.errors import Unauthenticated
from upwell_shared.settings import Dsn
from upwell_shared.testing import FixedClock
from upwell_shared.testing.databases import Dsns
from upwell_shared.web.policies import Principal, UserRole


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
    """A story with everybody who might look at it."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        http: httpx2.AsyncClient,
        tokens: Tokens,
        owners: dict[str, Owner],
        clock: FixedClock,
        gateway: Gateway,
    ) -> None:
        self.pool = pool
        self.http = http
        self.tokens = tokens
        self.owners = owners
        self.clock = clock
        self.gateway = gateway
        self.story = story = Story(Reader(pool))
        here, elsewhere = frozenset({story.acme}), frozenset({story.elsewhere})
        tokens.give("mentor", UserRole.PARTICIPANT, id_=story.mentor)
        tokens.give("mentee", UserRole.PARTICIPANT, id_=story.mentee)
        tokens.give("participant", UserRole.PARTICIPANT, units=here)
        tokens.give("coordinator", UserRole.COORDINATOR, units=here)
        tokens.give("hr", UserRole.HR_ADMIN, units=here)
        tokens.give("coordinator elsewhere", UserRole.COORDINATOR, units=elsewhere)
        tokens.give("analyst", UserRole.ANALYST, units=here)
        tokens.give("ops", UserRole.OPS, units=here)

    async def ask(self, method: str, path: str, who: str = "coordinator", **options: Any) -> httpx2.Response:
        headers = {"Authorization": f"Bearer {who}"} | options.pop("headers", {})
        return await self.http.request(method, path, headers=headers, **options)

    async def see(self, page: str, who: str = "coordinator", *, parts: bool = False, **options: Any) -> Any:
        """A page, by default without what only others may tell."""
        joined = "&" if "?" in page else "?"
        path = f"/v1/pages/{page}" + ("" if parts else f"{joined}parts=false")
        response = await self.ask("GET", path, who, **options)
        assert response.status_code == 200, response.text
        return response.json()


@asynccontextmanager
async def running(dsns: Dsns, pool: asyncpg.Pool, folder: Path) -> AsyncIterator[World]:
    """The gateway's API, in front of an owner of each kind."""
    async with AsyncExitStack() as stack:
        owners = {
            name: await stack.enter_async_context(owner())
            for name in ("directory", "matching", "sessions", "feedback")
        }
        settings = GatewaySettings(
            database_url=Dsn(dsns.app),
            issuer_key_file=make_keys(folder / "keys").private,
            **{f"{name}_urls": (each.url,) for name, each in owners.items()},  # type: ignore[arg-type]
        )
        clock, tokens = FixedClock(), Tokens()
        gateway = Gateway(settings, pool, clock=clock)
        transport = httpx2.ASGITransport(gateway.app(tokens))
        http = await stack.enter_async_context(
            httpx2.AsyncClient(transport=transport, base_url="http://gateway", timeout=30)
        )
        yield World(pool, http, tokens, owners, clock, gateway)
        for close in gateway.closing:
            await close()
