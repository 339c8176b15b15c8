"""What is stored stays readable, and what leaves is what was promised."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.matching.test_enrolment import ENROLMENT_EXAMPLES, SUBMITTED, WITHDRAWN
from tests.matching.test_pair import (
    ACME,
    ADA,
    ASKED_TO_REST,
    BEN,
    COMPLETED,
    DECLINED,
    ENDED,
    FIRST,
    MENTOR_ACCEPTED,
    OPEN,
    PAIR_EXAMPLES,
    PLAN,
    PROPOSED,
    REMIND_AT,
    REPLY_BY,
    SALES,
    TRADE,
    UPWARD,
)
from tests.matching.test_programme import COHORT_EXAMPLES, PROGRAMME_EXAMPLES
from upwell_matching import publishing as door
from upwell_matching.aggregates import EVENTS
from upwell_matching.domain.cohort import cohort
from upwell_matching.domain.enrolment import SettleWithdrawal, enrolment
from upwell_matching.domain.pair import (
    Actor,
    Cause,
    ExpireProposal,
    PairExtended,
    PairProposalExpired,
    PairProposalWithdrawn,
    PairReplyReminded,
    PairResumed,
    PairRuleBreached,
    PairRuleRestored,
    PauseCauseAdded,
    PauseCauseRemoved,
    RemindPair,
    WithdrawalReason,
    pair,
)
from upwell_matching.domain.programme import programme
from upwell_matching.timing import timing
from upwell_shared import erasing
from upwell_shared.contracts import matching as told
from upwell_shared.contracts.erasure import PersonErasureAcknowledged
from upwell_shared.contracts.shipped import faults
from upwell_shared.decider import Decider
from upwell_shared.events import Envelope, Position, Recorded
from upwell_shared.testing import check_golden_files, unpublished
from upwell_shared.timers import ClearTimer, SetTimer

PAIR, PROGRAMME, COHORT, ENROLMENT = (UUID(int=n) for n in range(501, 505))
OF_PAIR: Any = {"pair_id": PAIR, "programme_id": UPWARD}
HISTORIES: list[tuple[Decider[Any, Any, Any], UUID, tuple[Any, ...]]] = [
    (programme, PROGRAMME, PROGRAMME_EXAMPLES),
    (cohort, COHORT, COHORT_EXAMPLES),
    (enrolment, ENROLMENT, ENROLMENT_EXAMPLES),
    *((pair, PAIR, events) for events in PAIR_EXAMPLES),
]


def told_of(decider: Any, stream_id: UUID, *events: Any) -> list[Any]:
    """What the last of these events tells others."""
    return [*door.publishing(stream_id, events[-1], decider.fold(events))]


def test_the_contract_is_fit_to_be_released() -> None:
    assert faults(told.CONTRACT) == []


def test_all_that_the_contract_promises_is_published() -> None:
    assert unpublished(told.CONTRACT, door) == []


def test_every_event_stays_readable() -> None:
    check_golden_files(EVENTS, Path(__file__).parent / "golden")


def test_programmes_and_cohorts_are_told_without_names_and_rules() -> None:
    assert told_of(programme, PROGRAMME, *PROGRAMME_EXAMPLES[:1]) == [
        told.ProgrammeOpened(programme_id=PROGRAMME, unit_ids=[UUID(int=1), UUID(int=2)])
    ]
    for last in range(2, len(PROGRAMME_EXAMPLES)):
        assert told_of(programme, PROGRAMME, *PROGRAMME_EXAMPLES[:last]) == []
    assert told_of(programme, PROGRAMME, *PROGRAMME_EXAMPLES) == [
        told.ProgrammeClosed(programme_id=PROGRAMME)
    ]
    opened = COHORT_EXAMPLES[0]
    assert told_of(cohort, COHORT, opened) == [
        told.CohortOpened(
            cohort_id=COHORT,
            programme_id=opened.programme_id,
            starts_on=opened.starts_on,
            ends_on=opened.ends_on,
        )
    ]
    assert told_of(cohort, COHORT, *COHORT_EXAMPLES) == [
        told.CohortClosed(cohort_id=COHORT, programme_id=opened.programme_id)
    ]


def test_an_enrolment_is_told_without_its_wishes() -> None:
    about: Any = {
        "enrolment_id": ENROLMENT,
        "programme_id": SUBMITTED.programme_id,
        "cohort_id": SUBMITTED.cohort_id,
        "person_id": SUBMITTED.person_id,
    }
    assert told_of(enrolment, ENROLMENT, SUBMITTED) == [
        told.EnrolmentSubmitted(
            **about,
            organisation_id=SUBMITTED.organisation_id,
            unit_id=SUBMITTED.unit_id,
            role="mentor",
        )
    ]
    assert told_of(enrolment, ENROLMENT, SUBMITTED, WITHDRAWN) == [told.EnrolmentWithdrawn(**about)]


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        (
            (PROPOSED,),
            [told.PairProposed(**OF_PAIR, cohort_id=FIRST, mentor_id=ADA, mentee_id=BEN, reply_by=REPLY_BY)],
        ),
        ((PROPOSED, MENTOR_ACCEPTED), [told.PairAccepted(**OF_PAIR, side="mentor")]),
        (
            OPEN,
            [
                told.PairCreated(
                    **OF_PAIR,
                    cohort_id=FIRST,
                    mentor_id=ADA,
                    mentor_unit_id=SALES,
                    mentor_organisation_id=ACME,
                    mentee_id=BEN,
                    mentee_unit_id=TRADE,
                    mentee_organisation_id=ACME,
                    sessions=PLAN.sessions,
                    days_between=PLAN.days_between,
                    minutes=PLAN.minutes,
                    ends_on=PLAN.ends_on,
                )
            ],
        ),
        ((PROPOSED, PairReplyReminded()), [told.PairReplyReminded(**OF_PAIR)]),
        ((PROPOSED, DECLINED), [told.PairDeclined(**OF_PAIR, side="mentee", reason="no_time")]),
        ((PROPOSED, PairProposalExpired()), [told.PairProposalExpired(**OF_PAIR)]),
        *(
            (
                (PROPOSED, PairProposalWithdrawn(reason=reason)),
                [told.PairProposalWithdrawn(**OF_PAIR, reason=reason.value)],
            )
            for reason in WithdrawalReason
        ),
        ((*OPEN, ASKED_TO_REST), [told.PairPaused(**OF_PAIR)]),
        ((*OPEN, ASKED_TO_REST, PauseCauseAdded(cause=Cause.LEAVE, by=Actor.UPWELL)), []),
        ((*OPEN, ASKED_TO_REST, PauseCauseRemoved(cause=Cause.LEAVE, by=Actor.UPWELL)), []),
        ((*OPEN, ASKED_TO_REST, PairResumed(by=Actor.MENTOR)), [told.PairResumed(**OF_PAIR)]),
        (
            (*OPEN, PairExtended(sessions=8, ends_on=date(2026, 12, 1))),
            [told.PairExtended(**OF_PAIR, sessions=8, ends_on=date(2026, 12, 1))],
        ),
        ((*OPEN, PairRuleBreached(rule="inversion")), [told.PairRuleBreached(**OF_PAIR, rule="inversion")]),
        (
            (*OPEN, PairRuleBreached(rule="inversion"), PairRuleRestored(rule="inversion")),
            [told.PairRuleRestored(**OF_PAIR, rule="inversion")],
        ),
        ((*OPEN, COMPLETED), [told.PairCompleted(**OF_PAIR)]),
        (
            (*OPEN, ENDED),
            [
                told.PairEnded(**OF_PAIR),
                told.PairEndExplained(**OF_PAIR, by="mentor", reason="not_a_fit", no_fault=True),
            ],
        ),
    ],
    ids=lambda value: type(value[-1]).__name__ if isinstance(value, tuple) else "",
)
def test_what_becomes_of_a_pair_is_told(events: tuple[Any, ...], expected: list[Any]) -> None:
    assert told_of(pair, PAIR, *events) == expected


def test_an_erasure_is_acknowledged_in_the_name_of_this_service() -> None:
    given = erasing.ErasureAcknowledged(person_id=ADA)
    assert [*door.publishing(uuid4(), given, erasing.receipt.fold([given]))] == [
        PersonErasureAcknowledged(person_id=ADA, service="matching")
    ]


@pytest.mark.parametrize(("decider", "stream_id", "events"), HISTORIES)
def test_all_that_is_told_keeps_its_contract(decider: Any, stream_id: UUID, events: tuple[Any, ...]) -> None:
    envelope = Envelope(command_id=uuid4(), correlation_id=uuid4())
    for count in range(1, len(events) + 1):
        for sequence, event in enumerate(told_of(decider, stream_id, *events[:count]), 1):
            told.CONTRACT.publish(
                event,
                source_event_id=uuid4(),
                stream_id=stream_id,
                sequence=sequence,
                recorded_at=datetime.now(UTC),
                envelope=envelope,
            )


def timers_after(stream_id: UUID, *events: Any) -> dict[str, tuple[datetime, object]]:
    """What is set once these have happened, a day apart."""
    found: dict[str, tuple[datetime, object]] = {}
    for number, event in enumerate(events):
        recorded = Recorded(
            stream_id=stream_id,
            version=number + 1,
            event=event,
            event_id=uuid4(),
            at=Position(1, number),
            envelope=Envelope(command_id=uuid4(), correlation_id=uuid4()),
            recorded_at=datetime(2026, 3, 2, tzinfo=UTC) + timedelta(days=number),
        )
        for change in timing(recorded):
            match change:
                case SetTimer(name=name, due_at=due_at, command=command):
                    found[name] = (due_at, command)
                case ClearTimer(name=name):
                    found.pop(name, None)
    return found


def test_a_proposal_has_its_timers_until_it_is_answered() -> None:
    both = {
        "reminder": (REMIND_AT, RemindPair(now=REMIND_AT)),
        "expiry": (REPLY_BY, ExpireProposal(now=REPLY_BY)),
    }
    assert timers_after(PAIR, PROPOSED) == both
    assert timers_after(PAIR, PROPOSED, MENTOR_ACCEPTED) == both
    assert timers_after(PAIR, PROPOSED, PairReplyReminded()) == {"expiry": both["expiry"]}
    for events in PAIR_EXAMPLES:
        assert timers_after(PAIR, *events) == {}


def test_what_follows_of_a_withdrawal_is_due_at_once() -> None:
    at = datetime(2026, 3, 3, tzinfo=UTC)
    assert timers_after(ENROLMENT, SUBMITTED, WITHDRAWN) == {"withdrawal": (at, SettleWithdrawal())}
    assert timers_after(ENROLMENT, *ENROLMENT_EXAMPLES) == {}
