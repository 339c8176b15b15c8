"""Running the roles of a service in one process until it is told to stop."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import structlog

from upwell_shared.worker import Worker

log = structlog.get_logger()


class Wakes:
    """Tells the workers of this process that something was written, so that they need not wait for their next poll."""

    def __init__(self) -> None:
        self._events: list[asyncio.Event] = []

    def new(self) -> asyncio.Event:
        """An event for one worker, which clears it."""
        event = asyncio.Event()
        self._events.append(event)
        return event

    def __call__(self) -> None:
        for event in self._events:
            event.set()


async def run_until(
    stop: asyncio.Event,
    *workers: Worker,
    serving: Coroutine[Any, Any, None] | None = None,
    closing: Sequence[Callable[[], Coroutine[Any, Any, None]]] = (),
) -> None:
    """Runs all workers, and `serving` where there is something to serve, until `stop` is set.

    Then the requests under way end first, then every worker finishes its step, then `closing` is called in order.
    When one of them ends before that with an error, the others are stopped as well and the error is raised: a process
    of which half is dead must not look alive.
    """
    tasks = [asyncio.create_task(worker.run(), name=worker.name) for worker in workers]
    if serving is not None:
        tasks.append(asyncio.create_task(serving, name="serving"))
    waiting = asyncio.create_task(stop.wait())
    log.info("running", workers=[worker.name for worker in workers], serving=serving is not None)
    try:
        await asyncio.wait([waiting, *tasks], return_when=asyncio.FIRST_COMPLETED)
        stop.set()
        if serving is not None:
            await asyncio.wait(tasks[-1:])
    finally:
        waiting.cancel()
        await asyncio.gather(*(worker.stop() for worker in workers))
        results = await asyncio.gather(*tasks, return_exceptions=True)
        for close in closing:
            await close()
    for result in results:
        if isinstance(result, BaseException):
            raise result
    log.info("stopped")
