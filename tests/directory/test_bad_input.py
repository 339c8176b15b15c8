"""What is wrong is said, each thing in its own way, and changes nothing."""

from typing import Any, NamedTuple
from uuid import UUID, uuid4

import httpx2
import pytest

from tests.directory.world import World
from upwell_shared.web.policies import UserRole


class Setting(NamedTuple):
    acme: UUID
    sales: UUID
    north: UUID
    closed: UUID
    other_root: UUID
    boss: UUID
    ada: UUID


@pytest.fixture
async def there(world: World) -> Setting:
    acme, other = await world.open_acme(), uuid4()
    world.tokens.give("hr", UserRole.HR_ADMIN, units=frozenset({acme, other}))
    await world.done("PUT", f"/v1/organisations/{other}", {"name": "Ajax"})
    sales = await world.open_unit(acme, "Sales")
    north = await world.open_unit(sales, "North")
    closed = await world.open_unit(acme, "Closed")
    await world.seen(f"/v1/units/{closed}", await world.done("POST", f"/v1/units/{closed}/close"))
    boss = await world.join(acme, user_name="boss", external_id="1")
    ada = await world.join(sales, manager_id=str(boss))
    gone = await world.join(sales, external_id="gone")
    await world.seen(f"/v1/people/{gone}", await world.done("POST", f"/v1/people/{gone}/left"))
    await world.seen(f"/v1/people/{ada}")
    return Setting(acme, sales, north, closed, other, boss, ada)


class Bad(NamedTuple):
    """A request, with {names} of the setting in it, and its answer. `changes` are to the body of somebody who joins."""

    status: int
    slug: str
    method: str = "POST"
    path: str = "/v1/people"
    changes: dict[str, Any] | None = None
    body: Any = None
    at: str | None = None
    etag: str | None = None


PLACE = {"unit_id": "{north}", "grade": 8, "manager_id": None, "in_role_since": "2024-01-01"}
TABLE = [
    Bad(409, "unknown-unit", changes={"unit_id": "00000000-0000-0000-0000-00000000dead"}),
    Bad(409, "unit-is-closed", changes={"unit_id": "{closed}"}),
    Bad(409, "unit-of-another-organisation", changes={"unit_id": "{other_root}"}),
    Bad(409, "unknown-manager", changes={"manager_id": "00000000-0000-0000-0000-00000000dead"}),
    Bad(409, "external-id-taken", changes={"external_id": "1"}),
    Bad(409, "external-id-of-somebody-gone", changes={"external_id": "gone"}),
    Bad(409, "role-begins-later", changes={"in_role_since": "2026-03-04"}),
    Bad(
        409,
        "role-begins-later",
        path="/v1/people/{ada}/move",
        body=PLACE | {"in_role_since": "2026-03-04"},
        etag="1",
    ),
    Bad(409, "user-name-taken", changes={"user_name": "BOSS"}),
    Bad(422, "malformed", changes={"grade": 0}, at="#/grade"),
    Bad(422, "malformed", changes={"grade": 21}, at="#/grade"),
    Bad(422, "malformed", changes={"grade": "7"}, at="#/grade"),
    Bad(422, "malformed", changes={"grade": True}, at="#/grade"),
    Bad(422, "malformed", changes={"given_name": ""}, at="#/given_name"),
    Bad(422, "malformed", changes={"given_name": " Ada"}, at="#/given_name"),
    Bad(422, "malformed", changes={"given_name": "A\x00da"}, at="#/given_name"),
    Bad(422, "malformed", changes={"given_name": "x" * 101}, at="#/given_name"),
    Bad(422, "malformed", changes={"mail": "nobody"}, at="#/mail"),
    Bad(422, "malformed", changes={"in_role_since": "yesterday"}, at="#/in_role_since"),
    Bad(422, "malformed", changes={"unit_id": "sales"}, at="#/unit_id"),
    Bad(422, "malformed", changes={"age": 40}, at="#/age"),
    Bad(422, "malformed", body={}, at="#/external_id"),
    Bad(422, "malformed", body=[], at="#"),
    Bad(
        409,
        "manager-of-oneself",
        path="/v1/people/{boss}/move",
        body=PLACE | {"manager_id": "{boss}"},
        etag="1",
    ),
    Bad(409, "manager-below", path="/v1/people/{boss}/move", body=PLACE | {"manager_id": "{ada}"}, etag="1"),
    Bad(412, "stale-version", path="/v1/people/{ada}/move", body=PLACE, etag="7"),
    Bad(428, "version-required", path="/v1/people/{ada}/move", body=PLACE),
    Bad(409, "not-on-leave", path="/v1/people/{ada}/return"),
    Bad(409, "leave-is-over", path="/v1/people/{ada}/leave", body={"until": "1999-12-31"}),
    Bad(422, "malformed", path="/v1/people/{ada}/left", body={"why": "private"}, at="#"),
    Bad(404, "not-found", path="/v1/people/00000000-0000-0000-0000-00000000dead/left"),
    Bad(422, "malformed", path="/v1/people/nobody/left", at="person_id"),
    Bad(409, "unit-below-itself", path="/v1/units/{sales}/move", body={"parent_id": "{north}"}, etag="5"),
    Bad(409, "unit-below-itself", path="/v1/units/{sales}/move", body={"parent_id": "{sales}"}, etag="5"),
    Bad(409, "unknown-unit", path="/v1/units/{sales}/move", body={"parent_id": "{other_root}"}, etag="5"),
    Bad(409, "root-stays", path="/v1/units/{acme}/move", body={"parent_id": "{north}"}, etag="5"),
    Bad(412, "stale-version", path="/v1/units/{north}/move", body={"parent_id": "{acme}"}, etag="1"),
    Bad(428, "version-required", path="/v1/units/{north}/move", body={"parent_id": "{acme}"}),
    Bad(409, "unit-has-units", path="/v1/units/{sales}/close"),
    Bad(409, "unit-is-closed", path="/v1/units/{closed}/rename", body={"name": "Open"}, etag="5"),
    Bad(409, "unit-name-taken", path="/v1/units", body={"parent_id": "{sales}", "name": "north"}),
    Bad(409, "unfit-unit-name", path="/v1/units", body={"parent_id": "{sales}", "name": "A / B"}),
    Bad(409, "organisation-already-opened", "PUT", "/v1/organisations/{acme}", body={"name": "Else"}),
    Bad(
        403, "forbidden", "PUT", "/v1/organisations/00000000-0000-0000-0000-00000000dead", body={"name": "X"}
    ),
    Bad(
        409,
        "grade-mapped-twice",
        "PUT",
        "/v1/organisations/{acme}/grades",
        body={"grades": [{"label": "a", "grade": 1}, {"label": "A", "grade": 2}]},
        etag="5",
    ),
    Bad(422, "malformed", path="/v1/people/{ada}/consents/fun/withdraw", at="purpose"),
    Bad(422, "malformed", "GET", "/v1/people?limit=0", at="limit"),
    Bad(422, "malformed", "GET", "/v1/people?cursor=x", at="cursor"),
    Bad(422, "malformed", "GET", "/v1/people?sort=name"),
    Bad(405, "method-not-allowed", "DELETE", "/v1/people/{ada}"),
]


def filled(value: Any, there: Setting) -> Any:
    if isinstance(value, str):
        return value.format(**{name: str(id_) for name, id_ in there._asdict().items()})
    if isinstance(value, dict):
        return {key: filled(item, there) for key, item in value.items()}
    return value


async def answer(world: World, there: Setting, bad: Bad) -> httpx2.Response:
    body = filled(bad.body, there)
    if bad.changes is not None:
        body = world.person(there.sales) | filled(bad.changes, there)
    etag = None if bad.etag is None else f'"{bad.etag}"'
    return await world.ask(bad.method, filled(bad.path, there), body, if_match=etag)


async def test_what_is_wrong_is_said_and_changes_nothing(world: World, there: Setting) -> None:
    before = await world.events(), await world.pool.fetch("TABLE contacts")
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
        if (await world.events(), await world.pool.fetch("TABLE contacts")) != before:
            wrong.append((bad, "changed something", told))
    assert wrong == []


async def test_what_is_no_json_or_too_much_of_it_is_refused(world: World, there: Setting) -> None:
    for content, kind, status in (
        (b"{", "application/json", 400),
        (b"\xff", "application/json", 400),
        (b"{}", "text/plain", 415),
        (b"{}", "text/csv", 415),
        (b"[" + b" " * 5_000_000 + b"]", "application/json", 413),
    ):
        response = await world.ask("POST", "/v1/people", content=content, headers={"Content-Type": kind})
        assert response.status_code == status
    keyless = await world.http.post("/v1/people", json={}, headers={"Authorization": "Bearer hr"})
    assert (keyless.status_code, keyless.json()["type"]) == (
        400,
        "urn:upwell:problem:idempotency-key-missing",
    )


async def test_a_key_means_one_thing(world: World, there: Setting) -> None:
    await world.done("POST", f"/v1/people/{there.ada}/leave", {}, key="one")
    for path, body in (("leave", {"until": "2030-01-01"}), ("left", None)):
        reused = await world.ask("POST", f"/v1/people/{there.ada}/{path}", body, key="one")
        assert (reused.status_code, reused.json()["type"]) == (
            422,
            "urn:upwell:problem:idempotency-key-reused",
        )
