"""Being one of a group: what an assignment means, and how to leave."""

import asyncio
import time
from collections.abc import Collection
from contextlib import suppress
from datetime import datetime
from typing import Any

import structlog
from aiokafka import ConsumerRebalanceListener
from aiokafka.structs import TopicPartition

_log = structlog.get_logger()

_LEAVE_SECONDS = 5.0
_REST_AFTER_SECONDS = 60.0
_RESTING_WAIT_MS = 250


class Reading:
    """Where reading stands since the last assignment, which `assignment` counts.

    `next`: the next offset of each partition that has been placed; nothing is applied from another. `behind`: when
    the last event applied was recorded, of partitions not read to their end. `stopped`: until when a partition is
    left alone, by `time.monotonic()`.
    """

    def __init__(self) -> None:
        self.next: dict[TopicPartition, int] = {}
        self.behind: dict[TopicPartition, datetime] = {}
        self.stopped: dict[TopicPartition, float] = {}
        self.assignment = 0

    def forget(self) -> None:
        """Whatever was assigned is not any more, or is no longer where it was."""
        self.next.clear()
        self.behind.clear()
        self.stopped.clear()
        self.assignment += 1


class Assignments(ConsumerRebalanceListener):  # type: ignore[misc]
    """Makes every newly assigned partition wait for its seek. Nothing here waits: the group would wait with it."""

    def __init__(self, group: Any, reading: Reading) -> None:
        self._group = group
        self._reading = reading

    def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:  # noqa: ARG002
        """All are revoked before any are assigned."""
        self._reading.forget()

    def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        """Stops the client from looking for a position by itself: any will do."""
        self._reading.forget()
        for part in assigned:
            self._group.pause(part)
            self._group.seek(part, 0)


class Pace:
    """How long a fetch waits at the broker: as set while records come, longer after a while without any.

    Where new records wake no waiting fetch (docs/decisions/0002-brokers.md) a fetch is a poll, and a short wait keeps
    both sides busy for nothing. The price: the first record after a rest comes up to the longer wait late.
    """

    def __init__(self, wait_ms: int) -> None:
        """`wait_ms` is what the group was made with."""
        self._wait_ms = wait_ms
        self._came_at = time.monotonic()

    def note(self, group: Any, *, came: bool) -> None:
        """To be told after each fetch whether records came; counts from the next request of the group."""
        now = time.monotonic()
        if came:
            self._came_at = now
        resting = now - self._came_at > _REST_AFTER_SECONDS
        fetcher = None if group is None else group._fetcher  # noqa: SLF001  (it takes no other wait once it is made)
        if fetcher is not None:
            fetcher._fetch_max_wait_ms = max(self._wait_ms, _RESTING_WAIT_MS) if resting else self._wait_ms  # noqa: SLF001


async def leave(group: Any) -> None:
    """Leaves the group if the broker answers, and in any case lets go of the connections; within seconds."""
    # In a task of its own: with a fetch in trouble, stop() ends in a CancelledError that nobody asked for.
    stopping = asyncio.create_task(group.stop())
    await asyncio.wait([stopping], timeout=_LEAVE_SECONDS)
    if not stopping.done():
        stopping.cancel()
        await asyncio.wait([stopping], timeout=_LEAVE_SECONDS)
    if not stopping.done() or stopping.cancelled() or stopping.exception() is not None:
        _log.debug("not_left")
        with suppress(Exception):
            await group._client.close()  # noqa: SLF001  (stop() gave up before it came to this)
