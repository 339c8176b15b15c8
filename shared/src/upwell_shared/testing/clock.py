"""A clock that stands still until it is told otherwise."""

from datetime import UTC, datetime, timedelta

from upwell_shared.clock import BackwardClock

_SOME_MONDAY = datetime(2026, 3, 2, 9, tzinfo=UTC)


class FixedClock:
    """Always the same time, until `forward` or `set`; like every clock here it does not go back."""

    def __init__(self, at: datetime = _SOME_MONDAY) -> None:
        self._at = at

    def now(self) -> datetime:
        return self._at

    def forward(self, by: timedelta) -> datetime:
        """The new time. Raises BackwardClock."""
        return self.set(self._at + by)

    def set(self, at: datetime) -> datetime:
        """The new time. Raises BackwardClock."""
        if at < self._at:
            raise BackwardClock
        self._at = at
        return at
