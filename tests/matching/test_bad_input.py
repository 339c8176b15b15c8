"""What is wrong is said, each thing in its own way, and changes nothing."""

from datetime import timedelta
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import httpx2
import pytest

from tests.matching.world import RULES, World
from upwell_shared.web.policies import UserRole

NOBODY = "00000000-0000-0000-0000-00000000dead"


class Setting(NamedTuple):
    sales: UUID
    elsewhere: UUID
    programme: UUID
    closed_programme: UUID
    topic: UUID
    foreign_topic: UUID
    cohort: UUID
    closed_cohort: UUID
    mentor: UUID
    mentee: UUID
    near: UUID
    newcomer: UUID
    enrolment: UUID
    closed: UUID
    proposal: UUID


@pytest.fixture
async def there(world: World) -> Setting:
    defaults = {"mentor_capacity": 3}
    programme, closed_programme = await world.open_programme(defaults=defaults), await world.open_programme()
    topic, foreign_topic = await world.add_topic(programme), await world.add_topic(closed_programme)
    await world.done("POST", f"/v1/programmes/{closed_programme}/close")
    cohort, closed_cohort = await world.open_cohort(programme), await world.open_cohort(programme)
    await world.done("POST", f"/v1/cohorts/{closed_cohort}/close")
    mentor, mentee = await world.join(grade=3), await world.join(grade=9, unit=world.trade)
    near, newcomer = await world.join(grade=4, unit=world.trade), await world.join(grade=3)
    enrolment = await world.enrol(cohort, mentor, "mentor", topic)
    for person in (mentee, near):
        await world.enrol(cohort, person, "mentee", topic)
    closed = await world.propose(cohort, mentor, mentee)
    await world.done("POST", f"/v1/pairs/{closed}/decline", {"reason": "no_time"}, who=mentee)
    proposal = await world.propose(cohort, mentor, mentee)
    await world.read_up()
    return Setting(
        world.sales,
        uuid4(),
        programme,
        closed_programme,
        topic,
        foreign_topic,
        cohort,
        closed_cohort,
        mentor,
        mentee,
        near,
        newcomer,
        enrolment,
        closed,
        proposal,
    )


class Bad(NamedTuple):
    """A request, with {names} of the setting in it, and its answer. `who` asks: the programme team, unless it is said."""

    status: int
    slug: str
    path: str
    body: Any = None
    at: str | None = None
    etag: str | None = None
    who: str = "team"
    method: str = "POST"


PROGRAMME = {"name": "Upward", "unit_ids": ["{sales}"], "rules": RULES}
CHANGE = {"rules": RULES, "defaults": {}}
COHORT = {"name": "First", "starts_on": "2026-03-02", "ends_on": "2026-09-01"}
PAIR = {"mentor_id": "{mentor}", "mentee_id": "{mentee}"}
WISH = {"role": "mentor", "offers": ["{topic}"]}
WISHES = {"offers": ["{topic}"], "seeks": [], "capacity": 3}
ENROL = "/v1/cohorts/{cohort}/enrolments/{newcomer}"
TABLE = [
    Bad(403, "forbidden", "/v1/programmes", PROGRAMME | {"unit_ids": ["{elsewhere}"]}),
    Bad(409, "unfit-units", "/v1/programmes", PROGRAMME | {"unit_ids": ["{sales}", "{sales}"]}),
    Bad(422, "malformed", "/v1/programmes", PROGRAMME | {"unit_ids": []}, at="#/unit_ids"),
    Bad(422, "malformed", "/v1/programmes", PROGRAMME | {"name": ""}, at="#/name"),
    Bad(422, "malformed", "/v1/programmes", PROGRAMME | {"name": " Up"}, at="#/name"),
    Bad(422, "malformed", "/v1/programmes", PROGRAMME | {"name": "U\x00p"}, at="#/name"),
    Bad(422, "malformed", "/v1/programmes", PROGRAMME | {"name": "x" * 121}, at="#/name"),
    Bad(422, "malformed", "/v1/programmes", PROGRAMME | {"age": 1}, at="#/age"),
    Bad(422, "malformed", "/v1/programmes", PROGRAMME | {"rules": {"measure": "age", "gap": 2}}),
    Bad(422, "malformed", "/v1/programmes", PROGRAMME | {"rules": {"measure": "grade", "gap": 0}}),
    Bad(422, "malformed", "/v1/programmes", PROGRAMME | {"rules": {"measure": "grade", "gap": "2"}}),
    Bad(422, "malformed", "/v1/programmes", PROGRAMME | {"rules": RULES | {"independence_levels": 6}}),
    Bad(422, "malformed", "/v1/programmes", PROGRAMME | {"defaults": {"sessions": 61}}),
    Bad(422, "malformed", "/v1/programmes", PROGRAMME | {"defaults": {"minutes": 14}}),
    Bad(409, "unfit-defaults", "/v1/programmes", PROGRAMME | {"defaults": {"reply_days": 7}}),
    Bad(422, "malformed", "/v1/programmes", {}, at="#/name"),
    Bad(422, "malformed", "/v1/programmes", [], at="#"),
    Bad(428, "version-required", "/v1/programmes/{programme}/rules", CHANGE),
    Bad(412, "stale-version", "/v1/programmes/{programme}/rules", CHANGE, etag="9"),
    Bad(422, "malformed", "/v1/programmes/{programme}/rules", {"rules": RULES}, at="#/defaults", etag="2"),
    Bad(409, "programme-is-closed", "/v1/programmes/{closed_programme}/topics", {"name": "Late"}),
    Bad(409, "topic-name-taken", "/v1/programmes/{programme}/topics", {"name": "cODE"}),
    Bad(409, "unknown-topic", "/v1/programmes/{programme}/topics/" + NOBODY + "/rename", {"name": "New"}),
    Bad(404, "not-found", "/v1/programmes/" + NOBODY + "/close"),
    Bad(422, "malformed", "/v1/programmes/nothing/close", at="programme_id"),
    Bad(409, "programme-is-closed", "/v1/programmes/{closed_programme}/cohorts", COHORT),
    Bad(
        409,
        "ends-before-it-starts",
        "/v1/programmes/{programme}/cohorts",
        COHORT | {"ends_on": "2026-03-02"},
    ),
    Bad(422, "malformed", "/v1/programmes/{programme}/cohorts", COHORT | {"ends_on": "soon"}, at="#/ends_on"),
    Bad(409, "already-enrolled", "/v1/cohorts/{cohort}/enrolments/{mentor}", WISH, method="PUT"),
    Bad(409, "unknown-person", "/v1/cohorts/{cohort}/enrolments/" + NOBODY, WISH, method="PUT"),
    Bad(409, "cohort-is-closed", "/v1/cohorts/{closed_cohort}/enrolments/{newcomer}", WISH, method="PUT"),
    Bad(409, "topic-of-another-programme", ENROL, WISH | {"offers": ["{foreign_topic}"]}, method="PUT"),
    Bad(409, "nothing-offered-or-sought", ENROL, {"role": "mentor"}, method="PUT"),
    Bad(409, "nothing-offered-or-sought", ENROL, WISH | {"offers": ["{topic}", "{topic}"]}, method="PUT"),
    Bad(422, "malformed", ENROL, WISH | {"role": "boss"}, at="#/role", method="PUT"),
    Bad(422, "malformed", ENROL, WISH | {"capacity": 4}, at="#/capacity", method="PUT"),
    Bad(422, "malformed", ENROL, WISH | {"why": "private"}, at="#/why", method="PUT"),
    Bad(
        404, "not-found", "/v1/cohorts/" + NOBODY + "/enrolments/{mentor}", WISH, method="PUT", who="{mentor}"
    ),
    Bad(428, "version-required", "/v1/enrolments/{enrolment}/change", WISHES, who="{mentor}"),
    Bad(412, "stale-version", "/v1/enrolments/{enrolment}/change", WISHES, etag="7", who="{mentor}"),
    Bad(
        409,
        "topic-of-another-programme",
        "/v1/enrolments/{enrolment}/change",
        WISHES | {"offers": ["{foreign_topic}"]},
        etag="1",
    ),
    Bad(404, "not-found", "/v1/enrolments/" + NOBODY + "/withdraw"),
    Bad(404, "not-found", "/v1/enrolments/{enrolment}/withdraw", who="{mentee}"),
    Bad(409, "unknown-person", "/v1/cohorts/{cohort}/pairs", PAIR | {"mentor_id": NOBODY}),
    Bad(409, "unknown-enrolment", "/v1/cohorts/{cohort}/pairs", PAIR | {"mentor_id": "{newcomer}"}),
    Bad(409, "not-inverted", "/v1/cohorts/{cohort}/pairs", PAIR | {"mentee_id": "{near}"}),
    Bad(409, "not-inverted", "/v1/cohorts/{cohort}/pairs", PAIR | {"mentee_id": "{mentor}"}),
    Bad(409, "already-proposed", "/v1/cohorts/{cohort}/pairs", PAIR),
    Bad(409, "cohort-is-closed", "/v1/cohorts/{closed_cohort}/pairs", PAIR),
    Bad(404, "not-found", "/v1/cohorts/" + NOBODY + "/pairs", PAIR),
    Bad(404, "not-found", "/v1/cohorts/{cohort}/pairs", PAIR, who="{mentor}"),
    Bad(409, "proposal-closed", "/v1/pairs/{closed}/accept", who="{mentor}"),
    Bad(409, "proposal-closed", "/v1/pairs/{closed}/decline", {"reason": "other"}, who="{mentor}"),
    Bad(404, "not-found", "/v1/pairs/{proposal}/accept"),
    Bad(404, "not-found", "/v1/pairs/{proposal}/accept", who="{near}"),
    Bad(422, "malformed", "/v1/pairs/{proposal}/accept", {"why": "x"}, at="#", who="{mentor}"),
    Bad(422, "malformed", "/v1/pairs/{proposal}/decline", {"reason": "ugly"}, at="#/reason", who="{mentor}"),
    Bad(422, "malformed", "/v1/pairs/{proposal}/decline", who="{mentor}"),
    Bad(409, "not-a-pair-yet", "/v1/pairs/{proposal}/pause", who="{mentor}"),
    Bad(409, "not-a-pair-yet", "/v1/pairs/{proposal}/complete"),
    Bad(409, "not-a-pair-yet", "/v1/pairs/{proposal}/end", {"reason": "other"}),
    Bad(428, "version-required", "/v1/pairs/{proposal}/extend", {"sessions": 7, "ends_on": "2027-01-01"}),
    Bad(
        412,
        "stale-version",
        "/v1/pairs/{proposal}/extend",
        {"sessions": 7, "ends_on": "2027-01-01"},
        etag="3",
    ),
    Bad(
        422,
        "malformed",
        "/v1/pairs/{proposal}/extend",
        {"sessions": 61, "ends_on": "2027-01-01"},
        at="#/sessions",
        etag="1",
    ),
    Bad(404, "not-found", "/v1/pairs/" + NOBODY + "/end", {"reason": "other"}),
    Bad(422, "malformed", "/v1/pairs?limit=0", at="limit", method="GET"),
    Bad(422, "malformed", "/v1/pairs?cursor=x", at="cursor", method="GET"),
    Bad(422, "malformed", "/v1/pairs?person_id=x", method="GET"),
    Bad(422, "malformed", "/v1/cohorts/{cohort}/pairs?state=odd", at="state", method="GET"),
    Bad(405, "method-not-allowed", "/v1/pairs/{proposal}", method="DELETE"),
]


def filled(value: Any, there: Setting) -> Any:
    if isinstance(value, str):
        return value.format(**{name: str(id_) for name, id_ in there._asdict().items()})
    if isinstance(value, dict):
        return {key: filled(item, there) for key, item in value.items()}
    if isinstance(value, list):
        return [filled(item, there) for item in value]
    return value


async def answer(world: World, there: Setting, bad: Bad) -> httpx2.Response:
    etag = None if bad.etag is None else f'"{bad.etag}"'
    path, body, who = filled(bad.path, there), filled(bad.body, there), filled(bad.who, there)
    return await world.ask(bad.method, path, body, if_match=etag, who=who)


async def test_what_is_wrong_is_said_and_changes_nothing(world: World, there: Setting) -> None:
    before = await world.events()
    wrong: list[tuple[Bad, object, object]] = []
    for bad in TABLE:
        response = await answer(world, there, bad)
        told = response.json()
        places = [each["at"] for each in told.get("errors", ())]
        slug = told.get("type", "").removeprefix("urn:upwell:problem:")
        if (response.status_code, slug) != (bad.status, bad.slug) or (bad.at and bad.at not in places):
            wrong.append((bad, response.status_code, told))
        if await world.events() != before:
            wrong.append((bad, "changed something", told))
    assert wrong == []


async def test_what_is_no_json_or_too_much_of_it_is_refused(world: World, there: Setting) -> None:
    for content, kind, status in (
        (b"{", "application/json", 400),
        (b"\xff", "application/json", 400),
        (b"{}", "text/plain", 415),
        (b"[" + b" " * 5_000_000 + b"]", "application/json", 413),
    ):
        response = await world.ask("POST", "/v1/programmes", content=content, headers={"Content-Type": kind})
        assert response.status_code == status
    keyless = await world.http.post("/v1/programmes", json={}, headers={"Authorization": "Bearer team"})
    assert (keyless.status_code, keyless.json()["type"]) == (
        400,
        "urn:upwell:problem:idempotency-key-missing",
    )


async def test_a_key_means_one_thing(world: World, there: Setting) -> None:
    path = f"/v1/pairs/{there.proposal}"
    await world.done("POST", f"{path}/accept", who=there.mentor, key="one")
    for reply, body in (("decline", {"reason": "other"}), ("pause", None)):
        reused = await world.ask("POST", f"{path}/{reply}", body, who=there.mentor, key="one")
        assert (reused.status_code, reused.json()["type"]) == (
            422,
            "urn:upwell:problem:idempotency-key-reused",
        )
    body = {"mentor_id": str(there.mentor), "mentee_id": str(there.mentee)}
    await world.done("POST", f"{path}/withdraw", key="two")
    other = await world.ask("POST", f"/v1/cohorts/{there.cohort}/pairs", body, key="two")
    assert (other.status_code, other.json()["type"]) == (422, "urn:upwell:problem:idempotency-key-reused")


async def test_nothing_is_proposed_in_a_cohort_that_is_over(world: World, there: Setting) -> None:
    world.tokens.give("other team", UserRole.HR_ADMIN, units=frozenset({world.acme}))
    await world.done("POST", f"/v1/pairs/{there.proposal}/withdraw")
    world.clock.forward(timedelta(days=180))
    body = {"mentor_id": str(there.mentor), "mentee_id": str(there.mentee)}
    late = await world.ask("POST", f"/v1/cohorts/{there.cohort}/pairs", body, who="other team")
    assert (late.status_code, late.json()["type"]) == (409, "urn:upwell:problem:plan-is-over")
