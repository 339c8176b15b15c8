"""Matching over HTTP: what the programme team and the people who take part can do, and what they are told."""

import asyncio
from datetime import timedelta
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import pytest

from tests.matching.world import World
from tests.service_process import until
from upwell_matching.domain.pair import RecheckPair
from upwell_matching.domain.standing import EndStanding
from upwell_shared.web.policies import UserRole


def problem(response: Any) -> tuple[int, str]:
    return response.status_code, response.json()["type"].removeprefix("urn:upwell:problem:")


class Setting(NamedTuple):
    programme: UUID
    topic: UUID
    cohort: UUID
    mentor: UUID
    mentee: UUID


async def set_up(world: World, **defaults: int) -> Setting:
    """An open cohort with a mentor and a mentee who may be a pair."""
    programme = await world.open_programme(defaults=defaults)
    topic = await world.add_topic(programme)
    cohort = await world.open_cohort(programme)
    mentor, mentee = await world.join(grade=3), await world.join(grade=9, unit=world.trade)
    await world.enrol(cohort, mentor, "mentor", topic)
    await world.enrol(cohort, mentee, "mentee", topic)
    return Setting(programme, topic, cohort, mentor, mentee)


async def test_a_programme_opens_changes_its_rules_and_closes(world: World) -> None:
    programme = await world.open_programme(world.sales, world.trade, name="Upward")
    path = f"/v1/programmes/{programme}"
    shown = await world.seen(path)
    assert shown == {
        "programme_id": str(programme),
        "name": "Upward",
        "closed": False,
        "unit_ids": [str(world.sales), str(world.trade)],
        "rules": {"measure": "grade", "gap": 2, "independence_levels": 2, "different_units": False},
        "defaults": {
            "mentor_capacity": 1,
            "mentee_capacity": 1,
            "sessions": 6,
            "days_between": 30,
            "minutes": 60,
            "reply_days": 10,
            "reminder_days": 7,
        },
    }
    changed = {"rules": {"measure": "tenure", "gap": 365}, "defaults": {"sessions": 12}}
    assert problem(await world.ask("POST", f"{path}/rules", changed)) == (428, "version-required")
    seen = await world.etag(path)
    after = await world.done("POST", f"{path}/rules", changed, if_match=seen)
    shown = await world.seen(path, after)
    assert (shown["rules"]["measure"], shown["defaults"]["sessions"]) == ("tenure", 12)
    assert problem(await world.ask("POST", f"{path}/rules", changed, if_match=seen)) == (412, "stale-version")
    closed = await world.done("POST", f"{path}/close")
    assert (await world.seen(path, closed))["closed"]
    assert problem(await world.ask("POST", f"{path}/topics", {"name": "Late"})) == (
        409,
        "programme-is-closed",
    )


async def test_topics_are_added_and_renamed_and_differ_by_name(world: World) -> None:
    programme = await world.open_programme()
    code = await world.add_topic(programme, "Code")
    path = f"/v1/programmes/{programme}/topics"
    assert problem(await world.ask("POST", path, {"name": "CODE"})) == (409, "topic-name-taken")
    music = await world.add_topic(programme, "Music")
    renamed = await world.done("POST", f"{path}/{code}/rename", {"name": "Coding"})
    shown = (await world.seen(path, renamed))["topics"]
    assert {topic["topic_id"]: topic["name"] for topic in shown} == {str(code): "Coding", str(music): "Music"}


async def test_whoever_may_take_part_sees_a_programme_and_others_do_not(world: World) -> None:
    sales = await world.open_programme(world.sales)
    trade = await world.open_programme(world.trade)
    ada = await world.join(unit=world.sales)
    await world.read_up()
    world.tokens.give("team of sales", UserRole.HR_ADMIN, units=frozenset({world.sales}))
    world.tokens.give("analyst", UserRole.ANALYST, units=frozenset({world.acme}))
    listed = {
        who: {each["programme_id"] for each in (await world.seen("/v1/programmes", who=who))["items"]}
        for who in ("team", "team of sales", str(ada), "analyst")
    }
    assert listed == {
        "team": {str(sales), str(trade)},
        "team of sales": {str(sales)},
        str(ada): {str(sales)},
        "analyst": set(),
    }
    assert (await world.ask("GET", f"/v1/programmes/{sales}", who=ada)).status_code == 200
    for who, programme in ((str(ada), trade), ("team of sales", trade), ("analyst", sales)):
        assert problem(await world.ask("GET", f"/v1/programmes/{programme}", who=who)) == (404, "not-found")
    # A programme for two units is of those alone who are over both.
    both = await world.open_programme(world.sales, world.trade)
    closing = await world.ask("POST", f"/v1/programmes/{both}/close", who="team of sales")
    assert problem(closing) == (404, "not-found")
    elsewhere = {
        "name": "X",
        "unit_ids": [str(world.sales), str(world.trade)],
        "rules": {"measure": "grade", "gap": 1},
    }
    assert problem(await world.ask("POST", "/v1/programmes", elsewhere, who="team of sales")) == (
        403,
        "forbidden",
    )
    await world.done("POST", f"/v1/programmes/{sales}/close")
    await world.read_up()
    assert (await world.seen("/v1/programmes", who=ada))["items"] == [
        {"programme_id": str(both), "name": "Upward", "closed": False}
    ]


async def test_a_cohort_counts_who_takes_part(world: World) -> None:
    there = await set_up(world)
    await world.pair_up(there.cohort, there.mentor, there.mentee)
    await world.read_up()
    path = f"/v1/cohorts/{there.cohort}"
    shown = await world.seen(path)
    counted = {what: n for what, n in shown["counts"].items() if n}
    assert counted == {"mentors": 1, "mentees": 1, "active": 1}
    closed = await world.done("POST", f"{path}/close")
    assert (await world.seen(path, closed))["closed"]
    late = await world.join(grade=4)
    body = {"role": "mentor", "offers": [str(there.topic)]}
    assert problem(await world.ask("PUT", f"{path}/enrolments/{late}", body, who=late)) == (
        409,
        "cohort-is-closed",
    )
    listed = await world.seen(f"/v1/programmes/{there.programme}/cohorts")
    assert [(each["name"], each["closed"]) for each in listed["items"]] == [("First", True)]
    await world.done("POST", f"/v1/programmes/{there.programme}/close")
    another = await world.ask(
        "POST",
        f"/v1/programmes/{there.programme}/cohorts",
        {"name": "Second", "starts_on": "2026-05-01", "ends_on": "2026-06-01"},
    )
    assert problem(another) == (409, "programme-is-closed")


async def test_an_enrolment_is_submitted_once_changed_withdrawn_and_submitted_anew(world: World) -> None:
    there = await set_up(world)
    path = f"/v1/cohorts/{there.cohort}/enrolments/{there.mentor}"
    for role in ("mentor", "mentee"):
        again = await world.ask("PUT", path, {"role": role, "seeks": [str(there.topic)]}, who=there.mentor)
        assert problem(again) == (409, "already-enrolled")
    mine = (await world.seen("/v1/enrolments", who=there.mentor))["items"]
    enrolment = f"/v1/enrolments/{mine[0]['enrolment_id']}"
    music = await world.add_topic(there.programme, "Music")
    change = {"offers": [str(music)], "seeks": [str(there.topic)], "capacity": 3}
    seen = await world.etag(enrolment, who=there.mentor)
    changed = await world.done("POST", f"{enrolment}/change", change, who=there.mentor, if_match=seen)
    shown = await world.seen(enrolment, changed, who=there.mentor)
    assert {name: shown[name] for name in (*change, "state", "pairs")} == change | {
        "state": "waiting",
        "pairs": 0,
    }
    stale = await world.ask("POST", f"{enrolment}/change", change, who=there.mentor, if_match=seen)
    assert problem(stale) == (412, "stale-version")
    withdrawn = await world.done("POST", f"{enrolment}/withdraw", who=there.mentor)
    assert (await world.seen(enrolment, withdrawn, who=there.mentor))["state"] == "withdrawn"

    async def free() -> bool:
        anew = await world.ask("PUT", path, {"role": "mentee", "seeks": [str(music)]}, who=there.mentor)
        assert anew.status_code == 201 or problem(anew) == (409, "withdrawal-under-way")
        return anew.status_code == 201

    await until(free)
    await world.read_up()
    assert (await world.seen(enrolment, who=there.mentor))["role"] == "mentee"


async def test_only_oneself_and_the_team_enrol_somebody(world: World) -> None:
    there = await set_up(world)
    ada, body = await world.join(grade=4), {"role": "mentor", "offers": [str(there.topic)]}
    path = f"/v1/cohorts/{there.cohort}/enrolments"
    assert problem(await world.ask("PUT", f"{path}/{ada}", body, who=there.mentor)) == (404, "not-found")
    enrolled = await world.done("PUT", f"{path}/{ada}", body, who="team")
    listed = (await world.seen(f"{path}?role=mentor", enrolled))["items"]
    assert {each["person_id"] for each in listed} == {str(there.mentor), str(ada)}
    assert problem(await world.ask("GET", path, who=ada)) == (404, "not-found")
    enrolment = f"/v1/enrolments/{enrolled.json()['enrolment_id']}"
    assert (await world.ask("GET", enrolment, who=ada)).status_code == 200
    assert problem(await world.ask("GET", enrolment, who=there.mentee)) == (404, "not-found")


async def test_whoever_stands_outside_the_programmes_units_does_not_enrol(world: World) -> None:
    programme = await world.open_programme(world.sales)
    topic, cohort = await world.add_topic(programme), await world.open_cohort(programme)
    ada = await world.join(unit=world.trade)
    body = {"role": "mentor", "offers": [str(topic)]}
    path = f"/v1/cohorts/{cohort}/enrolments"
    assert problem(await world.ask("PUT", f"{path}/{ada}", body)) == (409, "not-of-the-programme")
    assert problem(await world.ask("PUT", f"{path}/{ada}", body, who=ada)) == (404, "not-found")
    assert problem(await world.ask("PUT", f"{path}/{uuid4()}", body)) == (409, "unknown-person")


async def test_a_pair_is_proposed_accepted_by_both_and_completed(world: World) -> None:
    there = await set_up(world)
    pair = await world.propose(there.cohort, there.mentor, there.mentee)
    path = f"/v1/pairs/{pair}"
    await world.read_up()
    shown = await world.seen(path, who=there.mentee)
    assert (shown["state"], shown["accepted"], shown["sessions"]) == ("proposed", [], 6)
    mine = (await world.seen("/v1/enrolments", who=there.mentor))["items"]
    assert mine[0]["state"] == "proposed"

    first = await world.accept(pair, there.mentee)
    assert (await world.seen(path, first))["accepted"] == ["mentee"]
    again = await world.accept(pair, there.mentee)
    assert (again.status_code, again.headers["ETag"]) == (200, first.headers["ETag"])
    second = await world.accept(pair, there.mentor)
    shown = await world.seen(path, second)
    assert (shown["state"], shown["accepted"]) == ("active", ["mentee", "mentor"])
    await world.read_up()
    mine = (await world.seen("/v1/enrolments", who=there.mentor))["items"]
    assert (mine[0]["state"], mine[0]["pairs"]) == ("paired", 1)

    paused = await world.done("POST", f"{path}/pause", who=there.mentor)
    assert (await world.seen(path, paused))["rests_for"] == ["asked"]
    resumed = await world.done("POST", f"{path}/resume", who="team")
    assert (await world.seen(path, resumed))["state"] == "active"
    seen = await world.etag(path)
    longer = {"sessions": 9, "ends_on": "2027-01-31"}
    extended = await world.done("POST", f"{path}/extend", longer, who=there.mentee, if_match=seen)
    shown = await world.seen(path, extended)
    assert (shown["sessions"], shown["ends_on"]) == (9, "2027-01-31")
    completed = await world.done("POST", f"{path}/complete", who=there.mentee)
    assert (await world.seen(path, completed))["closed_by"] == "mentee"
    await world.read_up()
    mine = (await world.seen("/v1/enrolments", who=there.mentor))["items"]
    assert (mine[0]["state"], mine[0]["pairs"]) == ("waiting", 0)
    assert problem(await world.ask("POST", f"{path}/pause", who=there.mentor)) == (409, "pair-closed")


async def test_who_said_no_and_why_is_for_the_team_alone(world: World) -> None:
    there = await set_up(world)
    pair = await world.propose(there.cohort, there.mentor, there.mentee)
    path = f"/v1/pairs/{pair}"
    declined = await world.done("POST", f"{path}/decline", {"reason": "too_close"}, who=there.mentee)
    shown = await world.seen(path, declined)
    assert (shown["state"], shown["closed_by"], shown["reason"]) == ("declined", "mentee", "too_close")
    for who in (there.mentor, there.mentee):
        shown = await world.seen(path, who=who)
        assert (shown["state"], shown["closed_by"], shown["reason"]) == ("declined", None, None)
        mine = (await world.seen("/v1/pairs", who=who))["items"]
        assert [(each["state"], each["reason"]) for each in mine] == [("declined", None)]
    late = await world.accept(pair, there.mentor)
    assert problem(late) == (409, "proposal-closed")
    assert late.json()["detail"] == "This proposal is closed."
    # The two may be asked again.
    await world.pair_up(there.cohort, there.mentor, there.mentee)


async def test_only_the_side_that_is_asked_replies(world: World) -> None:
    there = await set_up(world)
    pair = await world.propose(there.cohort, there.mentor, there.mentee)
    other = await world.join(grade=5)
    for who in ("team", other):
        for reply, body in (("accept", None), ("decline", {"reason": "other"})):
            refused = await world.ask("POST", f"/v1/pairs/{pair}/{reply}", body, who=who)
            assert problem(refused) == (404, "not-found")
    assert problem(await world.ask("GET", f"/v1/pairs/{pair}", who=other)) == (404, "not-found")
    assert problem(await world.ask("POST", f"/v1/pairs/{pair}/pause", who=there.mentor)) == (
        409,
        "not-a-pair-yet",
    )
    taken_back = await world.done("POST", f"/v1/pairs/{pair}/withdraw", who="team")
    assert (await world.seen(f"/v1/pairs/{pair}", taken_back))["reason"] == "by_coordinator"


async def test_a_pair_is_proposed_under_the_rules_and_to_people_with_a_place(world: World) -> None:
    there = await set_up(world)
    path = f"/v1/cohorts/{there.cohort}/pairs"

    async def refused(mentor: UUID, mentee: UUID) -> tuple[int, str]:
        body = {"mentor_id": str(mentor), "mentee_id": str(mentee)}
        return problem(await world.ask("POST", path, body))

    near = await world.join(grade=4, unit=world.trade)
    below = await world.join(grade=2, manager=there.mentee)
    for person, role in ((near, "mentee"), (below, "mentor")):
        await world.enrol(there.cohort, person, role, there.topic)
    nobody = uuid4()
    stranger = await world.join(grade=9)
    assert await refused(there.mentor, near) == (409, "not-inverted")
    assert await refused(below, there.mentee) == (409, "not-independent")
    assert await refused(there.mentor, nobody) == (409, "unknown-person")
    assert await refused(there.mentor, stranger) == (409, "unknown-enrolment")
    await world.propose(there.cohort, there.mentor, there.mentee)
    assert await refused(there.mentor, there.mentee) == (409, "already-proposed")


async def test_a_proposal_is_remembered_expires_and_cannot_be_accepted_any_more(world: World) -> None:
    there = await set_up(world)
    pair = await world.propose(there.cohort, there.mentor, there.mentee)
    await world.read_up()
    world.clock.forward(timedelta(days=7))

    async def reminded() -> bool:
        return bool((await world.seen(f"/v1/pairs/{pair}"))["reminded"])

    await until(reminded)
    world.clock.forward(timedelta(days=3))
    # By the clock, whether the ticker came first or not.
    assert problem(await world.accept(pair, there.mentor)) == (409, "proposal-closed")
    await world.becomes(pair, "expired")
    assert [kind for stream, kind in await world.events() if stream == pair] == [
        "PairProposed",
        "PairReplyReminded",
        "PairProposalExpired",
    ]


async def test_withdrawing_an_enrolment_closes_what_came_of_it(world: World) -> None:
    there = await set_up(world, mentor_capacity=2)
    second = await world.join(grade=9, unit=world.trade)
    await world.enrol(there.cohort, second, "mentee", there.topic)
    pair = await world.pair_up(there.cohort, there.mentor, there.mentee)
    proposal = await world.propose(there.cohort, there.mentor, second)
    mine = (await world.seen("/v1/enrolments", who=there.mentor))["items"][0]["enrolment_id"]
    await world.done("POST", f"/v1/enrolments/{mine}/withdraw", who=there.mentor)
    ended = await world.becomes(pair, "ended")
    assert (ended["closed_by"], ended["no_fault"]) == ("mentor", True)
    withdrawn = await world.becomes(proposal, "withdrawn")
    assert withdrawn["reason"] == "enrolment_withdrawn"

    async def settled() -> bool:
        return (UUID(mine), "WithdrawalSettled") in await world.events()

    await until(settled)
    await world.read_up()
    assert (await world.seen("/v1/enrolments", who=there.mentee))["items"][0]["pairs"] == 0


async def test_of_two_acceptances_at_once_no_more_are_kept_than_there_are_places(replicas: World) -> None:
    world = replicas
    there = await set_up(world)
    mentees = [there.mentee, *[await world.join(grade=9, unit=world.trade) for _ in range(3)]]
    for mentee in mentees[1:]:
        await world.enrol(there.cohort, mentee, "mentee", there.topic)
    proposed = [await world.propose(there.cohort, there.mentor, mentee) for mentee in mentees]
    for pair, mentee in zip(proposed, mentees, strict=True):
        assert (await world.accept(pair, mentee)).status_code == 200
    answers = await asyncio.gather(*(world.accept(pair, there.mentor) for pair in proposed))
    assert sorted(answer.status_code for answer in answers) == [200, 409, 409, 409]
    told = {problem(answer)[1] for answer in answers if answer.status_code == 409}
    assert told <= {"capacity-reached", "concurrent-update"}
    events = [kind for _, kind in await world.events()]
    assert (events.count("PairCreated"), events.count("EnrolmentPlaceTaken")) == (1, 2)


async def test_both_accepting_at_once_make_one_pair(replicas: World) -> None:
    world = replicas
    there = await set_up(world)
    pair = await world.propose(there.cohort, there.mentor, there.mentee)
    answers = await asyncio.gather(
        *(world.accept(pair, person) for person in (there.mentor, there.mentee) for _ in range(3))
    )
    assert {answer.status_code for answer in answers} <= {200, 409}
    for person in (there.mentor, there.mentee):
        assert (await world.accept(pair, person)).status_code == 200
    events = [kind for _, kind in await world.events()]
    assert (events.count("PairCreated"), events.count("PairAccepted")) == (1, 2)
    assert events.count("EnrolmentPlaceTaken") == 2


async def test_a_repeated_acceptance_is_answered_as_before_whatever_became_of_the_pair(world: World) -> None:
    there = await set_up(world)
    pair = await world.propose(there.cohort, there.mentor, there.mentee)
    first = await world.accept(pair, there.mentor, key="one")
    await world.accept(pair, there.mentee)
    await world.done("POST", f"/v1/pairs/{pair}/end", {"reason": "no_time"}, who=there.mentor)
    again = await world.accept(pair, there.mentor, key="one")
    assert (again.status_code, again.headers["Upwell-Position"]) == (200, first.headers["Upwell-Position"])
    body = {"mentor_id": str(there.mentor), "mentee_id": str(there.mentee)}
    path = f"/v1/cohorts/{there.cohort}/pairs"
    made = await world.done("POST", path, body, key="two")
    await world.done("POST", f"/v1/cohorts/{there.cohort}/close")
    repeated = await world.done("POST", path, body, key="two")
    assert repeated.json() == made.json()


async def test_a_repeated_enrolment_is_answered_as_before_although_the_person_has_left(world: World) -> None:
    there = await set_up(world)
    ada = await world.join(grade=4)
    path = f"/v1/cohorts/{there.cohort}/enrolments/{ada}"
    body = {"role": "mentor", "offers": [str(there.topic)]}
    first = await world.done("PUT", path, body, key="one")
    await world.send(ada, EndStanding())
    await world.read_up()
    again = await world.done("PUT", path, body, key="one")
    assert (again.json(), again.headers["Upwell-Position"]) == (
        first.json(),
        first.headers["Upwell-Position"],
    )
    assert problem(await world.ask("PUT", path, body, key="two")) == (409, "unknown-person")


@pytest.mark.parametrize("end", ["complete", "end", "gone"])
async def test_a_closed_pair_frees_both_places(world: World, end: str) -> None:
    there = await set_up(world)
    pair = await world.pair_up(there.cohort, there.mentor, there.mentee)
    match end:
        case "complete":
            await world.done("POST", f"/v1/pairs/{pair}/complete", who=there.mentor)
        case "end":
            await world.done("POST", f"/v1/pairs/{pair}/end", {"reason": "not_a_fit"}, who=there.mentee)
        case _:
            await world.send(pair, RecheckPair(broken=(), gone=True, on_leave=False))
    await world.read_up()
    for person in (there.mentor, there.mentee):
        assert (await world.seen("/v1/enrolments", who=person))["items"][0]["pairs"] == 0
    await world.pair_up(there.cohort, there.mentor, there.mentee)


async def test_lists_are_read_page_by_page_and_miss_nothing(world: World) -> None:
    there = await set_up(world, mentor_capacity=3)
    made = set()
    for _ in range(5):
        mentee = await world.join(grade=9, unit=world.trade)
        await world.enrol(there.cohort, mentee, "mentee", there.topic)
        made.add(str(await world.propose(there.cohort, there.mentor, mentee)))
    await world.read_up()
    for path, who in ((f"/v1/cohorts/{there.cohort}/pairs", "team"), ("/v1/pairs", str(there.mentor))):
        found: list[str] = []
        page = await world.seen(f"{path}?limit=2", who=who)
        while True:
            found += [each["pair_id"] for each in page["items"]]
            if page["next"] is None:
                break
            page = await world.seen(f"{path}?limit=2&cursor={page['next']}", who=who)
        assert (len(found), set(found)) == (5, made)
    only = await world.seen(f"/v1/cohorts/{there.cohort}/pairs?state=active")
    assert only["items"] == []
