"""What a match run leads to belongs to the story of whoever asked for it, although no to-do was left for it."""

from typing import Any

from tests.matching.test_match_runs import Intake
from tests.matching.world import World

_EVENTS = """
SELECT type, event_id, correlation_id, causation_id FROM events WHERE correlation_id = $1 ORDER BY tx, position
"""


async def story(world: World, response: Any) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for row in await world.pool.fetch(_EVENTS, response.headers["Upwell-Correlation-Id"]):
        found.setdefault(row["type"], []).append(row)
    return found


async def test_the_draft_follows_from_the_request_and_the_proposals_from_the_publication(
    world: World,
) -> None:
    intake = await Intake(world).open()
    await intake.mentor("Ada")
    await intake.mentee("Dan")
    asked = await world.done("POST", f"/v1/cohorts/{intake.cohort_id}/match-runs", {})
    run = str(asked.json()["match_run_id"])
    await intake.becomes(run, "draft")
    drafted = await story(world, asked)
    (started,) = drafted["MatchRunStarted"]
    assert started["causation_id"] is None
    assert {row["causation_id"] for row in drafted["MatchRunDrafted"]} == {started["event_id"]}

    published = await world.done("POST", f"/v1/match-runs/{run}/publish")
    await intake.becomes(run, "published")
    proposed = await story(world, published)
    (publication,) = proposed["MatchRunPublished"]
    assert {row["causation_id"] for row in proposed["PairProposed"]} == {publication["event_id"]}
