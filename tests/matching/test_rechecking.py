"""What becomes of open pairs and proposals when the directory tells of their members, or of who is above them."""

from datetime import date
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from tests.matching.world import World
from tests.service_process import until
from upwell_matching import carrying_out, rechecking
from upwell_matching.domain.eligibility import MOST_LEVELS
from upwell_matching.domain.standing import (
    BeginLeave,
    BeginStanding,
    EndStanding,
    Place,
    RecheckPairs,
    StandingChanged,
    TakePlaceInOrganisation,
)
from upwell_matching.projections import standings
from upwell_matching.projections.programmes import rules_of
from upwell_matching.standing import facts_for, keeping, present
from upwell_matching.sweeping import sweep
from upwell_shared.contracts.directory import (
    PersonErased,
    PersonJoined,
    PersonLeft,
    PersonMoved,
    PersonReturned,
    PersonWentOnLeave,
)
from upwell_shared.events import Envelope
from upwell_shared.metrics import REGISTRY

JUNIOR, SENIOR = 3, 8


class Cohort:
    """A cohort with a junior mentor and a senior mentee in it."""

    def __init__(self, world: World) -> None:
        self.world = world

    async def open(self) -> "Cohort":
        self.programme_id = await self.world.open_programme()
        self.topic_id = await self.world.add_topic(self.programme_id)
        self.cohort_id = await self.world.open_cohort(self.programme_id)
        self.mentor_id = await self.enrolled("mentor", grade=JUNIOR)
        self.mentee_id = await self.enrolled("mentee", grade=SENIOR)
        return self

    async def enrolled(self, role: str, **place: Any) -> UUID:
        person_id = await self.world.join(**place)
        await self.world.enrol(self.cohort_id, person_id, role, self.topic_id)
        return person_id

    async def proposal(self) -> UUID:
        return await self.world.propose(self.cohort_id, self.mentor_id, self.mentee_id)

    async def pair(self) -> UUID:
        return await self.world.pair_up(self.cohort_id, self.mentor_id, self.mentee_id)

    def moved(self, person_id: UUID, grade: int, manager_id: UUID | None = None) -> PersonMoved:
        return PersonMoved(
            person_id=person_id,
            organisation_id=self.world.acme,
            unit_id=self.world.sales,
            grade=grade,
            manager_id=manager_id,
            in_role_since=date(2020, 1, 1),
        )

    def left(self, person_id: UUID) -> PersonLeft:
        return PersonLeft(person_id=person_id, organisation_id=self.world.acme, unit_id=self.world.sales)

    def away(self, person_id: UUID) -> PersonWentOnLeave:
        return PersonWentOnLeave(person_id=person_id, organisation_id=self.world.acme, until=None)

    def back(self, person_id: UUID) -> PersonReturned:
        return PersonReturned(person_id=person_id, organisation_id=self.world.acme)


@pytest.fixture
async def cohort(world: World) -> Cohort:
    return await Cohort(world).open()


async def breached(world: World, pair_id: UUID, *rules: str) -> None:
    """Returns once the pair is open, and in breach of these rules and no other."""

    await world.becomes(pair_id, "active")

    async def so() -> bool:
        found = await world.seen(f"/v1/pairs/{pair_id}")
        assert found["state"] == "active"
        return bool(sorted(found["rules_broken"]) == sorted(rules))

    await until(so)


async def test_a_promotion_breaches_an_open_pair_and_a_way_back_restores_it(cohort: Cohort) -> None:
    pair_id, world = await cohort.pair(), cohort.world
    await world.hears(cohort.moved(cohort.mentor_id, SENIOR))
    await breached(world, pair_id, "inversion")
    await world.hears(cohort.moved(cohort.mentor_id, JUNIOR, manager_id=cohort.mentee_id))
    await breached(world, pair_id, "independence")
    await world.hears(cohort.moved(cohort.mentor_id, JUNIOR))
    await breached(world, pair_id)
    told = [kind for stream_id, kind in await world.events() if stream_id == pair_id]
    assert [kind for kind in told if "Rule" in kind] == [
        "PairRuleBreached",
        *("PairRuleBreached", "PairRuleRestored"),
        "PairRuleRestored",
    ] or sorted(kind for kind in told if "Rule" in kind) == [
        *["PairRuleBreached"] * 2,
        *["PairRuleRestored"] * 2,
    ]


async def test_a_move_far_above_a_member_breaches_their_independence(cohort: Cohort) -> None:
    """The mentor's manager comes to report to the mentee: two levels, which the programme looks at."""
    pair_id, world = await cohort.pair(), cohort.world
    manager_id = await world.join(grade=5)
    await world.hears(cohort.moved(cohort.mentor_id, JUNIOR, manager_id=manager_id))
    await world.hears(cohort.moved(manager_id, 5, manager_id=cohort.mentee_id))
    await breached(world, pair_id, "independence")
    await world.hears(cohort.moved(manager_id, 5))
    await breached(world, pair_id)


@pytest.mark.parametrize("named", ["before", "after"])
async def test_a_manager_not_heard_of_yet_is_looked_at_when_they_are(cohort: Cohort, named: str) -> None:
    """Whether they were named before the two became a pair, or when the two were one."""
    world, unheard = cohort.world, uuid4()
    pair_id = await cohort.pair() if named == "after" else None
    await world.hears(cohort.moved(cohort.mentor_id, JUNIOR, manager_id=unheard))
    await settled(world, cohort.mentor_id)
    pair_id = pair_id or await cohort.pair()
    await breached(world, pair_id)
    await world.hears(cohort.moved(unheard, 5, manager_id=cohort.mentee_id))
    await breached(world, pair_id, "independence")


async def test_the_same_manager_for_both_breaches_independence(cohort: Cohort) -> None:
    pair_id, world, manager_id = await cohort.pair(), cohort.world, uuid4()
    for person_id, grade in ((cohort.mentor_id, JUNIOR), (cohort.mentee_id, SENIOR)):
        await world.hears(cohort.moved(person_id, grade, manager_id=manager_id))
    await breached(world, pair_id, "independence")


@pytest.mark.parametrize("side", ["mentor_id", "mentee_id"])
async def test_who_leaves_ends_their_pair_without_fault_and_takes_part_no_more(
    cohort: Cohort, side: str
) -> None:
    pair_id, world = await cohort.pair(), cohort.world
    leaver = getattr(cohort, side)
    (stayer,) = {cohort.mentor_id, cohort.mentee_id} - {leaver}
    await world.hears(cohort.left(leaver))
    ended = await world.becomes(pair_id, "ended")
    assert (ended["closed_by"], ended["reason"], ended["no_fault"]) == ("upwell", "left", True)

    async def withdrawn() -> bool:
        rows = (await world.seen(f"/v1/cohorts/{cohort.cohort_id}/enrolments"))["items"]
        return {row["person_id"]: row["state"] for row in rows} == {
            str(leaver): "withdrawn",
            str(stayer): "waiting",
        }

    await until(withdrawn)


async def test_leave_rests_a_pair_until_both_are_back(cohort: Cohort) -> None:
    pair_id, world = await cohort.pair(), cohort.world
    await world.hears(cohort.away(cohort.mentor_id), cohort.away(cohort.mentee_id))
    assert (await world.becomes(pair_id, "paused"))["rests_for"] == ["leave"]
    await world.hears(cohort.back(cohort.mentor_id))
    await settled(world, cohort.mentor_id)
    await world.becomes(pair_id, "paused")
    await world.hears(cohort.back(cohort.mentee_id))
    await world.becomes(pair_id, "active")


async def test_a_pause_somebody_asked_for_outlasts_a_leave(cohort: Cohort) -> None:
    pair_id, world = await cohort.pair(), cohort.world
    await world.done("POST", f"/v1/pairs/{pair_id}/pause", who=cohort.mentor_id)
    await world.hears(cohort.away(cohort.mentee_id))
    await settled(world, cohort.mentee_id)
    await world.hears(cohort.back(cohort.mentee_id))
    await settled(world, cohort.mentee_id)
    assert (await world.becomes(pair_id, "paused"))["rests_for"] == ["asked"]


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        (lambda cohort: cohort.moved(cohort.mentor_id, SENIOR), "rule_broken"),
        (lambda cohort: cohort.left(cohort.mentee_id), "left"),
        (lambda cohort: cohort.away(cohort.mentee_id), "on_leave"),
    ],
)
async def test_a_proposal_is_withdrawn_whose_members_could_not_be_proposed_now(
    cohort: Cohort, event: Any, reason: str
) -> None:
    pair_id, world = await cohort.proposal(), cohort.world
    assert (await world.accept(pair_id, cohort.mentor_id)).status_code == 200
    await world.hears(event(cohort))
    assert (await world.becomes(pair_id, "withdrawn"))["reason"] == reason
    assert (await world.accept(pair_id, cohort.mentee_id)).status_code == 409


async def test_what_is_told_again_changes_nothing(cohort: Cohort) -> None:
    pair_id, world = await cohort.pair(), cohort.world
    for _ in range(2):
        await world.hears(cohort.moved(cohort.mentor_id, SENIOR))
        await breached(world, pair_id, "inversion")
    await settled(world, cohort.mentor_id)
    told = [kind for stream_id, kind in await world.events() if stream_id == pair_id]
    assert told.count("PairRuleBreached") == 1


async def test_who_is_erased_is_cleared_before_the_receipt_is_given(
    cohort: Cohort, pool: asyncpg.Pool
) -> None:
    pair_id, world, person_id = await cohort.pair(), cohort.world, cohort.mentor_id
    about = {"person_id": person_id, "organisation_id": world.acme}
    await world.hears(PersonErased(**about), cohort.left(person_id), cohort.moved(person_id, SENIOR))
    await world.becomes(pair_id, "ended")

    async def acknowledged() -> bool:
        return "ErasureAcknowledged" in [kind for _, kind in await world.events()]

    await until(acknowledged)
    (row,) = await pool.fetch("SELECT * FROM standings WHERE person_id = $1", person_id)
    assert (row["present"], row["grade"], row["manager_id"], row["in_role_since"]) == (
        False,
        None,
        None,
        None,
    )


async def test_whoever_joined_is_known_in_whatever_order_that_was_told(cohort: Cohort) -> None:
    world = cohort.world
    for order in (slice(None), slice(None, None, -1)):
        person_id = uuid4()
        joined = PersonJoined(person_id=person_id, organisation_id=world.acme, unit_id=world.sales)
        for event in [joined, cohort.moved(person_id, 4)][order]:
            await world.hears(event)

        async def here(person_id: UUID = person_id) -> bool:
            lines = await standings.with_lines(world.pool, [person_id], 0)
            row = lines[person_id][0]
            return row.present and row.grade == 4 and row.due == 0

        await until(here)


def swept() -> tuple[float | None, float | None]:
    """Missed pairs and abandoned enrolments, as `/metrics` shows them."""
    return tuple(  # type: ignore[return-value] # two of them
        REGISTRY.get_sample_value(f"upwell_matching_{name}")
        for name in ("missed_pairs", "abandoned_enrolments")
    )


async def settled(world: World, person_id: UUID) -> None:
    """Returns once nothing is left to be rechecked for this person."""

    async def so() -> bool:
        if await world.pool.fetchval("SELECT count(*) FROM todos WHERE parked_because IS NULL"):
            return False
        # Only now: what those to-dos appended is read, and with it whether a recheck is due.
        await world.read_up()
        row = (await standings.with_lines(world.pool, [person_id], 0))[person_id][0]
        return row.due == row.rechecked

    await until(so)
    # What the last of it appended may not have been read yet.
    await world.read_up()


async def test_a_change_that_concerns_many_pairs_is_rechecked_in_parts(
    cohort: Cohort, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Five mentors below one manager, who comes to report to the mentee of all of them."""
    monkeypatch.setattr(rechecking, "_CHUNK", 2)
    world, boss = cohort.world, await cohort.world.join(grade=6)
    chief = await world.join(grade=SENIOR)
    await world.enrol(cohort.cohort_id, chief, "mentee", cohort.topic_id, capacity=3)
    made = []
    for _ in range(3):
        mentor_id = await cohort.enrolled("mentor", grade=JUNIOR, manager=boss)
        made.append(await world.pair_up(cohort.cohort_id, mentor_id, chief))
    await world.hears(cohort.moved(boss, 6, manager_id=chief))
    for pair_id in made:
        await breached(world, pair_id, "independence")
    await settled(world, boss)
    kinds = [kind for stream_id, kind in await world.events() if stream_id == boss]
    assert kinds[-2:] == ["PairsRecheckedInPart", "PairsRechecked"]


async def test_a_recheck_that_died_half_way_is_finished_by_the_next(
    cohort: Cohort, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, dying = cohort.world, [True]
    pair_id = await cohort.pair()
    send = carrying_out.on_pair

    async def die_after(*arguments: Any, **options: Any) -> Any:
        outcome = await send(*arguments, **options)
        if dying:
            dying.pop()
            raise ConnectionResetError
        return outcome

    monkeypatch.setattr(rechecking, "on_pair", die_after)
    await world.hears(cohort.moved(cohort.mentor_id, SENIOR))
    await breached(world, pair_id, "inversion")
    await settled(world, cohort.mentor_id)
    assert not dying
    told = [kind for stream_id, kind in await world.events() if stream_id == pair_id]
    assert told.count("PairRuleBreached") == 1


async def test_a_decision_on_what_has_changed_meanwhile_is_refused(cohort: Cohort) -> None:
    world, programme = cohort.world, await cohort.world.seen(f"/v1/programmes/{cohort.programme_id}")
    assert programme["rules"]["independence_levels"] == 2
    manager_id = await world.join(grade=5)
    await world.hears(cohort.moved(cohort.mentor_id, JUNIOR, manager_id=manager_id))
    await settled(world, cohort.mentor_id)
    rules = rules_of(await world.pool.fetchval("SELECT rules FROM programmes"))
    facts = await facts_for(world.pool, rules, cohort.mentor_id, cohort.mentee_id)
    assert {person_id for person_id, _ in facts.held} == {cohort.mentor_id, cohort.mentee_id, manager_id}
    handler = world.matchings[0].handler

    async def decide() -> None:
        id_ = uuid4()
        await handler.handle(*keeping(facts.held), envelope=Envelope(command_id=id_, correlation_id=id_))

    await decide()
    place = Place(
        organisation_id=world.acme,
        unit_id=world.trade,
        grade=5,
        manager_id=None,
        in_role_since=date(2020, 1, 1),
    )
    await world.send(manager_id, TakePlaceInOrganisation(place=place))
    with pytest.raises(StandingChanged):
        await decide()
    assert (await present(world.pool, cohort.mentor_id))[0].grade == JUNIOR


async def test_the_sweep_finds_nothing_where_everything_was_noticed(cohort: Cohort) -> None:
    world = cohort.world
    pair_id = await cohort.pair()
    await world.hears(cohort.moved(cohort.mentor_id, SENIOR))
    await breached(world, pair_id, "inversion")
    await settled(world, cohort.mentor_id)
    assert not await sweep(world.matchings[0].means)
    assert swept() == (0, 0)


async def test_the_sweep_counts_and_repairs_what_nobody_noticed(
    cohort: Cohort, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if the recheck had looked away: it acknowledges, and has done nothing."""
    world = cohort.world
    pair_id = await cohort.pair()
    leaver = await cohort.enrolled("mentor", grade=JUNIOR)

    async def look_away(*_: Any) -> None: ...

    with monkeypatch.context() as blind:
        blind.setattr(rechecking, "recheck_these", look_away)
        blind.setattr(rechecking, "withdraw_all", look_away)
        await world.hears(cohort.moved(cohort.mentor_id, SENIOR), cohort.left(leaver))
        await settled(world, cohort.mentor_id)
        await settled(world, leaver)
    assert (await world.seen(f"/v1/pairs/{pair_id}"))["rules_broken"] == []
    await sweep(world.matchings[0].means)
    assert swept() == (1, 1)
    await breached(world, pair_id, "inversion")
    await world.read_up()
    await sweep(world.matchings[0].means)
    assert swept() == (0, 0)


async def test_a_line_ends_after_the_levels_asked_for_even_where_it_is_a_circle(world: World) -> None:
    ada, ben = uuid4(), uuid4()
    await world.join(person=ada, manager=ben)
    await world.join(person=ben, manager=ada)
    await world.read_up()
    lines = await standings.with_lines(world.pool, [ada, ben])
    assert [row.person_id for row in lines[ada]] == [ada, ben] * ((MOST_LEVELS + 1) // 2)
    assert await standings.with_reports(world.pool, ada, MOST_LEVELS - 1) == {ada, ben}


async def test_a_recheck_that_is_overtaken_is_carried_out_and_says_nothing(world: World) -> None:
    ada = await world.join()
    for command in (BeginLeave(), EndStanding(), BeginStanding(), RecheckPairs(revision=3)):
        await world.send(ada, command)
    await settled(world, ada)
    rows = await world.pool.fetch(
        "SELECT data ->> 'revision' AS revision FROM events WHERE stream_id = $1 AND type = 'PairsRechecked'",
        ada,
    )
    assert rows[-1]["revision"] == "5"
