"""The whole theory of the write side: commands in, facts out, and a state that is only ever folded from facts.

A domain module is pure: no clock, no ids of its own making, no I/O. Time, ids and randomness ride on the command.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

Command = TypeVar("Command")
State = TypeVar("State")
Event = TypeVar("Event")


class DomainError(Exception):
    """A rule said no."""

    # The docstring of a subclass is its message, so that no error can be undocumented.
    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or " ".join((type(self).__doc__ or "").split()))

    @property
    def slug(self) -> str:
        """Stable name for machines: `BookingAlreadyClosed` is `booking-already-closed`."""
        return re.sub(r"(?<!^)(?=[A-Z])", "-", type(self).__name__).lower()


@dataclass(frozen=True, slots=True)
class Decider(Generic[Command, State, Event]):
    """`decide(command, state)` gives the facts that follow, `[]` for "nothing to do", or raises a DomainError.

    `evolve(state, event)` holds no rule and never fails on an event of its union.
    """

    initial: State
    decide: Callable[[Command, State], list[Event]]
    evolve: Callable[[State, Event], State]

    def fold(self, events: Iterable[Event], state: State | None = None) -> State:
        """The state after `events`, starting from `state` or from the initial one."""
        folded = self.initial if state is None else state
        for event in events:
            folded = self.evolve(folded, event)
        return folded
