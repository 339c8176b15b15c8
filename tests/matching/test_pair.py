"""A pair, from the proposal to its end."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any, get_args
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upwell_matching.domain.eligibility import Measure, Rules, Standing
from upwell_matching.domain.enrolment import Side
from upwell_matching.domain.pair import (
    AcceptedByBoth,
    AcceptPair,
    Active,
    Actor,
    AlreadyProposed,
    Cause,
    ClosedPair,
    ClosedProposal,
    CompletePair,
    DeclinePair,
    DeclineReason,
    EndPair,
    EndReason,
    ExpireProposal,
    ExtendedTooFar,
    ExtendPair,
    LeavePair,
    MemberAway,
    MemberOnLeave,
    NoPair,
    NotAPairYet,
    NotIndependent,
    NotInverted,
    PairAccepted,
    PairClosed,
    PairCompleted,
    PairCreated,
    PairDeclined,
    PairEnded,
    PairEvent,
    PairExtended,
    PairPaused,
    PairProposalExpired,
    PairProposalWithdrawn,
    PairProposed,
    PairReplyReminded,
    PairResumed,
    PairRuleBreached,
    PairRuleRestored,
    PauseCauseAdded,
    PauseCauseRemoved,
    Paused,
    PausePair,
    Plan,
    PlanIsOver,
    Proposal,
    ProposalClosed,
    ProposePair,
    RecheckPair,
    RemindPair,
    ResumePair,
    ShorterThanBefore,
    Terms,
    UnknownPair,
    Whereabouts,
    WithdrawalReason,
    WithdrawProposal,
    pair,
)
from upwell_shared.decider import DomainError
from upwell_shared.testing import Given

ADA, BEN, CLEO, ACME, SALES, TRADE, UPWARD, FIRST, RUN = (UUID(int=n) for n in range(1, 10))
NOW = datetime(2026, 3, 2, 9, tzinfo=UTC)
REMIND_AT, REPLY_BY = NOW + timedelta(days=7), NOW + timedelta(days=10)
SINCE = date(2020, 1, 1)
JUNIOR = Standing(person_id=ADA, organisation_id=ACME, unit_id=SALES, grade=3, in_role_since=SINCE)
SENIOR = Standing(person_id=BEN, organisation_id=ACME, unit_id=TRADE, grade=9, in_role_since=SINCE)
TERMS = Terms(
    programme_id=UPWARD,
    cohort_id=FIRST,
    mentor_id=ADA,
    mentee_id=BEN,
    rules=Rules(measure=Measure.GRADE, gap=2),
)
PLAN = Plan(sessions=6, days_between=30, minutes=60, ends_on=date(2026, 9, 1))
PROPOSE = ProposePair(
    asked=False,
    terms=TERMS,
    plan=PLAN,
    match_run_id=RUN,
    mentor=JUNIOR,
    mentee=SENIOR,
    reply_by=REPLY_BY,
    remind_at=REMIND_AT,
    now=NOW,
)
PROPOSED = PairProposed(terms=TERMS, plan=PLAN, match_run_id=RUN, reply_by=REPLY_BY, remind_at=REMIND_AT)
ACCEPT = {side: AcceptPair(side=side, mentor=JUNIOR, mentee=SENIOR, now=NOW) for side in Side}
MENTOR_ACCEPTED, MENTEE_ACCEPTED = PairAccepted(side=Side.MENTOR), PairAccepted(side=Side.MENTEE)
CREATED = PairCreated(
    mentor=Whereabouts(organisation_id=ACME, unit_id=SALES),
    mentee=Whereabouts(organisation_id=ACME, unit_id=TRADE),
)
OPEN: tuple[Any, ...] = (PROPOSED, MENTOR_ACCEPTED, MENTEE_ACCEPTED, CREATED)
DECLINED = PairDeclined(side=Side.MENTEE, reason=DeclineReason.NO_TIME)
ASKED_TO_REST = PairPaused(cause=Cause.ASKED, by=Actor.MENTOR)
ON_LEAVE = PairPaused(cause=Cause.LEAVE, by=Actor.UPWELL)
COMPLETED = PairCompleted(by=Actor.MENTEE)
END = EndPair(by=Actor.MENTOR, reason=EndReason.NOT_A_FIT, no_fault=True)
ENDED = PairEnded(by=Actor.MENTOR, reason=EndReason.NOT_A_FIT, no_fault=True)
FINE = RecheckPair(broken=(), gone=False, on_leave=False)
PAIR_EXAMPLES: tuple[tuple[Any, ...], ...] = (
    (
        *OPEN,
        PairRuleBreached(rule="inversion"),
        ASKED_TO_REST,
        PauseCauseAdded(cause=Cause.LEAVE, by=Actor.UPWELL),
        PauseCauseRemoved(cause=Cause.ASKED, by=Actor.MENTOR),
        PairResumed(by=Actor.UPWELL),
        PairRuleRestored(rule="inversion"),
        PairExtended(sessions=8, ends_on=date(2026, 12, 1)),
        COMPLETED,
    ),
    (*OPEN, ENDED),
    (PROPOSED, PairReplyReminded(), PairProposalExpired()),
    (PROPOSED, DECLINED),
    (PROPOSED, PairProposalWithdrawn(reason=WithdrawalReason.BY_COORDINATOR)),
)
CLOSED_PROPOSALS = PAIR_EXAMPLES[2:]
EVERY_COMMAND: tuple[Any, ...] = (
    PROPOSE,
    *ACCEPT.values(),
    replace(ACCEPT[Side.MENTOR], mentee=None),
    DeclinePair(side=Side.MENTOR, reason=DeclineReason.OTHER),
    DeclinePair(side=Side.MENTEE, reason=DeclineReason.NO_TIME),
    RemindPair(now=REMIND_AT),
    ExpireProposal(now=REPLY_BY),
    WithdrawProposal(reason=WithdrawalReason.BY_COORDINATOR),
    PausePair(by=Actor.MENTOR),
    PausePair(by=Actor.COORDINATOR),
    ResumePair(by=Actor.MENTEE),
    ExtendPair(sessions=7, ends_on=date(2026, 10, 1)),
    CompletePair(by=Actor.MENTEE),
    END,
    FINE,
    replace(FINE, broken=("inversion",)),
    replace(FINE, broken=("inversion", "independence"), on_leave=True),
    replace(FINE, on_leave=True),
    replace(FINE, gone=True),
    LeavePair(person_id=ADA),
)

given_pair = Given(pair)


def test_two_people_are_asked_once() -> None:
    given_pair().when(PROPOSE, PROPOSE).then(PROPOSED)
    given_pair().when(replace(PROPOSE, asked=True)).then_refused(AlreadyProposed)
    other = replace(PROPOSE, terms=replace(TERMS, mentee_id=CLEO))
    given_pair(PROPOSED).when(other).then_refused(AlreadyProposed)


def test_what_breaks_a_rule_is_not_proposed() -> None:
    near = replace(SENIOR, grade=4)
    given_pair().when(replace(PROPOSE, mentee=near)).then_refused(NotInverted)
    given_pair().when(replace(PROPOSE, mentor=replace(JUNIOR, line=(CLEO, BEN)))).then_refused(NotIndependent)
    given_pair().when(replace(PROPOSE, now=datetime(2026, 9, 1, tzinfo=UTC))).then_refused(PlanIsOver)


def test_a_pair_is_created_by_the_second_acceptance_whichever_side_it_is() -> None:
    given_pair(PROPOSED).when(ACCEPT[Side.MENTOR]).then(MENTOR_ACCEPTED)
    given_pair(PROPOSED, MENTOR_ACCEPTED).when(ACCEPT[Side.MENTEE]).then(MENTEE_ACCEPTED, CREATED)
    given_pair(PROPOSED, MENTEE_ACCEPTED).when(ACCEPT[Side.MENTOR]).then(MENTOR_ACCEPTED, CREATED)


def test_accepting_twice_is_accepting_once() -> None:
    given_pair(PROPOSED, MENTOR_ACCEPTED).when(ACCEPT[Side.MENTOR]).then()
    for side in Side:
        given_pair(*OPEN).when(ACCEPT[side]).then()
        given_pair(*OPEN, ASKED_TO_REST).when(ACCEPT[side]).then()


@pytest.mark.parametrize("events", CLOSED_PROPOSALS, ids=lambda events: type(events[-1]).__name__)
def test_a_closed_proposal_is_not_accepted(events: tuple[Any, ...]) -> None:
    for side in Side:
        given_pair(*events).when(ACCEPT[side]).then_refused(ProposalClosed)
    assert str(ProposalClosed()) == "This proposal is closed."


def test_rules_are_looked_at_again_when_somebody_accepts() -> None:
    for before in ((PROPOSED,), (PROPOSED, MENTEE_ACCEPTED)):
        accepting = ACCEPT[Side.MENTOR]
        given_pair(*before).when(replace(accepting, mentee=replace(SENIOR, grade=4))).then_refused(
            NotInverted
        )
        reports = replace(JUNIOR, line=(BEN,))
        given_pair(*before).when(replace(accepting, mentor=reports)).then_refused(NotIndependent)
        given_pair(*before).when(replace(accepting, mentor=None)).then_refused(MemberAway)
        given_pair(*before).when(replace(accepting, mentee=None)).then_refused(MemberAway)


def test_a_proposal_lapses_at_its_last_moment_whoever_notices_first() -> None:
    last = REPLY_BY - timedelta(microseconds=1)
    given_pair(PROPOSED).when(replace(ACCEPT[Side.MENTOR], now=last)).then(MENTOR_ACCEPTED)
    given_pair(PROPOSED).when(replace(ACCEPT[Side.MENTOR], now=REPLY_BY)).then_refused(ProposalClosed)
    given_pair(PROPOSED).when(ExpireProposal(now=last)).then()
    given_pair(PROPOSED).when(ExpireProposal(now=REPLY_BY), ExpireProposal(now=REPLY_BY)).then(
        PairProposalExpired()
    )
    given_pair(PROPOSED, MENTOR_ACCEPTED).when(ExpireProposal(now=REPLY_BY)).then(PairProposalExpired())
    given_pair(*OPEN).when(ExpireProposal(now=REPLY_BY)).then()


def test_whoever_has_not_replied_is_reminded_once() -> None:
    remind = RemindPair(now=REMIND_AT)
    given_pair(PROPOSED).when(remind, remind).then(PairReplyReminded())
    given_pair(PROPOSED).when(RemindPair(now=REMIND_AT - timedelta(seconds=1))).then()
    given_pair(*OPEN).when(remind).then()
    given_pair(PROPOSED, DECLINED).when(remind).then()


def test_either_side_declines_until_both_have_accepted() -> None:
    decline = DeclinePair(side=Side.MENTEE, reason=DeclineReason.NO_TIME)
    given_pair(PROPOSED).when(decline, decline).then(DECLINED)
    given_pair(PROPOSED, MENTEE_ACCEPTED).when(decline).then(DECLINED)
    given_pair(PROPOSED, DECLINED).when(replace(decline, side=Side.MENTOR)).then_refused(ProposalClosed)
    given_pair(PROPOSED, PairProposalExpired()).when(decline).then_refused(ProposalClosed)
    given_pair(*OPEN).when(decline).then_refused(AcceptedByBoth)
    given_pair(*OPEN, ENDED).when(decline).then_refused(PairClosed)


def test_the_team_takes_a_proposal_back_and_no_pair() -> None:
    withdraw = WithdrawProposal(reason=WithdrawalReason.BY_COORDINATOR)
    given_pair(PROPOSED).when(withdraw, withdraw).then(
        PairProposalWithdrawn(reason=WithdrawalReason.BY_COORDINATOR)
    )
    given_pair(*OPEN).when(withdraw).then_refused(AcceptedByBoth)
    given_pair(*OPEN, ENDED).when(withdraw).then()


def test_a_pair_rests_and_goes_on() -> None:
    pause, resume = PausePair(by=Actor.MENTOR), ResumePair(by=Actor.COORDINATOR)
    given_pair(*OPEN).when(pause, pause).then(ASKED_TO_REST)
    given_pair(*OPEN, ASKED_TO_REST).when(resume, resume).then(PairResumed(by=Actor.COORDINATOR))


def test_who_asked_for_rest_keeps_it_when_a_leave_ends() -> None:
    away, back = replace(FINE, on_leave=True), FINE
    added = PauseCauseAdded(cause=Cause.LEAVE, by=Actor.UPWELL)
    removed = PauseCauseRemoved(cause=Cause.LEAVE, by=Actor.UPWELL)
    given_pair(*OPEN, ASKED_TO_REST).when(away, away, back, back).then(added, removed)
    asked_too = PauseCauseAdded(cause=Cause.ASKED, by=Actor.MENTOR)
    given_pair(*OPEN, ON_LEAVE).when(PausePair(by=Actor.MENTOR), back).then(asked_too, removed)


def test_a_leave_rests_the_pair_and_nobody_resumes_it_before_it_ends() -> None:
    away, resume = replace(FINE, on_leave=True), ResumePair(by=Actor.MENTEE)
    given_pair(*OPEN).when(away, away).then(ON_LEAVE)
    given_pair(*OPEN, ON_LEAVE).when(resume).then_refused(MemberOnLeave)
    given_pair(*OPEN, ON_LEAVE).when(FINE, FINE).then(PairResumed(by=Actor.UPWELL))
    both = (*OPEN, ON_LEAVE, PauseCauseAdded(cause=Cause.ASKED, by=Actor.MENTOR))
    given_pair(*both).when(resume).then(PauseCauseRemoved(cause=Cause.ASKED, by=Actor.MENTEE))


def test_a_pair_is_extended_and_not_cut_short() -> None:
    extend = ExtendPair(sessions=8, ends_on=date(2026, 12, 1))
    extended = PairExtended(sessions=8, ends_on=date(2026, 12, 1))
    given_pair(*OPEN).when(extend, extend).then(extended)
    for wrong in (
        ExtendPair(sessions=5, ends_on=date(2026, 12, 1)),
        ExtendPair(sessions=61, ends_on=date(2026, 12, 1)),
        ExtendPair(sessions=8, ends_on=date(2026, 8, 31)),
    ):
        given_pair(*OPEN).when(wrong).then_refused(ShorterThanBefore)
    given_pair(*OPEN).when(replace(extend, ends_on=date.max)).then_refused(ExtendedTooFar)


def test_a_pair_is_completed_or_ended_once() -> None:
    complete = CompletePair(by=Actor.MENTEE)
    given_pair(*OPEN).when(complete, complete).then(COMPLETED)
    given_pair(*OPEN, ASKED_TO_REST).when(complete).then(COMPLETED)
    given_pair(*OPEN).when(END).then(ENDED)
    given_pair(*OPEN, ENDED).when(END).then_refused(PairClosed)
    given_pair(*OPEN, ENDED).when(complete).then_refused(PairClosed)
    given_pair(*OPEN, COMPLETED).when(END).then_refused(PairClosed)


def test_what_is_of_a_pair_is_not_of_a_proposal() -> None:
    for command in (
        PausePair(by=Actor.MENTOR),
        ResumePair(by=Actor.MENTOR),
        ExtendPair(sessions=8, ends_on=date(2026, 12, 1)),
        CompletePair(by=Actor.MENTOR),
        END,
    ):
        given_pair(PROPOSED, MENTOR_ACCEPTED).when(command).then_refused(NotAPairYet)
        given_pair(PROPOSED, DECLINED).when(command).then_refused(ProposalClosed)
        given_pair(*OPEN, ENDED).when(command).then_refused(PairClosed)


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (replace(FINE, broken=("inversion",)), WithdrawalReason.RULE_BROKEN),
        (replace(FINE, on_leave=True), WithdrawalReason.ON_LEAVE),
        (replace(FINE, gone=True), WithdrawalReason.LEFT),
        (RecheckPair(broken=("independence",), gone=True, on_leave=True), WithdrawalReason.LEFT),
    ],
    ids=str,
)
def test_a_proposal_that_may_not_be_any_more_is_taken_back(
    found: RecheckPair, reason: WithdrawalReason
) -> None:
    for before in ((PROPOSED,), (PROPOSED, MENTOR_ACCEPTED)):
        given_pair(*before).when(found, found).then(PairProposalWithdrawn(reason=reason))
        given_pair(*before).when(FINE).then()


def test_a_pair_ends_when_a_member_is_gone_and_nobody_is_at_fault() -> None:
    gone = replace(FINE, gone=True, broken=("inversion",))
    left = PairEnded(by=Actor.UPWELL, reason=EndReason.LEFT, no_fault=True)
    given_pair(*OPEN).when(gone, gone).then(left)
    given_pair(*OPEN, ON_LEAVE).when(gone).then(left)


def test_a_broken_rule_is_told_once_and_once_that_it_is_kept_again() -> None:
    inverted, both = replace(FINE, broken=("inversion",)), replace(FINE, broken=("inversion", "independence"))
    breached = PairRuleBreached(rule="inversion")
    also = PairRuleBreached(rule="independence")
    given_pair(*OPEN).when(inverted, inverted, both).then(breached, also)
    given_pair(*OPEN, breached, also).when(inverted, FINE, FINE).then(
        PairRuleRestored(rule="independence"), PairRuleRestored(rule="inversion")
    )
    # The pair stays open and may be ended for it.
    given_pair(*OPEN, breached).when(replace(END, reason=EndReason.RULE_BROKEN)).then(
        replace(ENDED, reason=EndReason.RULE_BROKEN)
    )


def test_whoever_withdraws_leaves_no_proposal_and_no_pair_behind() -> None:
    given_pair(PROPOSED).when(LeavePair(person_id=BEN)).then(
        PairProposalWithdrawn(reason=WithdrawalReason.ENROLMENT_WITHDRAWN)
    )
    for person, by in ((ADA, Actor.MENTOR), (BEN, Actor.MENTEE)):
        leave = LeavePair(person_id=person)
        ended = PairEnded(by=by, reason=EndReason.OTHER, no_fault=True)
        given_pair(*OPEN).when(leave, leave).then(ended)
        given_pair(PROPOSED, DECLINED).when(leave).then()


def test_nothing_is_asked_of_a_pair_that_is_not_there() -> None:
    for command in EVERY_COMMAND[1:]:
        given_pair().when(command).then_refused(UnknownPair)


@given(st.lists(st.sampled_from(EVERY_COMMAND), max_size=30))
def test_no_sequence_of_commands_reaches_an_illegal_state(commands: list[Any]) -> None:
    state: Any = NoPair()
    history: list[Any] = []
    for command in (PROPOSE, *commands):
        before = state
        try:
            events = pair.decide(command, state)
        except DomainError:
            continue
        state = pair.fold(events, state)
        history += events
        if isinstance(before, ClosedProposal | ClosedPair):
            assert events == [], "what is closed stays closed"
        if isinstance(before, Active | Paused):
            assert isinstance(state, Active | Paused | ClosedPair)
        if isinstance(state, Paused):
            assert state.causes
        if isinstance(state, Proposal):
            assert len(state.accepted) < 2
    kinds = [type(event) for event in history]
    for once in (PairProposed, PairCreated, PairDeclined, PairProposalExpired, PairReplyReminded):
        assert kinds.count(once) <= 1
    closing = (PairDeclined, PairProposalExpired, PairProposalWithdrawn, PairCompleted, PairEnded)
    assert sum(kinds.count(kind) for kind in closing) <= 1
    if PairCreated in kinds:
        created = kinds.index(PairCreated)
        sides = [event.side for event in history[:created] if isinstance(event, PairAccepted)]
        assert sorted(sides) == [Side.MENTEE, Side.MENTOR]
    told = 0
    for event in history:
        told += {PairPaused: 1, PairResumed: -1}.get(type(event), 0)
        assert told in {0, 1}, "rest and going on are told in turn"
    broken = dict.fromkeys(("inversion", "independence"), 0)
    for event in history:
        if isinstance(event, PairRuleBreached | PairRuleRestored):
            broken[event.rule] += 1 if isinstance(event, PairRuleBreached) else -1
            assert broken[event.rule] in {0, 1}


@given(st.lists(st.sampled_from(EVERY_COMMAND), max_size=20), st.sampled_from(EVERY_COMMAND))
def test_a_recheck_told_twice_is_told_once(commands: list[Any], last: Any) -> None:
    state: Any = NoPair()
    for command in (PROPOSE, *commands):
        try:
            state = pair.fold(pair.decide(command, state), state)
        except DomainError:
            continue
    if isinstance(last, RecheckPair):
        state = pair.fold(pair.decide(last, state), state)
        assert pair.decide(last, state) == []


def test_the_examples_hold_every_event() -> None:
    told = {type(event) for events in PAIR_EXAMPLES for event in events}
    assert told == set(get_args(PairEvent))
