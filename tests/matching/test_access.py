"""Every route with everybody who might ask: generated from the documentation, so that no cell is left out."""

from typing import Any
from uuid import uuid4

import httpx2

from tests.matching.world import World
from upwell_shared.web.policies import UserRole

EVERYBODY = {
    "stranger",
    "participant",
    "other participant",
    "member",
    "coordinator",
    "hr",
    "hr of a part",
    "hr elsewhere",
    "analyst",
    "ops",
}
KNOWN = EVERYBODY - {"stranger"}
TEAM = {"coordinator", "hr"}
MAY = {
    "public": EVERYBODY,
    "authenticated": KNOWN,
    "team_member": {
        *TEAM,
        "hr of a part",
        "hr elsewhere",
    },  # the body says for which units; see the next test
    "programme_team": TEAM,
    "sees_programme": {*TEAM, "participant", "member"},
    "oneself_or_programme_team": {*TEAM, "member"},
    "member": {"member"},
    "member_or_programme_team": {*TEAM, "member"},
}


async def setting(world: World) -> dict[str, str]:
    """A programme for two units, with a proposal in it, of which `member` is a member."""
    programme = await world.open_programme(world.sales, world.trade)
    topic, cohort = await world.add_topic(programme), await world.open_cohort(programme)
    mentor, mentee = await world.join(grade=3), await world.join(grade=9, unit=world.trade)
    enrolment = await world.enrol(cohort, mentor, "mentor", topic)
    await world.enrol(cohort, mentee, "mentee", topic)
    pair = await world.propose(cohort, mentor, mentee)
    participant, other = await world.join(), await world.join(unit=world.acme)
    await world.read_up()
    both = frozenset({world.sales, world.trade})
    world.tokens.give("member", UserRole.PARTICIPANT, id_=mentor)
    world.tokens.give("participant", UserRole.PARTICIPANT, id_=participant)
    world.tokens.give("other participant", UserRole.PARTICIPANT, id_=other, units=both)
    world.tokens.give("coordinator", UserRole.COORDINATOR, units=both)
    world.tokens.give("hr", UserRole.HR_ADMIN, units=frozenset({world.acme}))
    world.tokens.give("hr of a part", UserRole.HR_ADMIN, units=frozenset({world.sales}))
    world.tokens.give("hr elsewhere", UserRole.HR_ADMIN, units=frozenset({uuid4()}))
    world.tokens.give("analyst", UserRole.ANALYST, units=both)
    world.tokens.give("ops", UserRole.OPS, units=both)
    return {
        "programme_id": str(programme),
        "topic_id": str(topic),
        "cohort_id": str(cohort),
        "person_id": str(mentor),
        "enrolment_id": str(enrolment),
        "pair_id": str(pair),
    }


async def operations(world: World) -> list[tuple[str, str, str]]:
    """Method, path and policy of every route, but those of match runs, which have a suite of their own."""
    document: dict[str, Any] = (await world.http.get("/v1/openapi.json")).json()
    return [
        (method.upper(), path, operation["x-upwell-policy"])
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
        if "match-run" not in path
    ]


async def ask(world: World, who: str, method: str, path: str) -> httpx2.Response:
    """Whatever follows of those that need no body, who may see and do what stays as it was."""
    headers = {"If-Match": '"9999"'}
    return await world.ask(method, path, None if method == "GET" else {}, who=who, headers=headers)


async def test_everybody_may_what_the_policy_says_and_nothing_else(world: World) -> None:
    ids = await setting(world)
    found = await operations(world)
    assert len(found) >= 29
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


async def test_a_programme_is_opened_for_ones_own_units_alone(world: World) -> None:
    await setting(world)
    rules = {"measure": "grade", "gap": 1}
    for who, units, status in (
        ("hr of a part", [world.sales], 201),
        ("hr of a part", [world.sales, world.trade], 403),
        ("hr of a part", [world.acme], 403),
        ("hr elsewhere", [world.sales], 403),
        ("coordinator", [world.sales, world.trade], 201),
        ("coordinator", [world.acme], 403),
        ("hr", [world.acme, world.trade], 201),
    ):
        body = {"name": "Upward", "unit_ids": [str(unit) for unit in units], "rules": rules}
        assert (await world.ask("POST", "/v1/programmes", body, who=who)).status_code == status


async def test_nobody_learns_whether_what_they_may_not_see_is_there(world: World) -> None:
    ids = await setting(world)
    for path in (
        "programmes/{programme_id}",
        "cohorts/{cohort_id}",
        "enrolments/{enrolment_id}",
        "pairs/{pair_id}",
    ):
        there = await world.ask("GET", f"/v1/{path.format(**ids)}", who="hr elsewhere")
        nowhere = await world.ask("GET", f"/v1/{path.partition('/')[0]}/{uuid4()}", who="hr elsewhere")
        answers = [{**each.json(), "correlation_id": ""} for each in (there, nowhere)]
        assert (there.status_code, answers[0]) == (404, answers[1])
