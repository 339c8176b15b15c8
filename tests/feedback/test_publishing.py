"""What is stored stays readable, and what leaves is what was promised."""

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, get_args
from uuid import UUID, uuid4

import pytest

from tests.feedback.test_question_set import EXAMPLES as QUESTION_SET_EXAMPLES
from tests.feedback.test_reflections import (
    ADA,
    BEGUN,
    BEN,
    CLOSED,
    EXAMPLES,
    MINE,
    PAIR,
    PROGRAMME,
    requested,
)
from upwell_feedback.aggregates import EVENTS
from upwell_feedback.domain.question_set import QuestionSetEvent, question_set
from upwell_feedback.domain.reflections import PairReflectionsEvent, pair_reflections
from upwell_feedback.domain.stages import Stage
from upwell_feedback.publishing import publishing
from upwell_shared.contracts import feedback as told
from upwell_shared.contracts.erasure import PersonErasureAcknowledged
from upwell_shared.contracts.shipped import faults
from upwell_shared.erasing import ErasureAcknowledged, receipt
from upwell_shared.events import Envelope
from upwell_shared.testing import check_golden_files

RECEIPT = (ErasureAcknowledged(person_id=ADA),)


def told_of(decider: Any, *events: Any) -> list[Any]:
    """What is published of the last of these events."""
    return list(publishing(uuid4(), events[-1], decider.fold(events)))


def test_every_stored_event_is_written_as_it_always_was() -> None:
    examples = [*QUESTION_SET_EXAMPLES, *EXAMPLES, *RECEIPT]
    check_golden_files(EVENTS, Path(__file__).parent / "golden", examples)
    assert {type(event) for event in QUESTION_SET_EXAMPLES} == set(get_args(QuestionSetEvent))
    assert {type(event) for event in EXAMPLES} == set(get_args(PairReflectionsEvent))


def test_the_contract_may_be_released() -> None:
    assert faults(told.CONTRACT) == []


@pytest.mark.parametrize("person", [ADA, BEN])
@pytest.mark.parametrize("stage", [Stage.START, Stage.AFTER_SESSION, Stage.END])
def test_that_somebody_is_asked_is_told(person: UUID, stage: Stage) -> None:
    asked = requested(person, stage)
    assert told_of(pair_reflections, BEGUN, asked) == [
        told.ReflectionRequested(
            reflection_id=asked.reflection_id,
            pair_id=PAIR,
            programme_id=PROGRAMME,
            person_id=person,
            stage=stage.value,
            due_on=date(2026, 3, 16),
        )
    ]
    # Also of a session that was heard of only after the end.
    assert told_of(pair_reflections, BEGUN, CLOSED, asked) == told_of(pair_reflections, BEGUN, asked)


def test_that_somebody_has_answered_is_told_before_and_after_the_end_and_never_what() -> None:
    submitted = next(n for n, event in enumerate(EXAMPLES) if hasattr(event, "answers"))
    late = (*EXAMPLES[:submitted], *EXAMPLES[submitted + 1 :], EXAMPLES[submitted])
    expected = told.ReflectionSubmitted(
        reflection_id=MINE, pair_id=PAIR, programme_id=PROGRAMME, person_id=ADA, stage="start"
    )
    assert told_of(pair_reflections, *EXAMPLES[: submitted + 1]) == [expected]
    assert told_of(pair_reflections, *late) == [expected]


def test_the_rest_stays_here() -> None:
    silent = [
        type(event).__name__
        for count, event in enumerate(EXAMPLES, 1)
        if not told_of(pair_reflections, *EXAMPLES[:count])
    ]
    assert set(silent) == {"ReflectionsBegun", "SessionCounted", "VisibilityChanged", "ReflectionsClosed"}
    for count in range(1, len(QUESTION_SET_EXAMPLES) + 1):
        assert told_of(question_set, *QUESTION_SET_EXAMPLES[:count]) == []


def test_an_erasure_is_acknowledged() -> None:
    assert told_of(receipt, *RECEIPT) == [PersonErasureAcknowledged(person_id=ADA, service="feedback")]


def test_all_that_is_told_keeps_its_contract_and_nothing_promised_goes_untold() -> None:
    envelope = Envelope(command_id=uuid4(), correlation_id=uuid4())
    kinds: set[type] = set()
    for decider, events in ((pair_reflections, EXAMPLES), (receipt, RECEIPT)):
        for count in range(1, len(events) + 1):
            for sequence, event in enumerate(told_of(decider, *events[:count]), 1):
                kinds.add(type(event))
                told.CONTRACT.publish(
                    event,
                    source_event_id=uuid4(),
                    stream_id=PAIR,
                    sequence=sequence,
                    recorded_at=datetime.now(UTC),
                    envelope=envelope,
                )
    assert kinds == set(told.CONTRACT.classes.values())
