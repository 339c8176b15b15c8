"""What clients ask, and what they are told."""

from dataclasses import dataclass, field
from uuid import NAMESPACE_OID, UUID, uuid5

from tests.shared.example.app import BOOKING, ROOM
from tests.shared.example.domain import booking, room
from tests.shared.model.program import ROOMS, CancelBooking, ConfirmBooking, OpenRoom, RequestBooking, Wish
from upwell_shared.decider import DomainError
from upwell_shared.handling import Intent, Outcome
from upwell_shared.testing import FixedClock


def room_id(number: int) -> UUID:
    return uuid5(NAMESPACE_OID, f"room {number}")


def booking_id(number: int) -> UUID:
    return uuid5(NAMESPACE_OID, f"booking {number}")


@dataclass(eq=False)
class Asked:
    """A command as its client remembers it. `outcome` or `refusal` is what it was told, in the end.

    `before` and `after` are the versions of all streams around the attempt that was answered.
    """

    command_id: UUID
    wish: Wish
    outcome: Outcome | None = None
    refusal: type[DomainError] | None = None
    before: dict[UUID, int] = field(default_factory=dict)
    after: dict[UUID, int] = field(default_factory=dict)

    @property
    def answered(self) -> bool:
        return self.outcome is not None or self.refusal is not None

    @property
    def streams(self) -> set[UUID]:
        match self.wish:
            case OpenRoom(number):
                return {room_id(number)}
            case ConfirmBooking(number):
                return {booking_id(number), room_id(number % ROOMS)}
            case RequestBooking(number) | CancelBooking(number):
                return {booking_id(number)}

    def intents(self, clock: FixedClock) -> list[Intent]:
        """As the example's HTTP interface makes them."""
        match self.wish:
            case OpenRoom(number, seats):
                return [Intent(ROOM, room_id(number), room.OpenRoom(seats=seats))]
            case RequestBooking(number):
                command = booking.RequestBooking(room_id=room_id(number % ROOMS), now=clock.now())
                return [Intent(BOOKING, booking_id(number), command)]
            case ConfirmBooking(number):
                return [
                    Intent(BOOKING, booking_id(number), booking.ConfirmBooking(now=clock.now())),
                    Intent(ROOM, room_id(number % ROOMS), room.TakeSeat(booking_id=booking_id(number))),
                ]
            case CancelBooking(number):
                return [Intent(BOOKING, booking_id(number), booking.CancelBooking())]
