"""Feedback over HTTP: what the two of a pair and the team of their programme can do, and what they see."""

import asyncio
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.feedback.world import World
from upwell_feedback.domain.question_set import DEFAULT, DEFAULT_ID
from upwell_feedback.domain.reflections import stream_of
from upwell_feedback.domain.stages import Stage
from upwell_shared.contracts.matching import PairCompleted
from upwell_shared.handling import Handler

PULSE_OF_OURS = [
    {"question_id": "going", "text": "How is it going?", "stages": ["start", "after_session"]},
    {"question_id": "learned", "text": "What did you learn?", "stages": ["end"]},
]


def problem(response: Any) -> tuple[int, str]:
    return response.status_code, response.json()["type"].removeprefix("urn:upwell:problem:")


async def stages(world: World, who: str) -> list[tuple[str, str]]:
    """What somebody was asked, oldest first, and whether they have answered."""
    items = (await world.seen("/v1/reflections", who=who))["items"]
    return [(item["stage"], item["state"]) for item in reversed(items)]


async def test_both_are_asked_at_the_start_after_every_second_session_and_at_the_end(world: World) -> None:
    pair = await world.begin()
    world.clock.forward(timedelta(days=1))
    await world.hold(pair, uuid4(), uuid4())
    world.clock.forward(timedelta(days=1))
    await world.hold(pair, uuid4())
    await world.end(pair)
    world.tellers.at += timedelta(seconds=1)
    await world.hold(pair, uuid4())
    for who in ("ada", "ben"):
        assert await stages(world, who) == [("start", "open"), ("after_session", "open"), ("end", "open")]
    mine = (await world.seen("/v1/reflections"))["items"]
    assert [item["due_on"] for item in mine] == ["2026-03-18", "2026-03-17", "2026-03-16"]
    assert {item["question_set_id"] for item in mine} == {str(DEFAULT_ID)}
    assert {item["person_id"] for item in mine} == {str(pair.ada)}


async def test_what_was_held_before_the_end_and_heard_of_after_it_is_asked_about_and_told(
    world: World,
) -> None:
    pair = await world.begin()
    await world.hold(pair, uuid4())
    world.tellers.at += timedelta(days=1)
    await world.end(pair)
    world.tellers.at -= timedelta(hours=1)
    await world.hold(pair, uuid4())
    for who in ("ada", "ben"):
        assert sorted(await stages(world, who)) == [
            ("after_session", "open"),
            ("end", "open"),
            ("start", "open"),
        ]
    told = "SELECT count(*) FROM ledger WHERE type LIKE '%ReflectionRequested%'"
    assert await world.pool.fetchval(told) == 6


async def test_a_pair_that_is_complete_is_asked_once_more_too(world: World) -> None:
    pair = await world.begin()
    world.clock.forward(timedelta(days=1))
    completed = PairCompleted(pair_id=pair.pair_id, programme_id=world.programme)
    await world.tellers.tell(pair.pair_id, completed)
    await world.settled()
    assert [stage for stage, _ in await stages(world, "ben")] == ["start", "end"]


async def test_one_reads_what_one_is_asked_and_answers_some_of_it(world: World) -> None:
    pair = await world.begin()
    mine = pair.reflection(pair.ada)
    path = f"/v1/reflections/{mine}"
    asked = await world.seen(path)
    assert asked["request"]["state"] == "open"
    assert asked["questions"] == [
        {"question_id": "reverse-mentoring", "text": "What do you think about reverse mentoring?"},
        {
            "question_id": "plans",
            "text": "How do you plan on using what you do together in the future?",
        },
    ]
    assert asked["answers"] == []
    said = "Żółw 🐢\nand <b>more</b>"
    done = await world.submit(mine, {"plans": (said, "pair")})
    assert done.status_code == 200
    shown = await world.seen(path, done)
    assert shown["request"]["state"] == "submitted"
    assert shown["answers"] == [{"question_id": "plans", "state": "ok", "text": said, "visibility": "pair"}]
    assert await stages(world, "ada") == [("start", "submitted")]
    assert await stages(world, "ben") == [("start", "open")]


async def test_one_may_answer_late(world: World) -> None:
    pair = await world.begin()
    world.clock.forward(timedelta(days=400))
    assert (await world.submit(pair.reflection(pair.ada), {"plans": ("Some", "me")})).status_code == 200


async def test_each_reader_sees_what_was_opened_to_them_and_no_trace_of_the_rest(world: World) -> None:
    pair = await world.begin()
    await world.end(pair)
    mine = pair.reflection(pair.ada, Stage.END)
    said = {
        "reverse-mentoring": ("A", "me"),
        "view-of-technology": ("B", "pair"),
        "plans": ("C", "programme_team"),
        "learned": ("D", "quotable"),
    }
    await world.submit(mine, said)

    async def read(who: str) -> str:
        shown = await world.seen(f"/v1/reflections/{mine}", who=who)
        assert len(shown["questions"]) == 5
        return "".join(answer["text"] for answer in shown["answers"])

    assert await read("ada") == "ABCD"
    assert await read("ben") == "BCD"
    assert await read("coordinator") == await read("hr") == "CD"
    for who in ("north", "elsewhere", "analyst", "ops", "participant"):
        refused = await world.ask("GET", f"/v1/reflections/{mine}", who=who)
        assert problem(refused) == (404, "not-found")

    # In the list of the pair, too: there with what the other one was asked, and with other pairs' in none.
    bens = pair.reflection(pair.ben, Stage.END)
    await world.submit(bens, {"learned": ("E", "pair"), "plans": ("F", "me")}, who="ben")

    async def listed(who: str) -> dict[str, str]:
        items = (await world.seen(f"/v1/reflections?pair_id={pair.pair_id}", who=who))["items"]
        ends = [item for item in items if item["stage"] == "end"]
        assert [len(item["questions"]) for item in ends] == [5] * len(ends)
        return {item["person_id"]: "".join(answer["text"] for answer in item["answers"]) for item in ends}

    assert await listed("ada") == {str(pair.ada): "ABCD", str(pair.ben): "E"}
    assert await listed("ben") == {str(pair.ada): "BCD", str(pair.ben): "EF"}
    assert await listed("coordinator") == await listed("hr") == {str(pair.ada): "CD", str(pair.ben): ""}
    for who in ("north", "elsewhere", "analyst", "ops", "participant"):
        assert await listed(who) == {}
    for query in ("", f"programme_id={world.programme}"):
        items = (await world.seen(f"/v1/reflections?{query}"))["items"]
        assert {(item["questions"], item["answers"]) for item in items} == {(None, None)}

    # A member who also has a role reads as a member.
    world.tokens.give("ben", *world.tokens.known["hr"].roles, units=frozenset({world.acme}), id_=pair.ben)  # type: ignore[arg-type]
    assert await read("ben") == "BCD"


async def test_an_answer_is_opened_and_closed_later_from_that_moment_on(world: World) -> None:
    pair = await world.begin()
    mine = pair.reflection(pair.ada)
    await world.submit(mine, {"plans": ("Some", "me")})
    change = f"/v1/reflections/{mine}/answers/plans/visibility"

    async def read(who: str) -> list[str]:
        shown = await world.seen(f"/v1/reflections/{mine}", who=who)
        return [answer["visibility"] for answer in shown["answers"]]

    for visibility, ben, team in (
        ("pair", ["pair"], []),
        ("quotable", ["quotable"], ["quotable"]),
        ("programme_team", ["programme_team"], ["programme_team"]),
        ("me", [], []),
    ):
        await world.done("POST", change, {"visibility": visibility})
        assert await read("ada") == [visibility]
        assert (await read("ben"), await read("hr")) == (ben, team)
    again = await world.done("POST", change, {"visibility": "me"})
    assert again.headers["ETag"] == f'"{len(await world.events(stream_of(pair.pair_id)))}"'
    assert problem(await world.ask("POST", change, {"visibility": "pair"}, who="ben")) == (404, "not-found")
    unanswered = f"/v1/reflections/{mine}/answers/reverse-mentoring/visibility"
    assert problem(await world.ask("POST", unanswered, {"visibility": "pair"})) == (
        409,
        "question-not-answered",
    )


async def test_one_submits_once_and_the_same_request_again_is_answered_as_before(world: World) -> None:
    pair = await world.begin()
    mine = pair.reflection(pair.ada)
    first = await world.submit(mine, {"plans": ("First", "me")}, key="one")
    again = await world.submit(mine, {"plans": ("First", "me")}, key="one")
    assert (again.status_code, again.headers["Upwell-Position"]) == (200, first.headers["Upwell-Position"])
    other = await world.submit(mine, {"plans": ("Second", "me")}, key="one")
    assert problem(other) == (422, "idempotency-key-reused")
    assert problem(await world.submit(mine, {"plans": ("Second", "me")})) == (409, "already-submitted")
    assert [each["text"] for each in (await world.seen(f"/v1/reflections/{mine}"))["answers"]] == ["First"]
    assert await world.pool.fetchval("SELECT count(*) FROM texts") == 1
    assert (await world.events(stream_of(pair.pair_id))).count("ReflectionSubmitted") == 1


async def test_of_two_who_submit_at_the_same_moment_one_does(world: World) -> None:
    pair = await world.begin()
    mine = pair.reflection(pair.ada)
    answers = await asyncio.gather(*(world.submit(mine, {"plans": (f"No {n}", "me")}) for n in range(6)))
    assert sorted(answer.status_code for answer in answers) == [200] + [409] * 5
    [won] = [n for n, answer in enumerate(answers) if answer.status_code == 200]
    assert [each["text"] for each in (await world.seen(f"/v1/reflections/{mine}"))["answers"]] == [
        f"No {won}"
    ]


async def test_a_first_try_that_died_puts_no_words_into_a_second(world: World) -> None:
    """The texts of a request whose process died before its event are there, and its key comes again with others."""
    pair = await world.begin()
    mine = pair.reflection(pair.ada)
    first, second = {"plans": ("First", "me")}, {"plans": ("Second", "pair")}

    async def dies(*_: object, **__: object) -> None:
        raise ConnectionAbortedError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Handler, "handle", dies)
        for _ in range(2):
            assert (await world.submit(mine, first, key="one")).status_code == 503
    assert await world.pool.fetchval("SELECT count(*) FROM texts") == 1
    assert (await world.seen(f"/v1/reflections/{mine}"))["answers"] == []
    assert (await world.submit(mine, second, key="one")).status_code == 200
    assert (await world.seen(f"/v1/reflections/{mine}"))["answers"] == [
        {"question_id": "plans", "state": "ok", "text": "Second", "visibility": "pair"}
    ]


async def test_a_programme_asks_its_own_questions_from_then_on(world: World) -> None:
    before = await world.begin()
    in_force = await world.ask("GET", f"/v1/question-sets?programme_id={world.programme}")
    assert (in_force.json()["question_set_id"], in_force.headers["ETag"]) == (str(DEFAULT_ID), '"1"')
    assert (in_force.json()["programme_id"], len(in_force.json()["questions"])) == (None, 5)
    body = {"programme_id": str(world.programme), "name": "Ours", "questions": PULSE_OF_OURS}
    opened = await world.done("POST", "/v1/question-sets", body, who="hr", key="open")
    set_id = opened.json()["question_set_id"]
    again = await world.done("POST", "/v1/question-sets", body, who="hr", key="open")
    assert again.json() == opened.json()
    assert problem(await world.ask("POST", "/v1/question-sets", body, who="hr")) == (
        409,
        "question-set-already-opened",
    )
    shown = await world.seen(f"/v1/question-sets?programme_id={world.programme}")
    assert shown == await world.seen(f"/v1/question-sets/{set_id}")
    assert (shown["name"], shown["version"], shown["questions"]) == ("Ours", 1, PULSE_OF_OURS)

    # Who was asked before answers what they were asked; who is asked now is asked anew.
    pair = await world.begin()
    asked = await world.seen(f"/v1/reflections/{pair.reflection(pair.ada)}")
    assert [question["question_id"] for question in asked["questions"]] == ["going"]
    assert (asked["request"]["question_set_id"], asked["request"]["question_set_version"]) == (set_id, 1)
    world.tokens.give("earlier", id_=before.ada)
    old = await world.seen(f"/v1/reflections/{before.reflection(before.ada)}", who="earlier")
    assert [question["question_id"] for question in old["questions"]] == ["reverse-mentoring", "plans"]

    # A revision leaves the words of what was asked as they were.
    revised = [PULSE_OF_OURS[0] | {"text": "How does it go?"}, PULSE_OF_OURS[1]]
    path = f"/v1/question-sets/{set_id}/revise"
    assert problem(await world.ask("POST", path, {"questions": revised}, who="hr")) == (
        428,
        "version-required",
    )
    stale = await world.ask("POST", path, {"questions": revised}, who="hr", if_match='"7"')
    assert problem(stale) == (412, "stale-version")
    done = await world.done("POST", path, {"questions": revised}, who="coordinator", if_match='"1"')
    assert done.headers["ETag"] == '"2"'
    assert (await world.seen(f"/v1/question-sets/{set_id}"))["questions"] == revised
    asked = await world.seen(f"/v1/reflections/{pair.reflection(pair.ada)}")
    assert asked["questions"] == [{"question_id": "going", "text": "How is it going?"}]
    await world.hold(pair, uuid4(), uuid4())
    pulse = await world.seen(f"/v1/reflections/{pair.reflection(pair.ada, Stage.AFTER_SESSION)}")
    assert pulse["questions"] == [{"question_id": "going", "text": "How does it go?"}]
    assert pulse["request"]["question_set_version"] == 2

    # Another programme asks as before.
    elsewhere = await world.seen(f"/v1/question-sets?programme_id={uuid4()}")
    assert elsewhere["question_set_id"] == str(DEFAULT_ID)


async def test_the_set_that_ships_is_nobodys_to_change(world: World) -> None:
    assert (await world.seen(f"/v1/question-sets/{DEFAULT_ID}", who="analyst"))["name"] == DEFAULT.name
    path = f"/v1/question-sets/{DEFAULT_ID}/revise"
    refused = await world.ask("POST", path, {"questions": PULSE_OF_OURS}, who="hr", if_match='"1"')
    assert problem(refused) == (403, "forbidden")


@pytest.mark.parametrize("who", ["north", "elsewhere"])
async def test_who_has_not_the_whole_programme_changes_no_questions(world: World, who: str) -> None:
    body = {"programme_id": str(world.programme), "name": "Ours", "questions": PULSE_OF_OURS}
    assert problem(await world.ask("POST", "/v1/question-sets", body, who=who)) == (403, "forbidden")
    body["programme_id"] = str(uuid4())
    assert problem(await world.ask("POST", "/v1/question-sets", body, who="hr")) == (403, "forbidden")
    assert "QuestionSetOpened" not in await world.events()


async def test_a_list_shows_what_is_the_callers_to_know(world: World) -> None:
    first = await world.begin()
    world.clock.forward(timedelta(days=1))
    second = await world.begin()

    async def listed(query: str, who: str) -> set[UUID]:
        items = (await world.seen(f"/v1/reflections?limit=200&{query}", who=who))["items"]
        return {UUID(item["reflection_id"]) for item in items}

    of_first = {first.reflection(first.ada), first.reflection(first.ben)}
    of_second = {second.reflection(second.ada), second.reflection(second.ben)}
    assert await listed("", "ben") == {second.reflection(second.ben)}
    assert await listed(f"pair_id={second.pair_id}", "ben") == of_second
    assert await listed(f"programme_id={world.programme}", "ben") == of_second
    assert await listed(f"pair_id={first.pair_id}", "ben") == set()
    assert await listed(f"pair_id={uuid4()}", "hr") == set()
    assert await listed(f"pair_id={first.pair_id}", "hr") == of_first
    assert await listed(f"programme_id={world.programme}", "coordinator") == of_first | of_second
    assert await listed(f"programme_id={uuid4()}", "coordinator") == set()
    for who in ("north", "elsewhere", "analyst", "ops", "participant"):
        assert await listed(f"programme_id={world.programme}", who) == set()
        assert await listed(f"pair_id={first.pair_id}", who) == set()
    both = await world.ask(
        "GET", f"/v1/reflections?pair_id={first.pair_id}&programme_id={world.programme}", who="hr"
    )
    assert problem(both) == (422, "malformed")


async def test_a_list_goes_on_where_it_stopped_newest_first(world: World) -> None:
    for _ in range(3):
        await world.begin()
        world.clock.forward(timedelta(seconds=1))
    found: list[tuple[str, str]] = []
    query = f"/v1/reflections?programme_id={world.programme}&limit=1"
    page = await world.seen(query, who="hr")
    cursor = page["next"]
    while True:
        found += [(item["requested_at"], item["reflection_id"]) for item in page["items"]]
        if page["next"] is None:
            break
        page = await world.seen(f"{query}&cursor={page['next']}", who="hr")
    assert len(found) == 6
    assert found == sorted(found, reverse=True)
    foreign = await world.ask("GET", f"/v1/reflections?cursor={cursor}")
    assert problem(foreign) == (422, "malformed")


async def test_a_read_says_when_it_does_not_show_yet_what_it_was_asked_to_wait_for(world: World) -> None:
    pair = await world.begin()
    later = {"Upwell-After": f"feedback/{stream_of(pair.pair_id)}@99.0.0"}
    paths = ("", f"/counts?programme_id={world.programme}", f"/{pair.reflection(pair.ada)}")
    answers = await asyncio.gather(
        *(
            world.ask("GET", f"/v1/reflections{path}", who=who, headers=later)
            for path, who in zip(paths, ("ada", "hr", "ada"), strict=True)
        )
    )
    assert [(each.status_code, each.headers.get("Upwell-Stale")) for each in answers] == [(200, "true")] * 3


async def test_the_team_sees_how_many_have_answered(world: World) -> None:
    pair = await world.begin()
    await world.hold(pair, uuid4(), uuid4())
    await world.begin(uuid4())
    world.tokens.give("ben", id_=pair.ben)
    submitted = await world.submit(pair.reflection(pair.ben), {"plans": ("Some", "me")}, who="ben")
    path = f"/v1/reflections/counts?programme_id={world.programme}"
    counts = await world.seen(path, submitted, who="hr")
    assert counts["stages"] == [
        {"stage": "start", "asked": 2, "submitted": 1},
        {"stage": "after_session", "asked": 2, "submitted": 0},
    ]
    for who in ("ada", "ben", "north", "elsewhere", "analyst", "ops", "participant"):
        assert problem(await world.ask("GET", path, who=who)) == (404, "not-found")
