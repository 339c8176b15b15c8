"""The time of facts. Leases, time-outs and back-off never use this: they use `time.monotonic`."""

import fcntl
import os
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

from upwell_shared.errors import UpwellError

_UNITS = {"w": "weeks", "d": "days", "h": "hours", "m": "minutes", "s": "seconds"}
_FARTHEST = timedelta(days=36_525)
_DURATION = re.compile(r"(?:[0-9]+[wdhms])+")


class UnreadableDuration(UpwellError):
    """A duration is written like 7d, 90m or 1d12h: whole numbers with w, d, h, m or s."""


class UnreadableClock(UpwellError):
    """The clock file does not hold a whole number of microseconds: remove it to return to the wall clock."""


class BackwardClock(UpwellError):
    """A simulated clock only goes forward."""


class ClockTooFarAhead(UpwellError):
    """The simulated clock may be at most 100 years ahead; it has not been moved."""


class Clock(Protocol):
    """Tells the time of facts."""

    def now(self) -> datetime:
        """The time, aware, in UTC. Cheap: it may be asked once an event."""
        ...


class WallClock:
    """The machine's own time."""

    def now(self) -> datetime:
        return datetime.now(UTC)


class SimulatedClock:
    """The wall clock and a lead on it, shared by every process that names the same file.

    The file holds the lead in microseconds; a file that is not there yet means none. Time flows between advances.
    An advance is seen by other processes at their next `now()`, and the lead a process has seen never shrinks.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int] | None = None
        self._lead = 0

    def now(self) -> datetime:
        """Raises UnreadableClock. Costs one `stat` unless the file has changed."""
        return datetime.now(UTC) + timedelta(microseconds=self._read())

    def advance(self, by: timedelta) -> datetime:
        """Moves every process forward and returns the new time. Safe to call from several processes at once.

        Raises BackwardClock, and ClockTooFarAhead before anything is written. Blocks on a file lock for as long as another advance takes.
        """
        if by < timedelta(0):
            raise BackwardClock
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.with_name(self._path.name + ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            lead = self._read() + by // timedelta(microseconds=1)
            if lead > _FARTHEST // timedelta(microseconds=1):
                raise ClockTooFarAhead
            written = self._path.with_name(self._path.name + ".new")
            with written.open("w") as file:
                file.write(f"{lead}\n")
                file.flush()
                os.fsync(file.fileno())
            written.replace(self._path)
        return self.now()

    @property
    def lead(self) -> timedelta:
        """How far this clock is ahead of the wall clock."""
        return timedelta(microseconds=self._read())

    def _read(self) -> int:
        try:
            status = self._path.stat()
        except FileNotFoundError:
            return self._lead
        # A replaced file has another inode; the time of change tells two uses of one inode number apart.
        if (seen := (status.st_ino, status.st_mtime_ns)) != self._seen:
            try:
                lead = int(self._path.read_text())
            except ValueError as error:
                raise UnreadableClock from error
            self._seen, self._lead = seen, max(lead, self._lead)
        return self._lead


def clock_from(file: Path | None) -> Clock:
    """The clock that the settings name: simulated when there is a file, else the wall clock."""
    return WallClock() if file is None else SimulatedClock(file)


def parse_duration(text: str) -> timedelta:
    """`7d`, `90m`, `1d12h`. Raises UnreadableDuration, also for one longer than a timedelta holds."""
    if not _DURATION.fullmatch(text):
        raise UnreadableDuration
    parts = re.findall(r"(\d+)([wdhms])", text)
    try:
        return sum((timedelta(**{_UNITS[unit]: int(count)}) for count, unit in parts), timedelta())
    except OverflowError as error:
        raise UnreadableDuration from error
