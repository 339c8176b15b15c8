"""What is due when."""

from collections.abc import Iterable
from typing import Any

from tests.shared.example.domain.booking import (
    BookingCancelled,
    BookingConfirmed,
    BookingExpired,
    BookingRequested,
    ExpireBooking,
)
from upwell_shared.events import Recorded
from upwell_shared.timers import ClearTimer, SetTimer


def timing(recorded: Recorded[Any]) -> Iterable[SetTimer | ClearTimer]:
    match recorded.event:
        case BookingRequested(expires_at=expires_at):
            yield SetTimer("expiry", expires_at, ExpireBooking(now=expires_at))
        case BookingConfirmed() | BookingCancelled() | BookingExpired():
            yield ClearTimer("expiry")
