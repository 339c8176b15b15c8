"""Every route with everybody who might ask: generated from the documentation, so that no cell is left out."""

from typing import Any
from uuid import uuid4

from tests.gateway.world import World
from upwell_shared.contracts import directory, matching

MAY = {
    "public": {
        *("stranger", "participant", "mentor", "mentee", "coordinator"),
        *("hr", "coordinator elsewhere", "analyst", "ops"),
    },
    "overseer": {"coordinator", "hr", "coordinator elsewhere"},  # of their own programmes only
    "overseer_or_analyst": {"coordinator", "hr", "coordinator elsewhere", "analyst"},
    "programme_team_or_analyst": {"coordinator", "hr", "analyst"},
    "member_or_programme_team": {"mentor", "mentee", "coordinator", "hr"},
    "oneself_or_overseer_of_unit": {"mentor", "coordinator", "hr"},
}
EVERYBODY = MAY["public"]


async def setting(world: World) -> dict[str, str]:
    story = world.story
    await story.open()
    await story.propose()
    await story.create()
    return {
        "programme_id": str(story.programme),
        "pair_id": str(story.pair),
        "person_id": str(story.mentor),
    }


async def operations(world: World) -> list[tuple[str, str, str]]:
    document: dict[str, Any] = (await world.http.get("/v1/openapi.json")).json()
    return [
        (method.upper(), path, operation["x-upwell-policy"])
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]


async def test_everybody_may_what_the_policy_says_and_nothing_else(world: World) -> None:
    ids = await setting(world)
    found = await operations(world)
    assert {policy for _, _, policy in found} == set(MAY)
    wrong = []
    for method, path, policy in found:
        for who in sorted(EVERYBODY):
            body = {"json": {"person_id": str(uuid4())}} if method == "POST" else {}
            parts = "?parts=false" if "/pages/" in path else ""
            response = await world.ask(method, path.format(**ids) + parts, who, **body)
            expected = "let in" if who in MAY[policy] else "unknown" if who == "stranger" else "refused"
            outcome = {401: "unknown", 403: "refused", 404: "refused"}.get(response.status_code, "let in")
            if outcome != expected:
                wrong.append((method, path, policy, who, response.status_code))
    assert wrong == []


async def test_what_is_hidden_from_somebody_is_answered_like_what_is_not_there(world: World) -> None:
    ids = await setting(world)
    for page, id_ in (("programmes", "programme_id"), ("pairs", "pair_id"), ("people", "person_id")):
        hidden = await world.ask("GET", f"/v1/pages/{page}/{ids[id_]}", "coordinator elsewhere")
        absent = await world.ask("GET", f"/v1/pages/{page}/{uuid4()}", "coordinator elsewhere")
        told = [response.json() | {"correlation_id": ""} for response in (hidden, absent)]
        assert told[0] == told[1]
        assert hidden.status_code == absent.status_code == 404


async def test_a_programme_across_units_belongs_to_those_whose_units_cover_all_of_it(world: World) -> None:
    story = world.story
    await setting(world)
    lab, wide = uuid4(), uuid4()
    await story.tell(
        story.acme, directory.UnitOpened(unit_id=lab, organisation_id=story.acme, parent_id=story.acme)
    )
    await story.tell(wide, matching.ProgrammeOpened(programme_id=wide, unit_ids=[story.sales, lab]))
    hr = matching_hr = world.tokens.known["hr"]
    world.tokens.known["of sales"] = type(hr)(uuid4(), matching_hr.roles, frozenset({story.sales}))
    page = f"/v1/pages/programmes/{wide}?parts=false"
    assert (await world.ask("GET", page, "hr")).status_code == 200
    assert (await world.ask("GET", page, "of sales")).status_code == 404
    assert [item["programme_id"] for item in (await world.see("programmes", "of sales"))["items"]] == [
        str(story.programme)
    ]
    # The other unit moves below the one they have: from then on the programme is theirs.
    await story.tell(
        story.acme, directory.UnitMoved(unit_id=lab, organisation_id=story.acme, parent_id=story.sales)
    )
    assert (await world.ask("GET", page, "of sales")).status_code == 200


async def test_an_overseer_of_a_unit_sees_whoever_stands_in_it_now(world: World) -> None:
    story = world.story
    await setting(world)
    page = f"/v1/pages/people/{story.mentor}?parts=false"
    assert (await world.ask("GET", page, "coordinator elsewhere")).status_code == 404
    await story.join(story.mentor, story.elsewhere)
    assert (await world.ask("GET", page, "coordinator elsewhere")).status_code == 200
    assert (await world.ask("GET", page, "coordinator")).status_code == 404
    assert (await world.ask("GET", page, "mentor")).status_code == 200


async def test_a_role_counts_only_with_units_and_units_only_with_a_role(world: World) -> None:
    ids = await setting(world)
    story = world.story
    coordinator, participant = world.tokens.known["coordinator"], world.tokens.known["participant"]
    world.tokens.known["without units"] = type(coordinator)(uuid4(), coordinator.roles, frozenset())
    for who in ("without units", "participant"):
        for page in (f"pairs/{ids['pair_id']}", f"programmes/{ids['programme_id']}"):
            assert (await world.ask("GET", f"/v1/pages/{page}", who)).status_code == 404
    assert participant.units == frozenset({story.acme})
    assert (await world.see("programmes", "without units"))["items"] == []
    assert (await world.see("queue", "without units"))["items"] == []
