"""Lists, positions, health and the documentation."""

import asyncio
import re
from datetime import UTC, datetime

import httpx2
import openapi_spec_validator
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from tests.shared.web.small_app import PAIR, World, position
from tests.shared.web.test_problems import check
from upwell_shared.errors import Malformed
from upwell_shared.web.cursors import Key, Listing
from upwell_shared.web.positions import StreamPosition, wait_until

keys = st.lists(st.none() | st.integers(-(2**53), 2**53) | st.text(st.characters(codec="utf-8")), max_size=4)


@given(keys)
def test_a_cursor_leads_back_to_its_row(row: list[Key]) -> None:
    cursor = Listing("pairs", unit=PAIR).encode(*row)
    assert Listing("pairs", unit=PAIR).decode(cursor) == tuple(row)
    assert re.fullmatch(r"[A-Za-z0-9_-]+", cursor)


@given(keys, st.data())
def test_a_cursor_that_was_changed_is_refused(row: list[Key], data: st.DataObject) -> None:
    listing = Listing("pairs")
    cursor = listing.encode(*row)
    at = data.draw(st.integers(0, len(cursor) - 1))
    other = data.draw(st.sampled_from("abcXYZ019_-.=é\0"))
    changed = cursor[:at] + other + cursor[at + 1 :]
    try:
        decoded = listing.decode(changed)
    except Malformed:
        return
    assert decoded == tuple(row)  # the last letter may hold bits that mean nothing


@pytest.mark.parametrize(
    "other",
    [Listing("people"), Listing("pairs", 2), Listing("pairs", unit=None), Listing("pairs", unit=PAIR)],
)
def test_a_cursor_of_another_list_order_or_filter_is_refused(other: Listing) -> None:
    with pytest.raises(Malformed):
        other.decode(Listing("pairs").encode(datetime(2026, 1, 31, tzinfo=UTC).isoformat(), 1))


async def test_a_list_is_read_page_by_page(client: httpx2.AsyncClient) -> None:
    first = (await client.get("/v1/pairs", params={"limit": 2})).json()
    second = (await client.get("/v1/pairs", params={"limit": 2, "cursor": first["next"]})).json()
    assert (first["items"], second["items"]) == ([0, 1], [2, 3])
    foreign = await client.get("/v1/pairs", params={"cursor": first["next"], "unit": str(PAIR)})
    assert check(foreign, 422, "malformed")["errors"][0]["at"] == "cursor"


def test_a_position_is_written_as_it_is_read() -> None:
    assert str(position()) == f"matching/{PAIR}@3.2.1"
    assert StreamPosition.parse(str(position())) == position()


@pytest.mark.parametrize(
    "token",
    ["", "matching", f"matching/{PAIR}@3", f"Matching/{PAIR}@1.1.1", f"matching/{PAIR}@-1.0.0", "m/x@1.1.1"],
)
async def test_a_token_of_another_shape_is_refused(client: httpx2.AsyncClient, token: str) -> None:
    problem = check(await client.get("/v1/pairs", headers={"Upwell-After": token}), 422, "malformed")
    assert problem["errors"][0]["at"] == "Upwell-After"


async def test_a_read_that_waits_in_vain_says_that_it_is_stale(
    client: httpx2.AsyncClient, world: World
) -> None:
    headers = {"Upwell-After": str(position())}
    assert (await client.get("/v1/pairs", headers=headers)).headers["upwell-stale"] == "true"
    world.reached = True
    assert "upwell-stale" not in (await client.get("/v1/pairs", headers=headers)).headers


async def test_waiting_ends_as_soon_as_it_is_so() -> None:
    asked = 0

    async def third_time() -> bool:
        nonlocal asked
        asked += 1
        return asked == 3

    assert await wait_until(third_time, timeout=30)
    assert asked == 3
    assert not await wait_until(lambda: asyncio.sleep(0, result=False), timeout=0)


async def test_readiness_is_the_database_and_liveness_is_not(
    client: httpx2.AsyncClient, world: World
) -> None:
    assert (await client.get("/health/ready")).status_code == 200
    world.database_answers.clear()
    check(await client.get("/health/ready"), 503, "unavailable")
    assert (await client.get("/health/live")).status_code == 200


async def test_metrics_are_there_to_be_scraped(client: httpx2.AsyncClient) -> None:
    response = await client.get("/metrics", headers={"authorization": ""})
    assert response.headers["content-type"].startswith("text/plain")
    assert "# TYPE upwell_command_seconds histogram" in response.text


async def test_the_document_declares_what_is_true_of_every_route(client: httpx2.AsyncClient) -> None:
    document = (await client.get("/v1/openapi.json")).json()
    openapi_spec_validator.validate(document)
    submit = document["paths"]["/v1/reflections"]["post"]
    assert submit["x-upwell-policy"] == "authenticated"
    assert submit["security"] == [{"bearer": []}]
    assert {"400", "401", "403", "409", "413", "415", "422", "500", "503"} <= submit["responses"].keys()
    assert [p["name"] for p in submit["parameters"]] == ["Idempotency-Key"]
    assert {"Upwell-Position", "ETag", "Upwell-Correlation-Id"} == submit["responses"]["201"][
        "headers"
    ].keys()
    edit = document["paths"]["/v1/rules"]["put"]
    assert {"412", "428"} <= edit["responses"].keys()
    assert all(p["required"] for p in edit["parameters"])
    assert "Upwell-Stale" in document["paths"]["/v1/pairs"]["get"]["responses"]["200"]["headers"]
    assert document["paths"]["/v1/people"]["post"]["requestBody"]["content"].keys() == {"text/csv"}
    assert "security" not in document["paths"]["/health/live"]["get"]
    for operations in document["paths"].values():
        for operation in operations.values():
            for status, response in operation["responses"].items():
                problem = int(status) >= 400
                assert ("application/problem+json" in response.get("content", {})) == problem
    assert "HTTPValidationError" not in document["components"]["schemas"]


async def test_a_problem_fits_the_schema_the_document_declares(client: httpx2.AsyncClient) -> None:
    document = (await client.get("/v1/openapi.json")).json()
    schema = document["components"]["schemas"]["Problem"]
    for path in ("/v1/pairs?limit=0", "/v1/nothing", "/v1/pairs%00"):
        Draft202012Validator(schema).validate((await client.get(path)).json())


async def test_the_page_of_the_documentation_needs_nothing_from_elsewhere(client: httpx2.AsyncClient) -> None:
    response = await client.get("/v1/docs")
    assert not re.search(r"<script|src=|@import|https?://", response.text)
    assert response.headers["content-security-policy"].startswith("default-src 'none'; style-src 'sha256-")
    for told in (
        "/v1/pairs/{pair_id}/accept",
        "Idempotency-Key",
        "urn:upwell:problem:stale-version",
        "Reflection",
    ):
        assert told in response.text


async def test_a_problem_of_one_route_is_documented_there_and_nowhere_else(
    client: httpx2.AsyncClient,
) -> None:
    paths = (await client.get("/v1/openapi.json")).json()["paths"]
    told = {
        path: operations["post"]["responses"] for path, operations in paths.items() if "post" in operations
    }
    assert [path for path, responses in told.items() if "410" in responses] == ["/v1/failing/{how}"]
    assert list(told["/v1/failing/{how}"]["410"]["content"]) == ["application/problem+json"]
