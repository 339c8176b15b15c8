"""Every route with everybody who might ask: generated from the documentation, so that no cell is left out."""

from typing import Any

import httpx2

from tests.sessions.world import World, created
from upwell_shared.web.policies import UserRole

ROLES = {role.value for role in UserRole}
MAY = {
    "public": {"stranger", "ada", "ben", "cleo", *ROLES},
    "authenticated": {"ada", "ben", "cleo", *ROLES},
    "member": {"ada", "ben"},
}


async def setting(world: World) -> dict[str, str]:
    pair = await world.pair()
    session = (await world.book(pair)).rpartition("/")[2]
    for role in UserRole:
        world.tokens.give(role.value, role)
    # Cleo has a pair too, with one of the two.
    await world.hear("matching", created(world.cleo, world.ben))
    return {"pair_id": str(pair), "session_id": session}


async def operations(world: World) -> list[tuple[str, str, str]]:
    """Method, path and policy of every route."""
    document: dict[str, Any] = (await world.http.get("/v1/openapi.json")).json()
    return [
        (method.upper(), path, operation["x-upwell-policy"])
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]


async def ask(world: World, who: str, method: str, path: str) -> httpx2.Response:
    body = None if method == "GET" or path.endswith("cancel") else {"nothing": "known"}
    return await world.ask(method, path, body, who=who, headers={"If-Match": '"9999"'})


async def test_everybody_may_what_the_policy_says_and_nothing_else(world: World) -> None:
    ids = await setting(world)
    found = await operations(world)
    assert len([path for _, path, _ in found if path.startswith("/v1/cadences")]) == 9
    assert {policy for _, _, policy in found} == set(MAY)
    wrong = []
    for method, path, policy in found:
        for who in sorted(MAY["public"]):
            status = (await ask(world, who, method, path.format(**ids))).status_code
            expected = "let in" if who in MAY[policy] else "unknown" if who == "stranger" else "hidden"
            outcome = {401: "unknown", 403: "forbidden", 404: "hidden"}.get(status, "let in")
            if outcome != expected:
                wrong.append((method, path, policy, who, status))
    assert wrong == []


async def test_a_pair_of_others_looks_like_none(world: World) -> None:
    ids = await setting(world)
    before = await world.pool.fetchval("SELECT count(*) FROM events")
    of_others = f"/v1/cadences/{ids['pair_id']}"
    of_nobody = f"/v1/cadences/{ids['session_id']}"
    for method, path, body in (
        ("GET", "", None),
        ("POST", "/sessions", {"starts_at": world.at(days=1)}),
        ("POST", f"/sessions/{ids['session_id']}/confirm", {"held": True}),
        ("GET", f"/sessions/{ids['session_id']}/recap", None),
    ):
        theirs = await world.ask(method, of_others + path, body, who="cleo")
        nobodys = await world.ask(method, of_nobody + path, body, who="cleo")
        for answer in (theirs, nobodys):
            told = answer.json()
            del told["correlation_id"]
            assert (answer.status_code, told["type"]) == (404, "urn:upwell:problem:not-found")
        assert theirs.json()["detail"] == nobodys.json()["detail"]
    assert ids["pair_id"] not in (await world.ask("GET", "/v1/cadences", who="cleo")).text
    assert await world.pool.fetchval("SELECT count(*) FROM events") == before


async def test_nobody_speaks_for_the_other_side(world: World) -> None:
    """There is no field for it: which side speaks follows from who asks."""
    ids = await setting(world)
    body = {"held": True, "side": "mentee"}
    path = f"/v1/cadences/{ids['pair_id']}/sessions/{ids['session_id']}/confirm"
    assert (await world.ask("POST", path, body)).status_code == 422
