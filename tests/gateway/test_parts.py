"""Names and private parts: asked of their owners with the caller's token, and never kept."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import uuid4

import orjson
import pytest

from tests.gateway.owners import Answer, Asked
from tests.gateway.telling import tables
from tests.gateway.world import World
from upwell_gateway.api.pages import bodies
from upwell_shared.contracts import matching

MARKER = "Ottoline Kingfisher"


async def names(asked: Asked) -> Answer:
    """As the directory answers."""
    ids = orjson.loads(asked.body)["ids"]
    found = [{"person_id": id_, "state": "ok", "given_name": MARKER, "family_name": id_[:4]} for id_ in ids]
    return Answer(body=orjson.dumps({"names": found}))


async def paired(world: World) -> str:
    """A pair, and owners that know it; the path of its page."""
    story = world.story
    await story.open()
    await story.propose()
    await story.create()
    world.owners["directory"].answering = names
    programme, pair = f"programmes/{story.programme}", f"{story.pair}"
    world.owners["matching"].knows(
        **{
            programme: {"name": "Tides"},
            f"cohorts/{story.cohort}": {"name": "Spring"},
            f"{programme}/topics": {"items": [{"name": "Pottery"}]},
            "programmes": {"items": [{"programme_id": str(story.programme), "name": "Tides"}]},
        }
    )
    world.owners["sessions"].knows(**{f"cadences/{pair}": {"recap": MARKER}})
    world.owners["feedback"].knows(reflections={"items": []})
    return f"/v1/pages/pairs/{pair}"


async def parts_of(world: World, path: str, who: str = "mentor") -> dict[str, Any]:
    response = await world.ask("GET", path, who)
    assert response.status_code == 200, response.text
    page = response.json()
    model = (
        bodies.PairPage if "/pairs/" in path else bodies.QueuePage if "queue" in path else bodies.PersonPage
    )
    model.model_validate(page)
    parts: dict[str, Any] = page["parts"]
    return parts


async def test_each_part_is_what_its_owner_tells_this_caller(world: World) -> None:
    parts = await parts_of(world, await paired(world))
    story = world.story
    assert {part: found["state"] for part, found in parts.items()} == dict.fromkeys(
        ("names", "programme", "cohort", "topics", "cadence", "reflections"), "ok"
    )
    assert {name["person_id"] for name in parts["names"]["content"]} == {str(story.mentor), str(story.mentee)}
    assert parts["programme"]["content"] == {"name": "Tides"}
    assert parts["cohort"]["content"] == {"name": "Spring"}
    assert parts["cadence"]["content"] == {"recap": MARKER}
    for owner in world.owners.values():
        assert {asked.headers["authorization"] for asked in owner.asked} == {"Bearer mentor"}
    (asked,) = world.owners["feedback"].asked
    assert asked.target == f"/v1/reflections?pair_id={story.pair}"


async def test_what_an_owner_refuses_is_forbidden_and_the_rest_is_answered(world: World) -> None:
    path = await paired(world)
    for status in (401, 403, 404):
        world.owners["sessions"].says(Answer(status))
        parts = await parts_of(world, path, "coordinator")
        assert parts["cadence"] == {"state": "forbidden"}
        assert parts["names"]["state"] == "ok"


@pytest.mark.parametrize("status", [400, 422, 429, 500, 503])
async def test_what_an_owner_cannot_answer_is_unavailable(world: World, status: int) -> None:
    path = await paired(world)
    world.owners["matching"].says(Answer(status))
    parts = await parts_of(world, path)
    assert parts["programme"] == parts["topics"] == {"state": "unavailable"}
    assert parts["names"]["state"] == parts["cadence"]["state"] == "ok"


async def test_an_answer_that_is_no_json_is_unavailable(world: World) -> None:
    path = await paired(world)
    world.owners["feedback"].says(Answer(body=b"<html>"))
    assert (await parts_of(world, path))["reflections"] == {"state": "unavailable"}


async def test_a_slow_owner_does_not_hold_up_the_page(world: World) -> None:
    path = await paired(world)
    let_go = asyncio.Event()

    async def slow(_: Asked) -> Answer:
        await let_go.wait()
        return Answer()

    for name in ("sessions", "feedback", "matching"):
        world.owners[name].answering = slow
    parts = await parts_of(world, path)
    let_go.set()
    # All were asked at the same time: one after the other they would have met the time limit of the request.
    assert {part: found["state"] for part, found in parts.items() if part != "names"} == dict.fromkeys(
        ("programme", "cohort", "topics", "cadence", "reflections"), "unavailable"
    )
    assert parts["names"]["state"] == "ok"


async def test_own_facts_are_answered_with_every_owner_away(world: World) -> None:
    path = await paired(world)
    for owner in world.owners.values():
        await owner.stop()
    story = world.story
    for page, who in (
        (path, "mentor"),
        (path, "coordinator"),
        ("/v1/pages/programmes", "coordinator"),
        (f"/v1/pages/programmes/{story.programme}", "coordinator"),
        (f"/v1/pages/people/{story.mentor}", "mentor"),
        ("/v1/pages/queue", "coordinator"),
    ):
        response = await world.ask("GET", page, who)
        assert response.status_code == 200
        assert {part["state"] for part in response.json()["parts"].values()} <= {"unavailable", "ok"}
    assert (await parts_of(world, path))["names"] == {"state": "unavailable"}


async def test_nobody_is_asked_for_a_page_without_parts(world: World) -> None:
    path = await paired(world)
    response = await world.ask("GET", f"{path}?parts=false", "mentor")
    assert response.json()["parts"] is None
    assert not any(owner.asked for owner in world.owners.values())


async def test_nobody_is_asked_for_somebody_who_may_not_see_the_page(world: World) -> None:
    path = await paired(world)
    assert (await world.ask("GET", path, "participant")).status_code == 404
    assert not any(owner.asked for owner in world.owners.values())


async def test_names_of_many_are_asked_for_in_parts_of_two_hundred(world: World) -> None:
    story = world.story
    await story.open()
    world.owners["directory"].answering = names
    for number in range(120):
        story.pair, story.mentor, story.mentee = uuid4(), uuid4(), uuid4()
        await story.propose()
        if number == 0:
            await story.tell(story.pair, matching.PairReplyReminded(**story.about))
    parts = await parts_of(world, "/v1/pages/queue?limit=200", "coordinator")
    assert len(parts["names"]["content"]) == 240
    assert sorted(len(orjson.loads(asked.body)["ids"]) for asked in world.owners["directory"].asked) == [
        40,
        200,
    ]


async def test_a_reader_who_has_just_done_something_tells_its_owner_alone(world: World) -> None:
    path = await paired(world)
    story = world.story
    after = story.teller.position("sessions", story.cadence)
    await world.ask("GET", path, "mentor", headers={"Upwell-After": after})
    told = {
        name: {asked.headers.get("upwell-after") for asked in o.asked} for name, o in world.owners.items()
    }
    assert told == {"sessions": {after}, "matching": {None}, "directory": {None}, "feedback": {None}}


async def test_nothing_that_owners_tell_of_people_is_kept(world: World) -> None:
    path = await paired(world)
    page = await world.ask("GET", path, "mentor")
    assert MARKER in page.text
    look: Callable[[], Awaitable[object]] = lambda: tables(world.pool)  # noqa: E731
    assert MARKER not in str(await look())
    for table in ("events", "ledger", "progress", "dead_letters"):
        assert MARKER not in str(await world.pool.fetch(f"TABLE {table}"))
