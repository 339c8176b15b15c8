"""Domain event → published events: the one door out."""

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from tests.shared.example.contract import BookingAgreed, BookingEnded, BookingLapsed, BookingOpened
from tests.shared.example.domain import booking
from upwell_shared.contracts import PublishedEvent


def publishing(stream_id: UUID, event: Any, state: Any) -> Iterable[PublishedEvent]:
    match event, state:
        case booking.BookingRequested(room_id=room_id), _:
            yield BookingOpened(booking_id=stream_id, room_id=room_id)
        case booking.BookingConfirmed(confirmed_at=confirmed_at), booking.Confirmed(room_id=room_id):
            yield BookingAgreed(booking_id=stream_id, room_id=room_id, confirmed_at=confirmed_at)
        case booking.BookingCancelled(), booking.Closed(room_id=room_id):
            yield BookingEnded(booking_id=stream_id, room_id=room_id)
        case booking.BookingExpired(), booking.Closed(room_id=room_id):
            yield BookingEnded(booking_id=stream_id, room_id=room_id)
            yield BookingLapsed(booking_id=stream_id, room_id=room_id)
