"""Standings and match runs as read models: the same rows in any pages, agreeing with the streams, and rebuilt."""

import random
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import asyncpg

from tests.matching.test_match_run import DRAFT, LEFT, PAIR, RUN, START
from tests.matching.test_match_runs import Intake
from tests.matching.test_pair import PROPOSE
from tests.matching.test_standing import HIGHER, PLACE
from tests.matching.world import World
from upwell_matching.aggregates import EVENTS
from upwell_matching.app import SERVICE
from upwell_matching.domain import match_run, pair, standing
from upwell_matching.domain.match_run import drafted_pair_id
from upwell_matching.projections import match_runs, standings
from upwell_shared.decider import Decider, DomainError
from upwell_shared.events import Envelope, Position, Recorded
from upwell_shared.projecting import Projector
from upwell_shared.testing import rows_in_pages

PEOPLE = [UUID(int=n) for n in range(101, 107)]
RUNS = [UUID(int=n) for n in range(301, 304)]


class History:
    """What could have happened: random commands, those that no rule refused."""

    def __init__(self) -> None:
        self.events: list[Recorded[Any]] = []
        self.states: dict[UUID, Any] = {}
        self._versions: dict[UUID, int] = {}

    def ask(self, decider: Decider[Any, Any, Any], stream_id: UUID, command: Any) -> None:
        state = self.states.get(stream_id, decider.initial)
        try:
            decided = decider.decide(command, state)
        except DomainError:
            return
        self.states[stream_id] = decider.fold(decided, state)
        for event in decided:
            version = self._versions[stream_id] = self._versions.get(stream_id, 0) + 1
            self.events.append(
                Recorded(
                    stream_id=stream_id,
                    version=version,
                    event=event,
                    event_id=uuid4(),
                    at=Position(1, len(self.events) + 1),
                    envelope=Envelope(command_id=uuid4(), correlation_id=uuid4()),
                    recorded_at=datetime(2026, 3, 2, tzinfo=UTC),
                )
            )


def of_standings(seed: int) -> History:
    chance, history = random.Random(seed), History()
    for _ in range(200):
        person_id = chance.choice(PEOPLE)
        state = history.states.get(person_id, standing.standing.initial)
        place = replace(chance.choice((PLACE, HIGHER)), manager_id=chance.choice([None, *PEOPLE]))
        command = chance.choice(
            (
                standing.BeginStanding(),
                standing.EndStanding(),
                standing.TakePlaceInOrganisation(place=place),
                standing.BeginLeave(),
                standing.EndLeave(),
                standing.KeepStanding(revision=state.revision),
                standing.RecheckPairs(revision=state.due),
                standing.RecheckPairs(revision=state.due, upto=PAIR.pair_id),
                standing.EraseStanding() if chance.random() < 0.05 else standing.BeginStanding(),
            )
        )
        history.ask(standing.standing, person_id, command)
    return history


def of_match_runs(seed: int) -> History:
    chance, history = random.Random(seed), History()
    for _ in range(60):
        run = chance.choice(RUNS)
        drafted = replace(PAIR, pair_id=drafted_pair_id(run, PAIR.mentor_id, PAIR.mentee_id))
        proposing = replace(PROPOSE, match_run_id=chance.choice((run, None)))
        if chance.random() < 0.2 and isinstance(history.states.get(run), match_run.Published):
            history.ask(pair.pair, drafted.pair_id, proposing)
            continue
        command = chance.choice(
            (
                START,
                replace(DRAFT, pairs=(drafted,), left_over=(LEFT,)),
                match_run.PublishMatchRun(),
                match_run.SkipProposal(pair_id=drafted.pair_id, reason="not-inverted"),
                match_run.FinishMatchRun(),
                match_run.DiscardMatchRun() if chance.random() < 0.2 else START,
            )
        )
        history.ask(match_run.match_run, run, command)
    return history


async def test_any_cut_into_pages_gives_the_same_rows(owner_pool: asyncpg.Pool) -> None:
    kinds: tuple[tuple[Any, Any], ...] = ((standings, of_standings), (match_runs, of_match_runs))
    async with owner_pool.acquire() as owner:
        for projection, happened in kinds:
            for seed in range(5):
                events = happened(seed).events
                whole = await rows_in_pages(owner, projection, events)
                assert all(whole.values()) or projection is match_runs
                singly = await rows_in_pages(owner, projection, events, range(len(events)))
                cuts = sorted(random.Random(seed).sample(range(len(events)), 3))
                assert whole == singly == await rows_in_pages(owner, projection, events, cuts)


async def test_standings_are_those_of_the_streams(owner_pool: asyncpg.Pool) -> None:
    async with owner_pool.acquire() as owner:
        for seed in range(5):
            history = of_standings(seed)
            found = (await rows_in_pages(owner, standings, history.events))["standings"]
            rows = {row[0]: standings.Row(*row) for row in found}
            for person_id, state in history.states.items():
                row = rows[person_id]
                assert (row.revision, row.due, row.rechecked) == (state.revision, state.due, state.rechecked)
                if isinstance(state, standing.Erased):
                    assert (row.present, row.on_leave, row.grade, row.manager_id) == (
                        False,
                        False,
                        None,
                        None,
                    )
                    continue
                assert (row.present, row.on_leave, row.expected) == (
                    state.present,
                    state.on_leave,
                    state.expected,
                )
                place = state.place
                assert row.grade == (place and place.grade)
                assert row.manager_id == (place and place.manager_id)


async def test_match_runs_rebuilt_from_zero_are_what_they_were(
    world: World, pool: asyncpg.Pool, owner_pool: asyncpg.Pool
) -> None:
    intake = await Intake(world).open()
    await intake.mentor("Ada")
    await intake.mentee("Eve")
    await intake.mentee("Dan", grade=1)
    await intake.publish(await intake.draft())
    await world.read_up()

    async def rows() -> list[list[tuple[Any, ...]]]:
        tables = ("match_runs", "drafted_pairs", "unmatched_people", "standings")
        return [
            sorted(map(tuple, await pool.fetch(f"SELECT t::text FROM {table} t")), key=repr)
            for table in tables
        ]

    before = await rows()
    assert all(before)
    for projection in (match_runs, standings):
        await Projector(pool, EVENTS, projection).rebuild(
            owner_pool, app_role=f"{SERVICE.name}_app", reader_role=f"{SERVICE.name}_reader"
        )
    assert before == await rows()


def test_a_drafted_pair_is_called_by_its_run_and_its_members() -> None:
    assert drafted_pair_id(RUN, PAIR.mentor_id, PAIR.mentee_id) == PAIR.pair_id
    others = {
        drafted_pair_id(RUN, PAIR.mentee_id, PAIR.mentor_id),
        drafted_pair_id(RUNS[0], PAIR.mentor_id, PAIR.mentee_id),
    }
    assert len(others | {PAIR.pair_id}) == 3
