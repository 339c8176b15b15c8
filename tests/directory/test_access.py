"""Every route with everybody who might ask: generated from the documentation, so that no cell is left out."""

from typing import Any
from uuid import uuid4

import httpx2

from tests.directory.world import World
from upwell_shared.web.policies import UserRole

MAY = {
    "public": {"stranger", "participant", "oneself", "coordinator", "hr", "hr elsewhere", "analyst", "ops"},
    "authenticated": {"participant", "oneself", "coordinator", "hr", "hr elsewhere", "analyst", "ops"},
    "hr_admin": {"hr", "hr elsewhere"},  # the body says where; see the next test
    "hr_admin_of_root": {"hr"},
    "hr_admin_of_unit": {"hr"},
    "hr_admin_of_person": {"hr"},
    "overseer": {"hr", "hr elsewhere", "coordinator"},  # of their own units only
    "overseer_of_unit": {"hr", "coordinator"},
    "sees_person": {"hr", "coordinator", "oneself"},
    "oneself": {"oneself"},
    "oneself_or_hr_admin": {"oneself", "hr"},
}
EVERYBODY = MAY["public"]


async def setting(world: World) -> dict[str, str]:
    acme = await world.open_acme()
    sales = await world.open_unit(acme, "Sales")
    ada = await world.join(sales)
    await world.seen(f"/v1/people/{ada}")
    reach, elsewhere = frozenset({acme}), frozenset({uuid4()})
    world.tokens.give("participant", UserRole.PARTICIPANT, units=reach)
    world.tokens.give("oneself", UserRole.PARTICIPANT, id_=ada)
    world.tokens.give("coordinator", UserRole.COORDINATOR, units=reach)
    world.tokens.give("hr elsewhere", UserRole.HR_ADMIN, units=elsewhere)
    world.tokens.give("analyst", UserRole.ANALYST, units=reach)
    world.tokens.give("ops", UserRole.OPS, units=reach)
    return {"organisation_id": str(acme), "unit_id": str(sales), "person_id": str(ada), "purpose": "quotes"}


async def operations(world: World) -> list[tuple[str, str, str]]:
    """Method, path and policy of every route."""
    document: dict[str, Any] = (await world.http.get("/v1/openapi.json")).json()
    return [
        (method.upper(), path, operation["x-upwell-policy"])
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]


async def ask(world: World, who: str, method: str, path: str) -> httpx2.Response:
    headers = {"If-Match": '"9999"'}
    if path.endswith("imports"):
        return await world.ask(
            method, path, who=who, content=b"x", headers=headers | {"Content-Type": "text/csv"}
        )
    return await world.ask(method, path, None if method == "GET" else {}, who=who, headers=headers)


async def test_everybody_may_what_the_policy_says_and_nothing_else(world: World) -> None:
    ids = await setting(world)
    found = await operations(world)
    assert len(found) >= 22
    assert {policy for _, _, policy in found} == set(MAY)
    wrong = []
    for method, path, policy in found:
        for who in sorted(EVERYBODY):
            status = (await ask(world, who, method, path.format(**ids))).status_code
            expected = "let in" if who in MAY[policy] else "unknown" if who == "stranger" else "refused"
            outcome = {401: "unknown", 403: "refused", 404: "refused"}.get(status, "let in")
            if outcome != expected:
                wrong.append((method, path, policy, who, status))
    assert wrong == []


async def test_whoever_is_of_elsewhere_changes_and_sees_nothing_here(world: World) -> None:
    ids = await setting(world)
    before = await world.events()
    for path, body in (
        ("/v1/people", world.person(world.acme)),
        ("/v1/units", {"parent_id": ids["unit_id"], "name": "East"}),
    ):
        assert (await world.ask("POST", path, body, who="hr elsewhere")).status_code == 403
    for path in (
        "/v1/people",
        f"/v1/people?unit_id={ids['unit_id']}",
        f"/v1/organisations/{world.acme}/units",
    ):
        assert (await world.seen(path, who="hr elsewhere"))["items"] == []
    assert await world.events() == before
