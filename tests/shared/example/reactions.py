"""Published event → own command: the one door in."""

from collections.abc import Iterable

from tests.shared.example.contract import BookingEnded
from tests.shared.example.domain.room import FreeSeat
from upwell_shared.contracts import Consumed
from upwell_shared.todos import Send


def free_the_seat(consumed: Consumed) -> Iterable[Send]:
    """Whenever a booking ended, its room frees the seat."""
    if isinstance(consumed.event, BookingEnded):
        yield Send(consumed.event.room_id, FreeSeat(booking_id=consumed.event.booking_id))
