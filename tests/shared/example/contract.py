"""What the example publishes. A test that shares a broker passes an owner of its own."""

from typing import ClassVar
from uuid import UUID

from pydantic import AwareDatetime

from upwell_shared.contracts import Audience, Contract, PublishedEvent


class BookingOpened(PublishedEvent):
    booking_id: UUID
    room_id: UUID


class BookingEnded(PublishedEvent):
    booking_id: UUID
    room_id: UUID


class BookingAgreed(PublishedEvent):
    booking_id: UUID
    room_id: UUID
    confirmed_at: AwareDatetime


class BookingLapsed(PublishedEvent):
    audience: ClassVar[Audience] = "internal"

    booking_id: UUID
    room_id: UUID


def contract(owner: str = "example") -> Contract:
    return Contract(owner, BookingOpened, BookingAgreed, BookingEnded, BookingLapsed)
