"""Reads log files as they grow."""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

_POLL_SECONDS = 0.2
_AT_MOST = 1 << 20


class Follower:
    """Hands on every whole line that is added to some files, with the name each goes by."""

    def __init__(self, logs: Mapping[str, Path], line: Callable[[str, str], None]) -> None:
        """From the end of the files as they are now; those that are not there yet from their beginning."""
        self._logs = logs
        self._line = line
        self._at = {name: path.stat().st_size if path.exists() else 0 for name, path in logs.items()}
        self._begun = dict.fromkeys(logs, b"")

    async def follow(self) -> None:
        """Until it is cancelled."""
        while True:
            self.look()
            await asyncio.sleep(_POLL_SECONDS)

    def look(self) -> None:
        """What was added since the last time. A file that has become shorter was begun anew."""
        for name, path in self._logs.items():
            with suppress(FileNotFoundError), path.open("rb") as file:
                size = file.seek(0, 2)
                if size < self._at[name]:
                    self._at[name], self._begun[name] = 0, b""
                start = file.seek(self._at[name])
                added = file.read(_AT_MOST)
                self._at[name] = start + len(added)
                *lines, self._begun[name] = (self._begun[name] + added).split(b"\n")
                for line in lines:
                    self._line(name, line.decode(errors="replace"))
