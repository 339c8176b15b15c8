"""HTTP of the example: parse → command or query → response."""

from typing import Annotated
from uuid import UUID

import asyncpg
from fastapi import APIRouter, Response
from pydantic import Field

from tests.shared.example.aggregates import BOOKING, ROOM
from tests.shared.example.domain.booking import CancelBooking, ConfirmBooking, RequestBooking
from tests.shared.example.domain.room import OpenRoom, TakeSeat
from tests.shared.example.projections import who_sits_where
from upwell_shared.clock import Clock
from upwell_shared.errors import NotFound
from upwell_shared.handling import Handler, Intent
from upwell_shared.projecting import reached
from upwell_shared.web.commands import Body, Command, IfMatch, answer
from upwell_shared.web.policies import authenticated, requires
from upwell_shared.web.positions import After, mark_stale, wait_until
from upwell_shared.web.routing import api_router


class RoomToOpen(Body):
    seats: Annotated[int, Field(ge=1, le=1000)]


class BookingToRequest(Body):
    room_id: UUID


class SeatsTaken(Body):
    room_id: UUID
    taken: int


def router(handler: Handler, pool: asyncpg.Pool, clock: Clock) -> APIRouter:
    routes = api_router("/v1", dependencies=[requires(authenticated)])

    @routes.put("/rooms/{room_id}", status_code=201)
    async def open_room(command: Command, room_id: UUID, body: RoomToOpen) -> Response:
        intent = Intent(ROOM, room_id, OpenRoom(seats=body.seats))
        return answer(
            await handler.handle(intent, envelope=command.envelope, fingerprint=command.fingerprint), 201
        )

    @routes.put("/bookings/{booking_id}", status_code=201)
    async def request_booking(command: Command, booking_id: UUID, body: BookingToRequest) -> Response:
        intent = Intent(BOOKING, booking_id, RequestBooking(room_id=body.room_id, now=clock.now()))
        return answer(
            await handler.handle(intent, envelope=command.envelope, fingerprint=command.fingerprint), 201
        )

    @routes.post("/rooms/{room_id}/bookings/{booking_id}/confirm")
    async def confirm_booking(command: Command, room_id: UUID, booking_id: UUID) -> Response:
        """The booking is confirmed and the seat is taken, or neither."""
        outcome = await handler.handle(
            Intent(BOOKING, booking_id, ConfirmBooking(now=clock.now())),
            Intent(ROOM, room_id, TakeSeat(booking_id=booking_id)),
            envelope=command.envelope,
            fingerprint=command.fingerprint,
        )
        return answer(outcome)

    @routes.post("/bookings/{booking_id}/cancel")
    async def cancel_booking(command: Command, booking_id: UUID, if_match: IfMatch) -> Response:
        intent = Intent(BOOKING, booking_id, CancelBooking(), if_match=if_match)
        return answer(
            await handler.handle(intent, envelope=command.envelope, fingerprint=command.fingerprint)
        )

    @routes.get("/rooms/{room_id}/seats")
    async def seats_taken(room_id: UUID, after: After, response: Response) -> SeatsTaken:
        if after is not None and not await wait_until(
            lambda: reached(pool, who_sits_where.name, after.stream_id, after.version)
        ):
            mark_stale(response)
        taken = await who_sits_where.taken(pool, room_id)
        if taken is None:
            raise NotFound
        return SeatsTaken(room_id=room_id, taken=taken)

    return routes
