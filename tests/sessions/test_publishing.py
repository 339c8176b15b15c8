"""What is stored stays readable, what leaves is what was promised, and what comes in becomes what it should."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.sessions.test_cadence import (
    ADA,
    BOOKED,
    CANCELLED,
    EXAMPLES,
    NOON,
    ONE,
    OPENED,
    PAIR,
    PLAN,
    PROGRAMME,
    WEEK,
    said,
)
from tests.sessions.world import consumed
from upwell_sessions.aggregates import COMMANDS, EVENTS
from upwell_sessions.domain.cadence import (
    CadenceEvent,
    CloseCadence,
    ExtendCadence,
    OpenCadence,
    PauseCadence,
    ResumeCadence,
    SessionCancelled,
    SessionMissed,
    Side,
    SideMissed,
    Word,
    cadence,
    cadence_id,
)
from upwell_sessions.publishing import publishing
from upwell_sessions.reactions import follow_the_pair, forget_the_erased
from upwell_shared.contracts import matching
from upwell_shared.contracts import sessions as told
from upwell_shared.contracts.directory import PersonErased, PersonLeft
from upwell_shared.contracts.erasure import PersonErasureAcknowledged
from upwell_shared.contracts.shipped import faults
from upwell_shared.erasing import AcknowledgeErasure, ErasureAcknowledged
from upwell_shared.events import Envelope
from upwell_shared.testing import check_golden_files
from upwell_shared.todos import Send

STREAM = cadence_id(PAIR)
ABOUT: Any = {"session_id": ONE, "pair_id": PAIR, "programme_id": PROGRAMME}


def told_of(*events: Any) -> list[Any]:
    """What is published of the last of these events."""
    return list(
        publishing(STREAM, events[-1], cadence.fold(e for e in events if isinstance(e, CadenceEvent)))
    )


def line(side: Side, commitment: told.Commitment) -> told.CommitmentRecorded:
    return told.CommitmentRecorded(**ABOUT, side=side.value, commitment=commitment)


def test_every_stored_event_is_written_as_it_always_was() -> None:
    check_golden_files(
        EVENTS, Path(__file__).parent / "golden", [*EXAMPLES, ErasureAcknowledged(person_id=ADA)]
    )


def test_the_contract_may_be_released_and_nothing_it_promises_goes_untold() -> None:
    assert faults(told.CONTRACT) == []
    every = [*EXAMPLES, ErasureAcknowledged(person_id=ADA)]
    published = {type(each) for event in every for each in told_of(OPENED, BOOKED, event)}
    assert published == {*told.CONTRACT.classes.values()}


def test_a_cadence_is_told_without_who_the_two_are() -> None:
    assert told_of(OPENED) == [
        told.CadenceOpened(
            cadence_id=STREAM,
            pair_id=PAIR,
            programme_id=PROGRAMME,
            sessions=PLAN.sessions,
            days_between=PLAN.days_between,
            minutes=PLAN.minutes,
        )
    ]


def test_what_a_side_does_is_told_to_all_without_the_side_and_to_us_with_it() -> None:
    moved, by_nobody = EXAMPLES[5], SessionCancelled(session_id=ONE, by=None)
    assert told_of(OPENED, BOOKED) == [
        told.SessionScheduled(**ABOUT, number=1, starts_at=NOON, minutes=45),
        line(Side.MENTOR, "booked"),
    ]
    assert told_of(OPENED, BOOKED, moved) == [
        told.SessionRescheduled(**ABOUT, starts_at=NOON + WEEK, minutes=60),
        line(Side.MENTEE, "moved"),
    ]
    assert told_of(OPENED, BOOKED, CANCELLED) == [
        told.SessionCancelled(**ABOUT),
        line(Side.MENTEE, "cancelled"),
    ]
    assert told_of(OPENED, BOOKED, by_nobody) == [told.SessionCancelled(**ABOUT)]


@pytest.mark.parametrize("word", Word)
def test_what_a_side_says_is_a_line_of_its_ledger(word: Word) -> None:
    commitment: told.Commitment = "said_held" if word is Word.HELD else "said_missed"
    assert told_of(OPENED, BOOKED, said(Side.MENTEE, word)) == [line(Side.MENTEE, commitment)]


def test_what_became_of_a_session_is_told() -> None:
    kinds = {type(event).__name__: event for event in EXAMPLES}
    for name in ("SessionHeld", "SessionMissed", "SessionUnconfirmed", "SessionDisputed"):
        assert told_of(OPENED, BOOKED, kinds[name]) == [getattr(told, name)(**ABOUT)]
    missed = SideMissed(session_id=ONE, side=Side.MENTEE)
    assert told_of(OPENED, BOOKED, SessionMissed(session_id=ONE), missed) == [line(Side.MENTEE, "missed")]


@pytest.mark.parametrize("number", [1, 2, 3, 12, 13, 15], ids=lambda number: type(EXAMPLES[number]).__name__)
def test_what_concerns_nobody_else_is_not_told(number: int) -> None:
    assert told_of(OPENED, BOOKED, EXAMPLES[number]) == []


def test_a_receipt_is_told() -> None:
    given = ErasureAcknowledged(person_id=ADA)
    assert list(publishing(uuid4(), given, state=True)) == [
        PersonErasureAcknowledged(person_id=ADA, service="sessions")
    ]


def test_all_that_is_told_keeps_its_contract() -> None:
    envelope = Envelope(command_id=uuid4(), correlation_id=uuid4())
    for count in range(1, len(EXAMPLES) + 1):
        published = [
            told.CONTRACT.publish(
                event,
                source_event_id=uuid4(),
                stream_id=STREAM,
                sequence=1,
                recorded_at=datetime.now(UTC),
                envelope=envelope,
            )
            for event in told_of(OPENED, BOOKED, *EXAMPLES[:count])
        ]
        assert len({each.type for each in published}) == len(published)


PROGRAMME_OF: Any = {"pair_id": PAIR, "programme_id": PROGRAMME}


@pytest.mark.parametrize(
    ("event", "command"),
    [
        (matching.PairPaused(**PROGRAMME_OF), PauseCadence()),
        (matching.PairResumed(**PROGRAMME_OF), ResumeCadence()),
        (
            matching.PairExtended(**PROGRAMME_OF, sessions=8, ends_on=PLAN.ends_on),
            ExtendCadence(sessions=8, ends_on=PLAN.ends_on),
        ),
        (
            matching.PairCreated(
                **PROGRAMME_OF,
                cohort_id=uuid4(),
                mentor_id=PLAN.mentor_id,
                mentor_unit_id=uuid4(),
                mentor_organisation_id=uuid4(),
                mentee_id=PLAN.mentee_id,
                mentee_unit_id=uuid4(),
                mentee_organisation_id=uuid4(),
                sessions=PLAN.sessions,
                days_between=PLAN.days_between,
                minutes=PLAN.minutes,
                ends_on=PLAN.ends_on,
            ),
            OpenCadence(plan=PLAN),
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_cadence_follows_its_pair(event: Any, command: object) -> None:
    assert [*follow_the_pair(consumed("matching", event))] == [Send(STREAM, command)]
    assert COMMANDS.encode(command)


@pytest.mark.parametrize("ended", [matching.PairEnded, matching.PairCompleted])
def test_it_ends_with_its_pair_at_the_time_this_is_carried_out(ended: Any) -> None:
    event = consumed("matching", ended(**PROGRAMME_OF))
    assert [*follow_the_pair(event)] == [Send(STREAM, CloseCadence(now=event.recorded_at))]


def test_what_else_is_told_of_a_pair_or_a_person_changes_nothing_here() -> None:
    declined = matching.PairDeclined(**PROGRAMME_OF, side="mentor", reason="no_time")
    left = PersonLeft(person_id=ADA, organisation_id=UUID(int=1), unit_id=UUID(int=2))
    for owner, event in (("matching", declined), ("directory", left)):
        heard = consumed(owner, event)
        assert [*follow_the_pair(heard), *forget_the_erased(heard)] == []


def test_an_erasure_asks_for_the_receipt() -> None:
    heard = consumed("directory", PersonErased(person_id=ADA, organisation_id=UUID(int=1)))
    ((_, command),) = [(send.stream_id, send.command) for send in forget_the_erased(heard)]
    assert command == AcknowledgeErasure(person_id=ADA)
