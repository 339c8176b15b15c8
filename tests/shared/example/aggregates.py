"""Kinds of streams, and the bytes of their events and commands."""

from tests.shared.example.domain.booking import BookingCommand, BookingEvent, booking
from tests.shared.example.domain.room import RoomCommand, RoomEvent, room
from upwell_shared.events import EventCodec
from upwell_shared.handling import Aggregate

ROOM = Aggregate("room", room, RoomCommand)
BOOKING = Aggregate("booking", booking, BookingCommand)
AGGREGATES = (ROOM, BOOKING)
EVENTS = EventCodec(RoomEvent, BookingEvent)
COMMANDS = EventCodec(RoomCommand, BookingCommand)
