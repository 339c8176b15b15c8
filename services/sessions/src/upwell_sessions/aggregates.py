"""Kinds of streams, and the bytes of their events and commands."""

from upwell_sessions.domain.cadence import CadenceCommand, CadenceEvent, cadence
from upwell_shared.erasing import RECEIPT, ErasureCommand, ErasureEvent
from upwell_shared.events import EventCodec
from upwell_shared.handling import Aggregate

CADENCE = Aggregate("cadence", cadence, CadenceCommand)
AGGREGATES = (CADENCE, RECEIPT)
EVENTS = EventCodec(CadenceEvent, ErasureEvent)
COMMANDS = EventCodec(CadenceCommand, ErasureCommand)
