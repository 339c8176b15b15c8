"""Who may do what is said by every route, checked before anything is read, and refused without a hint."""

from uuid import uuid4

import httpx2
import pytest
from fastapi import APIRouter

from tests.shared.web.small_app import PAIR, World
from tests.shared.web.test_problems import check
from upwell_shared.web.app import create_app
from upwell_shared.web.policies import authenticated, public, requires
from upwell_shared.web.routing import PolicyMissing, api_router


@pytest.mark.parametrize("authorization", ["", "Bearer", "Bearer nobody", "Basic mentor", "mentor"])
async def test_whoever_is_not_known_learns_nothing(client: httpx2.AsyncClient, authorization: str) -> None:
    for response in (
        await client.get("/v1/me", headers={"authorization": authorization}),
        await client.post("/v1/reflections", content=b"{", headers={"authorization": authorization}),
        await client.get("/v1/pairs?nonsense", headers={"authorization": authorization}),
    ):
        check(response, 401, "unauthenticated")
        assert response.headers["www-authenticate"] == "Bearer"


async def test_a_token_says_who_is_asking(client: httpx2.AsyncClient, world: World) -> None:
    assert (await client.get("/v1/me")).json() == {"id": str(world.tokens.mentor.id)}


async def test_a_policy_refuses_before_the_body_is_looked_at(client: httpx2.AsyncClient) -> None:
    check(await client.put("/v1/rules", content=b"{"), 403, "forbidden")


async def test_a_policy_decides_on_what_was_looked_up_and_hides_that_there_is_something(
    client: httpx2.AsyncClient,
) -> None:
    key = {"Idempotency-Key": "one"}
    assert (await client.post(f"/v1/pairs/{PAIR}/accept", headers=key)).status_code == 200
    foreign = await client.post(
        f"/v1/pairs/{PAIR}/accept", headers=key | {"authorization": "Bearer coordinator"}
    )
    absent = await client.post(f"/v1/pairs/{uuid4()}/accept", headers=key)
    assert check(foreign, 404, "not-found")["detail"] == check(absent, 404, "not-found")["detail"]


def test_a_route_without_a_policy_cannot_be_declared() -> None:
    router = api_router("/v1")
    with pytest.raises(PolicyMissing, match=r"GET /v1/open declares 0 policies"):

        @router.get("/open")
        async def open_() -> None: ...


def test_two_policies_are_no_policy() -> None:
    router = api_router("/v1", dependencies=[requires(authenticated)])
    with pytest.raises(PolicyMissing, match=r"POST /v1/open declares 2 policies"):

        @router.post("/open", dependencies=[requires(public)])
        async def open_() -> None: ...


def test_an_app_with_a_route_of_another_kind_does_not_start(world: World) -> None:
    stray = APIRouter()

    @stray.get("/stray")
    async def stray_() -> None: ...

    outer = api_router()
    outer.include_router(api_router("/inner"))
    for router in (stray, outer):
        with pytest.raises(PolicyMissing):
            create_app("Small", router, authenticator=world.tokens, ping=world.ping)


async def test_answers_are_not_kept_or_guessed_at_by_browsers(client: httpx2.AsyncClient) -> None:
    for path in ("/v1/me", "/v1/nothing", "/v1/docs"):
        headers = (await client.get(path)).headers
        assert (headers["cache-control"], headers["x-content-type-options"]) == ("no-store", "nosniff")
