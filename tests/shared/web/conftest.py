import io
import logging
import sys
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx2
import orjson
import pytest

from tests.shared.web.small_app import World
from upwell_shared.observability import configure_logging


class Log(io.BytesIO):
    """What was logged."""

    def lines(self, event: str | None = None) -> list[dict[str, Any]]:
        every = [orjson.loads(line) for line in self.getvalue().splitlines()]
        return [line for line in every if event in (None, line["event"])]


@pytest.fixture
def log() -> Iterator[Log]:
    root, hook = logging.getLogger(), sys.excepthook
    handlers, level = root.handlers[:], root.level
    log = Log()
    configure_logging("small", "info", log)
    yield log
    configure_logging("small", "error", io.BytesIO())
    logging.captureWarnings(capture=False)
    root.handlers[:], sys.excepthook = handlers, hook
    root.setLevel(level)


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
async def client(world: World) -> AsyncIterator[httpx2.AsyncClient]:
    headers = {"authorization": "Bearer mentor"}
    transport = httpx2.ASGITransport(world.app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://small", headers=headers) as client:
        yield client
