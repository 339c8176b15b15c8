"""Any interleaving of accept, leave and move ends with no open pair that breaks a rule unnoticed.

A few people, proposals among them, and what the directory tells of them on its two channels. Two replicas accept over
HTTP, two workers carry out to-dos, a projector reads: at every read and write of a store a number drawn by hypothesis
says who goes on. At the end the facts are folded from the streams alone, and every pair is held against them.
"""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date
from itertools import count
from typing import Any
from uuid import UUID

import httpx2
import pytest
from hypothesis import HealthCheck, Phase, given, note, settings
from hypothesis import strategies as st

from tests.matching.turns import Turns, gate, gated
from tests.matching.world import Tokens, World
from upwell.servers.testing import Databases
from upwell_matching import commands, rechecking
from upwell_matching.aggregates import COMMANDS, EVENTS
from upwell_matching.app import OWN, Matching
from upwell_matching.domain.eligibility import MOST_LEVELS, Standing, broken
from upwell_matching.domain.pair import (
    Active,
    Cause,
    ClosedPair,
    ClosedProposal,
    PairCreated,
    PairProposed,
    Paused,
    Proposal,
    pair,
)
from upwell_matching.domain.standing import Known, standing
from upwell_matching.projections import pairs, standings
from upwell_matching.settings import MatchingSettings
from upwell_shared import looking_up, todos
from upwell_shared.contracts import PublishedEvent
from upwell_shared.contracts.directory import (
    PersonJoined,
    PersonLeft,
    PersonMoved,
    PersonReturned,
    PersonWentOnLeave,
)
from upwell_shared.database import create_pool
from upwell_shared.projecting import Projector
from upwell_shared.settings import Dsn
from upwell_shared.testing import FixedClock
from upwell_shared.testing.databases import Dsns, hand_over
from upwell_shared.timers import Ticker
from upwell_shared.todos import TodoWorker

MENTORS, MENTEES, BOSS = (0, 1), (2, 3), 4
PROPOSALS = ((0, 2), (1, 3), (0, 3))
JUNIOR, SENIOR = 3, 8
GRADES = (JUNIOR, JUNIOR, SENIOR, SENIOR, 5)


@dataclass(frozen=True)
class Move:
    """`manager` is one of the people, or nobody."""

    who: int
    grade: int
    manager: int | None


@dataclass(frozen=True)
class Coming:
    """To join, leave, go on leave or return: `what` is the event."""

    who: int
    what: type[PersonJoined] | type[PersonLeft] | type[PersonWentOnLeave] | type[PersonReturned]


@dataclass(frozen=True)
class Program:
    """What each channel tells, who accepts what, and whose turn it is."""

    internal: list[Move | Coming]
    public: list[Coming]
    accepted: list[tuple[int, str]]
    turns: list[int]


people = st.integers(0, BOSS)
moves = st.builds(
    Move, people, st.sampled_from([JUNIOR, SENIOR]), st.sampled_from([None, BOSS, *MENTEES, *MENTORS])
)
leaves = st.builds(Coming, people, st.sampled_from([PersonWentOnLeave, PersonReturned]))
comings = st.builds(Coming, people, st.sampled_from([PersonLeft, PersonJoined]))
programs = st.builds(
    Program,
    internal=st.lists(st.one_of(moves, moves, leaves), min_size=1, max_size=5),
    public=st.lists(comings, max_size=2),
    accepted=st.permutations(
        [(number, side) for number in range(len(PROPOSALS)) for side in ("mentor", "mentee")]
    ),
    turns=st.lists(st.integers(0, 60), min_size=150, max_size=150),
)


class Bench:
    """One database and two replicas, whose workers do a step when they are told to."""

    def __init__(self, superuser_dsn: str, template: str) -> None:
        self._databases = Databases(superuser_dsn)
        self._template = template
        self._runner = asyncio.Runner()
        self._runner.run(self._start())
        self.created = 0
        self.refused = 0

    async def _start(self) -> None:
        dsn = await self._databases.create(template=self._template)
        await hand_over(dsn, "matching")
        self._dsn = dsn
        dsns = Dsns(dsn, "matching")
        self.pool = await create_pool(dsns.app, application_name="interleaving", size=8)
        self._clock, tokens = FixedClock(), Tokens()
        settings_ = MatchingSettings(database_url=Dsn(dsns.app))
        self._matchings = [Matching(settings_, self.pool, clock=self._clock) for _ in range(2)]
        clients = []
        for matching in self._matchings:
            matching.store.append = gated(matching.store.append)  # type: ignore[method-assign]
            matching.store.load = gated(matching.store.load)  # type: ignore[method-assign]
            transport = httpx2.ASGITransport(matching.app(tokens))
            clients.append(httpx2.AsyncClient(transport=transport, base_url="http://matching", timeout=30))
        self.world = World(self.pool, tokens, self._matchings, clients, self._clock)
        self._projectors = [Projector(self.pool, EVENTS, projection) for projection in OWN]
        self._ticker = Ticker(self.pool, self._clock)
        self._workers = [
            TodoWorker(self.pool, COMMANDS, matching.carry, self._clock) for matching in self._matchings
        ]
        await self.world.open_acme()
        self._programme_id = await self.world.open_programme()
        await self.quiet()
        self._topic_id = await self.world.add_topic(self._programme_id)
        self._cohort_id = await self.world.open_cohort(self._programme_id)
        await self.quiet()

    def run(self, program: Program) -> None:
        self._runner.run(self._run(program))

    async def _run(self, program: Program) -> None:
        cast = [await self.world.join(grade=grade) for grade in GRADES]
        await self.quiet()
        for number in (*MENTORS, *MENTEES):
            role = "mentor" if number in MENTORS else "mentee"
            await self.world.enrol(self._cohort_id, cast[number], role, self._topic_id, capacity=2)
        await self.quiet()
        proposed = []
        for mentor, mentee in PROPOSALS:
            proposed.append(await self.world.propose(self._cohort_id, cast[mentor], cast[mentee]))
            await self.quiet()
        self._working = 2 + len(program.accepted)
        await Turns(program.turns).run(
            lambda: self._consume(cast, program.internal),
            lambda: self._consume(cast, program.public),
            *(lambda one=one: self._accept(cast, proposed, *one) for one in program.accepted),
            *(lambda worker=worker: self._work(worker) for worker in self._workers),
            self._project,
        )
        await self.quiet()
        await self._reckon(cast, proposed)

    async def _consume(self, cast: Sequence[UUID], told: Sequence[Move | Coming]) -> None:
        for one in told:
            await gate()
            await self.world.hears(self._event(cast, one))
        self._working -= 1

    def _event(self, cast: Sequence[UUID], told: Move | Coming) -> PublishedEvent:
        about = {"person_id": cast[told.who], "organisation_id": self.world.acme}
        if isinstance(told, Coming):
            further = {PersonWentOnLeave: {"until": None}, PersonReturned: {}}
            return told.what(**about, **further.get(told.what, {"unit_id": self.world.sales}))  # type: ignore[arg-type]
        return PersonMoved(
            **about,
            unit_id=self.world.sales,
            grade=told.grade,
            manager_id=None if told.manager in {None, told.who} else cast[told.manager or 0],
            in_role_since=date(2020, 1, 1),
        )

    async def _accept(self, cast: Sequence[UUID], proposed: Sequence[UUID], number: int, side: str) -> None:
        mentor, mentee = PROPOSALS[number]
        answer = await self.world.accept(proposed[number], cast[mentor if side == "mentor" else mentee])
        assert answer.status_code in {200, 409}, answer.text
        self.refused += answer.status_code == 409
        self._working -= 1

    async def _work(self, worker: TodoWorker) -> None:
        """One to-do at a time; now and then what was postponed is the first again."""
        for turn in count():
            if not self._working:
                return
            await gate()
            await self._ticker.step()
            if turn % 3 == 2:
                await self._no_waits()
            await worker.step()

    async def _project(self) -> None:
        while self._working:
            for projector in self._projectors:
                await gate()
                await projector.step()

    async def _no_waits(self) -> None:
        """What was postponed comes again at once: here turns pass, and no time."""
        await self.pool.execute("UPDATE todos SET next_try_at = '-infinity' WHERE parked_because IS NULL")

    async def quiet(self) -> None:
        """Everything that is left to be read or done."""
        while True:
            found = [await projector.step() for projector in self._projectors]
            found.append(await self._ticker.step())
            await self._no_waits()
            found.append(await self._workers[0].step())
            if not any(found):
                return

    async def _reckon(self, cast: Sequence[UUID], proposed: Sequence[UUID]) -> None:
        parked = await self.pool.fetch("SELECT type, parked_because FROM todos")
        assert not parked, [tuple(row) for row in parked]
        rows = await self.pool.fetch(
            "SELECT stream_id, type, schema_version, data FROM events WHERE stream_id = ANY ($1) ORDER BY tx, position",
            [*cast, *proposed],
        )
        now: dict[UUID, Any] = dict.fromkeys(cast, standing.initial) | dict.fromkeys(proposed, pair.initial)
        for stream_id, kind, version, data in rows:
            event = EVENTS.decode(kind, version, data)
            decider: Any = standing if stream_id in cast else pair
            now[stream_id] = decider.evolve(now[stream_id], event)
            if isinstance(event, PairProposed | PairCreated):
                self.created += isinstance(event, PairCreated)
                mentor, mentee = facts_of(now, now[stream_id].terms)
                assert mentor is not None, "a pair was made with somebody who was gone or on leave"
                assert mentee is not None, "a pair was made with somebody who was gone or on leave"
                assert broken(now[stream_id].terms.rules, mentor, mentee) == (), (
                    "a pair was made against a rule"
                )
        for pair_id in proposed:
            require_noticed(now, now[pair_id])
        open_now = {pair_id for pair_id in proposed if isinstance(now[pair_id], Active | Paused)}
        await self._require_places(cast, open_now)

    async def _require_places(self, cast: Sequence[UUID], open_now: set[UUID]) -> None:
        taken = await self.pool.fetch(
            "SELECT person_id, taken, withdrawn FROM enrolments WHERE person_id = ANY ($1)", cast
        )
        counted = await self.pool.fetch(
            "SELECT member, count(*) FROM pairs, unnest(ARRAY[mentor_id, mentee_id]) AS member "
            "WHERE pair_id = ANY ($1) GROUP BY member",
            open_now,
        )
        in_pairs = {row["member"]: row["count"] for row in counted}
        assert {row["person_id"]: row["taken"] for row in taken} == {
            row["person_id"]: in_pairs.get(row["person_id"], 0) for row in taken
        }

    def close(self) -> None:
        self._runner.run(self._stop())
        self._runner.close()

    async def _stop(self) -> None:
        for matching in self._matchings:
            for close in matching.closing:
                await close()
        for client in self.world.clients:
            await client.aclose()
        await self.pool.close()
        await self._databases.drop(self._dsn)


def facts_of(now: dict[UUID, Any], terms: Any) -> tuple[Standing | None, Standing | None]:
    """Where mentor and mentee stand; None for one who is gone or on leave."""
    found = [stands(now, person_id) for person_id in (terms.mentor_id, terms.mentee_id)]
    return found[0], found[1]


def stands(now: dict[UUID, Any], person_id: UUID) -> Standing | None:
    state = now[person_id]
    if not isinstance(state, Known) or not state.present or state.on_leave or state.place is None:
        return None
    line: list[UUID] = []
    above = state.place.manager_id
    while above is not None and len(line) < MOST_LEVELS:
        line.append(above)
        place = now[above].place
        above = None if place is None else place.manager_id
    place = state.place
    return Standing(
        person_id=person_id,
        organisation_id=place.organisation_id,
        unit_id=place.unit_id,
        grade=place.grade,
        in_role_since=place.in_role_since,
        line=tuple(line),
    )


def require_noticed(now: dict[UUID, Any], state: Any) -> None:
    """The pair stands as the facts would have it."""
    if isinstance(state, ClosedProposal | ClosedPair):
        return
    members = [now[state.terms.mentor_id], now[state.terms.mentee_id]]
    assert all(member.present for member in members), "open, with a member who has left"
    away = any(member.on_leave for member in members)
    here = {
        person_id: replace(now[person_id], on_leave=False) for person_id in now if is_person(now, person_id)
    }
    mentor, mentee = facts_of(here, state.terms)
    assert mentor is not None
    assert mentee is not None
    against = {*broken(state.terms.rules, mentor, mentee)}
    match state:
        case Proposal():
            assert not away, "proposed, with a member on leave"
            assert not against, "proposed against a rule"
        case Active() | Paused():
            assert state.breached == against, "in breach of a rule, and nobody noticed"
            rests = isinstance(state, Paused) and Cause.LEAVE in state.causes
            assert rests is away, "resting for a leave that is over, or not for one that is not"
        case _:
            pytest.fail(f"a proposed pair that stands as {state}")


def is_person(now: dict[UUID, Any], stream_id: UUID) -> bool:
    return isinstance(now[stream_id], Known)


async def _a_few_turns(reached: Any, timeout: float = 0) -> bool:
    """In the place of `wait_until`: turns pass here, and no time."""
    for _ in range(4):
        if await reached():
            return True
        await gate()
    return False


@pytest.fixture
def bench(postgres_dsn: str, migrated_template: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    monkeypatch.setattr(looking_up, "wait_until", _a_few_turns)
    monkeypatch.setattr(standings, "with_lines", gated(standings.with_lines))
    monkeypatch.setattr(pairs, "open_of", gated(pairs.open_of))
    # One flow of work in each task, so that turns can be counted.
    monkeypatch.setattr(rechecking, "_AT_ONCE", 1)
    monkeypatch.setattr(todos, "_PAGE", 1)
    bench = Bench(postgres_dsn, migrated_template)
    yield bench
    bench.close()


def explored(bench: Bench, count: int) -> None:
    @settings(
        max_examples=count,
        derandomize=True,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(programs)
    def explore(program: Program) -> None:
        note(repr(program))
        bench.run(program)

    explore()


PROGRAMS = 60


@pytest.mark.timeout(900)
def test_no_open_pair_breaks_a_rule_unnoticed(bench: Bench) -> None:
    explored(bench, PROGRAMS)
    assert bench.created > PROGRAMS / 2, "programs that make no pairs prove little"
    assert bench.refused > PROGRAMS / 2, "programs in which nothing is in the way prove little"


@pytest.mark.timeout(900)
def test_without_standings_held_a_pair_is_made_against_a_rule(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (commands, rechecking):
        monkeypatch.setattr(module, "keeping", lambda _: [])
    with pytest.raises(AssertionError, match=r"rule|leave|gone"):
        explored(bench, PROGRAMS)


@pytest.mark.timeout(900)
def test_without_rechecks_a_breach_goes_unnoticed(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    async def look_away(*_: Any) -> None: ...

    monkeypatch.setattr(rechecking, "recheck_these", look_away)
    with pytest.raises(AssertionError, match=r"rule|leave|left"):
        explored(bench, PROGRAMS)
