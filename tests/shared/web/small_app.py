"""A small application on the HTTP base, with one route for each thing a route can be."""

import asyncio
from uuid import UUID, uuid4

from fastapi import FastAPI
from pydantic import Field
from starlette.responses import Response

from upwell_shared.decider import DomainError
from upwell_shared.errors import ConcurrentUpdate, StaleVersion, Unauthenticated
from upwell_shared.handling import Outcome
from upwell_shared.privacy import SubjectErased, TextDamaged, TextIdTaken, TextNotStorable
from upwell_shared.web.app import create_app
from upwell_shared.web.commands import Body, Command, IfMatch, answer, etag
from upwell_shared.web.cursors import Listing, Page, Paging
from upwell_shared.web.policies import (
    CurrentPrincipal,
    Principal,
    RequestFacts,
    authenticated,
    policy,
    public,
    requires,
)
from upwell_shared.web.positions import After, StreamPosition, mark_stale, wait_until
from upwell_shared.web.routing import RawBody, api_router, takes, without_key

MARKER = "Ottoline Kingfisher"
PAIR = UUID("6f7a0a52-41a3-4a54-9d2f-0d3c7ad0a4b1")


class BookingAlreadyClosed(DomainError):
    """The booking is closed: book another one."""


class Answer(Body):
    text: str = Field(min_length=1, max_length=100)


class Reflection(Body):
    stage: int = Field(ge=1, le=4)
    answers: list[Answer] = Field(min_length=1)


class Named(Body):
    who: UUID
    by: str


@policy
def coordinator(who: Principal, _: RequestFacts) -> bool:
    return "coordinator" in who.roles


@policy
def member_of_pair(who: Principal, members: frozenset[UUID]) -> bool:
    return who.id in members


class Tokens:
    """An authenticator that knows the tokens it was given."""

    def __init__(self) -> None:
        self.mentor = Principal(uuid4())
        self.coordinator = Principal(uuid4(), frozenset({"coordinator"}))

    async def authenticate(self, token: str) -> Principal:
        try:
            return {"mentor": self.mentor, "coordinator": self.coordinator}[token]
        except KeyError:
            raise Unauthenticated from None


class World:
    """What the routes share with the test."""

    def __init__(self, *, request_seconds: float = 10.0) -> None:
        self.tokens = Tokens()
        self.commands: list[Command] = []
        self.entered, self.release = asyncio.Event(), asyncio.Event()
        self.reached = False
        self.database_answers = asyncio.Event()
        self.database_answers.set()
        self.app = self._app(request_seconds)

    async def ping(self) -> None:
        await self.database_answers.wait()

    async def members(self, pair_id: UUID) -> frozenset[UUID]:
        return frozenset({self.tokens.mentor.id}) if pair_id == PAIR else frozenset()

    def _app(self, request_seconds: float) -> FastAPI:
        router = api_router("/v1")
        anyone = [requires(authenticated)]

        @router.post("/reflections", dependencies=anyone, status_code=201)
        async def submit(body: Reflection, command: Command) -> Response:
            """Submits a reflection."""
            self.commands.append(command)
            return answer(Outcome(f"feedback/{PAIR}@1.1.0", 1, {"stage": body.stage}), 201)

        @router.post(
            "/pairs/{pair_id}/accept", dependencies=[requires(member_of_pair, self.members, hidden=True)]
        )
        async def accept(pair_id: UUID, command: Command) -> Response:
            self.commands.append(command)
            return answer(Outcome(f"matching/{pair_id}@2.1.1", 2))

        @router.put("/rules", dependencies=[requires(coordinator)])
        async def edit(version: IfMatch, command: Command) -> Response:
            if version != 7:
                raise StaleVersion
            return answer(Outcome(f"matching/{PAIR}@8.0.0", 8))

        @router.get("/rules", dependencies=anyone)
        async def rules(response: Response) -> dict[str, int]:
            response.headers["ETag"] = etag(7)
            return {"gap": 2}

        @router.get("/pairs", dependencies=anyone)
        async def pairs(
            paging: Paging, response: Response, after: After, unit: UUID | None = None
        ) -> Page[int]:
            listing = Listing("pairs", unit=unit)
            start = int(listing.decode(paging.cursor)[0] or 0) if paging.cursor else 0
            if after is not None and not await wait_until(self._has, timeout=0.02):
                mark_stale(response)
            return Page(
                items=list(range(start, start + paging.limit)), next=listing.encode(start + paging.limit)
            )

        @router.get("/me", dependencies=anyone)
        async def me(who: CurrentPrincipal) -> dict[str, UUID]:
            return {"id": who.id}

        @router.post(
            "/people", dependencies=[*anyone, takes("text/csv", 200_000), without_key("upserts by key")]
        )
        async def people(content: RawBody) -> dict[str, int]:
            return {"bytes": len(content)}

        @router.post("/slow", dependencies=anyone)
        async def slow(command: Command) -> Response:
            self.entered.set()
            await self.release.wait()
            return answer(Outcome(f"matching/{PAIR}@1.0.0", 1))

        @router.post("/failing/{how}", dependencies=[requires(public)], responses={410: {}})
        async def failing(how: str, command: Command) -> Response:
            raise {
                "rule": BookingAlreadyClosed(),
                "concurrent": ConcurrentUpdate(),
                "bug": ValueError(MARKER),
                "outage": ConnectionRefusedError(MARKER),
                "erased": SubjectErased(),
                "taken": TextIdTaken(),
                "unstorable": TextNotStorable(),
                "damaged": TextDamaged(),
            }[how]

        return create_app(
            "Small",
            router,
            authenticator=self.tokens,
            ping=self.ping,
            request_seconds=request_seconds,
        )

    async def _has(self) -> bool:
        return self.reached


def position() -> StreamPosition:
    return StreamPosition("matching", PAIR, 3, 2, 1)
