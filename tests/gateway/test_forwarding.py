"""What is handed on, to services on real sockets that are there, away, busy or slow."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.gateway.owners import Answer, Asked, Owner, owner
from tests.gateway.world import World
from tests.spans import exported, id_of, parent_of
from upwell_gateway.forwarding import Forwarder, OwnerAway, OwnerSilent, Question

PROBLEM = b'{"type":"urn:upwell:problem:stale-version","title":"Stale version","status":412,"detail":"..."}'


@pytest.fixture
async def matching(world: World) -> Owner:
    return world.owners["matching"]


async def test_a_command_goes_to_its_owner_as_it_came_and_its_answer_comes_back_as_it_is(
    world: World, matching: Owner
) -> None:
    told = {
        "content-type": "application/json",
        "upwell-position": "matching/x@1.1.0",
        "etag": '"3"',
        "location": "/v1/pairs/x",
        "upwell-stale": "true",
        "set-cookie": "not=ours",
        "server": "secret",
        "transfer": "no",
    }
    matching.says(Answer(201, b'{"pair_id":"x"}', told))
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    response = await world.ask(
        "POST",
        "/v1/pairs/x/accept?why=%2F..%2F&b=a+b",
        "mentor",
        content=b'{ "side" : "mentor" }',
        headers={
            "Idempotency-Key": "one",
            "If-Match": '"2"',
            "Upwell-After": "matching/x@1.1.0",
            "Content-Type": "application/json",
            "traceparent": trace,
            "Cookie": "session=1",
            "X-Forwarded-Host": "evil.example",
            "Forwarded": "host=evil.example",
        },
    )
    assert (response.status_code, response.content) == (201, b'{"pair_id":"x"}')
    for name in ("upwell-position", "etag", "location", "upwell-stale"):
        assert response.headers[name] == told[name]
    assert not {"set-cookie", "server", "transfer"} & set(response.headers)
    (asked,) = matching.asked
    assert (asked.method, asked.target) == ("POST", "/v1/pairs/x/accept?why=%2F..%2F&b=a+b")
    assert asked.body == b'{ "side" : "mentor" }'
    assert (
        asked.headers
        | {
            "authorization": "Bearer mentor",
            "idempotency-key": "one",
            "if-match": '"2"',
            "upwell-after": "matching/x@1.1.0",
            "content-type": "application/json",
            "traceparent": trace,
            "upwell-correlation-id": response.headers["upwell-correlation-id"],
        }
        == asked.headers
    )
    assert not {"cookie", "x-forwarded-host", "forwarded"} & set(asked.headers)
    assert asked.headers["host"] == f"127.0.0.1:{matching.port}"


async def test_where_somebody_traces_the_owners_work_is_below_the_gateways_own_span(
    world: World, matching: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    exporter = exported(monkeypatch)
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    await world.ask("GET", "/v1/pairs/x", headers={"traceparent": trace})
    (span,) = exporter.get_finished_spans()
    assert parent_of(span) == trace
    (asked,) = matching.asked
    assert asked.headers["traceparent"] == id_of(span)


@pytest.mark.parametrize(
    ("status", "retry_after"), [(400, None), (404, None), (409, "1"), (412, None), (500, None)]
)
async def test_a_problem_of_the_owner_is_the_callers_problem(
    world: World, matching: Owner, status: int, retry_after: str | None
) -> None:
    headers = {"content-type": "application/problem+json"} | (
        {"retry-after": retry_after} if retry_after else {}
    )
    matching.says(Answer(status, PROBLEM, headers))
    response = await world.ask("POST", "/v1/pairs/x/end", headers={"Idempotency-Key": "one"})
    assert (response.status_code, response.content) == (status, PROBLEM)
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers.get("retry-after") == retry_after
    assert len(matching.asked) == 1


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
async def test_every_method_is_the_owners_to_understand(world: World, matching: Owner, method: str) -> None:
    assert (await world.ask(method, "/v1/cohorts/x")).status_code == 200
    assert [asked.method for asked in matching.asked] == [method]


async def test_strangers_unknown_paths_and_paths_that_lead_elsewhere_reach_nobody(world: World) -> None:
    assert (await world.ask("GET", "/v1/people", "nobody")).status_code == 401
    assert (await world.ask("GET", "/v1/nothing")).status_code == 404
    for path in (
        "/v1/people/%2e%2e/%2e%2e/metrics",
        "/v1/people//evil.example/",
        "/v1/people/%2fx",
        "/v1/peoples",
        "/v1/people/",
        "/v1/people/http:%2f%2fevil.example",
    ):
        response = await world.ask("GET", path)
        assert (response.status_code, response.headers["content-type"]) == (
            404,
            "application/problem+json",
        ), path
    assert [asked for each in world.owners.values() for asked in each.asked] == []


async def test_a_body_is_taken_up_to_what_its_owner_takes(world: World) -> None:
    directory = world.owners["directory"]
    csv = {"Content-Type": "text/csv"}
    large = b"x" * 4_900_000
    assert (await world.ask("POST", "/v1/imports", content=large, headers=csv)).status_code == 200
    assert directory.asked[-1].body == large
    for path, size in (("/v1/imports", 5_000_001), ("/v1/people", 64 * 1024 + 1)):
        assert (await world.ask("POST", path, content=b"x" * size, headers=csv)).status_code == 413
    assert len(directory.asked) == 1


async def test_what_has_no_owner_or_no_issuer_is_answered_here(world: World, matching: Owner) -> None:
    document = (await world.http.get("/v1/openapi.json")).json()
    assert {"/v1/login", "/v1/issuer/keys", "/v1/pages/queue"} <= set(document["paths"])
    assert not any(path.startswith("/v1/pairs") for path in document["paths"])
    docs = (await world.http.get("/v1/docs")).text
    assert "match-runs and pairs to matching" in docs


# With several addresses, and with owners that are not well.


@pytest.fixture
async def pair() -> AsyncIterator[tuple[Owner, Owner]]:
    async with owner() as one, owner() as other:
        yield one, other


@pytest.fixture
async def forwarder(pair: tuple[Owner, Owner]) -> AsyncIterator[Forwarder]:
    made = Forwarder({"matching": [each.url for each in pair], "sessions": [pair[0].url], "feedback": []})
    yield made
    await made.close()


QUESTION = Question(
    method="POST", target=b"/v1/pairs/x/accept", headers={"idempotency-key": "one"}, content=b"{}"
)
BUSY = Answer(503, b'{"type":"urn:upwell:problem:unavailable"}', {"retry-after": "1"})


async def test_requests_are_shared_out_among_the_addresses(
    forwarder: Forwarder, pair: tuple[Owner, Owner]
) -> None:
    for _ in range(6):
        await forwarder.ask("matching", QUESTION)
    assert [len(each.asked) for each in pair] == [3, 3]


async def test_a_refused_connection_is_tried_once_elsewhere(
    forwarder: Forwarder, pair: tuple[Owner, Owner]
) -> None:
    await pair[0].stop()
    answers = [await forwarder.ask("matching", QUESTION) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200] * 4
    assert len(pair[1].asked) == 4
    assert {asked.headers["idempotency-key"] for asked in pair[1].asked} == {"one"}


async def test_a_busy_service_is_tried_once_elsewhere(
    forwarder: Forwarder, pair: tuple[Owner, Owner]
) -> None:
    pair[0].says(BUSY)
    answers = [await forwarder.ask("matching", QUESTION) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200] * 4
    assert (len(pair[0].asked), len(pair[1].asked)) == (2, 4)


async def test_with_one_address_the_second_try_goes_there(
    forwarder: Forwarder, pair: tuple[Owner, Owner]
) -> None:
    pair[0].says(BUSY, Answer(200, b'{"state":"done"}'))
    answer = await forwarder.ask("sessions", QUESTION)
    assert (answer.status_code, answer.content) == (200, b'{"state":"done"}')
    assert [asked.body for asked in pair[0].asked] == [b"{}", b"{}"]


async def test_there_are_two_tries_and_no_third(forwarder: Forwarder, pair: tuple[Owner, Owner]) -> None:
    for each in pair:
        each.says(BUSY)
    answer = await forwarder.ask("matching", QUESTION)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert [len(each.asked) for each in pair] == [1, 1]
    for each in pair:
        await each.stop()
    with pytest.raises(OwnerAway, match="matching cannot be reached"):
        await forwarder.ask("matching", QUESTION)
    with pytest.raises(OwnerAway, match="feedback cannot be reached"):
        await forwarder.ask("feedback", QUESTION)


@pytest.mark.parametrize("status", [500, 502, 409, 429])
async def test_nothing_else_is_tried_again(
    forwarder: Forwarder, pair: tuple[Owner, Owner], status: int
) -> None:
    for each in pair:
        each.says(Answer(status))
    assert (await forwarder.ask("matching", QUESTION)).status_code == status
    assert sum(len(each.asked) for each in pair) == 1


async def test_a_connection_that_breaks_after_the_question_is_not_tried_again(
    forwarder: Forwarder, pair: tuple[Owner, Owner]
) -> None:
    async def dies(_: Asked) -> Answer:
        raise ConnectionError

    for each in pair:
        each.answering = dies
    with pytest.raises(OwnerAway, match="same Idempotency-Key"):
        await forwarder.ask("matching", QUESTION)
    assert sum(len(each.asked) for each in pair) == 1


async def test_a_service_that_does_not_answer_in_time_is_said_to_be_silent(
    forwarder: Forwarder, pair: tuple[Owner, Owner]
) -> None:
    let_go = asyncio.Event()

    async def slow(_: Asked) -> Answer:
        await let_go.wait()
        return Answer()

    for each in pair:
        each.answering = slow
    with pytest.raises(OwnerSilent, match="same Idempotency-Key finds out"):
        await forwarder.ask("matching", QUESTION, seconds=0.2)
    assert sum(len(each.asked) for each in pair) == 1
    let_go.set()


async def test_an_owner_that_is_away_is_named_to_the_caller(world: World, matching: Owner) -> None:
    await matching.stop()
    response = await world.ask("POST", "/v1/pairs/x/accept", headers={"Idempotency-Key": "one"})
    problem: Any = response.json()
    assert (response.status_code, response.headers["retry-after"]) == (503, "1")
    assert problem["type"] == "urn:upwell:problem:owner-away"
    assert "The service matching cannot be reached" in problem["detail"]
    await matching.start()
    assert (await world.ask("POST", "/v1/pairs/x/accept")).status_code == 200


async def test_connections_are_kept_and_one_cut_while_idle_is_no_fault(
    forwarder: Forwarder, pair: tuple[Owner, Owner]
) -> None:
    for _ in range(3):
        await forwarder.ask("sessions", QUESTION)
    assert pair[0].connections == 1
    await pair[0].stop()
    await pair[0].start()
    assert (await forwarder.ask("sessions", QUESTION)).status_code == 200
    assert pair[0].connections == 2
