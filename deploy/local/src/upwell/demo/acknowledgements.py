"""What a driver was told is done: its own log, on disk before it goes on, so that no proof has to trust the services.

A line a 2xx answer of a command: `{"service", "stream_id", "version", "command_id"}`, JSON. No body is in it.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Self
from uuid import UUID

import orjson

from upwell_shared.web.positions import StreamPosition


class Acknowledged(NamedTuple):
    """A command that was answered: the stream it was for, and the version that stream had then."""

    service: str
    stream_id: UUID
    version: int
    command_id: UUID


class AcknowledgementLog:
    """Appends to the file; `note` returns once the line would survive the machine's loss of power."""

    def __init__(self, file: Path) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        self._file = file.open("ab")
        self.count = 0

    def note(self, position: str, command_id: UUID) -> None:
        """`position` is the Upwell-Position of the answer."""
        told = StreamPosition.parse(position)
        line = {
            "service": told.service,
            "stream_id": told.stream_id,
            "version": told.version,
            "command_id": command_id,
        }
        self._file.write(orjson.dumps(line) + b"\n")
        self._file.flush()
        os.fdatasync(self._file.fileno())
        self.count += 1

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def acknowledged(file: Path) -> Iterator[Acknowledged]:
    """Every line of the log; a last one that was cut short by a crash was never acknowledged to anybody."""
    for line in file.read_bytes().splitlines(keepends=True):
        if not line.endswith(b"\n"):
            return
        told = orjson.loads(line)
        yield Acknowledged(
            told["service"], UUID(told["stream_id"]), told["version"], UUID(told["command_id"])
        )
