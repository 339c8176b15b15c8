"""Every route with everybody who might ask: generated from the documentation, so that no cell is left out."""

from typing import Any

from tests.feedback.world import World

KNOWN = {
    *("author", "other member", "coordinator", "hr", "north", "elsewhere", "analyst", "ops", "participant")
}
TEAM = {"coordinator", "hr"}
MAY = {
    "public": KNOWN | {"stranger"},
    "authenticated": KNOWN,
    "overseer": TEAM | {"north", "elsewhere"},  # the body says of which programme; see test_api
    "programme_team": TEAM,
    "sees_reflection": TEAM | {"author", "other member"},
    "author": {"author"},
}
QUESTIONS = [{"question_id": "going", "text": "How is it?", "stages": ["start", "after_session", "end"]}]


async def operations(world: World) -> list[tuple[str, str, str]]:
    """Method, path and policy of every route."""
    document: dict[str, Any] = (await world.http.get("/v1/openapi.json")).json()
    return [
        (method.upper(), path, operation["x-upwell-policy"])
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]


async def test_everybody_may_what_the_policy_says_and_nothing_else(world: World) -> None:
    body = {"programme_id": str(world.programme), "name": "Ours", "questions": QUESTIONS}
    opened = await world.done("POST", "/v1/question-sets", body, who="hr")
    pair = await world.begin()
    world.tokens.give("author", id_=pair.ada)
    world.tokens.give("other member", id_=pair.ben)
    ids = {
        "question_set_id": opened.json()["question_set_id"],
        "reflection_id": pair.reflection(pair.ada),
        "question_id": "going",
    }
    found = await operations(world)
    assert len(found) >= 9
    assert {policy for _, _, policy in found} == set(MAY)
    wrong = []
    for method, path, policy in found:
        query = f"?programme_id={world.programme}" if path.endswith("counts") else ""
        for who in sorted(MAY["public"]):
            content: dict[str, object] | None = None if method == "GET" else {}
            response = await world.ask(
                method, path.format(**ids) + query, content, who=who, if_match='"9999"'
            )
            expected = "let in" if who in MAY[policy] else "unknown" if who == "stranger" else "refused"
            outcome = {401: "unknown", 403: "refused", 404: "refused"}.get(response.status_code, "let in")
            if outcome != expected:
                wrong.append((method, path, policy, who, response.status_code))
    assert wrong == []
    assert "ReflectionSubmitted" not in await world.events()


async def test_a_programme_not_heard_of_has_no_team(world: World) -> None:
    unheard = "00000000-0000-0000-0000-00000000dead"
    for who in sorted(TEAM):
        response = await world.ask("GET", f"/v1/reflections/counts?programme_id={unheard}", who=who)
        assert response.status_code == 404
