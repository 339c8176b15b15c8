"""Reading one's own writes: a command answers with a position, a read that carries it waits until it is reached."""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable
from typing import Annotated, NamedTuple, Self
from uuid import UUID

from fastapi import Depends, Header
from fastapi.dependencies.models import Dependant
from starlette.responses import Response

from upwell_shared.errors import Malformed, Violation

_TOKEN = re.compile(
    r"([a-z][a-z0-9_]{0,31})/([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})@([0-9]{1,9})\.([0-9]{1,9})\.([0-9]{1,9})"
)


class StreamPosition(NamedTuple):
    """A place in a stream: its version in the owner's store, and its sequences in both of the owner's channels."""

    service: str
    stream_id: UUID
    version: int
    public: int
    internal: int

    def __str__(self) -> str:
        return f"{self.service}/{self.stream_id}@{self.version}.{self.public}.{self.internal}"

    @classmethod
    def parse(cls, token: str) -> Self:
        """Raises Malformed."""
        found = _TOKEN.fullmatch(token)
        if found is None:
            detail = "must be an Upwell-Position as a command answered it"
            raise Malformed(Violation("header", "Upwell-After", detail))
        return cls(found[1], UUID(found[2]), int(found[3]), int(found[4]), int(found[5]))


async def _after(upwell_after: Annotated[str | None, Header(max_length=128)] = None) -> StreamPosition | None:
    return None if upwell_after is None else StreamPosition.parse(upwell_after)


After = Annotated[StreamPosition | None, Depends(_after)]
"""A parameter of a read: the position the caller wants to see, if any."""


def is_read_after(dependant: Dependant) -> bool:
    """Whether a route takes `Upwell-After`."""
    return any(below.call is _after or is_read_after(below) for below in dependant.dependencies)


async def wait_until(reached: Callable[[], Awaitable[bool]], timeout: float = 2.0) -> bool:
    """Asks until it is so or `timeout` seconds have passed; the answer is whether it is so. Errors pass through."""
    deadline = time.monotonic() + timeout
    delay = 0.005
    while not await reached():
        left = deadline - time.monotonic()
        if left <= 0:
            return False
        await asyncio.sleep(min(delay, left))
        delay = min(delay * 1.5, 0.05)
    return True


def mark_stale(response: Response) -> None:
    """Says that this answer does not hold the position asked for yet."""
    response.headers["Upwell-Stale"] = "true"
