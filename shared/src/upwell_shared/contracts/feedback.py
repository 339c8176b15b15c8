"""What `feedback` publishes: that somebody was asked and has answered, never what."""

from datetime import date
from typing import Literal
from uuid import UUID

from upwell_shared.contracts import Contract, PublishedEvent
from upwell_shared.contracts.erasure import PersonErasureAcknowledged

Stage = Literal["start", "after_session", "middle", "end"]
"""When in the life of a pair a reflection is asked for."""


class ReflectionRequested(PublishedEvent):
    """One of a pair is asked to reflect, until `due_on`; nobody is held to it."""

    reflection_id: UUID
    pair_id: UUID
    programme_id: UUID
    person_id: UUID
    stage: Stage
    due_on: date


class ReflectionSubmitted(PublishedEvent):
    """One of a pair has answered."""

    reflection_id: UUID
    pair_id: UUID
    programme_id: UUID
    person_id: UUID
    stage: Stage


CONTRACT = Contract("feedback", ReflectionRequested, ReflectionSubmitted, PersonErasureAcknowledged)
