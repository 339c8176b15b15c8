"""What pages show of what was told."""

from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4, uuid5

import pytest

from tests.gateway.telling import NOON
from tests.gateway.test_parts import names
from tests.gateway.world import World
from upwell_gateway.api.pages import bodies
from upwell_shared.contracts import directory, matching, sessions
from upwell_shared.web.commands import Body
from upwell_shared.web.policies import Principal, UserRole


def fits(model: type[Body], page: Any) -> Any:
    """The page, which is what its documentation says and has no field beside it."""
    model.model_validate(page, strict=False)
    return page


async def lived(world: World) -> list[UUID]:
    """A pair of four sessions: held, missed, disputed, booked; and a reflection answered. The ids of the sessions."""
    story = world.story
    await story.open()
    await story.propose()
    await story.create()
    sides: list[matching.Side] = ["mentor", "mentee", "mentee", "mentor"]
    booked = [await story.book(number, side) for number, side in enumerate(sides, 1)]
    for side in sides[:2]:
        await story.commit(booked[0], side, "said_held")
    await story.settle(booked[0], sessions.SessionHeld)
    await story.commit(booked[1], "mentee", "missed")
    await story.settle(booked[1], sessions.SessionMissed)
    await story.settle(booked[2], sessions.SessionDisputed)
    await story.submit(story.mentor, "start")
    return booked


async def test_the_page_of_a_pair_shows_its_facts_and_all_that_happened_in_order(world: World) -> None:
    booked = await lived(world)
    story = world.story
    page = fits(bodies.PairPage, await world.see(f"pairs/{story.pair}", "mentor"))
    assert (page["state"], page["accepted_by"], page["planned_sessions"]) == (
        "active",
        ["mentee", "mentor"],
        6,
    )
    assert (page["mentor_id"], page["mentee_id"]) == (str(story.mentor), str(story.mentee))
    assert [(s["session_id"], s["state"]) for s in page["sessions"]] == [
        (str(id_), state)
        for id_, state in zip(booked, ("held", "missed", "disputed", "scheduled"), strict=True)
    ]
    assert page["sessions"][1]["commitments"] == [
        {"side": "mentee", "commitment": "booked", "times": 1},
        {"side": "mentee", "commitment": "missed", "times": 1},
    ]
    assert [(r["person_id"], r["stage"], r["submitted_at"] is None) for r in page["reflections"]] == [
        (str(story.mentor), "start", False),
        (str(story.mentee), "start", True),
    ]
    assert [(m["type"], m["side"], m["detail"]) for m in page["timeline"]][:5] == [
        ("PairProposed", None, None),
        ("PairAccepted", "mentor", None),
        ("PairAccepted", "mentee", None),
        ("PairCreated", None, None),
        ("CadenceOpened", None, None),
    ]
    assert [m["at"] for m in page["timeline"]] == sorted(m["at"] for m in page["timeline"])
    assert len(page["timeline"]) == 22
    assert page["timeline"][-1]["type"] == "ReflectionSubmitted"
    assert page["parts"] is None


def overseers_too(world: World, *members: UUID) -> list[str]:
    """The members of the pair, and tokens of theirs with which they are of the programme's team as well."""
    for role in (UserRole.COORDINATOR, UserRole.HR_ADMIN):
        for member in members:
            units = frozenset({world.story.acme})
            world.tokens.known[f"{member} {role}"] = Principal(member, frozenset({role}), units)
    return [name for name in world.tokens.known if name.startswith(tuple(map(str, members)))]


async def test_why_a_pair_ended_and_what_it_breaks_is_for_the_programme_team_alone(world: World) -> None:
    story = world.story
    await story.open()
    await story.propose()
    await story.create()
    await story.tell(
        story.pair,
        matching.PairRuleBreached(**story.about, rule="inversion"),
        matching.PairRuleBreached(**story.about, rule="independence"),
        matching.PairRuleRestored(**story.about, rule="independence"),
        matching.PairEndExplained(**story.about, by="mentee", reason="not_a_fit", no_fault=True),
        matching.PairEnded(**story.about),
    )
    theirs = await world.see(f"pairs/{story.pair}", "coordinator")
    assert theirs["inside"] == {
        "declined_by": None,
        "outcome_reason": None,
        "ended_by": "mentee",
        "end_reason": "not_a_fit",
        "no_fault": True,
        "broken_rules": ["inversion"],
    }
    assert {"PairRuleBreached", "PairRuleRestored", "PairEndExplained"} <= {
        m["type"] for m in theirs["timeline"]
    }
    seen = []
    for member in ("mentor", "mentee", *overseers_too(world, story.mentor, story.mentee)):
        page = await world.see(f"pairs/{story.pair}", member)
        seen.append(page)
        assert (page["state"], page["inside"]) == ("ended", None)
        assert "PairEnded" in {m["type"] for m in page["timeline"]}
        text = str(page)
        assert "not_a_fit" not in text
        assert "RuleBreached" not in text
        assert "EndExplained" not in text
    assert len(seen) == 6
    assert all(page == seen[0] for page in seen)


@pytest.mark.parametrize(
    ("event", "state"),
    [
        (matching.PairDeclined, "declined"),
        (matching.PairProposalExpired, "expired"),
        (matching.PairProposalWithdrawn, "withdrawn"),
    ],
)
async def test_a_proposal_that_led_nowhere_says_how_and_to_its_members_not_why(
    world: World, event: Any, state: str
) -> None:
    story = world.story
    await story.open()
    more = {
        "declined": {"side": "mentee", "reason": "too_close"},
        "withdrawn": {"reason": "left"},
    }.get(state, {})
    # What the internal channel tells may be here first.
    await story.tell(story.pair, event(**story.about, **more))
    assert (await world.ask("GET", f"/v1/pages/pairs/{story.pair}", "mentor")).status_code == 404
    await story.propose()
    for member in ("mentor", "mentee", *overseers_too(world, story.mentor, story.mentee)):
        page = fits(bodies.PairPage, await world.see(f"pairs/{story.pair}", member))
        assert (page["state"], page["inside"]) == (state, None)
        (ended,) = (m for m in page["timeline"] if m["type"] == event.__name__)
        assert (ended["side"], ended["detail"]) == (None, None)
    team = fits(bodies.PairPage, await world.see(f"pairs/{story.pair}", "hr"))
    assert team["inside"]["outcome_reason"] == more.get("reason")
    assert team["inside"]["declined_by"] == more.get("side")
    (ended,) = (m for m in team["timeline"] if m["type"] == event.__name__)
    assert (ended["side"], ended["detail"]) == (more.get("side"), more.get("reason"))
    assert (await world.see("queue"))["items"] == []


async def test_the_overview_of_a_programme_counts_what_the_story_says(world: World) -> None:
    await lived(world)
    story = world.story
    page = fits(bodies.ProgrammePage, await world.see(f"programmes/{story.programme}"))
    assert page["enrolled"] == {"mentor": 1, "mentee": 1}
    assert [c["enrolled"] for c in page["cohorts"]] == [{"mentor": 1, "mentee": 1}]
    assert {state: n for state, n in page["pairs"].items() if n} == {"active": 1}
    assert {state: n for state, n in page["sessions"].items() if n} == {
        "held": 1,
        "missed": 1,
        "disputed": 1,
        "scheduled": 1,
    }
    assert page["commitments"]["mentor"] == {
        "booked": 2,
        "held": 1,
        "moved": 0,
        "cancelled": 0,
        "said_held": 1,
        "said_missed": 0,
        "missed": 0,
    }
    assert (page["commitments"]["mentee"]["booked"], page["commitments"]["mentee"]["held"]) == (2, 0)
    assert page["commitments"]["mentee"]["missed"] == 1
    assert page["reflections"]["start"] == {"asked": 2, "submitted": 1}
    assert page["reflections"]["end"] == {"asked": 0, "submitted": 0}


async def test_an_analyst_counts_only_what_subscribers_could(world: World) -> None:
    await lived(world)
    story = world.story
    await story.tell(story.pair, matching.PairDeclined(**story.about, side="mentor", reason="no_time"))
    page = fits(bodies.ProgrammePage, await world.see(f"programmes/{story.programme}", "analyst", parts=True))
    assert page["commitments"] is None
    assert (page["sessions"]["disputed"], page["sessions"]["scheduled"]) == (0, 2)
    assert page["parts"] == {key: {"state": "forbidden"} for key in ("programme", "cohorts", "topics")}
    assert world.owners["matching"].asked == []


async def test_programmes_are_listed_to_their_team_and_all_of_them_to_analysts(world: World) -> None:
    story = world.story
    await story.open()
    others = [uuid4() for _ in range(4)]
    for other in others:
        # One unit of theirs and one of elsewhere: whose team would need both.
        opened = matching.ProgrammeOpened(programme_id=other, unit_ids=[story.sales, story.elsewhere])
        await story.tell(other, opened)
    page = fits(bodies.ProgrammesPage, await world.see("programmes"))
    assert [(item["programme_id"], item["enrolled"]) for item in page["items"]] == [(str(story.programme), 2)]
    assert (await world.see("programmes", "coordinator elsewhere"))["items"] == []
    seen: list[str] = []
    cursor = ""
    while True:
        page = await world.see(f"programmes?limit=2{cursor}", "analyst")
        seen += [item["programme_id"] for item in page["items"]]
        if page["next"] is None:
            break
        cursor = f"&cursor={page['next']}"
    assert seen == sorted(map(str, (story.programme, *others)))


async def test_the_page_of_a_person_shows_what_they_take_part_in(world: World) -> None:
    await lived(world)
    story = world.story
    page = fits(bodies.PersonPage, await world.see(f"people/{story.mentee}", "mentee"))
    assert (page["standing"], page["unit_id"]) == ("here", str(story.sales))
    assert [e["role"] for e in page["enrolments"]] == ["mentee"]
    (pair,) = page["pairs"]
    assert (pair["side"], pair["other_id"], pair["state"]) == ("mentee", str(story.mentor), "active")
    # The third is disputed and the clock does not decide that; the next one is whatever is still booked first.
    assert pair["sessions_held"] == 1
    assert pair["next_session_at"] is not None
    assert [(r["stage"], r["submitted_at"]) for r in page["reflections"]] == [("start", None)]
    nobody_yet = await world.see(f"people/{world.tokens.known['participant'].id}", "participant")
    assert (nobody_yet["standing"], nobody_yet["pairs"]) == (None, [])


async def test_of_a_person_an_overseer_sees_only_what_is_of_their_own_programmes(world: World) -> None:
    await lived(world)
    story = world.story
    own = {"programme": story.programme, "pair": story.pair, "partner": story.mentee}
    # The mentor takes part in a programme of two units as well; whose team would need both.
    story.programme, story.cohort, story.pair, story.mentee = uuid4(), uuid4(), uuid4(), uuid4()
    wide = matching.ProgrammeOpened(programme_id=story.programme, unit_ids=[story.sales, story.elsewhere])
    await story.tell(story.programme, wide)
    await story.enrol(story.mentor, "mentor")
    await story.propose()
    await story.create()
    world.owners["directory"].answering = names
    path = f"people/{story.mentor}"

    async def seen(who: str) -> tuple[set[str], set[str], set[str], set[str]]:
        page = fits(bodies.PersonPage, await world.see(path, who, parts=True))
        return (
            {enrolment["programme_id"] for enrolment in page["enrolments"]},
            {pair["pair_id"] for pair in page["pairs"]},
            {reflection["pair_id"] for reflection in page["reflections"]},
            {name["person_id"] for name in page["parts"]["names"]["content"]},
        )

    def texts(*ids: UUID) -> set[str]:
        return set(map(str, ids))

    theirs = texts(own["programme"]), texts(own["pair"]), texts(own["pair"])
    assert await seen("coordinator") == (*theirs, texts(story.mentor, own["partner"]))
    assert await seen("hr") == (*theirs, texts(story.mentor, own["partner"]))
    pairs = texts(own["pair"], story.pair)
    everything = texts(own["programme"], story.programme), pairs, pairs
    assert await seen("mentor") == (*everything, texts(story.mentor, own["partner"], story.mentee))
    # Somebody of the person's unit whose units cover neither programme sees that they are here, and nothing else.
    lab = uuid4()
    await story.tell(
        lab, directory.UnitOpened(unit_id=lab, organisation_id=story.acme, parent_id=story.sales)
    )
    await story.join(story.mentor, lab)
    world.tokens.give("of the lab", UserRole.COORDINATOR, units=frozenset({lab}))
    assert await seen("of the lab") == (set(), set(), set(), texts(story.mentor))


async def test_the_queue_holds_what_waits_the_oldest_first_page_by_page(world: World) -> None:
    story = world.story
    await story.open()
    await story.propose()
    await story.create()
    await story.tell(story.pair, matching.PairRuleBreached(**story.about, rule="independence"), at=NOON)
    booked = [await story.book(number) for number in range(1, 5)]
    await story.settle(booked[0], sessions.SessionDisputed, at=NOON + timedelta(days=1))
    await story.settle(booked[1], sessions.SessionUnconfirmed, at=NOON + timedelta(days=2))
    await story.settle(booked[2], sessions.SessionUnconfirmed, at=NOON + timedelta(days=3))
    await story.settle(booked[2], sessions.SessionDisputed, at=NOON + timedelta(days=4))
    await story.settle(booked[3], sessions.SessionDisputed, at=NOON + timedelta(days=5))
    await story.settle(booked[3], sessions.SessionHeld, at=NOON + timedelta(days=6))
    story.pair = uuid5(story.pair, "another")
    await story.tell(story.pair, matching.PairReplyReminded(**story.about))
    await story.propose()
    world.clock.set(NOON + timedelta(days=7))

    seen: list[dict[str, Any]] = []
    cursor = ""
    while True:
        page = fits(bodies.QueuePage, await world.see(f"queue?limit=2{cursor}"))
        seen += page["items"]
        if page["next"] is None:
            break
        cursor = f"&cursor={page['next']}"
    assert [(item["kind"], item["session_id"]) for item in seen] == [
        ("broken_rules", None),
        ("proposal", None),
        ("disputed", str(booked[0])),
        ("unconfirmed", str(booked[1])),
        ("disputed", str(booked[2])),
    ]
    assert (seen[0]["broken_rules"], seen[0]["age_seconds"]) == (["independence"], 7 * 24 * 3600)
    assert (seen[1]["pair_id"], seen[1]["reminded"]) == (str(story.pair), True)
    only = await world.see("queue?kind=disputed")
    assert [item["session_id"] for item in only["items"]] == [str(booked[0]), str(booked[2])]
    foreign = await world.ask("GET", f"/v1/pages/queue?kind=disputed{cursor}")
    assert foreign.status_code == 422
    assert (await world.see("queue", "coordinator elsewhere"))["items"] == []


async def test_the_queue_says_no_more_of_a_pair_to_its_members_than_its_page_does(world: World) -> None:
    story = world.story
    await story.open()
    await story.propose()
    one, other, *_ = members = overseers_too(world, story.mentor, story.mentee)
    assert [item["kind"] for item in (await world.see("queue", one))["items"]] == ["proposal"]
    await story.create()
    await story.tell(story.pair, matching.PairRuleBreached(**story.about, rule="inversion"))
    await story.settle(await story.book(1), sessions.SessionDisputed)
    assert {item["kind"] for item in (await world.see("queue"))["items"]} == {"broken_rules", "disputed"}
    for member in members:
        (item,) = (await world.see("queue", member))["items"]
        assert (item["kind"], item["broken_rules"]) == ("disputed", [])
        assert (await world.see("queue?kind=broken_rules", member))["items"] == []
    # Of other pairs of the programme they see all.
    mentor, story.mentor = story.mentor, uuid4()
    story.pair = uuid5(story.pair, "another")
    await story.propose()
    await story.create()
    await story.tell(story.pair, matching.PairRuleBreached(**story.about, rule="independence"))
    assert world.tokens.known[one].id == mentor
    (item,) = (await world.see("queue?kind=broken_rules", one))["items"]
    assert (item["pair_id"], item["broken_rules"]) == (str(story.pair), ["independence"])
    assert (await world.see("queue?kind=broken_rules", other))["items"] == []


async def test_a_page_waits_for_what_its_reader_has_just_done_and_says_when_it_does_not_come(
    world: World,
) -> None:
    story = world.story
    await story.open()
    await story.propose()
    await story.create()
    now = story.teller.position("matching", story.pair)
    seen = await world.ask(
        "GET", f"/v1/pages/pairs/{story.pair}?parts=false", "mentor", headers={"Upwell-After": now}
    )
    assert (seen.status_code, "upwell-stale" in seen.headers) == (200, False)
    ahead = story.teller.position("matching", story.pair, ahead=1)
    stale = await world.ask(
        "GET", f"/v1/pages/pairs/{story.pair}?parts=false", "mentor", headers={"Upwell-After": ahead}
    )
    assert (stale.status_code, stale.headers["upwell-stale"]) == (200, "true")
    unknown = f"gateway/{story.pair}@1.1.0"
    refused = await world.ask("GET", "/v1/pages/queue", headers={"Upwell-After": unknown})
    assert refused.status_code == 422
