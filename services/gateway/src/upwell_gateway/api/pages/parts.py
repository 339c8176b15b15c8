"""Parts of a page that only their owners may tell: asked with the caller's token, side by side, and never kept.

A part is `ok` with what its owner answered, `forbidden` when the owner says that it is not for the caller (or that
there is nothing the caller may know of), and `unavailable` when the owner is away or too slow. The page is answered in
any case.
"""

import asyncio
from collections.abc import Coroutine, Iterable, Mapping
from typing import Any, Final
from uuid import UUID

import orjson
from starlette.requests import Request

from upwell_gateway.api.handing_on import headers_of
from upwell_gateway.forwarding import Forwarder, Question
from upwell_shared.errors import Unavailable
from upwell_shared.web.cursors import MOST_ROWS

PART_SECONDS: Final = 1.5

Part = dict[str, Any]

FORBIDDEN: Final[Mapping[str, str]] = {"state": "forbidden"}
_UNAVAILABLE: Final[Mapping[str, str]] = {"state": "unavailable"}
_NOT_FOR_THE_CALLER: Final = frozenset({401, 403, 404})


class Owners:
    """The owners as one caller may ask them."""

    def __init__(self, forwarder: Forwarder, request: Request) -> None:
        self._forwarder = forwarder
        self._headers = headers_of(request.scope, ("authorization",))
        after: bytes = request.scope["upwell.headers"].get(b"upwell-after", b"")
        self._after = after.decode("latin-1")

    async def read(self, service: str, target: str) -> Part:
        """What a path of the owner answers."""
        return await self._ask(
            service, Question(method="GET", target=target.encode(), headers=self._told(service))
        )

    async def names(self, people: Iterable[UUID | None]) -> Part:
        """Names of people: a list of {person_id, state, given_name, family_name}."""
        ids = sorted({str(person) for person in people if person is not None})
        pages = [ids[start : start + MOST_ROWS] for start in range(0, len(ids), MOST_ROWS)]
        answers = await asyncio.gather(*(self._names(page) for page in pages))
        if wrong := next((answer for answer in answers if answer["state"] != "ok"), None):
            return wrong
        return {"state": "ok", "content": [name for answer in answers for name in answer["content"]["names"]]}

    async def _names(self, ids: list[str]) -> Part:
        headers = self._told("directory") | {"content-type": "application/json"}
        content = orjson.dumps({"ids": ids})
        return await self._ask(
            "directory", Question(method="POST", target=b"/v1/names", headers=headers, content=content)
        )

    def _told(self, service: str) -> dict[str, str]:
        # A position is the business of its own service alone.
        mine = self._after.startswith(f"{service}/")
        return self._headers | ({"upwell-after": self._after} if mine else {})

    async def _ask(self, service: str, question: Question) -> Part:
        try:
            answer = await self._forwarder.ask(service, question, seconds=PART_SECONDS)
            if answer.status_code == 200:
                return {"state": "ok", "content": orjson.loads(answer.content)}
        except (Unavailable, orjson.JSONDecodeError):
            return {**_UNAVAILABLE}
        return {**(FORBIDDEN if answer.status_code in _NOT_FOR_THE_CALLER else _UNAVAILABLE)}


async def gathered(parts: Mapping[str, Coroutine[Any, Any, Part]]) -> dict[str, Part]:
    """All parts, asked at the same time."""
    return dict(zip(parts, await asyncio.gather(*parts.values()), strict=True))
