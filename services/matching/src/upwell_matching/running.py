"""Carrying match runs out: finding the pairs of those that run, and proposing those of the published ones.

Each step takes up where the last one ended, whoever did that and however it ended: what is left to do stands in the read
model, and the ids of commands follow from the match run, so that what was done is not done again.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Final
from uuid import UUID, uuid5

import asyncpg
import structlog

from upwell_matching import commands
from upwell_matching.aggregates import MATCH_RUN, MATCH_RUN_SLOT
from upwell_matching.carrying_out import Means
from upwell_matching.domain.enrolment import Side
from upwell_matching.domain.match_run import (
    DraftedPair,
    DraftMatchRun,
    FailMatchRun,
    FinishMatchRun,
    LeftOver,
    MatchRunEvent,
    MatchRunPublished,
    MatchRunStarted,
    Obstacle,
    SkipProposal,
    drafted_pair_id,
    slot_id,
)
from upwell_matching.domain.match_run_slot import FreeMatchRunSlot
from upwell_matching.domain.standing import StandingChanged
from upwell_matching.projections import enrolments, match_runs, pairs, standings
from upwell_matching.projections.match_runs import PairRow, Row
from upwell_matching.solving import Candidate, Problem, Solution
from upwell_matching.solving.apart import SolverFailed, solved_apart
from upwell_matching.standing import standing_of
from upwell_shared.decider import DomainError
from upwell_shared.errors import Unavailable
from upwell_shared.events import Envelope
from upwell_shared.handling import Intent
from upwell_shared.looking_up import caught_up
from upwell_shared.observability import bind_correlation

log = structlog.get_logger()

AWAY: Final = "away"
"""Why somebody is in no pair who has left or is on leave, whatever the rules say; see `solving.problem.REASONS`."""

_PAGE: Final = 2_000
_PROPOSALS: Final = 64
_AT_ONCE: Final = 8

# Whoever may still say yes holds a place, too.
_CANDIDATES = """
SELECT e.person_id, e.role, e.offers, e.seeks,
       e.capacity - e.taken - (SELECT count(*) FROM pairs p WHERE p.cohort_id = e.cohort_id AND p.state = 'proposed'
                               AND (p.mentor_id = e.person_id OR p.mentee_id = e.person_id)) AS places
FROM enrolments e WHERE e.cohort_id = $1 AND NOT e.withdrawn
"""

# A proposal that lapsed or was taken back was nobody's no.
_ASKED = """
SELECT mentor_id, mentee_id FROM pairs WHERE programme_id = $1 AND state NOT IN ('expired', 'withdrawn')
"""


async def find_pairs(means: Means) -> bool:
    """Drafts one match run; True when there was one. A run that is done again finds the same pairs of the same people."""
    waiting = await match_runs.running(means.pool)
    if not waiting:
        return False
    run = waiting[0]
    if not await caught_up(means.pool, enrolments.name, pairs.name, standings.name):
        raise Unavailable
    cause = await _cause(means, run, MatchRunStarted)
    with bind_correlation(cause.correlation_id):
        problem, away = await problem_of(means.pool, run)
        solution = await _solved(problem)
        if solution is None:
            await _end(means, run, FailMatchRun(), _part(cause, run, "fail"))
        else:
            drafting = _draft(run, solution, away, problem)
            await means.handler.send(run.match_run_id, drafting, _part(cause, run, "draft"))
        await _shown(means)
    return True


async def _solved(problem: Problem) -> Solution | None:
    """None when it could not be solved twice in a row: its process may have been killed once for another's sake."""
    for _ in range(2):
        try:
            return await solved_apart(problem)
        except SolverFailed as error:
            log.warning("solver_failed", error=error.slug)
    return None


async def problem_of(pool: asyncpg.Pool, run: Row) -> tuple[Problem, list[tuple[UUID, Side]]]:
    """What is to be solved, from what is known now; and those with free places who are away."""
    found = [row for row in await pool.fetch(_CANDIDATES, run.cohort_id) if row["places"] > 0]
    lines: dict[UUID, list[standings.Row]] = {}
    ids = [row["person_id"] for row in found]
    for first in range(0, len(ids), _PAGE):
        lines |= await standings.with_lines(pool, ids[first : first + _PAGE], run.rules.independence_levels)
    sides: dict[Side, list[Candidate]] = {Side.MENTOR: [], Side.MENTEE: []}
    away: list[tuple[UUID, Side]] = []
    for person_id, role, offers, seeks, places in found:
        standing = standing_of(lines[person_id])
        if standing is None or lines[person_id][0].on_leave:
            away.append((person_id, Side(role)))
            continue
        candidate = Candidate(
            standing=standing, offers=frozenset(offers), seeks=frozenset(seeks), places=places
        )
        sides[Side(role)].append(candidate)
    asked = {(row["mentor_id"], row["mentee_id"]) for row in await pool.fetch(_ASKED, run.programme_id)}
    problem = Problem(
        rules=run.rules,
        mentors=tuple(sides[Side.MENTOR]),
        mentees=tuple(sides[Side.MENTEE]),
        barred=frozenset(asked | {(mentee, mentor) for mentor, mentee in asked}),
        seed=run.seed,
    )
    return problem, away


def _draft(
    run: Row, solution: Solution, away: Sequence[tuple[UUID, Side]], problem: Problem
) -> DraftMatchRun:
    drafted = tuple(
        DraftedPair(
            pair_id=drafted_pair_id(run.match_run_id, pair.mentor_id, pair.mentee_id),
            mentor_id=pair.mentor_id,
            mentee_id=pair.mentee_id,
            score=pair.score,
            topics=pair.topics,
            returned=pair.returned,
        )
        for pair in solution.pairs
    )
    gone = {side: sum(role is side for _, role in away) for side in Side}
    here = {Side.MENTOR: len(problem.mentors), Side.MENTEE: len(problem.mentees)}
    left_over = [
        LeftOver(
            person_id=person.person_id,
            side=person.side,
            obstacles=_obstacles(person.reasons | {AWAY: gone[_other(person.side)]}),
        )
        for person in solution.unmatched
    ]
    left_over += [
        LeftOver(
            person_id=person_id,
            side=side,
            obstacles=_obstacles({AWAY: here[_other(side)] + gone[_other(side)]}),
        )
        for person_id, side in away
    ]
    return DraftMatchRun(
        pairs=drafted, left_over=tuple(sorted(left_over, key=lambda person: person.person_id))
    )


def _obstacles(reasons: dict[str, int]) -> tuple[Obstacle, ...]:
    return tuple(Obstacle(reason=reason, people=people) for reason, people in reasons.items() if people)


def _other(side: Side) -> Side:
    return Side.MENTEE if side is Side.MENTOR else Side.MENTOR


async def propose_pairs(means: Means) -> bool:
    """Proposes some of the pairs of a published match run, or finishes one; True when there was anything to do."""
    published = await match_runs.to_propose(means.pool)
    for run in published[:1]:
        cause = await _cause(means, run, MatchRunPublished)
        with bind_correlation(cause.correlation_id):
            waiting = await match_runs.waiting(means.pool, run.match_run_id, _PROPOSALS)
            if waiting:
                await _propose_all(means, run, waiting)
            else:
                await _end(means, run, FinishMatchRun(), _part(cause, run, "finish"))
            await _shown(means)
    return bool(published)


async def _end(means: Means, run: Row, command: FailMatchRun | FinishMatchRun, envelope: Envelope) -> None:
    """With it the cohort's slot is free again."""
    freeing = FreeMatchRunSlot(match_run_id=run.match_run_id)
    await means.handler.handle(
        Intent(MATCH_RUN, run.match_run_id, command),
        Intent(MATCH_RUN_SLOT, slot_id(run.cohort_id), freeing),
        envelope=envelope,
    )


async def _propose_all(means: Means, run: Row, waiting: Sequence[PairRow]) -> None:
    cause = await _cause(means, run, MatchRunPublished)
    slots = asyncio.Semaphore(_AT_ONCE)

    async def one(row: PairRow) -> None:
        async with slots:
            await _propose(means, run, row, cause)

    async with asyncio.TaskGroup() as group:
        for row in waiting:
            group.create_task(one(row))


async def _propose(means: Means, run: Row, row: PairRow, cause: Envelope) -> None:
    """Proposes a pair, or says why not: its rules, its places or its cohort are no longer what they were."""
    proposing = _part(cause, run, f"propose {row.pair_id}")
    try:
        await commands.propose_pair(
            means,
            row.pair_id,
            proposing,
            cohort_id=run.cohort_id,
            mentor_id=row.mentor_id,
            mentee_id=row.mentee_id,
            match_run_id=run.match_run_id,
        )
    except StandingChanged:
        raise Unavailable from None
    except DomainError as refusal:
        # What was proposed before a crash is proposed, whatever would be said to it today.
        if await means.handler.repeated(proposing) is None:
            skipping = SkipProposal(pair_id=row.pair_id, reason=refusal.slug)
            await means.handler.send(run.match_run_id, skipping, _part(cause, run, f"skip {row.pair_id}"))


async def _shown(means: Means) -> None:
    """Waits until the read model shows what was just done, so that the next step does not begin with it again."""
    await caught_up(means.pool, match_runs.name)


async def _cause(means: Means, run: Row, event: type[MatchRunEvent]) -> Envelope:
    """Where all commands of a step come from, which `_part` makes of it: the event that the step takes up."""
    return await means.store.following(run.match_run_id, event, run.match_run_id)


def _part(cause: Envelope, run: Row, name: str) -> Envelope:
    return replace(cause, command_id=uuid5(run.match_run_id, name))
