"""What could have happened in matching: random commands, those that no rule refused, all or nothing as the handler does it."""

import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from tests.matching.test_enrolment import CODE, MUSIC, SUBMIT
from tests.matching.test_pair import END, FINE, JUNIOR, NOW, PROPOSE, REMIND_AT, REPLY_BY, SENIOR
from tests.matching.test_programme import DEFAULTS, OPEN, OPEN_COHORT, RULES
from upwell_matching.aggregates import COHORT, ENROLMENT, PAIR, PROGRAMME
from upwell_matching.carrying_out import following
from upwell_matching.domain import cohort, enrolment, pair, programme
from upwell_matching.domain.enrolment import Side, enrolment_id
from upwell_shared.decider import DomainError
from upwell_shared.events import Envelope, Position, Recorded
from upwell_shared.handling import Intent

UPWARD, FIRST = UUID(int=1001), UUID(int=1002)
PEOPLE = [UUID(int=n) for n in range(101, 107)]
PAIRS = [UUID(int=n) for n in range(201, 225)]
BEGAN = datetime(2026, 3, 2, tzinfo=UTC)


class History:
    """Events in the order in which they were recorded, and the states they led to."""

    def __init__(self, seed: int) -> None:
        self.events: list[Recorded[Any]] = []
        self.states: dict[UUID, Any] = {}
        self._chance = random.Random(seed)
        self._versions: dict[UUID, int] = {}
        self.ask(Intent(PROGRAMME, UPWARD, OPEN))
        for topic_id, name in ((CODE, "Code"), (MUSIC, "Music")):
            self.ask(Intent(PROGRAMME, UPWARD, programme.AddTopic(topic_id=topic_id, name=name)))
        self.ask(Intent(COHORT, FIRST, replace(OPEN_COHORT, programme_id=UPWARD)))

    def go_on(self, commands: int) -> "History":
        """So many more random commands."""
        for _ in range(commands):
            chance = self._chance.random()
            if chance < 0.03:
                self._on_programme()
            elif chance < 0.15:
                self._on_enrolment()
            else:
                self._on_pair()
        return self

    def ask(self, *intents: Intent) -> None:
        try:
            decided = [
                intent.aggregate.decider.decide(intent.command, self._state(intent)) for intent in intents
            ]
        except DomainError:
            return
        for intent, events in zip(intents, decided, strict=True):
            self.states[intent.stream_id] = intent.aggregate.decider.fold(events, self._state(intent))
            self._record(intent.stream_id, events)

    def _state(self, intent: Intent) -> Any:
        return self.states.get(intent.stream_id, intent.aggregate.decider.initial)

    def _record(self, stream_id: UUID, events: list[Any]) -> None:
        for event in events:
            version = self._versions[stream_id] = self._versions.get(stream_id, 0) + 1
            self.events.append(
                Recorded(
                    stream_id=stream_id,
                    version=version,
                    event=event,
                    event_id=uuid4(),
                    at=Position(1, len(self.events) + 1),
                    envelope=Envelope(command_id=uuid4(), correlation_id=uuid4()),
                    recorded_at=BEGAN + timedelta(minutes=len(self.events)),
                )
            )

    def _on_programme(self) -> None:
        chance = self._chance
        topic = programme.RenameTopic(topic_id=chance.choice((CODE, MUSIC)), name=chance.choice("ABC"))
        rules = programme.ChangeRules(
            rules=replace(RULES, gap=chance.randint(1, 3)),
            defaults=replace(DEFAULTS, sessions=chance.randint(4, 9)),
        )
        self.ask(Intent(PROGRAMME, UPWARD, chance.choice((topic, rules))))

    def _on_enrolment(self) -> None:
        chance = self._chance
        person = chance.choice(PEOPLE)
        role = Side.MENTOR if person.int % 2 else Side.MENTEE
        capacity = chance.randint(1, 3)
        submit = replace(
            SUBMIT, programme_id=UPWARD, cohort_id=FIRST, person_id=person, role=role, capacity=capacity
        )
        change = enrolment.ChangeEnrolment(
            offers=(), seeks=(MUSIC,), capacity=capacity, topics=frozenset({CODE, MUSIC})
        )
        ending = (enrolment.WithdrawEnrolment(), enrolment.SettleWithdrawal())
        command = chance.choice(ending if chance.random() < 0.1 else (submit, change))
        intent = Intent(ENROLMENT, enrolment_id(FIRST, person), command)
        self.ask(intent, Intent(COHORT, FIRST, cohort.RelyOnCohort()))

    def _on_pair(self) -> None:
        chance = self._chance
        pair_id = chance.choice(PAIRS)
        mentor_id = PEOPLE[2 * (pair_id.int % 3)]
        mentee_id = PEOPLE[2 * (pair_id.int // 3 % 3) + 1]
        terms = replace(
            PROPOSE.terms, programme_id=UPWARD, cohort_id=FIRST, mentor_id=mentor_id, mentee_id=mentee_id
        )
        accept = [pair.AcceptPair(side=side, mentor=JUNIOR, mentee=SENIOR, now=NOW) for side in Side]
        actor = chance.choice([*pair.Actor])
        lasting: list[pair.PairCommand] = [
            replace(PROPOSE, terms=terms),
            *accept,
            *accept,
            pair.RemindPair(now=REMIND_AT),
            pair.PausePair(by=actor),
            pair.ResumePair(by=actor),
            pair.ExtendPair(sessions=chance.randint(6, 9), ends_on=PROPOSE.plan.ends_on),
            FINE,
        ]
        if isinstance(self.states.get(pair_id), pair.Active | pair.Paused):
            lasting += [replace(FINE, broken=("inversion",)), replace(FINE, on_leave=True)]
        closing: list[pair.PairCommand] = [
            pair.DeclinePair(side=Side.MENTEE, reason=pair.DeclineReason.OTHER),
            pair.ExpireProposal(now=REPLY_BY),
            pair.CompletePair(by=actor),
            END,
            pair.LeavePair(person_id=mentor_id),
            replace(FINE, gone=True),
        ]
        command = chance.choice(closing if chance.random() < 0.05 else lasting)
        intent = Intent(PAIR, pair_id, command)
        self.ask(intent, *following(pair_id, command, self._state(intent)))
