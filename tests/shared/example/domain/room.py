"""A room has so many seats; a booking takes one."""

from dataclasses import dataclass, replace
from typing import assert_never
from uuid import UUID

from upwell_shared.decider import Decider, DomainError


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomOpened:
    seats: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SeatTaken:
    booking_id: UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class SeatFreed:
    booking_id: UUID


RoomEvent = RoomOpened | SeatTaken | SeatFreed


@dataclass(frozen=True, slots=True)
class NoRoom:
    pass


@dataclass(frozen=True, slots=True)
class Room:
    seats: int
    taken_by: frozenset[UUID] = frozenset()


State = NoRoom | Room


def evolve(state: State, event: RoomEvent) -> State:
    if isinstance(event, RoomOpened):
        return Room(event.seats)
    if isinstance(state, NoRoom):
        return state
    match event:
        case SeatTaken(booking_id=booking_id):
            return replace(state, taken_by=state.taken_by | {booking_id})
        case SeatFreed(booking_id=booking_id):
            return replace(state, taken_by=state.taken_by - {booking_id})
        case _:
            assert_never(event)


class RoomAlreadyOpened(DomainError):
    """This room is open already."""


class UnknownRoom(DomainError):
    """There is no such room: open it first."""


class RoomFull(DomainError):
    """Every seat of this room is taken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenRoom:
    seats: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TakeSeat:
    booking_id: UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class FreeSeat:
    booking_id: UUID


RoomCommand = OpenRoom | TakeSeat | FreeSeat


def decide(command: RoomCommand, state: State) -> list[RoomEvent]:
    match command:
        case OpenRoom(seats=seats):
            if isinstance(state, Room):
                raise RoomAlreadyOpened
            return [RoomOpened(seats=seats)]
        case TakeSeat(booking_id=booking_id):
            if isinstance(state, NoRoom):
                raise UnknownRoom
            if booking_id in state.taken_by:
                return []
            if len(state.taken_by) >= state.seats:
                raise RoomFull
            return [SeatTaken(booking_id=booking_id)]
        case FreeSeat(booking_id=booking_id):
            if isinstance(state, NoRoom) or booking_id not in state.taken_by:
                return []
            return [SeatFreed(booking_id=booking_id)]
        case _:
            assert_never(command)


room: Decider[RoomCommand, State, RoomEvent] = Decider(NoRoom(), decide, evolve)
