"""Routes of requests that are somebody else's to understand."""

from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
from starlette.requests import Request
from starlette.responses import Response

from tests.shared.web.small_app import Tokens
from tests.shared.web.test_problems import check
from upwell_shared.web.app import create_app
from upwell_shared.web.policies import authenticated, requires
from upwell_shared.web.routing import PolicyMissing, RawBody, api_router, hands_on


class Through:
    """An application with one such route, that remembers what came through it."""

    def __init__(self) -> None:
        self.came: list[tuple[str, bytes, bytes]] = []
        routes = api_router("/v1")

        async def through(request: Request, content: RawBody) -> Response:
            self.came.append((request.method, request.scope["query_string"], content))
            return Response(status_code=204)

        routes.add_api_route(
            "/elsewhere{rest:path}",
            through,
            methods=["GET", "POST"],
            dependencies=[requires(authenticated), hands_on(1_000)],
        )
        self.app = create_app(
            "through",
            routes,
            authenticator=Tokens(),
            ping=self._ping,
            description="All of it is <elsewhere>.",
        )

    async def _ping(self) -> None: ...


@pytest.fixture
def through() -> Through:
    return Through()


@pytest.fixture
async def client(through: Through) -> AsyncIterator[httpx2.AsyncClient]:
    headers = {"authorization": "Bearer mentor"}
    async with httpx2.AsyncClient(
        transport=httpx2.ASGITransport(through.app), base_url="http://through", headers=headers
    ) as client:
        yield client


async def test_any_body_query_and_kind_comes_through_as_it_is(
    client: httpx2.AsyncClient, through: Through
) -> None:
    await client.get("/v1/elsewhere/a?b=c&unknown")
    await client.post("/v1/elsewhere", content=b"{not json", headers={"content-type": "application/json"})
    await client.post("/v1/elsewhere/x/y", content=b"a;b\x00", headers={"content-type": "text/csv"})
    await client.post("/v1/elsewhere/x/y")
    assert through.came == [
        ("GET", b"b=c&unknown", b""),
        ("POST", b"", b"{not json"),
        ("POST", b"", b"a;b\x00"),
        ("POST", b"", b""),
    ]


async def test_the_policy_and_the_size_are_checked_here(client: httpx2.AsyncClient, through: Through) -> None:
    check(
        await client.get("/v1/elsewhere", headers={"authorization": "Bearer nobody"}), 401, "unauthenticated"
    )
    check(await client.post("/v1/elsewhere", content=b"x" * 1_001), 413, "too-large")
    check(await client.put("/v1/elsewhere"), 405, "method-not-allowed")
    assert through.came == []


async def test_it_is_not_described_here_but_the_description_may_say_where(client: httpx2.AsyncClient) -> None:
    document: Any = (await client.get("/v1/openapi.json")).json()
    assert not [path for path in document["paths"] if "elsewhere" in path]
    assert document["info"]["description"] == "All of it is <elsewhere>."
    assert "All of it is &lt;elsewhere&gt;." in (await client.get("/v1/docs")).text


def test_it_needs_a_policy_like_every_route() -> None:
    async def through() -> Response:
        return Response()

    with pytest.raises(PolicyMissing):
        api_router("/v1").add_api_route("/elsewhere", through, dependencies=[hands_on()])
