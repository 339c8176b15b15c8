"""Kinds of streams, and the bytes of their events and commands."""

from typing import Any

from upwell_feedback.domain.question_set import QuestionSetCommand, QuestionSetEvent, question_set
from upwell_feedback.domain.reflections import (
    PairReflectionsCommand,
    PairReflectionsEvent,
    pair_reflections,
)
from upwell_shared.erasing import RECEIPT, ErasureCommand, ErasureEvent
from upwell_shared.events import EventCodec, Upcaster
from upwell_shared.handling import Aggregate

QUESTION_SET = Aggregate("question_set", question_set, QuestionSetCommand)
PAIR_REFLECTIONS = Aggregate("pair_reflections", pair_reflections, PairReflectionsCommand)
AGGREGATES = (QUESTION_SET, PAIR_REFLECTIONS, RECEIPT)


def _when_is_not_known(field: str) -> Upcaster:
    """Of events from before it was kept when a session was held, or when a pair ended."""
    return lambda data: {**data, field: None}


def _when_it_was_promised(field: str) -> Upcaster:
    """Of to-dos from before: their `now` is the time of the fact they follow from."""

    def raised(data: dict[str, Any]) -> dict[str, Any]:
        return {**data, field: data["now"]}

    return raised


EVENTS = EventCodec(
    QuestionSetEvent,
    PairReflectionsEvent,
    ErasureEvent,
    upcasters={
        ("SessionCounted", 1): _when_is_not_known("held_at"),
        ("ReflectionsClosed", 1): _when_is_not_known("ended_at"),
    },
)
COMMANDS = EventCodec(
    QuestionSetCommand,
    PairReflectionsCommand,
    ErasureCommand,
    upcasters={
        ("CountSession", 1): _when_it_was_promised("held_at"),
        ("CloseReflections", 1): _when_it_was_promised("ended_at"),
    },
)
