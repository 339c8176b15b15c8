"""What is wrong is said, each thing in its own way, and changes nothing."""

from typing import Any, NamedTuple
from uuid import uuid4

import httpx2

from tests.sessions.world import World


class Bad(NamedTuple):
    """A request below the pair's sessions, and its answer; {coming} and {begun} are sessions of theirs."""

    status: int
    slug: str
    path: str = ""
    body: Any = None
    at: str | None = None
    etag: str | None = None
    method: str = "POST"


SOON = {"starts_at": "2026-03-05T09:00:00Z"}
NEVER = "00000000-0000-0000-0000-00000000dead"
TABLE = [
    Bad(422, "malformed", at="#"),
    Bad(422, "malformed", body={}, at="#/starts_at"),
    Bad(422, "malformed", body=[], at="#"),
    Bad(422, "malformed", body={"starts_at": "tomorrow"}, at="#/starts_at"),
    Bad(422, "malformed", body={"starts_at": "2026-03-05T09:00:00"}, at="#/starts_at"),
    Bad(422, "malformed", body={"starts_at": "2026-03-05"}, at="#/starts_at"),
    Bad(422, "malformed", body={"starts_at": "2026-02-30T09:00:00Z"}, at="#/starts_at"),
    Bad(422, "malformed", body={"starts_at": None}, at="#/starts_at"),
    Bad(422, "malformed", body={"starts_at": True}, at="#/starts_at"),
    Bad(422, "malformed", body={"starts_at": "9" * 400}, at="#/starts_at"),
    Bad(422, "malformed", body=SOON | {"minutes": 4}, at="#/minutes"),
    Bad(422, "malformed", body=SOON | {"minutes": 481}, at="#/minutes"),
    Bad(422, "malformed", body=SOON | {"minutes": "45"}, at="#/minutes"),
    Bad(422, "malformed", body=SOON | {"minutes": True}, at="#/minutes"),
    Bad(422, "malformed", body=SOON | {"minutes": 45.5}, at="#/minutes"),
    Bad(422, "malformed", body=SOON | {"confirmed_at": "2026-03-05T09:00:00Z"}, at="#/confirmed_at"),
    Bad(409, "session-in-the-past", body={"starts_at": "2026-03-02T10:30:00Z"}),
    Bad(409, "session-in-the-past", body={"starts_at": "0001-01-01T00:00:00+14:00"}),
    Bad(409, "session-too-far-ahead", body={"starts_at": "9999-12-31T23:59:59-14:00"}),
    Bad(409, "session-after-the-end", body={"starts_at": "2026-09-02T00:00:00Z"}),
    Bad(409, "session-too-far-ahead", body={"starts_at": "2027-03-05T09:00:00Z"}),
    Bad(409, "overlapping-session", body={"starts_at": "2026-03-04T12:00:00+02:15"}),
    Bad(428, "version-required", "/{coming}/move", SOON),
    Bad(412, "stale-version", "/{coming}/move", SOON, etag='"1"'),
    Bad(422, "malformed", "/{coming}/move", SOON, at="If-Match", etag="*"),
    Bad(422, "malformed", "/{coming}/move", {}, at="#/starts_at", etag='"3"'),
    Bad(409, "session-has-begun", "/{begun}/move", SOON, etag='"3"'),
    Bad(409, "session-in-the-past", "/{coming}/move", {"starts_at": "2026-03-01T09:00:00Z"}, etag='"3"'),
    Bad(404, "not-found", f"/{NEVER}/move", SOON, etag='"3"'),
    Bad(422, "malformed", "/nobody/move", SOON, at="session_id", etag='"3"'),
    Bad(409, "session-has-begun", "/{begun}/cancel"),
    Bad(422, "malformed", "/{begun}/cancel", {"why": "private"}, at="#"),
    Bad(404, "not-found", f"/{NEVER}/cancel"),
    Bad(409, "too-early-to-confirm", "/{coming}/confirm", {"held": True}),
    Bad(422, "malformed", "/{begun}/confirm", {}, at="#/held"),
    Bad(422, "malformed", "/{begun}/confirm", {"held": "yes"}, at="#/held"),
    Bad(422, "malformed", "/{begun}/confirm", {"held": 1}, at="#/held"),
    Bad(422, "malformed", "/{begun}/confirm", {"held": True, "missed_by": "mentor"}, at="#/missed_by"),
    Bad(422, "malformed", "/{begun}/confirm", {"held": False, "missed_by": "ada"}, at="#/missed_by"),
    Bad(422, "malformed", "/{begun}/confirm", {"held": False, "missed_by": ["mentor"]}, at="#/missed_by"),
    Bad(404, "not-found", f"/{NEVER}/confirm", {"held": True}),
    Bad(422, "malformed", "/{begun}/recap", {}, at="#/text", method="PUT"),
    Bad(422, "malformed", "/{begun}/recap", {"text": ""}, at="#/text", method="PUT"),
    Bad(422, "malformed", "/{begun}/recap", {"text": "x" * 20_001}, at="#/text", method="PUT"),
    Bad(422, "malformed", "/{begun}/recap", {"text": "\x00"}, at="#/text", method="PUT"),
    Bad(422, "malformed", "/{begun}/recap", {"text": "x", "instead_of": 1}, at="#/instead_of", method="PUT"),
    Bad(413, "too-large", "/{begun}/recap", {"text": "x" * 300_000}, method="PUT"),
    Bad(409, "recap-changed", "/{begun}/recap", {"text": "x", "instead_of": NEVER}, method="PUT"),
    Bad(404, "not-found", f"/{NEVER}/recap", {"text": "x"}, method="PUT"),
    Bad(404, "not-found", f"/{NEVER}/recap", method="GET"),
    Bad(409, "no-recap", "/{begun}/recap/confirm"),
    Bad(422, "malformed", "/{begun}/recap/confirm", {"text_id": "x"}, at="#/text_id"),
    Bad(422, "malformed", "/{begun}/recap/confirm", {"held": True}, at="#/held"),
    Bad(405, "method-not-allowed", "/{begun}/recap", method="DELETE"),
]


async def test_what_is_wrong_is_said_and_changes_nothing(world: World) -> None:
    pair = await world.pair()
    begun = await world.book(pair)
    coming = await world.book(pair, hours=49)
    world.clock.set(world.clock.now().replace(hour=10, minute=30))
    ids = {"begun": begun.rpartition("/")[2], "coming": coming.rpartition("/")[2]}
    before = await world.events(pair)
    wrong: list[tuple[Bad, object, object]] = []
    for bad in TABLE:
        path = f"/v1/cadences/{pair}/sessions{bad.path.format(**ids)}"
        response = await world.ask(bad.method, path, bad.body, if_match=bad.etag)
        told = response.json()
        places = [each["at"] for each in told.get("errors", ())]
        slug = f"urn:upwell:problem:{bad.slug}"
        if (response.status_code, told.get("type")) != (bad.status, slug) or (
            bad.at is not None and bad.at not in places
        ):
            wrong.append((bad, response.status_code, told))
        if await world.events(pair) != before:
            wrong.append((bad, "changed something", told))
    assert wrong == []
    assert await world.pool.fetchval("SELECT count(*) FROM texts") == 0


async def test_a_list_is_asked_for_in_its_own_words(world: World) -> None:
    for query in ("limit=0", "limit=201", "cursor=x", "side=mentor"):
        assert (await world.ask("GET", f"/v1/cadences?{query}")).status_code == 422
    pairs = [await world.pair() for _ in range(2)]
    assert len({*pairs}) == 2
    cursor = (await world.seen("/v1/cadences?limit=1"))["next"]
    theirs = await world.ask("GET", f"/v1/cadences?cursor={cursor}", who="ben")
    assert theirs.status_code == 422


async def test_what_is_no_json_or_comes_without_a_key_is_refused(world: World) -> None:
    path = f"/v1/cadences/{await world.pair()}/sessions"
    for content, kind, status in (
        (b"{", "application/json", 400),
        (b"\xff", "application/json", 400),
        (b"{}", "text/plain", 415),
        (b"[" + b" " * 70_000 + b"]", "application/json", 413),
    ):
        response = await world.ask("POST", path, content=content, headers={"Content-Type": kind})
        assert response.status_code == status
    keyless = await world.http.post(path, json=SOON, headers={"Authorization": "Bearer ada"})
    assert (keyless.status_code, keyless.json()["type"]) == (
        400,
        "urn:upwell:problem:idempotency-key-missing",
    )


async def test_a_key_means_one_thing(world: World) -> None:
    pair = await world.pair()
    session = await world.book(pair)
    key = uuid4()
    await world.done("POST", f"/v1/cadences/{pair}/sessions", {"starts_at": world.at(days=3)}, key=key)
    asked: list[httpx2.Response] = [
        await world.ask("POST", f"/v1/cadences/{pair}/sessions", {"starts_at": world.at(days=4)}, key=key),
        await world.ask("POST", f"{session}/cancel", key=key),
        await world.ask("PUT", f"{session}/recap", {"text": "x"}, key=key),
    ]
    assert {(answer.status_code, answer.json()["type"]) for answer in asked} == {
        (422, "urn:upwell:problem:idempotency-key-reused")
    }
    assert (await world.seen(f"{session}/recap"))["state"] == "none"
