"""Every error is a problem that says what to do, and none says what was sent."""

from typing import Any

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from tests.shared.logs import Log
from tests.shared.web.small_app import MARKER, PAIR, Answer, Named, Reflection, World
from upwell_shared import errors
from upwell_shared.web.problems import STATUS
from upwell_shared.web.violations import violation_of

KEY = {"Idempotency-Key": "first"}
GOOD = {"stage": 1, "answers": [{"text": "well"}]}


def check(response: httpx2.Response, status: int, slug: str) -> dict[str, Any]:
    assert (response.status_code, response.headers["content-type"]) == (status, "application/problem+json")
    problem: dict[str, Any] = response.json()
    assert (problem["status"], problem["type"]) == (status, f"urn:upwell:problem:{slug}")
    assert problem["title"]
    assert problem["detail"]
    assert problem["correlation_id"] == response.headers["upwell-correlation-id"]
    return problem


async def test_a_path_nobody_answers_is_a_problem(client: httpx2.AsyncClient) -> None:
    check(await client.get("/v1/nothing"), 404, "not-found")


async def test_a_method_a_path_does_not_take_is_a_problem_that_names_all_it_takes(
    client: httpx2.AsyncClient,
) -> None:
    response = await client.delete("/v1/rules")
    check(response, 405, "method-not-allowed")
    assert response.headers["allow"] == "GET, PUT"


async def test_a_rule_that_says_no_is_a_conflict_with_its_own_name(client: httpx2.AsyncClient) -> None:
    response = await client.post("/v1/failing/rule", headers=KEY)
    assert (
        check(response, 409, "booking-already-closed")["detail"] == "The booking is closed: book another one."
    )
    check(await client.post("/v1/failing/concurrent", headers=KEY), 409, "concurrent-update")


async def test_what_becomes_of_free_text_is_told_by_its_status(client: httpx2.AsyncClient, log: Log) -> None:
    for how, status, slug in (
        ("erased", 410, "subject-erased"),
        ("taken", 409, "text-id-taken"),
        ("unstorable", 422, "text-not-storable"),
    ):
        check(await client.post(f"/v1/failing/{how}", headers=KEY), status, slug)
    assert log.lines("request_failed") == []
    # A caller can do nothing about a damaged text: the operators must.
    check(await client.post("/v1/failing/damaged", headers=KEY), 500, "internal-error")
    assert len(log.lines("request_failed")) == 1


async def test_an_error_nobody_expected_leaks_neither_to_the_caller_nor_to_the_log(
    client: httpx2.AsyncClient, log: Log
) -> None:
    response = await client.post("/v1/failing/bug", headers=KEY)
    problem = check(response, 500, "internal-error")
    assert MARKER not in response.text
    assert MARKER not in log.getvalue().decode()
    (line,) = log.lines("request_failed")
    assert line["correlation_id"] == problem["correlation_id"]
    assert line["error"][0]["type"] == "builtins.ValueError"
    assert "failing" in line["error"][0]["frames"][-1]


async def test_a_dependency_away_is_a_503_that_says_when_to_ask_again(
    client: httpx2.AsyncClient, log: Log
) -> None:
    response = await client.post("/v1/failing/outage", headers=KEY)
    check(response, 503, "unavailable")
    assert response.headers["retry-after"] == "1"
    assert log.lines("request_met_an_outage")
    assert MARKER not in response.text + log.getvalue().decode()


async def test_a_request_that_takes_too_long_is_a_503(log: Log) -> None:
    world = World(request_seconds=0.05)
    transport = httpx2.ASGITransport(world.app)
    headers = {"authorization": "Bearer mentor", **KEY}
    async with httpx2.AsyncClient(transport=transport, base_url="http://small", headers=headers) as client:
        check(await client.post("/v1/slow"), 503, "unavailable")
        world.release.set()
        assert (await client.post("/v1/slow")).status_code == 200
    assert log.lines("request_timed_out")


async def test_violations_are_json_pointers_with_what_to_do_and_without_values(
    client: httpx2.AsyncClient,
) -> None:
    body = {"stage": MARKER, "answers": [{"text": ""}, {"txt": MARKER}, MARKER], MARKER: 1, "note": MARKER}
    response = await client.post("/v1/reflections", json=body, headers=KEY)
    problem = check(response, 422, "malformed")
    assert {(error["at"], error["detail"]) for error in problem["errors"]} == {
        ("#/stage", "must be a whole number"),
        ("#/answers/0/text", "must have at least 1 characters"),
        ("#/answers/1/text", "is required: add it"),
        ("#/answers/1/txt", "is not known here: remove it"),
        ("#/answers/2", "must be an object"),
        ("#/note", "is not known here: remove it"),
        ("#/…", "is not known here: remove it"),
    }
    assert MARKER not in response.text


@pytest.mark.parametrize("stage", [True, "1", 1.0, None, [1]])
async def test_json_means_what_it_says(client: httpx2.AsyncClient, stage: object) -> None:
    response = await client.post("/v1/reflections", json=GOOD | {"stage": stage}, headers=KEY)
    (error,) = check(response, 422, "malformed")["errors"]
    assert (error["at"], error["detail"]) == ("#/stage", "must be a whole number")


def test_a_body_is_made_in_python_like_any_model() -> None:
    body = Reflection(stage=1, answers=[Answer(text="well")])
    assert Reflection.model_validate(GOOD) == Reflection.model_validate_json(body.model_dump_json()) == body


async def test_a_body_that_must_be_there_is_missed(client: httpx2.AsyncClient) -> None:
    problem = check(await client.post("/v1/people"), 422, "malformed")
    assert problem["errors"] == [{"in": "body", "at": "#", "detail": "is required: add it"}]
    for empty in (b"", b"null", b"[]"):
        headers = KEY | {"content-type": "application/json"}
        response = await client.post("/v1/reflections", content=empty, headers=headers)
        assert check(response, 422, "malformed")["errors"][0]["at"] == "#"


async def test_parameters_are_checked_like_bodies(client: httpx2.AsyncClient) -> None:
    response = await client.post(f"/v1/pairs/{MARKER}/accept", headers=KEY)
    assert check(response, 422, "malformed")["errors"] == [
        {"in": "path", "at": "pair_id", "detail": "must be a UUID"}
    ]
    problem = check(await client.get("/v1/pairs?limit=201"), 422, "malformed")
    assert problem["errors"] == [{"in": "query", "at": "limit", "detail": "must be at most 200"}]


async def test_a_query_parameter_the_route_does_not_know_is_refused(client: httpx2.AsyncClient) -> None:
    response = await client.get("/v1/pairs", params={"limti": 3})
    (error,) = check(response, 422, "malformed")["errors"]
    assert error["detail"] == "this route has no such parameter; it knows: cursor, limit, unit"
    check(await client.get("/v1/me", params={MARKER: 1}), 422, "malformed")


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"\xff\xfe", b'{"stage": NaN}', b'{"text": "\\ud800"}', b"[" * 5000, b"\xef\xbb\xbf{}"],
)
async def test_a_body_that_is_not_json_is_a_400_or_says_what_is_missing(
    client: httpx2.AsyncClient, content: bytes
) -> None:
    response = await client.post(
        "/v1/reflections", content=content, headers=KEY | {"content-type": "application/json"}
    )
    if content:
        check(response, 400, "unreadable-body")
    else:
        check(response, 422, "malformed")


@pytest.mark.parametrize(
    "escaped", [{"stage": 1, "answers": [{"text": "a\0b"}]}, {"stage": 1, "an\0swers": []}]
)
async def test_nul_in_a_body_is_refused(client: httpx2.AsyncClient, escaped: dict[str, object]) -> None:
    problem = check(await client.post("/v1/reflections", json=escaped, headers=KEY), 422, "malformed")
    assert problem["errors"][0]["detail"] == "must not hold the character NUL"


async def test_the_letters_of_the_escape_are_not_nul(client: httpx2.AsyncClient) -> None:
    body = {"stage": 1, "answers": [{"text": "\\u0000"}]}
    assert (await client.post("/v1/reflections", json=body, headers=KEY)).status_code == 201


async def test_nul_in_a_path_a_query_or_a_header_is_refused(client: httpx2.AsyncClient) -> None:
    check(await client.get("/v1/pairs%00"), 422, "malformed")
    check(await client.get("/v1/pairs?cursor=%00"), 422, "malformed")
    check(await client.get("/v1/pairs", headers=[(b"x-note", b"a\0b")]), 422, "malformed")


@pytest.mark.parametrize(
    "headers",
    [
        {"content-type": "text/plain"},
        {"content-type": "application/json; charset=latin-1"},
        {"content-type": "application/json", "content-encoding": "gzip"},
    ],
)
async def test_a_body_of_another_kind_is_a_415(client: httpx2.AsyncClient, headers: dict[str, str]) -> None:
    check(
        await client.post("/v1/reflections", content=b"{}", headers=KEY | headers),
        415,
        "unsupported-media-type",
    )


async def test_a_body_of_a_json_kind_is_json(client: httpx2.AsyncClient) -> None:
    headers = KEY | {"content-type": 'Application/SCIM+json; charset="utf-8"'}
    content = b'{"stage":1,"answers":[{"text":"well"}]}'
    assert (await client.post("/v1/reflections", content=content, headers=headers)).status_code == 201


async def test_a_body_has_a_limit_and_a_route_its_own(client: httpx2.AsyncClient) -> None:
    large = {"stage": 1, "answers": [{"text": "x"}] * 6000}
    problem = check(await client.post("/v1/reflections", json=large, headers=KEY), 413, "too-large")
    assert "65536" in problem["detail"]
    csv = {"content-type": "text/csv"}
    assert (await client.post("/v1/people", content=b"a," * 90_000, headers=csv)).json() == {"bytes": 180_000}
    check(await client.post("/v1/people", content=b"a," * 110_000, headers=csv), 413, "too-large")
    check(await client.post("/v1/people", content=b"a,\0", headers=csv), 422, "malformed")


async def test_a_body_without_a_length_has_the_same_limit(client: httpx2.AsyncClient) -> None:
    async def chunks() -> Any:
        for _ in range(20):
            yield b" " * 8192

    headers = KEY | {"content-type": "application/json"}
    check(await client.post("/v1/reflections", content=chunks(), headers=headers), 413, "too-large")


async def test_a_route_without_a_body_takes_none(client: httpx2.AsyncClient) -> None:
    path = f"/v1/pairs/{PAIR}/accept"
    assert (await client.post(path, headers=KEY)).status_code == 200
    assert (await client.post(path, json={}, headers=KEY)).status_code == 200
    check(await client.post(path, json={"why": "x"}, headers=KEY), 422, "malformed")


def test_every_error_of_the_tree_a_caller_can_act_on_has_its_status() -> None:
    internal = {errors.UpwellError}
    declared = {
        kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)
    }
    assert declared - internal <= set(STATUS)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.just(MARKER) | st.uuids().map(str),
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.sampled_from(["stage", "answers", "who", "by", MARKER]), inner)
    ),
)


@given(values, st.sampled_from([Reflection, Named]))
def test_no_violation_ever_repeats_a_value(value: object, model: type) -> None:
    try:
        TypeAdapter(model).validate_python(value)
    except ValidationError as error:
        for entry in error.errors():
            violation = violation_of({**entry, "loc": ("body", *entry["loc"])})
            assert MARKER not in f"{violation.at} {violation.detail}"
            assert violation.detail
