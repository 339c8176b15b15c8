"""Domain tests as sentences: given these facts, when this is asked, then these facts follow, or a rule says no.

given = Given(room)

def test_the_last_seat_can_be_taken_once() -> None:
    given(RoomOpened(seats=1), SeatTaken(booking_id=A)).when(TakeSeat(booking_id=B)).then_refused(RoomFull)
"""

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import ndiff
from typing import Generic, TypeVar

from upwell_shared.decider import Decider, DomainError

Command = TypeVar("Command")
State = TypeVar("State")
Event = TypeVar("Event")


@dataclass(frozen=True, slots=True)
class Given(Generic[Command, State, Event]):
    """Where a sentence about one decider begins: called with the facts so far."""

    decider: Decider[Command, State, Event]

    def __call__(self, *events: Event) -> "Story[Command, State, Event]":
        return Story(self.decider, self.decider.fold(events))


@dataclass(frozen=True, slots=True)
class Story(Generic[Command, State, Event]):
    """What has happened: `state` so far, the `events` since `when`, and what refused the last command, if anything."""

    decider: Decider[Command, State, Event]
    state: State
    events: tuple[Event, ...] = ()
    refused: DomainError | None = None

    def when(self, *commands: Command) -> "Story[Command, State, Event]":
        """Decides one command after the other, each on the state the one before left; ends at a refusal."""
        state, events = self.state, [*self.events]
        for position, command in enumerate(commands, 1):
            try:
                decided = self.decider.decide(command, state)
            except DomainError as refusal:
                if position < len(commands):
                    raise AssertionError(
                        f"{command} was refused, and is not the last: {refusal}"
                    ) from refusal
                return Story(self.decider, state, tuple(events), refusal)
            events += decided
            state = self.decider.fold(decided, state)
        return Story(self.decider, state, tuple(events))

    def then(self, *events: Event) -> None:
        """Exactly these events came, in this order; without any: there was nothing to do."""
        if self.refused is not None:
            raise AssertionError(
                f"refused as {type(self.refused).__name__}: {self.refused}"
            ) from self.refused
        if self.events != events:
            raise AssertionError("\n" + "\n".join(ndiff(_lines(events), _lines(self.events))))

    def then_refused(self, error: type[DomainError]) -> None:
        """The last command was refused with this very error."""
        if self.refused is None:
            raise AssertionError("\n".join(["not refused; what followed:", *_lines(self.events)]))
        if type(self.refused) is not error:
            raise AssertionError(
                f"refused as {type(self.refused).__name__}, not as {error.__name__}"
            ) from self.refused


def _lines(events: Sequence[object]) -> list[str]:
    return [repr(event) for event in events] or ["(nothing)"]
