"""The servers Upwell can run by itself on one machine: PostgreSQL and two brokers.

Each is a `Server`: `start` answers where it listens, `stop` ends it. All of them listen on 127.0.0.1
only and end with the process that started them, however that process ends.
"""

from __future__ import annotations

from typing import Protocol


class ServerUnavailable(RuntimeError):
    """The server cannot run here; the message says why and what to do about it."""


class Server(Protocol):
    """A server that runs as a child process of this one."""

    async def start(self) -> str:
        """Start it, wait until it answers, and return its address.

        The address stays the same for the life of the object, over any number of starts. Cleans up after
        a former run that was killed. Raises `ServerUnavailable`.
        """
        ...

    async def stop(self) -> None:
        """End it in good order and wait for that; does nothing when it does not run."""
        ...
