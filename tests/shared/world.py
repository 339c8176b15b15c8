"""What the suites of the core have in common: a time, someone who asks, and a look at what is there."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import asyncpg

from tests.shared.example.app import BOOKING, EVENTS, ROOM
from tests.shared.example.domain.booking import ConfirmBooking, RequestBooking
from tests.shared.example.domain.room import OpenRoom, TakeSeat
from upwell_shared.events import START, Envelope, Recorded
from upwell_shared.handling import Handler, Intent, Outcome
from upwell_shared.tail import events_after

NOW = datetime(2026, 3, 2, 9, tzinfo=UTC)


def asked(command_id: UUID | None = None) -> Envelope:
    """The envelope of a command somebody asks for, with an id of its own unless one is given."""
    return Envelope(command_id=command_id or uuid4(), correlation_id=uuid4())


async def all_events(pool: asyncpg.Pool) -> Sequence[Recorded[Any]]:
    async with pool.acquire() as connection:
        return await events_after(connection, EVENTS, START, 100_000)


async def open_room(handler: Handler, seats: int) -> UUID:
    room_id = uuid4()
    await handler.handle(Intent(ROOM, room_id, OpenRoom(seats=seats)), envelope=asked())
    return room_id


async def request_booking(handler: Handler, room_id: UUID) -> UUID:
    booking_id = uuid4()
    await handler.handle(
        Intent(BOOKING, booking_id, RequestBooking(room_id=room_id, now=NOW)), envelope=asked()
    )
    return booking_id


async def confirm(
    handler: Handler, booking_id: UUID, room_id: UUID, envelope: Envelope | None = None
) -> Outcome:
    """The booking is confirmed and takes its seat, or neither."""
    return await handler.handle(
        Intent(BOOKING, booking_id, ConfirmBooking(now=NOW)),
        Intent(ROOM, room_id, TakeSeat(booking_id=booking_id)),
        envelope=envelope or asked(),
    )
