"""Matching in this process, on a real database, with people who ask it things and a directory that tells it of them."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import date, timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import httpx2

from tests.service_process import until
from upwell_matching.app import HANDLERS, OWN, Matching
from upwell_matching.domain.standing import BeginStanding, Place, TakePlaceInOrganisation
from upwell_matching.settings import MatchingSettings
from upwell_shared.contracts import Consumed, PublishedEvent
from upwell_shared.contracts.directory import UnitOpened
from upwell_shared.errors import Unauthenticated
from upwell_shared.events import Envelope
from upwell_shared.looking_up import caught_up
from upwell_shared.running import run_until
from upwell_shared.settings import Dsn
from upwell_shared.testing import FixedClock
from upwell_shared.testing.databases import Dsns
from upwell_shared.web.policies import Principal, UserRole

SINCE = date(2020, 1, 1)
RULES = {"measure": "grade", "gap": 2}


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
    """Acme with two units, and a coordinator of all of it; whoever joins can ask by their id."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        tokens: Tokens,
        matchings: list[Matching],
        clients: list[httpx2.AsyncClient],
        clock: FixedClock,
    ) -> None:
        self.pool = pool
        self.tokens = tokens
        self.matchings = matchings
        self.clients = clients
        self.clock = clock
        self.acme, self.sales, self.trade = uuid4(), uuid4(), uuid4()
        tokens.give("team", UserRole.COORDINATOR, units=frozenset({self.acme}))
        self._asked = 0
        self._told: dict[tuple[UUID, str], int] = defaultdict(int)

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
        who: object = "team",
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

    async def seen(self, path: str, after: httpx2.Response | None = None, *, who: object = "team") -> Any:
        """What a read shows that waits for an earlier answer."""
        headers = {} if after is None else {"Upwell-After": after.headers["Upwell-Position"]}
        response = await self.ask("GET", path, who=who, headers=headers)
        assert response.status_code == 200, response.text
        assert "Upwell-Stale" not in response.headers
        return response.json()

    async def etag(self, path: str, *, who: object = "team") -> str:
        await self.read_up()
        return str((await self.ask("GET", path, who=who)).headers["ETag"])

    async def read_up(self) -> None:
        """Returns once every read model has read all that is committed now."""

        async def all_read() -> bool:
            return await caught_up(self.pool, *(projection.name for projection in OWN))

        await until(all_read)

    async def hears(self, *events: PublishedEvent) -> None:
        """Events of the directory are consumed, on one page."""
        page = [self._consumed(event) for event in events]
        async with self.pool.acquire() as connection, connection.transaction():
            await HANDLERS.take(connection, page)

    def _consumed(self, event: PublishedEvent) -> Consumed:
        # A person's stream is their own; units are told of on the stream of their organisation.
        stream_id: UUID = getattr(event, "person_id", self.acme)
        self._told[stream_id, event.audience] += 1
        return Consumed(
            event_id=uuid4(),
            type=f"upwell.directory.{type(event).__name__}.v1",
            owner="directory",
            stream_id=stream_id,
            sequence=self._told[stream_id, event.audience],
            recorded_at=self.clock.now(),
            correlation_id=uuid4(),
            causation_id=None,
            traceparent=None,
            log_id=None,
            audience=event.audience,
            event=event,
        )

    async def open_acme(self) -> UUID:
        """The organisation with its units, as the directory tells of them."""
        for unit_id, parent_id in ((self.acme, None), (self.sales, self.acme), (self.trade, self.acme)):
            await self.hears(UnitOpened(unit_id=unit_id, organisation_id=self.acme, parent_id=parent_id))
        return self.acme

    async def join(
        self,
        *,
        grade: int = 3,
        unit: UUID | None = None,
        manager: UUID | None = None,
        since: date = SINCE,
        person: UUID | None = None,
    ) -> UUID:
        """Somebody stands there from now on, and may ask with their id as a token."""
        person_id = person or uuid4()
        place = Place(
            organisation_id=self.acme,
            unit_id=unit or self.sales,
            grade=grade,
            manager_id=manager,
            in_role_since=since,
        )
        for command in (BeginStanding(), TakePlaceInOrganisation(place=place)):
            await self.send(person_id, command)
        self.tokens.give(str(person_id), UserRole.PARTICIPANT, id_=person_id)
        return person_id

    async def send(self, stream_id: UUID, command: object) -> None:
        """A command of the service's own, as its workers would carry it out."""
        envelope = Envelope(command_id=uuid4(), correlation_id=uuid4())
        await self.matchings[0].carry(stream_id, command, envelope)

    async def open_programme(self, *units: UUID, **changes: Any) -> UUID:
        body = {"name": "Upward", "unit_ids": [str(unit) for unit in units or (self.acme,)], "rules": RULES}
        opened = await self.done("POST", "/v1/programmes", body | changes)
        return UUID(opened.json()["programme_id"])

    async def add_topic(self, programme_id: UUID, name: str = "Code") -> UUID:
        added = await self.done("POST", f"/v1/programmes/{programme_id}/topics", {"name": name})
        return UUID(added.json()["topic_id"])

    async def open_cohort(self, programme_id: UUID, **changes: Any) -> UUID:
        today = self.clock.now().date()
        body = {
            "name": "First",
            "starts_on": today.isoformat(),
            "ends_on": (today + timedelta(days=180)).isoformat(),
        }
        opened = await self.done("POST", f"/v1/programmes/{programme_id}/cohorts", body | changes)
        return UUID(opened.json()["cohort_id"])

    async def enrol(
        self, cohort_id: UUID, person_id: UUID, role: str, topic_id: UUID, **changes: Any
    ) -> UUID:
        wish = "offers" if role == "mentor" else "seeks"
        body = {"role": role, wish: [str(topic_id)]} | changes
        enrolled = await self.done(
            "PUT", f"/v1/cohorts/{cohort_id}/enrolments/{person_id}", body, who=person_id
        )
        return UUID(enrolled.json()["enrolment_id"])

    async def propose(self, cohort_id: UUID, mentor_id: UUID, mentee_id: UUID, **options: Any) -> UUID:
        body = {"mentor_id": str(mentor_id), "mentee_id": str(mentee_id)}
        proposed = await self.done("POST", f"/v1/cohorts/{cohort_id}/pairs", body, **options)
        return UUID(proposed.json()["pair_id"])

    async def accept(self, pair_id: UUID, person_id: UUID, **options: Any) -> httpx2.Response:
        return await self.ask("POST", f"/v1/pairs/{pair_id}/accept", who=person_id, **options)

    async def pair_up(self, cohort_id: UUID, mentor_id: UUID, mentee_id: UUID) -> UUID:
        """A pair that both have accepted."""
        pair_id = await self.propose(cohort_id, mentor_id, mentee_id)
        for person_id in (mentor_id, mentee_id):
            accepted = await self.accept(pair_id, person_id)
            assert accepted.status_code == 200, accepted.text
        return pair_id

    async def becomes(self, pair_id: UUID, state: str) -> Any:
        """The pair, once it stands so."""

        async def stands() -> bool:
            return bool((await self.seen(f"/v1/pairs/{pair_id}"))["state"] == state)

        await until(stands)
        return await self.seen(f"/v1/pairs/{pair_id}")

    async def events(self) -> list[tuple[UUID, str]]:
        rows = await self.pool.fetch("SELECT stream_id, type FROM events ORDER BY tx, position")
        return [(row["stream_id"], row["type"]) for row in rows]


@asynccontextmanager
async def running(dsns: Dsns, pool: asyncpg.Pool, replicas: int = 1) -> AsyncIterator[World]:
    """So many whole processes' worth of matching, api and work, on one database."""
    settings = MatchingSettings(database_url=Dsn(dsns.app))
    clock, tokens, stop = FixedClock(), Tokens(), asyncio.Event()
    matchings = [Matching(settings, pool, clock=clock) for _ in range(replicas)]
    working = [
        asyncio.create_task(run_until(stop, *matching.workers(["work"]), closing=matching.closing))
        for matching in matchings
    ]
    clients = [
        httpx2.AsyncClient(
            transport=httpx2.ASGITransport(matching.app(tokens)), base_url="http://matching", timeout=30
        )
        for matching in matchings
    ]
    world = World(pool, tokens, matchings, clients, clock)
    try:
        await world.open_acme()
        yield world
    finally:
        stop.set()
        await asyncio.gather(*working)
        for client in clients:
            await client.aclose()
