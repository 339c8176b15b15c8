"""What the two of a pair do over HTTP, and what they see of it."""

import asyncio
from datetime import UTC, date, datetime, timedelta
from uuid import UUID, uuid4

import asyncpg
import openapi_spec_validator
import pytest

from tests.service_process import until
from tests.sessions.world import World, created, running
from upwell_sessions.domain.cadence import cadence_id
from upwell_shared.contracts.directory import PersonErased
from upwell_shared.contracts.matching import PairCompleted, PairEnded, PairExtended, PairPaused, PairResumed
from upwell_shared.testing.databases import Dsns

HELD = {"held": True}


async def test_a_pair_is_there_once_matching_has_told_of_it(world: World) -> None:
    pair = await world.pair()
    told = await world.seen(f"/v1/cadences/{pair}", who="ben")
    assert (told["side"], told["state"], told["sessions"]) == ("mentee", "open", [])
    assert told["plan"] == {"sessions": 6, "days_between": 14, "minutes": 45, "ends_on": "2026-09-01"}
    assert (told["mentor_id"], told["mentee_id"]) == (str(world.ada), str(world.ben))


async def test_a_session_from_booking_to_held(world: World) -> None:
    pair = await world.pair()
    path = f"/v1/cadences/{pair}"
    booked = await world.done("POST", f"{path}/sessions", {"starts_at": "2026-03-10T10:00:00+01:00"})
    assert (booked.status_code, booked.json()["number"]) == (201, 1)
    session = booked.json()["session_id"]
    (told,) = (await world.seen(path, booked, who="ben"))["sessions"]
    assert told == {
        "session_id": session,
        "number": 1,
        "starts_at": "2026-03-10T09:00:00Z",
        "minutes": 45,
        "state": "scheduled",
        "said": {"mentor": None, "mentee": None},
        "recap": "none",
        "recap_by": None,
    }
    mine = f"{path}/sessions/{session}"
    await world.refused("too-early-to-confirm", "POST", f"{mine}/confirm", HELD)
    world.clock.set(datetime(2026, 3, 10, 9, tzinfo=UTC))
    said = await world.done("POST", f"{mine}/confirm", HELD)
    (told,) = (await world.seen(path, said))["sessions"]
    assert told["state"] == "scheduled"
    assert told["said"] == {"mentor": {"held": True, "missed_by": None}, "mentee": None}
    settled = await world.done("POST", f"{mine}/confirm", HELD, who="ben")
    whole = await world.seen(path, settled)
    assert whole["sessions"][0]["state"] == "held"
    assert whole["commitments"]["mentor"] == {
        "booked": 1,
        "moved": 0,
        "cancelled": 0,
        "said_held": 1,
        "said_missed": 0,
        "missed": 0,
    }
    assert await world.events(pair) == [
        "CadenceOpened",
        "SessionBooked",
        "SessionConfirmed",
        "SessionConfirmed",
        "SessionHeld",
    ]
    await world.refused("already-settled", "POST", f"{mine}/confirm", {"held": False})
    again = await world.done("POST", f"{mine}/confirm", HELD)
    assert again.headers["ETag"] == '"5"'


async def test_a_session_both_say_was_missed_by_one_of_them(world: World) -> None:
    pair = await world.pair()
    session = await world.book(pair)
    world.clock.forward(timedelta(hours=2))
    await world.done("POST", f"{session}/confirm", {"held": False, "missed_by": "both"})
    settled = await world.done(
        "POST", f"{session}/confirm", {"held": False, "missed_by": "mentee"}, who="ben"
    )
    told = await world.seen(f"/v1/cadences/{pair}", settled)
    assert told["sessions"][0]["state"] == "missed"
    assert told["sessions"][0]["said"]["mentor"] == {"held": False, "missed_by": "both"}
    assert (told["commitments"]["mentor"]["missed"], told["commitments"]["mentee"]["missed"]) == (0, 1)


async def test_what_the_two_see_otherwise_is_disputed_until_they_agree(world: World) -> None:
    pair = await world.pair()
    session = await world.book(pair)
    world.clock.forward(timedelta(hours=2))
    await world.done("POST", f"{session}/confirm", HELD)
    disputed = await world.done("POST", f"{session}/confirm", {"held": False}, who="ben")
    assert (await world.seen(f"/v1/cadences/{pair}", disputed))["sessions"][0]["state"] == "disputed"
    world.clock.forward(timedelta(days=30))
    settled = await world.done("POST", f"{session}/confirm", HELD, who="ben")
    assert (await world.seen(f"/v1/cadences/{pair}", settled))["sessions"][0]["state"] == "held"
    assert "SessionUnconfirmed" not in await world.events(pair)


async def test_a_session_nobody_speaks_of_is_unconfirmed_after_a_week_and_may_still_be_held(
    world: World,
) -> None:
    pair = await world.pair()
    session = await world.book(pair)
    version = (await world.ask("GET", f"/v1/cadences/{pair}")).headers["ETag"]
    moved = await world.done(
        "POST", f"{session}/move", {"starts_at": world.at(days=2), "minutes": 60}, if_match=version
    )
    await world.seen(f"/v1/cadences/{pair}", moved)

    async def due() -> datetime:
        return datetime.fromisoformat(str(await world.pool.fetchval("SELECT max(due_at) FROM timers")))

    expected = world.clock.now() + timedelta(days=9, hours=1)

    async def set_anew() -> bool:
        return await due() == expected

    await until(set_anew)
    world.clock.set(expected)

    async def unconfirmed() -> bool:
        return (await world.events(pair))[-1] == "SessionUnconfirmed"

    await until(unconfirmed)
    await world.done("POST", f"{session}/confirm", HELD, who="ben")
    settled = await world.done("POST", f"{session}/confirm", HELD)
    assert (await world.seen(f"/v1/cadences/{pair}", settled))["sessions"][0]["state"] == "held"


async def test_a_cancelled_session_leaves_no_timer_and_its_place_to_another(world: World) -> None:
    pair = await world.pair(sessions=1)
    session = await world.book(pair)
    sessions = f"/v1/cadences/{pair}/sessions"
    await world.refused("all-sessions-booked", "POST", sessions, {"starts_at": world.at(days=3)})
    cancelled = await world.done("POST", f"{session}/cancel", who="ben")
    assert (await world.done("POST", f"{session}/cancel")).headers["ETag"] == cancelled.headers["ETag"]
    again = await world.done("POST", sessions, {"starts_at": world.at(days=3)})
    assert again.json()["number"] == 2
    told = await world.seen(f"/v1/cadences/{pair}", again)
    assert [each["state"] for each in told["sessions"]] == ["cancelled", "scheduled"]
    assert (told["commitments"]["mentee"]["cancelled"], told["commitments"]["mentor"]["cancelled"]) == (1, 0)

    async def one_timer() -> bool:
        return [row["name"] for row in await world.pool.fetch("SELECT name FROM timers")] == [
            f"silence {again.json()['session_id']}"
        ]

    await until(one_timer)
    await world.refused("session-is-cancelled", "POST", f"{session}/confirm", HELD)


async def test_a_pair_that_rests_keeps_what_is_booked_and_books_nothing(world: World) -> None:
    pair = await world.pair()
    session, sessions = await world.book(pair, days=1), f"/v1/cadences/{pair}/sessions"
    programme = uuid4()
    await world.hear("matching", PairPaused(pair_id=pair, programme_id=programme))
    await world.refused("cadence-is-paused", "POST", sessions, {"starts_at": world.at(days=3)})
    version = (await world.ask("GET", f"/v1/cadences/{pair}")).headers["ETag"]
    moved = await world.done("POST", f"{session}/move", {"starts_at": world.at(days=5)}, if_match=version)
    assert (await world.seen(f"/v1/cadences/{pair}", moved))["state"] == "paused"
    await world.hear("matching", PairResumed(pair_id=pair, programme_id=programme))
    await world.book(pair, days=3)


async def test_a_pair_that_goes_on_for_longer_books_more(world: World) -> None:
    pair = await world.pair(sessions=1)
    await world.book(pair)
    extended = PairExtended(pair_id=pair, programme_id=uuid4(), sessions=2, ends_on=date(2027, 1, 1))
    await world.hear("matching", extended)
    booked = await world.done(
        "POST", f"/v1/cadences/{pair}/sessions", {"starts_at": world.at(days=3), "minutes": 30}
    )
    told = await world.seen(f"/v1/cadences/{pair}", booked)
    assert (told["plan"]["sessions"], told["plan"]["ends_on"]) == (2, "2027-01-01")


@pytest.mark.parametrize("ended", [PairEnded, PairCompleted])
async def test_with_the_pair_what_is_to_come_is_cancelled_and_what_was_may_be_confirmed(
    world: World, ended: type[PairEnded | PairCompleted]
) -> None:
    pair = await world.pair()
    past, future = await world.book(pair), await world.book(pair, days=3, who="ben")
    world.clock.forward(timedelta(hours=1, minutes=10))
    await world.hear("matching", ended(pair_id=pair, programme_id=uuid4()))
    await world.refused(
        "cadence-is-closed", "POST", f"/v1/cadences/{pair}/sessions", {"starts_at": world.at(days=3)}
    )
    await world.refused("session-is-cancelled", "POST", f"{future}/confirm", HELD)
    await world.done("POST", f"{past}/confirm", HELD)
    settled = await world.done("POST", f"{past}/confirm", HELD, who="ben")
    told = await world.seen(f"/v1/cadences/{pair}", settled)
    assert told["state"] == "closed"
    assert [each["state"] for each in told["sessions"]] == ["held", "cancelled"]
    # By neither side.
    assert {side["cancelled"] for side in told["commitments"].values()} == {0}


async def test_moving_needs_what_was_looked_at(world: World) -> None:
    pair = await world.pair()
    session = await world.book(pair, days=1)
    body = {"starts_at": world.at(days=2)}
    assert (await world.ask("POST", f"{session}/move", body)).status_code == 428
    assert (await world.ask("POST", f"{session}/move", body, if_match='"1"')).status_code == 412
    moved = await world.done("POST", f"{session}/move", body, if_match='"2"', key="move")
    repeated = await world.done("POST", f"{session}/move", body, if_match='"2"', key="move")
    assert repeated.headers["Upwell-Position"] == moved.headers["Upwell-Position"]
    world.clock.forward(timedelta(days=2))
    await world.refused(
        "session-has-begun", "POST", f"{session}/move", {"starts_at": world.at(days=3)}, if_match='"3"'
    )
    await world.refused("session-has-begun", "POST", f"{session}/cancel")


async def test_a_repeated_booking_is_one_and_is_answered_as_before(world: World) -> None:
    pair = await world.pair()
    body = {"starts_at": world.at(days=1)}
    path = f"/v1/cadences/{pair}/sessions"
    first = await world.done("POST", path, body, key="once")
    await world.book(pair, days=5)
    again = await world.done("POST", path, body, key="once")
    assert (again.status_code, again.json()) == (201, first.json())
    assert again.headers["Upwell-Position"] == first.headers["Upwell-Position"]
    assert (await world.events(pair)).count("SessionBooked") == 2


async def test_two_who_book_at_the_same_moment_get_two_numbers_or_one_of_them_no(
    dsns: Dsns, keys_dsns: Dsns, pool: asyncpg.Pool, keys_pool: asyncpg.Pool
) -> None:
    async with running(dsns, keys_dsns, pool, keys_pool, replicas=2) as world:
        pair = await world.pair()
        path, at = f"/v1/cadences/{pair}/sessions", world.at(days=1)
        same = await asyncio.gather(
            *(world.ask("POST", path, {"starts_at": at}, who=who) for who in ("ada", "ben"))
        )
        assert sorted(answer.status_code for answer in same) == [201, 409]
        apart = await asyncio.gather(
            *(
                world.done("POST", path, {"starts_at": world.at(days=days)}, who=who)
                for who, days in (("ada", 4), ("ben", 5))
            )
        )
        assert {answer.json()["number"] for answer in apart} == {2, 3}


async def test_mine_are_listed_by_pair_with_what_comes_next(world: World) -> None:
    pairs = sorted([str(await world.pair()) for _ in range(3)])
    elsewhere = created(world.cleo, world.ben)
    await world.hear("matching", elsewhere)
    soon, later = UUID(pairs[0]), UUID(pairs[1])
    await world.book(soon, days=3)
    first = (await world.book(soon, hours=1)).rpartition("/")[2]
    cancelled = await world.book(later, days=1)
    position = await world.done("POST", f"{cancelled}/cancel")
    page = await world.seen("/v1/cadences?limit=2", position)
    assert [item["pair_id"] for item in page["items"]] == pairs[:2]
    assert page["items"][0]["next_session"] == {
        "session_id": first,
        "number": 2,
        "starts_at": "2026-03-02T10:00:00Z",
        "minutes": 45,
    }
    assert page["items"][1]["next_session"] is None
    rest = await world.seen(f"/v1/cadences?limit=2&cursor={page['next']}")
    assert [item["pair_id"] for item in rest["items"]] == pairs[2:]
    assert rest["next"] is None
    world.clock.forward(timedelta(hours=1, minutes=44))
    assert (await world.seen("/v1/cadences?limit=1"))["items"][0]["next_session"]["number"] == 2
    world.clock.forward(timedelta(minutes=1))
    assert (await world.seen("/v1/cadences?limit=1"))["items"][0]["next_session"]["number"] == 1
    (theirs,) = (await world.seen("/v1/cadences", who="cleo"))["items"]
    assert (theirs["pair_id"], theirs["side"]) == (str(elsewhere.pair_id), "mentor")


async def test_a_pair_matching_has_not_told_of_yet_is_not_found_and_loses_nothing(world: World) -> None:
    event = created(world.ada, world.ben)
    path = f"/v1/cadences/{event.pair_id}"
    body = {"starts_at": world.at(days=1)}
    assert (await world.ask("POST", f"{path}/sessions", body, key="early")).status_code == 404
    assert (await world.ask("GET", path)).status_code == 404
    await world.hear("matching", event)
    assert (await world.ask("POST", f"{path}/sessions", body, key="early")).status_code == 201


async def test_what_comes_twice_has_its_effect_once(world: World) -> None:
    event = created(world.ada, world.ben)
    paused = PairPaused(pair_id=event.pair_id, programme_id=uuid4())
    for _ in range(2):
        await world.hear("matching", event, paused)
    assert await world.events(event.pair_id) == ["CadenceOpened", "CadencePaused"]


async def test_an_erasure_takes_the_recaps_of_both_gives_its_receipt_and_leaves_the_history(
    world: World,
) -> None:
    pair = await world.pair()
    session = await world.book(pair)
    await world.done("PUT", f"{session}/recap", {"text": "We spoke of Lovelace."})
    erased = PersonErased(person_id=world.ben, organisation_id=uuid4())
    await world.hear("directory", erased, erased)
    receipts = await world.pool.fetch(
        "SELECT data::json ->> 'person_id' AS of FROM events WHERE type = 'ErasureAcknowledged'"
    )
    assert [row["of"] for row in receipts] == [str(world.ben)]
    told = await world.seen(f"{session}/recap")
    assert (told["state"], told["text"]) == ("erased", None)
    gone = await world.ask("PUT", f"{session}/recap", {"text": "Again."})
    assert (gone.status_code, gone.json()["type"]) == (410, "urn:upwell:problem:subject-erased")
    assert await world.keys_pool.fetchval("SELECT count(*) FROM keys") == 0
    assert (await world.seen(f"/v1/cadences/{pair}"))["sessions"][0]["recap"] == "written"


async def test_a_pair_with_somebody_erased_before_it_came_keeps_no_text(world: World) -> None:
    await world.hear("directory", PersonErased(person_id=world.ben, organisation_id=uuid4()))
    pair = await world.pair()
    session = await world.book(pair)
    assert (await world.ask("PUT", f"{session}/recap", {"text": "x"})).status_code == 410
    assert (await world.seen(f"{session}/recap"))["state"] == "none"
    assert await world.pool.fetchval("SELECT count(*) FROM texts") == 0


async def test_nothing_of_a_pair_is_kept_under_another_ones_name(world: World) -> None:
    one, other = await world.pair(), await world.pair()
    session = (await world.book(one)).rpartition("/")[2]
    foreign = f"/v1/cadences/{other}/sessions/{session}"
    for method, path, body in (
        ("POST", f"{foreign}/cancel", None),
        ("POST", f"{foreign}/confirm", HELD),
        ("PUT", f"{foreign}/recap", {"text": "x"}),
        ("POST", f"{foreign}/recap/confirm", None),
        ("GET", f"{foreign}/recap", None),
    ):
        assert (await world.ask(method, path, body)).status_code == 404
    assert cadence_id(one) != cadence_id(other)


async def test_while_read_models_stand_still_what_is_decided_stays_and_pages_say_so(
    dsns: Dsns, keys_dsns: Dsns, pool: asyncpg.Pool, keys_pool: asyncpg.Pool
) -> None:
    async with running(dsns, keys_dsns, pool, keys_pool) as world:
        pair = await world.pair()
        await world.seen(f"/v1/cadences/{pair}")
        ids = world.ada, world.ben
    async with running(dsns, keys_dsns, pool, keys_pool, working=False) as world:
        world.tokens.give("ada", id_=ids[0])
        body = {"starts_at": world.at(days=1)}
        booked = await world.done("POST", f"/v1/cadences/{pair}/sessions", body)
        # The next command needs no read model: that this hour is taken is known.
        await world.refused("overlapping-session", "POST", f"/v1/cadences/{pair}/sessions", body)
        page = await world.ask("GET", f"/v1/cadences/{pair}")
        assert (page.headers["Upwell-Stale"], page.headers["ETag"]) == ("true", '"1"')
        assert page.json()["sessions"] == []
        after = {"Upwell-After": booked.headers["Upwell-Position"]}
        listed = await world.ask("GET", "/v1/cadences", headers=after)
        assert listed.headers["Upwell-Stale"] == "true"
        stale = await world.ask(
            "POST",
            f"/v1/cadences/{pair}/sessions/{booked.json()['session_id']}/move",
            {"starts_at": world.at(days=2)},
            if_match=page.headers["ETag"],
        )
        assert stale.status_code == 412
    async with running(dsns, keys_dsns, pool, keys_pool) as world:
        world.tokens.give("ben", id_=ids[1])
        assert len((await world.seen(f"/v1/cadences/{pair}", who="ben"))["sessions"]) == 1


async def test_the_documentation_is_what_tools_expect(world: World) -> None:
    document = (await world.http.get("/v1/openapi.json")).json()
    openapi_spec_validator.validate(document)
    recap = document["paths"]["/v1/cadences/{pair_id}/sessions/{session_id}/recap"]
    assert "410" in recap["put"]["responses"]
    assert "410" not in recap["get"]["responses"]
