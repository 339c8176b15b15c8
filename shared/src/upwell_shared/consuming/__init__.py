"""Reading what others publish: effects once, in order within each stream, whatever the log does in between."""

from upwell_shared.consuming.applying import Applied, Applier, Batch, Overtaken
from upwell_shared.consuming.consumer import Consumer, ConsumerSettings
from upwell_shared.consuming.dead_letters import DeadLettersFull, Limits
from upwell_shared.consuming.handlers import (
    ForeignProjection,
    HandlerFailed,
    Handlers,
    Reaction,
    reactions_of,
)
from upwell_shared.consuming.retrier import Retrier
from upwell_shared.consuming.sequencing import Reason, Record

__all__ = [
    "Applied",
    "Applier",
    "Batch",
    "Consumer",
    "ConsumerSettings",
    "DeadLettersFull",
    "ForeignProjection",
    "HandlerFailed",
    "Handlers",
    "Limits",
    "Overtaken",
    "Reaction",
    "Reason",
    "Record",
    "Retrier",
    "reactions_of",
]
