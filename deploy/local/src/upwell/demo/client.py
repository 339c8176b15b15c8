"""Somebody who uses Upwell over HTTP: logs in, asks, and sends a command again with the same key until it is answered."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar
from uuid import UUID, uuid4

import httpx2

from upwell.demo.acknowledgements import AcknowledgementLog
from upwell_shared.errors import UpwellError
from upwell_shared.web.commands import command_id
from upwell_shared.web.policies import Principal

T = TypeVar("T")

PATIENCE_SECONDS = 120.0
"""How long an answer, or a consequence, is waited for: what is killed must have time to come back."""

# Answers that say: not now, and the same key may be sent again.
_AGAIN = frozenset({502, 503, 504})
_AGAIN_PROBLEMS = frozenset({"urn:upwell:problem:concurrent-update", "urn:upwell:problem:command-in-flight"})


# Which service's command a read of a path is to show.
_OWNERS = {
    **dict.fromkeys(("organisations", "units", "people", "names", "imports"), "directory"),
    **dict.fromkeys(("programmes", "cohorts", "enrolments", "match-runs", "pairs"), "matching"),
    "cadences": "sessions",
    **dict.fromkeys(("question-sets", "reflections"), "feedback"),
}


class Refused(UpwellError):
    """Upwell answered something else than what the play expects. Holds method, path, status and problem."""

    def __init__(self, method: str, path: str, response: httpx2.Response) -> None:
        self.status = response.status_code
        self.problem = str(_problem(response).get("type", ""))
        super().__init__(f"{method} {path}: {self.status} {_problem(response)}")


class NeverHappened(UpwellError):
    """What a command was to lead to did not come about in time."""


class Gateway:
    """The one door. Counts the commands it carried, and notes each answer before it is handed on."""

    def __init__(self, address: str, acknowledgements: AcknowledgementLog, at_once: int = 12) -> None:
        self._http = httpx2.AsyncClient(
            base_url=address, timeout=20, limits=httpx2.Limits(max_connections=at_once + 4)
        )
        self._at_once = asyncio.Semaphore(at_once)
        self._acknowledgements = acknowledgements
        self.sent_again = 0

    async def close(self) -> None:
        await self._http.aclose()

    def user(
        self, label: str, person_id: UUID, roles: Sequence[str] = ("participant",), units: Sequence[UUID] = ()
    ) -> "User":
        """Somebody who will log in with their first request. `label` is the play's own name for them."""
        return User(self, label, person_id, roles, units)

    async def exchange(self, method: str, path: str, **options: Any) -> httpx2.Response:
        """One request, made again as long as nobody can answer it. Raises the last TransportError when patience ends."""
        until = time.monotonic() + PATIENCE_SECONDS
        apart = 0.05
        while True:
            try:
                async with self._at_once:
                    response = await self._http.request(method, path, **options)
                if not (response.status_code in _AGAIN or _problem(response).get("type") in _AGAIN_PROBLEMS):
                    return response
                if time.monotonic() > until:
                    return response
            except httpx2.TransportError:
                if time.monotonic() > until:
                    raise
            self.sent_again += 1
            await asyncio.sleep(apart * random.uniform(0.5, 1))  # noqa: S311 spreading retries
            apart = min(apart * 2, 1.0)

    def note(self, position: str, id_: UUID) -> None:
        """A command was answered."""
        self._acknowledgements.note(position, id_)


class User:
    """One person, or one client, with the roles they log in with."""

    def __init__(
        self, gateway: Gateway, label: str, person_id: UUID, roles: Sequence[str], units: Sequence[UUID]
    ) -> None:
        self.label = label
        self.id = person_id
        self._gateway = gateway
        self._login = {
            "person_id": str(person_id),
            "roles": list(roles),
            "units": [str(unit) for unit in units],
        }
        self._token: str | None = None
        self._positions: dict[str, str] = {}
        """Of the last command of each service: what a read of it waits for."""

    async def get(self, path: str, **query: object) -> Any:
        """What a read answers once it has heard of this user's own last command. Raises Refused."""
        position = self._positions.get(_OWNERS.get(path.partition("/")[0], ""))
        return (await self._caught_up(path, position, query)).json()

    async def seen(self, path: str, service: str) -> float:
        """Seconds from now until a page shows this user's last command to that service."""
        began = time.perf_counter()
        await self._caught_up(path, self._positions[service], {})
        return time.perf_counter() - began

    async def found(self, path: str, **query: object) -> Any | None:
        """What a read answers, or None where there is nothing yet."""
        try:
            return await self.get(path, **query)
        except Refused as refused:
            if refused.status == 404:
                return None
            raise

    async def whole_list(self, path: str, **query: object) -> list[Any]:
        """All items of a list, page by page."""
        items: list[Any] = []
        cursor: dict[str, object] = {}
        while True:
            page = await self.get(path, limit=200, **query, **cursor)
            items += page["items"]
            if page.get("next") is None:
                return items
            cursor = {"cursor": page["next"]}

    async def do(
        self, method: str, path: str, body: object = None, *, if_match: str | None = None
    ) -> dict[str, Any]:
        """Carries out a command once, however often it has to be sent; answers its body. Raises Refused."""
        options: dict[str, Any] = {} if body is None else {"json": body}
        return dict((await self._command(method, path, if_match, options)).json())

    async def upload(self, path: str, content: bytes, **query: object) -> dict[str, Any]:
        """Sends a file under one key until it is done."""
        options = {"content": content, "params": query}
        key = str(uuid4())
        while (
            response := await self._command("POST", path, None, options, key=key, media="text/csv")
        ).status_code == 202:
            pass
        return dict(response.json())

    async def etag(self, path: str) -> str:
        """The ETag a command with If-Match wants."""
        return str((await self._ask("GET", path)).headers["ETag"])

    async def _caught_up(self, path: str, position: str | None, query: dict[str, object]) -> httpx2.Response:
        """A read that waits for a position. Raises NeverHappened."""
        headers = {} if position is None else {"Upwell-After": position}

        async def fresh() -> httpx2.Response | None:
            response = await self._ask("GET", path, headers, params=query)
            return None if "Upwell-Stale" in response.headers else response

        return await until(fresh, f"{path} showing {position}")

    async def _command(
        self,
        method: str,
        path: str,
        if_match: str | None,
        options: dict[str, Any],
        *,
        key: str | None = None,
        media: str | None = None,
    ) -> httpx2.Response:
        key = key or str(uuid4())
        headers = {"Idempotency-Key": key}
        if if_match is not None:
            headers["If-Match"] = if_match
        if media is not None:
            headers["Content-Type"] = media
        response = await self._ask(method, path, headers, **options)
        if (position := response.headers.get("Upwell-Position")) is not None:
            self._gateway.note(position, command_id(Principal(self.id), key))
            self._positions[position.partition("/")[0]] = position
        return response

    async def _ask(
        self, method: str, path: str, headers: dict[str, str] | None = None, **options: Any
    ) -> httpx2.Response:
        if self._token is None:
            await self._log_in()
        response = await self._send(method, path, headers, options)
        if response.status_code == 401:
            await self._log_in()
            response = await self._send(method, path, headers, options)
        if not response.is_success:
            raise Refused(method, path, response)
        return response

    async def _send(
        self, method: str, path: str, headers: dict[str, str] | None, options: dict[str, Any]
    ) -> httpx2.Response:
        told = {"Authorization": f"Bearer {self._token}"} | (headers or {})
        return await self._gateway.exchange(method, f"/v1/{path}", headers=told, **options)

    async def _log_in(self) -> None:
        response = await self._gateway.exchange("POST", "/v1/login", json=self._login)
        if not response.is_success:
            raise Refused("POST", "login", response)
        self._token = str(response.json()["access_token"])


async def until(look: Callable[[], Awaitable[T | None]], what: str) -> T:
    """What `look` finds, once it finds something that is true. Raises NeverHappened."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    apart = 0.02
    while not (found := await look()):
        if time.monotonic() > deadline:
            raise NeverHappened(what)
        await asyncio.sleep(apart)
        apart = min(apart * 1.5, 0.5)
    return found


def _problem(response: httpx2.Response) -> dict[str, Any]:
    if "problem+json" not in response.headers.get("Content-Type", ""):
        return {}
    found = response.json()
    return found if isinstance(found, dict) else {}
