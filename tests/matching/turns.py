"""A scheduler for tests: of several pieces of work only one goes on at a time, and a list of numbers says which.

What is gated waits at its gate until it is its turn; so the numbers decide, wait by wait, how the work interleaves.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextvars import ContextVar
from typing import Any, TypeVar

T = TypeVar("T")

_managed: ContextVar["Turns | None"] = ContextVar("managed", default=None)


async def gate() -> None:
    """Waits for the turn of whoever is asking; at once outside of any schedule."""
    turns = _managed.get()
    if turns is not None:
        await turns.wait()


def gated(action: Callable[..., Awaitable[T]]) -> Callable[..., Coroutine[Any, Any, T]]:
    """The same, behind a gate."""

    async def behind(*arguments: Any, **options: Any) -> T:
        await gate()
        return await action(*arguments, **options)

    return behind


class Turns:
    """One schedule. A piece of work may have tasks of its own, if no two of them wait at a gate at once."""

    def __init__(self, numbers: Sequence[int]) -> None:
        self._numbers = iter(numbers)
        self._waiting: list[asyncio.Future[None]] = []
        self._running = 0
        self._still = asyncio.Event()

    async def run(self, *work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """All of it to its end; raises what any of it raises."""
        async with asyncio.TaskGroup() as group:
            for one in work:
                self._running += 1
                group.create_task(self._managed(one))
            group.create_task(self._conduct())

    async def _managed(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        _managed.set(self)
        try:
            await gate()
            await work()
        finally:
            self._leave()

    async def wait(self) -> None:
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        self._leave()
        await turn

    def _leave(self) -> None:
        self._running -= 1
        if self._running == 0:
            self._still.set()

    async def _conduct(self) -> None:
        while True:
            await self._still.wait()
            self._still.clear()
            if not self._waiting:
                return
            # Once the numbers have run out, in the order of arrival.
            turn = self._waiting.pop(next(self._numbers, 0) % len(self._waiting))
            self._running += 1
            turn.set_result(None)
