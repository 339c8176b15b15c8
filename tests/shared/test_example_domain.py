"""The example's rules, and the words its tests are written in."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from tests.shared.example.domain.booking import (
    AlreadyRequested,
    BookingCancelled,
    BookingClosed,
    BookingConfirmed,
    BookingExpired,
    BookingRequested,
    CancelBooking,
    ConfirmBooking,
    ExpireBooking,
    NotRequested,
    RequestBooking,
    booking,
)
from tests.shared.example.domain.room import (
    FreeSeat,
    OpenRoom,
    Room,
    RoomAlreadyOpened,
    RoomFull,
    RoomOpened,
    SeatFreed,
    SeatTaken,
    TakeSeat,
    UnknownRoom,
    room,
)
from upwell_shared.clock import BackwardClock
from upwell_shared.decider import DomainError
from upwell_shared.testing import FixedClock, Given

ROOM, A, B, C = (UUID(int=n) for n in range(1, 5))
NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
LATER = NOON + timedelta(days=2)
REQUESTED = BookingRequested(room_id=ROOM, expires_at=LATER)

given_room = Given(room)
given_booking = Given(booking)


def test_a_seat_can_be_taken_in_an_open_room() -> None:
    given_room(RoomOpened(seats=2)).when(TakeSeat(booking_id=A)).then(SeatTaken(booking_id=A))


def test_no_seat_can_be_taken_in_a_room_that_is_not_open() -> None:
    given_room().when(TakeSeat(booking_id=A)).then_refused(UnknownRoom)


def test_a_room_opens_once() -> None:
    given_room().when(OpenRoom(seats=1), OpenRoom(seats=5)).then_refused(RoomAlreadyOpened)


def test_a_full_room_takes_nobody_else() -> None:
    given_room(RoomOpened(seats=1), SeatTaken(booking_id=A)).when(TakeSeat(booking_id=B)).then_refused(
        RoomFull
    )


def test_a_freed_seat_can_be_taken_by_another() -> None:
    given_room(RoomOpened(seats=1), SeatTaken(booking_id=A)).when(
        FreeSeat(booking_id=A), TakeSeat(booking_id=B)
    ).then(SeatFreed(booking_id=A), SeatTaken(booking_id=B))


def test_taking_a_seat_twice_is_taking_it_once_also_in_a_full_room() -> None:
    given_room(RoomOpened(seats=1), SeatTaken(booking_id=A)).when(TakeSeat(booking_id=A)).then()


def test_freeing_a_seat_nobody_took_is_nothing_to_do() -> None:
    given_room(RoomOpened(seats=1)).when(FreeSeat(booking_id=A)).then()


def test_a_booking_may_be_confirmed_for_two_days() -> None:
    given_booking().when(RequestBooking(room_id=ROOM, now=NOON)).then(REQUESTED)
    given_booking(REQUESTED).when(ConfirmBooking(now=NOON)).then(BookingConfirmed(confirmed_at=NOON))


def test_a_booking_is_requested_once() -> None:
    given_booking(REQUESTED).when(RequestBooking(room_id=ROOM, now=NOON)).then_refused(AlreadyRequested)


def test_a_booking_expires_when_its_time_is_over_and_not_before() -> None:
    given_booking(REQUESTED).when(ExpireBooking(now=LATER - timedelta(microseconds=1))).then()
    given_booking(REQUESTED).when(ExpireBooking(now=LATER)).then(BookingExpired())


def test_a_confirmed_booking_does_not_expire() -> None:
    given_booking(REQUESTED, BookingConfirmed(confirmed_at=NOON)).when(ExpireBooking(now=LATER)).then()


def test_what_is_closed_stays_closed() -> None:
    closed = given_booking(REQUESTED, BookingCancelled())
    closed.when(ConfirmBooking(now=NOON)).then_refused(BookingClosed)
    closed.when(CancelBooking()).then()
    closed.when(ExpireBooking(now=LATER)).then()


def test_a_booking_nobody_requested_can_be_neither_confirmed_nor_cancelled() -> None:
    given_booking().when(ConfirmBooking(now=NOON)).then_refused(NotRequested)
    given_booking().when(CancelBooking()).then_refused(NotRequested)


times = st.datetimes(datetime(2026, 1, 1), datetime(2026, 2, 1), timezones=st.just(UTC))  # noqa: DTZ001
seekers = st.sampled_from([A, B, C])


class AnyCommandsOnARoom(RuleBasedStateMachine):
    """Whatever is asked in whatever order: a rule says no, or the facts make sense."""

    def __init__(self) -> None:
        super().__init__()
        self.state: Any = room.initial
        self.history: list[Any] = []

    @rule(command=st.one_of(
        st.builds(OpenRoom, seats=st.integers(0, 2)),
        st.builds(TakeSeat, booking_id=seekers),
        st.builds(FreeSeat, booking_id=seekers),
    ))  # fmt: skip
    def ask(self, command: Any) -> None:
        try:
            events = room.decide(command, self.state)
        except DomainError:
            return
        self.history += events
        self.state = room.fold(events, self.state)

    @invariant()
    def no_more_seats_are_taken_than_there_are(self) -> None:
        assert not isinstance(self.state, Room) or len(self.state.taken_by) <= self.state.seats

    @invariant()
    def the_state_is_what_the_facts_fold_to(self) -> None:
        assert room.fold(self.history) == self.state


class AnyCommandsOnABooking(RuleBasedStateMachine):
    """A booking ends at most once, and is confirmed only while it is open."""

    def __init__(self) -> None:
        super().__init__()
        self.state: Any = booking.initial
        self.history: list[Any] = []

    @rule(command=st.one_of(
        st.builds(RequestBooking, room_id=st.just(ROOM), now=times),
        st.builds(ConfirmBooking, now=times),
        st.builds(CancelBooking),
        st.builds(ExpireBooking, now=times),
    ))  # fmt: skip
    def ask(self, command: Any) -> None:
        try:
            events = booking.decide(command, self.state)
        except DomainError:
            return
        self.history += events
        self.state = booking.fold(events, self.state)

    @invariant()
    def every_fact_comes_at_most_once_and_nothing_follows_the_end(self) -> None:
        kinds = [type(event) for event in self.history]
        assert len(set(kinds)) == len(kinds)
        ends = [n for n, kind in enumerate(kinds, 1) if kind in {BookingCancelled, BookingExpired}]
        assert ends in ([], [len(kinds)])


TestAnyCommandsOnARoom = AnyCommandsOnARoom.TestCase
TestAnyCommandsOnABooking = AnyCommandsOnABooking.TestCase


def test_a_story_that_went_otherwise_shows_both() -> None:
    story = given_room(RoomOpened(seats=2)).when(TakeSeat(booking_id=A))
    with pytest.raises(AssertionError) as wrong:
        story.then(SeatTaken(booking_id=B))
    assert str(wrong.value).splitlines()[1:2] == [f"- {SeatTaken(booking_id=B)}"]
    assert f"+ {SeatTaken(booking_id=A)}" in str(wrong.value)
    with pytest.raises(AssertionError, match=r"\+ SeatTaken"):
        story.then()
    with pytest.raises(AssertionError, match="not refused; what followed:\nSeatTaken"):
        story.then_refused(RoomFull)


def test_a_story_that_was_refused_shows_by_what() -> None:
    story = given_room().when(TakeSeat(booking_id=A))
    with pytest.raises(AssertionError, match="refused as UnknownRoom: There is no such room"):
        story.then()
    with pytest.raises(AssertionError, match="refused as UnknownRoom, not as RoomFull"):
        story.then_refused(RoomFull)
    with pytest.raises(AssertionError, match="is not the last"):
        given_room().when(TakeSeat(booking_id=A), OpenRoom(seats=1))


def test_a_fixed_clock_moves_when_told_and_never_back() -> None:
    clock = FixedClock(NOON)
    assert clock.now() == clock.now() == NOON
    assert clock.forward(timedelta(days=2)) == clock.now() == LATER
    with pytest.raises(BackwardClock):
        clock.set(NOON)
    assert clock.now() == LATER
