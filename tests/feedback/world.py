"""Feedback in this process, on real databases, with people who ask it things and services that tell it things."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import asyncpg
import httpx2

from tests.feedback.telling import Tellers, pair_created
from tests.service_process import until
from upwell_feedback.app import Feedback
from upwell_feedback.domain.reflections import reflection_id
from upwell_feedback.domain.stages import Stage
from upwell_feedback.projections import reflections
from upwell_feedback.settings import FeedbackSettings
from upwell_shared.contracts.directory import UnitOpened
from upwell_shared.contracts.matching import PairEnded, ProgrammeOpened
from upwell_shared.contracts.sessions import SessionHeld
from upwell_shared.errors import Unauthenticated
from upwell_shared.projecting import has_read, head
from upwell_shared.running import run_until
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


class Pair(NamedTuple):
    """A pair: Ada, the mentor, and Ben."""

    pair_id: UUID
    ada: UUID
    ben: UUID

    def reflection(self, person_id: UUID, stage: Stage = Stage.START, ordinal: int = 1) -> UUID:
        return reflection_id(self.pair_id, person_id, stage, ordinal)


class World:
    """Acme with two units, Sales and North below it, and a programme for both."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        keys_pool: asyncpg.Pool,
        tokens: Tokens,
        http: httpx2.AsyncClient,
        clock: FixedClock,
    ) -> None:
        self.pool = pool
        self.keys_pool = keys_pool
        self.tokens = tokens
        self.http = http
        self.clock = clock
        self.tellers = Tellers(pool)
        self.acme, self.sales, self.north, self.programme = uuid4(), uuid4(), uuid4(), uuid4()

    async def open_programme(self) -> None:
        """Its team are `coordinator` and `hr`; `north` coordinates only a part of it, `elsewhere` nothing of it."""
        await self.tellers.tell(
            self.acme,
            UnitOpened(unit_id=self.acme, organisation_id=self.acme, parent_id=None),
            UnitOpened(unit_id=self.sales, organisation_id=self.acme, parent_id=self.acme),
            UnitOpened(unit_id=self.north, organisation_id=self.acme, parent_id=self.sales),
        )
        opened = ProgrammeOpened(programme_id=self.programme, unit_ids=[self.sales, self.north])
        await self.tellers.tell(self.programme, opened)
        give, everything = self.tokens.give, frozenset({self.acme})
        give("coordinator", UserRole.COORDINATOR, units=everything)
        give("hr", UserRole.HR_ADMIN, units=frozenset({self.sales}))
        give("north", UserRole.COORDINATOR, units=frozenset({self.north}))
        give("elsewhere", UserRole.HR_ADMIN, units=frozenset({uuid4()}))
        give("analyst", UserRole.ANALYST, units=everything)
        give("ops", UserRole.OPS, units=everything)
        give("participant", UserRole.PARTICIPANT, units=everything)

    async def begin(self, programme_id: UUID | None = None) -> Pair:
        """A pair comes into being; `ada` and `ben` are its members."""
        pair = Pair(uuid4(), uuid4(), uuid4())
        created = pair_created(pair.pair_id, programme_id or self.programme, pair.ada, pair.ben)
        await self.tellers.tell(pair.pair_id, created)
        self.tokens.give("ada", UserRole.PARTICIPANT, id_=pair.ada)
        self.tokens.give("ben", UserRole.PARTICIPANT, id_=pair.ben)
        await self.settled()
        return pair

    async def hold(self, pair: Pair, *sessions: UUID) -> None:
        for session_id in sessions:
            held = SessionHeld(session_id=session_id, pair_id=pair.pair_id, programme_id=self.programme)
            await self.tellers.tell(pair.pair_id, held)
        await self.settled()

    async def end(self, pair: Pair) -> None:
        ended = PairEnded(pair_id=pair.pair_id, programme_id=self.programme)
        await self.tellers.tell(pair.pair_id, ended)
        await self.settled()

    async def settled(self) -> None:
        """Returns once all to-dos are carried out, and the read model shows what followed."""

        async def done() -> bool:
            return not await self.pool.fetchval("SELECT count(*) FROM todos")

        await until(done)
        newest = await head(self.pool)

        async def shown() -> bool:
            return await has_read(self.pool, reflections.name, newest)

        await until(shown)

    async def ask(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        who: str = "ada",
        key: object = None,
        if_match: str | None = None,
        headers: Mapping[str, str] | None = None,
        **options: Any,
    ) -> httpx2.Response:
        told = {"Authorization": f"Bearer {who}", "Idempotency-Key": str(key or uuid4()), **(headers or {})}
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

    async def seen(self, path: str, after: httpx2.Response | None = None, *, who: str = "ada") -> Any:
        """What a read shows that waits for an earlier answer."""
        headers = {} if after is None else {"Upwell-After": after.headers["Upwell-Position"]}
        response = await self.ask("GET", path, who=who, headers=headers)
        assert response.status_code == 200, response.text
        assert "Upwell-Stale" not in response.headers
        return response.json()

    async def submit(
        self, reflection: UUID, answers: Mapping[str, tuple[str, str]], **options: Any
    ) -> httpx2.Response:
        """Answers by question: what is said, and who may read it."""
        given = [
            {"question_id": question_id, "text": text, "visibility": visibility}
            for question_id, (text, visibility) in answers.items()
        ]
        return await self.ask("POST", f"/v1/reflections/{reflection}/submit", {"answers": given}, **options)

    async def events(self, stream_id: UUID | None = None) -> list[str]:
        rows = await self.pool.fetch(
            "SELECT type FROM events WHERE $1::uuid IS NULL OR stream_id = $1 ORDER BY tx, position",
            stream_id,
        )
        return [row["type"] for row in rows]


@asynccontextmanager
async def running(dsns: Dsns, pool: asyncpg.Pool, keys_pool: asyncpg.Pool) -> AsyncIterator[World]:
    """Its api and its work."""
    settings = FeedbackSettings(database_url=Dsn(dsns.app))
    clock, tokens, stop = FixedClock(), Tokens(), asyncio.Event()
    feedback = Feedback(settings, pool, keys_pool, clock=clock)
    working = asyncio.create_task(run_until(stop, *feedback.workers(["work"]), closing=feedback.closing))
    client = httpx2.AsyncClient(
        transport=httpx2.ASGITransport(feedback.app(tokens)), base_url="http://feedback", timeout=30
    )
    try:
        world = World(pool, keys_pool, tokens, client, clock)
        await world.open_programme()
        yield world
    finally:
        stop.set()
        await working
        await client.aclose()
