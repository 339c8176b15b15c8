"""Pairs and the places of their members, whatever is asked in whatever order: no capacity is ever exceeded."""

from dataclasses import replace
from itertools import product
from typing import Any
from uuid import UUID

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tests.matching.test_enrolment import CODE, FIRST, SUBMIT
from tests.matching.test_pair import END, FINE, JUNIOR, NOW, PROPOSE, REPLY_BY, SENIOR
from upwell_matching.aggregates import ENROLMENT, PAIR
from upwell_matching.carrying_out import following
from upwell_matching.domain.enrolment import (
    ChangeEnrolment,
    Enrolled,
    EnrolmentCommand,
    NotEnrolled,
    SettleWithdrawal,
    Side,
    WithdrawEnrolment,
    Withdrawn,
    enrolment_id,
)
from upwell_matching.domain.pair import (
    AcceptPair,
    Active,
    Actor,
    CompletePair,
    DeclinePair,
    DeclineReason,
    ExpireProposal,
    LeavePair,
    NoPair,
    PairCommand,
    Paused,
    PausePair,
    WithdrawalReason,
    WithdrawProposal,
)
from upwell_shared.decider import DomainError
from upwell_shared.handling import Intent

MENTORS = [UUID(int=n) for n in (101, 102)]
MENTEES = [UUID(int=n) for n in (201, 202, 203)]
EVERYBODY = [*MENTORS, *MENTEES]
# Two proposals for each two people, since they may be asked again.
PAIRS = {
    UUID(int=1000 + n): who for n, who in enumerate([*product(MENTORS, MENTEES), *product(MENTORS, MENTEES)])
}
TOPICS = frozenset({CODE})


def commands_on_pairs() -> list[PairCommand]:
    return [
        *(AcceptPair(side=side, mentor=JUNIOR, mentee=SENIOR, now=NOW) for side in (*Side, *Side, *Side)),
        DeclinePair(side=Side.MENTEE, reason=DeclineReason.OTHER),
        ExpireProposal(now=REPLY_BY),
        WithdrawProposal(reason=WithdrawalReason.BY_COORDINATOR),
        PausePair(by=Actor.MENTOR),
        CompletePair(by=Actor.MENTEE),
        END,
        FINE,
        replace(FINE, on_leave=True),
        replace(FINE, gone=True),
    ]


class Places(RuleBasedStateMachine):
    """Everything a command touches is written, or nothing: as the handler does it, in memory."""

    def __init__(self) -> None:
        super().__init__()
        self.states: dict[UUID, Any] = {}

    def state(self, intent: Intent) -> Any:
        return self.states.get(intent.stream_id, intent.aggregate.decider.initial)

    def handle(self, *intents: Intent) -> bool:
        try:
            decided = [
                intent.aggregate.decider.decide(intent.command, self.state(intent)) for intent in intents
            ]
        except DomainError:
            return False
        for intent, events in zip(intents, decided, strict=True):
            self.states[intent.stream_id] = intent.aggregate.decider.fold(events, self.state(intent))
        return True

    def on_pair(self, pair_id: UUID, command: PairCommand) -> bool:
        intent = Intent(PAIR, pair_id, command)
        return self.handle(intent, *following(pair_id, command, self.state(intent)))

    def on_enrolment(self, person: UUID, command: EnrolmentCommand) -> bool:
        return self.handle(Intent(ENROLMENT, enrolment_id(FIRST, person), command))

    def enrolment(self, person: UUID) -> Any:
        return self.states.get(enrolment_id(FIRST, person), NotEnrolled())

    @initialize(capacities=st.lists(st.integers(1, 3), min_size=5, max_size=5))
    def enrolled(self, capacities: list[int]) -> None:
        for person, capacity in zip(EVERYBODY, capacities, strict=True):
            self.enrol(person, capacity)

    @rule(person=st.sampled_from(EVERYBODY), capacity=st.integers(1, 3))
    def enrol(self, person: UUID, capacity: int) -> None:
        role = Side.MENTOR if person in MENTORS else Side.MENTEE
        self.on_enrolment(person, replace(SUBMIT, person_id=person, role=role, capacity=capacity))

    @rule(person=st.sampled_from(EVERYBODY), capacity=st.integers(1, 3))
    def change(self, person: UUID, capacity: int) -> None:
        self.on_enrolment(person, ChangeEnrolment(offers=(CODE,), seeks=(), capacity=capacity, topics=TOPICS))

    @rule(person=st.sampled_from(EVERYBODY))
    def withdraw(self, person: UUID) -> None:
        self.on_enrolment(person, WithdrawEnrolment())

    @rule(person=st.sampled_from(EVERYBODY))
    def settle(self, person: UUID) -> None:
        state = self.enrolment(person)
        if isinstance(state, Withdrawn):
            for pair_id, who in PAIRS.items():
                if person in who:
                    self.on_pair(pair_id, LeavePair(person_id=person))
            assert self.on_enrolment(person, SettleWithdrawal()), "nothing is left that holds it up"

    @rule(pair_id=st.sampled_from([*PAIRS]))
    def propose(self, pair_id: UUID) -> None:
        mentor_id, mentee_id = PAIRS[pair_id]
        terms = replace(PROPOSE.terms, cohort_id=FIRST, mentor_id=mentor_id, mentee_id=mentee_id)
        self.on_pair(pair_id, replace(PROPOSE, terms=terms))

    @rule(pair_id=st.sampled_from([*PAIRS]), command=st.sampled_from(commands_on_pairs()))
    def ask(self, pair_id: UUID, command: PairCommand) -> None:
        self.on_pair(pair_id, command)

    @rule(pair_id=st.sampled_from([*PAIRS]))
    def pair_up(self, pair_id: UUID) -> None:
        self.propose(pair_id)
        for side in Side:
            self.on_pair(pair_id, AcceptPair(side=side, mentor=JUNIOR, mentee=SENIOR, now=NOW))

    @invariant()
    def places_are_those_of_open_pairs_and_never_more_than_there_are(self) -> None:
        for person in EVERYBODY:
            state = self.enrolment(person)
            open_pairs = {
                pair_id
                for pair_id, who in PAIRS.items()
                if person in who and isinstance(self.states.get(pair_id, NoPair()), Active | Paused)
            }
            if isinstance(state, NotEnrolled):
                assert not open_pairs
                continue
            assert {*state.partners} == open_pairs
            assert len({*state.partners.values()}) == len(open_pairs), (
                "nobody is paired with the same one twice"
            )
            if isinstance(state, Enrolled):
                assert len(open_pairs) <= state.capacity


Places.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestPlaces = Places.TestCase
