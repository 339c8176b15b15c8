"""A retry is the same command, whatever happened to the first try."""

import asyncio
from uuid import UUID, uuid4

import httpx2
import pytest

from tests.shared.logs import Log
from tests.shared.web.small_app import PAIR, World
from tests.shared.web.test_problems import GOOD, check
from upwell_shared.observability import parse_traceparent


async def test_a_command_without_a_key_is_told_to_bring_one(client: httpx2.AsyncClient) -> None:
    check(await client.post("/v1/reflections", json=GOOD), 400, "idempotency-key-missing")


@pytest.mark.parametrize("key", ["a b", "x" * 65, "é"])
async def test_a_key_nobody_should_send_is_refused(client: httpx2.AsyncClient, key: str) -> None:
    headers = {b"Idempotency-Key": key.encode("latin-1")}
    response = await client.post("/v1/reflections", json=GOOD, headers=headers)
    check(response, 422, "malformed")


async def test_a_retry_is_the_same_command_and_looks_the_same(
    client: httpx2.AsyncClient, world: World
) -> None:
    headers = {"Idempotency-Key": str(uuid4())}
    await client.post("/v1/reflections", json=GOOD, headers=headers)
    shuffled = b'{ "answers": [{"text": "well"}],\n "stage": 1 }'
    await client.post(
        "/v1/reflections", content=shuffled, headers=headers | {"content-type": "application/json"}
    )
    first, again = world.commands
    assert first.envelope.command_id == again.envelope.command_id
    assert first.fingerprint == again.fingerprint


async def test_the_same_key_with_anything_else_shows_in_the_fingerprint(
    client: httpx2.AsyncClient, world: World
) -> None:
    headers = {"Idempotency-Key": "one"}
    await client.post("/v1/reflections", json=GOOD, headers=headers)
    await client.post("/v1/reflections", json=GOOD | {"stage": 2}, headers=headers)
    await client.post(f"/v1/pairs/{PAIR}/accept", headers=headers)
    assert len({command.envelope.command_id for command in world.commands}) == 1
    assert len({command.fingerprint for command in world.commands}) == 3


async def test_two_people_with_one_key_mean_two_commands(client: httpx2.AsyncClient, world: World) -> None:
    for token in ("mentor", "coordinator"):
        headers = {"Idempotency-Key": "one", "authorization": f"Bearer {token}"}
        await client.post("/v1/reflections", json=GOOD, headers=headers)
    first, second = world.commands
    assert first.envelope.command_id != second.envelope.command_id
    assert (first.envelope.actor, second.envelope.actor) == (
        str(world.tokens.mentor.id),
        str(world.tokens.coordinator.id),
    )


async def test_the_same_command_is_not_begun_twice_at_once(client: httpx2.AsyncClient, world: World) -> None:
    headers = {"Idempotency-Key": "one"}
    first = asyncio.create_task(client.post("/v1/slow", headers=headers))
    await world.entered.wait()
    meanwhile = await client.post("/v1/slow", headers=headers)
    check(meanwhile, 409, "command-in-flight")
    assert meanwhile.headers["retry-after"] == "1"
    world.release.set()
    assert (await first).status_code == 200
    assert (await client.post("/v1/slow", headers=headers)).status_code == 200


async def test_an_answer_says_where_to_read_it_and_at_which_version(client: httpx2.AsyncClient) -> None:
    response = await client.post("/v1/reflections", json=GOOD, headers={"Idempotency-Key": "one"})
    assert (response.status_code, response.json()) == (201, {"stage": 1})
    assert response.headers["upwell-position"] == f"feedback/{PAIR}@1.1.0"
    assert response.headers["etag"] == '"1"'


@pytest.mark.parametrize(
    ("header", "status", "slug"),
    [
        (None, 428, "version-required"),
        ('"6"', 412, "stale-version"),
        ("7", 422, "malformed"),
        ("*", 422, "malformed"),
        ('"6", "7"', 422, "malformed"),
    ],
)
async def test_what_was_looked_at_must_be_said_and_still_hold(
    client: httpx2.AsyncClient, header: str | None, status: int, slug: str
) -> None:
    headers = {"Idempotency-Key": "one", "authorization": "Bearer coordinator"}
    headers |= {} if header is None else {"If-Match": header}
    check(await client.put("/v1/rules", headers=headers), status, slug)


@pytest.mark.parametrize("weak", ["", "W/"])
async def test_the_etag_of_a_read_fits_the_command_after_it(client: httpx2.AsyncClient, weak: str) -> None:
    seen = weak + (await client.get("/v1/rules")).headers["etag"]
    headers = {"Idempotency-Key": "one", "authorization": "Bearer coordinator", "If-Match": seen}
    assert (await client.put("/v1/rules", headers=headers)).headers["etag"] == '"8"'


async def test_a_correlation_id_goes_from_the_caller_to_the_command_the_log_and_the_answer(
    client: httpx2.AsyncClient, world: World, log: Log
) -> None:
    correlation = uuid4()
    headers = {"Idempotency-Key": "one", "Upwell-Correlation-Id": str(correlation)}
    response = await client.post("/v1/reflections", json=GOOD, headers=headers)
    (command,) = world.commands
    assert response.headers["upwell-correlation-id"] == str(correlation)
    assert command.envelope.correlation_id == correlation
    assert command.envelope.traceparent is not None
    assert command.envelope.traceparent.startswith(f"00-{correlation.hex}-")
    (line,) = log.lines("request")
    assert (line["correlation_id"], line["route"]) == (str(correlation), "/v1/reflections")
    assert (line["method"], line["status"]) == ("POST", 201)
    assert line["ms"] > 0


async def test_a_trace_of_the_caller_goes_on_and_names_the_correlation(
    client: httpx2.AsyncClient, world: World
) -> None:
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    for sent in (trace, "nonsense"):
        headers = {"Idempotency-Key": "one", "traceparent": sent}
        await client.post("/v1/reflections", json=GOOD, headers=headers)
    known, unknown = (command.envelope for command in world.commands)
    assert (known.traceparent, known.correlation_id) == (trace, UUID("4bf92f3577b34da6a3ce929d0e0e4736"))
    assert parse_traceparent(unknown.traceparent or "") is not None
    assert known.correlation_id != unknown.correlation_id


async def test_the_access_line_holds_the_template_and_never_the_path(
    client: httpx2.AsyncClient, log: Log
) -> None:
    await client.post("/v1/pairs/Kingfisher/accept?who=Kingfisher")
    await client.get("/Kingfisher")
    await client.get("/health/live")
    assert [line["route"] for line in log.lines("request")] == ["/v1/pairs/{pair_id}/accept", "unmatched"]
    assert b"Kingfisher" not in log.getvalue()
