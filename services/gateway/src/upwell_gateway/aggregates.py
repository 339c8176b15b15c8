"""Kinds of streams, and the bytes of their events and commands: only the receipts of erasures."""

from upwell_shared.erasing import RECEIPT, ErasureCommand, ErasureEvent
from upwell_shared.events import EventCodec

AGGREGATES = (RECEIPT,)
EVENTS = EventCodec(ErasureEvent)
COMMANDS = EventCodec(ErasureCommand)
