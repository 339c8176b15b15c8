"""Kinds of streams, and the bytes of their events and commands."""

from upwell_feedback.domain.question_set import QuestionSetCommand, QuestionSetEvent, question_set
from upwell_feedback.domain.reflections import (
    PairReflectionsCommand,
    PairReflectionsEvent,
    pair_reflections,
)
from upwell_shared.erasing import RECEIPT, ErasureCommand, ErasureEvent
from upwell_shared.events import EventCodec
from upwell_shared.handling import Aggregate

QUESTION_SET = Aggregate("question_set", question_set, QuestionSetCommand)
PAIR_REFLECTIONS = Aggregate("pair_reflections", pair_reflections, PairReflectionsCommand)
AGGREGATES = (QUESTION_SET, PAIR_REFLECTIONS, RECEIPT)
EVENTS = EventCodec(QuestionSetEvent, PairReflectionsEvent, ErasureEvent)
COMMANDS = EventCodec(QuestionSetCommand, PairReflectionsCommand, ErasureCommand)
