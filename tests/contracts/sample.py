"""A contract that uses every kind of field a published event may have."""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Literal
from uuid import UUID

from annotated_types import Ge
from pydantic import AwareDatetime, StringConstraints

from upwell_shared.contracts import Audience, Contract, Publication, PublishedEvent, PublishedPart
from upwell_shared.events import Envelope


class Reason(StrEnum):
    FULL = "full"
    CLOSED = "closed"


class Seat(PublishedPart):
    seat_id: UUID
    row: Annotated[int, Ge(1)]


class BookingOpened(PublishedEvent):
    """A booking was opened."""

    booking_id: UUID
    opened_at: AwareDatetime
    state: Literal["open", "waiting"] = "open"
    seats: tuple[Seat, ...] = ()
    earlier_booking_id: UUID | None = None


class BookingRefused(PublishedEvent):
    """A booking was refused."""

    audience: ClassVar[Audience] = "internal"

    booking_id: UUID
    reason: Reason
    language: Annotated[str, StringConstraints(pattern=r"^[a-z]{2}$")] = "en"
    share: float = 0.5
    free: bool = False


CONTRACT = Contract("example", BookingOpened, BookingRefused)
CONTRACTS = {"example": CONTRACT}

SOURCE = UUID("11111111-1111-4111-8111-111111111111")
STREAM = UUID("22222222-2222-4222-8222-222222222222")
LOG = UUID("33333333-3333-4333-8333-333333333333")
CORRELATION = UUID("44444444-4444-4444-8444-444444444444")
CAUSE = UUID("55555555-5555-4555-8555-555555555555")
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
RECORDED_AT = datetime(2026, 3, 1, 9, 30, 0, 250_000, tzinfo=UTC)
ENVELOPE = Envelope(
    command_id=UUID("66666666-6666-4666-8666-666666666666"),
    correlation_id=CORRELATION,
    causation_id=CAUSE,
    actor="a.lovelace",
    traceparent=TRACEPARENT,
)
OPENED = BookingOpened(booking_id=STREAM, opened_at=datetime(2026, 3, 1, 9, 0, tzinfo=UTC))


def published(event: PublishedEvent = OPENED, **changed: Any) -> Publication:
    """`event` as the ledger would hold it."""
    arguments: dict[str, Any] = {
        "source_event_id": SOURCE,
        "stream_id": STREAM,
        "sequence": 7,
        "recorded_at": RECORDED_AT,
        "envelope": ENVELOPE,
    }
    return CONTRACT.publish(event, **(arguments | changed))
