"""A match run's life, and the one slot of its cohort."""

from typing import Any, get_args
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upwell_matching.aggregates import EVENTS
from upwell_matching.domain.eligibility import Measure, Rules
from upwell_matching.domain.enrolment import Side
from upwell_matching.domain.match_run import (
    Discarded,
    DiscardMatchRun,
    DraftedPair,
    DraftMatchRun,
    FailMatchRun,
    FinishMatchRun,
    LeftOver,
    MatchRunAlreadyStarted,
    MatchRunDiscarded,
    MatchRunDrafted,
    MatchRunEvent,
    MatchRunFailed,
    MatchRunFinished,
    MatchRunIsDiscarded,
    MatchRunIsPublished,
    MatchRunPublished,
    MatchRunStarted,
    MatchRunStillRunning,
    MatchRunUnderWay,
    Obstacle,
    PairsDrafted,
    PeopleLeftOver,
    ProposalSkipped,
    PublishMatchRun,
    SkipProposal,
    StartMatchRun,
    UnknownMatchRun,
    drafted_pair_id,
    match_run,
)
from upwell_matching.domain.match_run_slot import (
    FreeMatchRunSlot,
    MatchRunSlotFreed,
    MatchRunSlotTaken,
    TakeMatchRunSlot,
    match_run_slot,
)
from upwell_shared.decider import DomainError
from upwell_shared.events import MAX_EVENT_BYTES
from upwell_shared.testing import Given

RUN, OTHER, PROGRAMME, COHORT, ADA, BEN, CLEO, CODE = (UUID(int=n) for n in range(1, 9))
RULES = Rules(measure=Measure.GRADE, gap=2)
START = StartMatchRun(programme_id=PROGRAMME, cohort_id=COHORT, rules=RULES, seed=7)
STARTED = MatchRunStarted(programme_id=PROGRAMME, cohort_id=COHORT, rules=RULES, seed=7)
PAIR = DraftedPair(
    pair_id=drafted_pair_id(RUN, ADA, BEN),
    mentor_id=ADA,
    mentee_id=BEN,
    score=4,
    topics=(CODE,),
    returned=(),
)
LEFT = LeftOver(person_id=CLEO, side=Side.MENTEE, obstacles=(Obstacle(reason="places", people=1),))
DRAFT = DraftMatchRun(pairs=(PAIR,), left_over=(LEFT,))
DRAFTED = (
    STARTED,
    PairsDrafted(pairs=(PAIR,)),
    PeopleLeftOver(people=(LEFT,)),
    MatchRunDrafted(pairs=1, left_over=1, score=4),
)
PUBLISHED = (*DRAFTED, MatchRunPublished(pairs=1))

given_run, given_slot = Given(match_run), Given(match_run_slot)


def test_it_is_started_drafted_published_and_finished() -> None:
    given_run().when(START, DRAFT, PublishMatchRun(), FinishMatchRun()).then(
        *PUBLISHED, MatchRunFinished(proposed=1, skipped=0)
    )


def test_what_is_done_again_is_done_once() -> None:
    given_run(*DRAFTED).when(DRAFT).then()
    given_run(*PUBLISHED).when(PublishMatchRun()).then()
    given_run(*PUBLISHED, MatchRunFinished(proposed=1, skipped=0)).when(FinishMatchRun()).then()
    given_run(STARTED, MatchRunDiscarded()).when(DiscardMatchRun(), FailMatchRun(), DRAFT).then()
    skip = SkipProposal(pair_id=PAIR.pair_id, reason="not-inverted")
    given_run(*PUBLISHED).when(skip, skip, FinishMatchRun()).then(
        ProposalSkipped(pair_id=PAIR.pair_id, reason="not-inverted"), MatchRunFinished(proposed=0, skipped=1)
    )
    given_run(*PUBLISHED).when(SkipProposal(pair_id=OTHER, reason="not-inverted")).then()


def test_a_draft_or_a_run_is_discarded_and_what_is_published_is_not() -> None:
    given_run(STARTED).when(DiscardMatchRun()).then(MatchRunDiscarded())
    given_run(*DRAFTED).when(DiscardMatchRun()).then(MatchRunDiscarded())
    given_run(*PUBLISHED).when(DiscardMatchRun()).then_refused(MatchRunIsPublished)


def test_only_a_draft_is_published() -> None:
    given_run(STARTED).when(PublishMatchRun()).then_refused(MatchRunStillRunning)
    given_run(*DRAFTED, MatchRunDiscarded()).when(PublishMatchRun()).then_refused(MatchRunIsDiscarded)
    given_run(STARTED).when(FailMatchRun(), PublishMatchRun()).then_refused(MatchRunIsDiscarded)
    given_run(STARTED).when(FailMatchRun(), FailMatchRun()).then(MatchRunFailed())
    given_run(*DRAFTED).when(FailMatchRun(), FinishMatchRun()).then()


@pytest.mark.parametrize(
    "command",
    [
        DRAFT,
        PublishMatchRun(),
        DiscardMatchRun(),
        FailMatchRun(),
        SkipProposal(pair_id=PAIR.pair_id, reason="x"),
        FinishMatchRun(),
    ],
    ids=lambda command: type(command).__name__,
)
def test_nothing_is_known_of_a_run_that_was_not_started(command: Any) -> None:
    given_run().when(command).then_refused(UnknownMatchRun)


def test_it_is_started_once() -> None:
    given_run(STARTED).when(START).then_refused(MatchRunAlreadyStarted)


def test_a_large_draft_is_told_in_events_that_a_store_accepts() -> None:
    topics = tuple(UUID(int=1_000 + n) for n in range(200))
    pairs = tuple(
        DraftedPair(
            pair_id=UUID(int=10_000 + n),
            mentor_id=ADA,
            mentee_id=BEN,
            score=1,
            topics=topics,
            returned=topics,
        )
        for n in range(100)
    )
    people = tuple(
        LeftOver(
            person_id=UUID(int=20_000 + n),
            side=Side.MENTOR,
            obstacles=tuple(Obstacle(reason="independence", people=100_000) for _ in range(6)),
        )
        for n in range(3_000)
    )
    events = match_run.decide(DraftMatchRun(pairs=pairs, left_over=people), match_run.fold([STARTED]))
    assert max(len(EVENTS.encode(event).data) for event in events) < MAX_EVENT_BYTES / 2
    assert [pair for event in events if isinstance(event, PairsDrafted) for pair in event.pairs] == [*pairs]
    assert [one for event in events if isinstance(event, PeopleLeftOver) for one in event.people] == [*people]
    assert events[-1] == MatchRunDrafted(pairs=100, left_over=3_000, score=100)
    empty = match_run.decide(DraftMatchRun(pairs=(), left_over=()), match_run.fold([STARTED]))
    assert empty == [MatchRunDrafted(pairs=0, left_over=0, score=0)]


def test_a_slot_is_held_by_one_run_until_that_one_frees_it() -> None:
    take, taken = TakeMatchRunSlot(match_run_id=RUN), MatchRunSlotTaken(match_run_id=RUN)
    given_slot().when(take, take).then(taken)
    given_slot(taken).when(TakeMatchRunSlot(match_run_id=OTHER)).then_refused(MatchRunUnderWay)
    given_slot(taken).when(FreeMatchRunSlot(match_run_id=OTHER)).then()
    given_slot(taken).when(FreeMatchRunSlot(match_run_id=RUN), TakeMatchRunSlot(match_run_id=OTHER)).then(
        MatchRunSlotFreed(match_run_id=RUN), MatchRunSlotTaken(match_run_id=OTHER)
    )
    given_slot().when(FreeMatchRunSlot(match_run_id=RUN)).then()


EXAMPLES = (
    *PUBLISHED,
    MatchRunDiscarded(),
    MatchRunFailed(),
    ProposalSkipped(pair_id=PAIR.pair_id, reason="not-inverted"),
    MatchRunFinished(proposed=1, skipped=0),
)
commands = st.sampled_from(
    [
        START,
        DRAFT,
        PublishMatchRun(),
        DiscardMatchRun(),
        FailMatchRun(),
        SkipProposal(pair_id=PAIR.pair_id, reason="not-inverted"),
        FinishMatchRun(),
    ]
)


@given(st.lists(commands, max_size=12))
def test_no_order_of_commands_publishes_what_was_discarded_or_no_draft(asked: list[Any]) -> None:
    history: list[Any] = []
    for command in asked:
        try:
            history += match_run.decide(command, match_run.fold(history))
        except DomainError:
            continue
    kinds = [type(event) for event in history]
    assert len(kinds) == len({*kinds})
    if MatchRunPublished in kinds:
        assert MatchRunDrafted in kinds[: kinds.index(MatchRunPublished)]
        assert {MatchRunDiscarded, MatchRunFailed}.isdisjoint(kinds)
    if isinstance(match_run.fold(history), Discarded):
        assert kinds[-1] in {MatchRunDiscarded, MatchRunFailed}


@given(st.lists(st.sampled_from(EXAMPLES), max_size=12))
def test_every_history_folds_even_one_that_cannot_be(events: list[Any]) -> None:
    match_run.fold(events)


def test_there_is_an_example_of_every_event() -> None:
    assert {type(event) for event in EXAMPLES} == set(get_args(MatchRunEvent))
