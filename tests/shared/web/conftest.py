from collections.abc import AsyncIterator, Iterator

import httpx2
import pytest

from tests.shared.logs import Log, captured
from tests.shared.web.small_app import World


@pytest.fixture
def log() -> Iterator[Log]:
    with captured("small", "info") as log:
        yield log


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
async def client(world: World) -> AsyncIterator[httpx2.AsyncClient]:
    headers = {"authorization": "Bearer mentor"}
    transport = httpx2.ASGITransport(world.app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://small", headers=headers) as client:
        yield client
