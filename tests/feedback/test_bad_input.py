"""What is wrong is said, each thing in its own way, and changes nothing."""

from typing import Any, NamedTuple
from uuid import UUID

import httpx2
import pytest

from tests.feedback.world import World
from upwell_shared.privacy import MAX_TEXT


class Setting(NamedTuple):
    programme: UUID
    question_set: UUID
    mine: UUID
    submitted: UUID
    bens: UUID
    nothing: UUID = UUID(int=0xDEAD)


QUESTIONS = [{"question_id": "going", "text": "How is it?", "stages": ["start", "after_session", "end"]}]


@pytest.fixture
async def there(world: World) -> Setting:
    opened = await world.done(
        "POST",
        "/v1/question-sets",
        {"programme_id": str(world.programme), "name": "Ours", "questions": QUESTIONS},
        who="hr",
    )
    pair = await world.begin(UUID(int=5))
    ada, ben = world.tokens.known["ada"], world.tokens.known["ben"]
    other = await world.begin(UUID(int=5))
    submitted = other.reflection(other.ada)
    assert (await world.submit(submitted, {"plans": ("Some", "me")})).status_code == 200
    # Of two pairs, as a person of two programmes is.
    world.tokens.known |= {"ada": ada, "ben": ben, "other ada": world.tokens.known["ada"]}
    return Setting(
        world.programme,
        UUID(opened.json()["question_set_id"]),
        pair.reflection(pair.ada),
        submitted,
        pair.reflection(pair.ben),
    )


class Bad(NamedTuple):
    """A request, with {names} of the setting in it, and its answer. `change` is to the only answer of Ada's."""

    status: int
    slug: str
    method: str = "POST"
    path: str = "/v1/reflections/{mine}/submit"
    change: dict[str, Any] | None = None
    body: Any = None
    at: str | None = None
    who: str = "ada"
    etag: str | None = None


ANSWER = {"question_id": "plans", "text": "Some", "visibility": "pair"}
OPEN = {"programme_id": "{programme}", "name": "Ours", "questions": QUESTIONS}
REVISE = "/v1/question-sets/{question_set}/revise"


def asked(**change: Any) -> dict[str, Any]:
    return {"questions": [QUESTIONS[0] | change]}


TABLE = [
    Bad(422, "malformed", change={"text": ""}, at="#/answers/0/text"),
    Bad(422, "malformed", change={"text": " \n\t "}, at="#/answers/0/text"),
    Bad(422, "malformed", change={"text": "x" * (MAX_TEXT + 1)}, at="#/answers/0/text"),
    Bad(422, "malformed", change={"text": "a\x00b"}, at="#/answers/0/text"),
    Bad(422, "malformed", change={"text": 7}, at="#/answers/0/text"),
    Bad(422, "malformed", change={"visibility": "everybody"}, at="#/answers/0/visibility"),
    Bad(422, "malformed", change={"visibility": None}, at="#/answers/0/visibility"),
    Bad(422, "malformed", change={"question_id": "No id"}, at="#/answers/0/question_id"),
    Bad(422, "malformed", change={"mood": "good"}, at="#/answers/0/mood"),
    Bad(409, "question-not-asked", change={"question_id": "nonsense"}),
    Bad(409, "question-not-asked", change={"question_id": "learned"}),
    Bad(409, "answered-twice", body={"answers": [ANSWER, ANSWER | {"text": "More"}]}),
    Bad(422, "malformed", body={"answers": []}, at="#/answers"),
    Bad(422, "malformed", body={"answers": [ANSWER] * 21}, at="#/answers"),
    Bad(422, "malformed", body={}, at="#/answers"),
    Bad(422, "malformed", body=[], at="#"),
    Bad(404, "not-found", path="/v1/reflections/{bens}/submit", change={}),
    Bad(404, "not-found", path="/v1/reflections/{nothing}/submit", change={}),
    Bad(404, "not-found", path="/v1/reflections/{submitted}/submit", change={}),
    Bad(409, "already-submitted", path="/v1/reflections/{submitted}/submit", change={}, who="other ada"),
    Bad(404, "not-found", path="/v1/reflections/{mine}/submit", change={}, who="hr"),
    Bad(422, "malformed", path="/v1/reflections/mine/submit", change={}, at="reflection_id"),
    Bad(
        409,
        "not-submitted",
        path="/v1/reflections/{mine}/answers/plans/visibility",
        body={"visibility": "me"},
    ),
    Bad(
        409,
        "question-not-answered",
        path="/v1/reflections/{submitted}/answers/applied/visibility",
        body={"visibility": "me"},
        who="other ada",
    ),
    Bad(
        422,
        "malformed",
        path="/v1/reflections/{mine}/answers/No%20id/visibility",
        body={"visibility": "me"},
        at="question_id",
    ),
    Bad(
        422,
        "malformed",
        path="/v1/reflections/{mine}/answers/plans/visibility",
        body={"visibility": "all"},
        at="#/visibility",
    ),
    Bad(404, "not-found", "GET", "/v1/reflections/{submitted}"),
    Bad(404, "not-found", "GET", "/v1/reflections/{nothing}"),
    Bad(422, "malformed", "GET", "/v1/reflections?cursor=x", at="cursor"),
    Bad(422, "malformed", "GET", "/v1/reflections?limit=201", at="limit"),
    Bad(422, "malformed", "GET", "/v1/reflections?stage=end"),
    Bad(422, "malformed", "GET", "/v1/reflections/counts", at="programme_id", who="hr"),
    Bad(404, "not-found", "GET", "/v1/question-sets/{nothing}"),
    Bad(404, "not-found", "GET", "/v1/question-sets/{mine}"),
    Bad(422, "malformed", "GET", "/v1/question-sets", at="programme_id"),
    Bad(404, "not-found", path="/v1/question-sets/{nothing}/revise", body=asked(), who="hr", etag="1"),
    Bad(403, "forbidden", path="/v1/question-sets", body=OPEN),
    Bad(409, "question-set-already-opened", path="/v1/question-sets", body=OPEN, who="hr"),
    Bad(422, "malformed", path="/v1/question-sets", body=OPEN | {"name": " "}, at="#/name", who="hr"),
    Bad(403, "forbidden", path=REVISE, body=asked(), etag="1"),
    Bad(428, "version-required", path=REVISE, body=asked(), who="hr"),
    Bad(412, "stale-version", path=REVISE, body=asked(text="Else?"), who="hr", etag="2"),
    Bad(422, "malformed", path=REVISE, body=asked(text=""), at="#/questions/0/text", who="hr", etag="1"),
    Bad(
        422, "malformed", path=REVISE, body=asked(text="x" * 301), at="#/questions/0/text", who="hr", etag="1"
    ),
    Bad(422, "malformed", path=REVISE, body=asked(stages=[]), at="#/questions/0/stages", who="hr", etag="1"),
    Bad(422, "malformed", path=REVISE, body={"questions": []}, at="#/questions", who="hr", etag="1"),
    Bad(409, "stage-without-question", path=REVISE, body=asked(stages=["end"]), who="hr", etag="1"),
    Bad(409, "question-twice", path=REVISE, body={"questions": QUESTIONS * 2}, who="hr", etag="1"),
    Bad(405, "method-not-allowed", "DELETE", "/v1/reflections/{mine}"),
]


def filled(value: Any, there: Setting) -> Any:
    if isinstance(value, str):
        for name, id_ in there._asdict().items():
            value = value.replace(f"{{{name}}}", str(id_))
        return value
    if isinstance(value, dict):
        return {key: filled(item, there) for key, item in value.items()}
    return value


async def answer(world: World, there: Setting, bad: Bad) -> httpx2.Response:
    body = {"answers": [ANSWER | bad.change]} if bad.change is not None else filled(bad.body, there)
    etag = None if bad.etag is None else f'"{bad.etag}"'
    return await world.ask(bad.method, filled(bad.path, there), body, who=bad.who, if_match=etag)


async def test_what_is_wrong_is_said_and_changes_nothing(world: World, there: Setting) -> None:
    before = await world.events(), await world.pool.fetch("TABLE texts")
    wrong: list[tuple[Bad, object, object]] = []
    for bad in TABLE:
        response = await answer(world, there, bad)
        told = response.json()
        places = [each["at"] for each in told.get("errors", ())]
        as_expected = (response.status_code, told.get("type")) == (
            bad.status,
            f"urn:upwell:problem:{bad.slug}",
        )
        if not as_expected or (bad.at is not None and bad.at not in places):
            wrong.append((bad, response.status_code, told))
        if (await world.events(), await world.pool.fetch("TABLE texts")) != before:
            wrong.append((bad, "changed something", told))
    assert wrong == []


async def test_every_question_can_be_answered_at_length(world: World) -> None:
    pair = await world.begin()
    said = {"plans": ("🐢" * MAX_TEXT, "me"), "reverse-mentoring": ("ż" * MAX_TEXT, "me")}
    assert (await world.submit(pair.reflection(pair.ada), said)).status_code == 200
    shown = await world.seen(f"/v1/reflections/{pair.reflection(pair.ada)}")
    assert {each["question_id"]: each["text"] for each in shown["answers"]} == {
        question: text for question, (text, _) in said.items()
    }


async def test_what_is_no_json_or_too_much_of_it_is_refused(world: World, there: Setting) -> None:
    for content, kind, status in (
        (b"{", "application/json", 400),
        (b'{"answers": [{"text": "\\ud800"}]}', "application/json", 400),
        (b"\xff", "application/json", 400),
        (b"{}", "text/plain", 415),
        (b"[" + b" " * 2_000_000 + b"]", "application/json", 413),
    ):
        response = await world.ask(
            "POST",
            f"/v1/reflections/{there.mine}/submit",
            content=content,
            headers={"Content-Type": kind},
        )
        assert response.status_code == status, response.text


async def test_without_a_key_nothing_is_submitted(world: World, there: Setting) -> None:
    path, headers = f"/v1/reflections/{there.mine}/submit", {"Authorization": "Bearer ada"}
    response = await world.http.post(path, json={"answers": [ANSWER]}, headers=headers)
    assert (response.status_code, response.json()["type"]) == (
        400,
        "urn:upwell:problem:idempotency-key-missing",
    )
    assert (await world.seen(f"/v1/reflections/{there.mine}"))["request"]["state"] == "open"
