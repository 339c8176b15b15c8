"""Keeping a part alive: it is started, and started again whenever it ends without having been asked to."""

import asyncio
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from upwell.servers import ServerUnavailable

State = Literal["stopped", "starting", "running", "waiting"]
"""`waiting`: it ended by itself, and is started again when its back-off is over."""

FIRST_DELAY = 0.2
LONGEST_DELAY = 10.0
_STEADY_SECONDS = 30.0
"""Whoever ran for so long is no longer the one that kept dying."""
_POLL_SECONDS = 0.2


class Kept(Protocol):
    """A server or a service: one child process at a time."""

    @property
    def pid(self) -> int | None:
        """None when it does not run."""
        ...

    async def start(self) -> Any:
        """Returns when it is ready. Raises ServerUnavailable, and leaves nothing behind then."""
        ...

    async def stop(self) -> None:
        """In good order."""
        ...

    async def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        ...


@dataclass(frozen=True, slots=True)
class Died:
    """A part ended by itself; it is started again in `delay` seconds."""

    part: str
    pid: int | None
    delay: float


@dataclass(frozen=True, slots=True)
class Restarted:
    """It runs again, as the process `pid`."""

    part: str
    pid: int | None
    restarts: int


@dataclass(frozen=True, slots=True)
class StillDown:
    """It could not be started again, and is tried once more in `delay` seconds."""

    part: str
    reason: str
    delay: float


Happening = Died | Restarted | StillDown


class Keeper:
    """One part and whether it shall run. All methods are safe to call at any time, also at once."""

    def __init__(self, name: str, kept: Kept, tell: Callable[[Happening], None] = lambda _: None) -> None:
        """Nothing runs before `start`. `tell` hears what happens to the part by itself, not what is asked for."""
        self.name = name
        self.kept = kept
        self.state: State = "stopped"
        self.restarts = 0
        """How often it was started again after it had ended by itself."""
        self._tell = tell
        self._lock = asyncio.Lock()
        self._watch: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        """None when it does not run at this moment."""
        return self.kept.pid

    async def start(self) -> None:
        """Returns when it is ready; one that waits for its back-off is started now. Raises ServerUnavailable.

        Where that is raised, it is left stopped.
        """
        async with self._lock:
            if self.state == "running" and self.pid is not None:
                return
            await self._end_watch()
            self.state = "starting"
            try:
                await self.kept.start()
            except BaseException:
                self.state = "stopped"
                raise
            self._keep()

    async def stop(self) -> None:
        """In good order; it stays stopped until `start`."""
        async with self._lock:
            await self._end_watch()
            await self.kept.stop()
            self.state = "stopped"

    async def restart(self) -> None:
        """In good order. Raises what `start` raises."""
        await self.stop()
        await self.start()

    async def kill(self) -> None:
        """SIGKILL, as a fault would. It was not asked to stop: it is started again."""
        await self.kept.kill()

    async def running(self) -> None:
        """Waits until it runs, and is ready; `state` tells the same at once."""
        while self.state != "running" or self.pid is None:
            await asyncio.sleep(_POLL_SECONDS / 10)

    def _keep(self) -> None:
        self.state = "running"
        self._watch = asyncio.create_task(self._watching(), name=f"keeper of {self.name}")

    async def _end_watch(self) -> None:
        if self._watch is not None:
            self._watch.cancel()
            with suppress(asyncio.CancelledError):
                await self._watch
            self._watch = None

    async def _watching(self) -> None:
        loop = asyncio.get_running_loop()
        delay = FIRST_DELAY
        while True:
            began, pid = loop.time(), self.pid
            await _end(self.kept)
            if loop.time() - began > _STEADY_SECONDS:
                delay = FIRST_DELAY
            self.state = "waiting"
            self._tell(Died(self.name, pid, delay))
            while self.state != "running":
                await asyncio.sleep(delay)
                delay = min(delay * 2, LONGEST_DELAY)
                try:
                    self.state = "starting"
                    await self.kept.start()
                    self.state = "running"
                except (ServerUnavailable, OSError) as error:
                    self.state = "waiting"
                    self._tell(StillDown(self.name, str(error), delay))
            self.restarts += 1
            self._tell(Restarted(self.name, self.pid, self.restarts))


async def _end(kept: Kept) -> None:
    """Waits for the end of its process without asking again and again, where the system can tell."""
    loop = asyncio.get_running_loop()
    while (pid := kept.pid) is not None:
        try:
            descriptor = os.pidfd_open(pid)
        except (AttributeError, OSError):
            await asyncio.sleep(_POLL_SECONDS)
            continue
        gone = asyncio.Event()
        loop.add_reader(descriptor, gone.set)
        try:
            await gone.wait()
        finally:
            loop.remove_reader(descriptor)
            os.close(descriptor)
