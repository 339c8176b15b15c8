"""A booking is requested, then confirmed within two days or it expires; a confirmed one may be cancelled."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import assert_never
from uuid import UUID

from upwell_shared.decider import Decider, DomainError

TIME_TO_CONFIRM = timedelta(days=2)


@dataclass(frozen=True, slots=True, kw_only=True)
class BookingRequested:
    room_id: UUID
    expires_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class BookingConfirmed:
    confirmed_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class BookingCancelled:
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class BookingExpired:
    pass


BookingEvent = BookingRequested | BookingConfirmed | BookingCancelled | BookingExpired


@dataclass(frozen=True, slots=True)
class NoBooking:
    pass


@dataclass(frozen=True, slots=True)
class Requested:
    room_id: UUID
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Confirmed:
    room_id: UUID


@dataclass(frozen=True, slots=True)
class Closed:
    room_id: UUID


State = NoBooking | Requested | Confirmed | Closed


def evolve(state: State, event: BookingEvent) -> State:
    if isinstance(event, BookingRequested):
        return Requested(event.room_id, event.expires_at)
    if isinstance(state, NoBooking):
        return state
    match event:
        case BookingConfirmed():
            return Confirmed(state.room_id)
        case BookingCancelled() | BookingExpired():
            return Closed(state.room_id)
        case _:
            assert_never(event)


class AlreadyRequested(DomainError):
    """This booking was requested before."""


class NotRequested(DomainError):
    """There is no such booking: request it first."""


class BookingClosed(DomainError):
    """This booking was cancelled or has expired."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestBooking:
    room_id: UUID
    now: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfirmBooking:
    now: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelBooking:
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpireBooking:
    now: datetime


BookingCommand = RequestBooking | ConfirmBooking | CancelBooking | ExpireBooking


def decide(command: BookingCommand, state: State) -> list[BookingEvent]:
    match command:
        case RequestBooking():
            if not isinstance(state, NoBooking):
                raise AlreadyRequested
            return [BookingRequested(room_id=command.room_id, expires_at=command.now + TIME_TO_CONFIRM)]
        case ConfirmBooking():
            return _confirm(command, state)
        case CancelBooking():
            return _cancel(state)
        case ExpireBooking():
            if not isinstance(state, Requested) or command.now < state.expires_at:
                return []
            return [BookingExpired()]
        case _:
            assert_never(command)


def _confirm(command: ConfirmBooking, state: State) -> list[BookingEvent]:
    match state:
        case NoBooking():
            raise NotRequested
        case Closed():
            raise BookingClosed
        case Confirmed():
            return []
        case Requested():
            return [BookingConfirmed(confirmed_at=command.now)]
        case _:
            assert_never(state)


def _cancel(state: State) -> list[BookingEvent]:
    match state:
        case NoBooking():
            raise NotRequested
        case Closed():
            return []
        case Requested() | Confirmed():
            return [BookingCancelled()]
        case _:
            assert_never(state)


booking: Decider[BookingCommand, State, BookingEvent] = Decider(NoBooking(), decide, evolve)
