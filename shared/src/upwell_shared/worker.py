"""The one loop: do a step, rest when there is nothing to do, back off when it fails, never die silently."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeVar

import structlog

from upwell_shared.lease import Fenced, Lease, Term
from upwell_shared.metrics import WORKER_PROGRESS_TIME
from upwell_shared.retrying import Backoff, is_transient

T = TypeVar("T")

Step = Callable[[Term | None], Awaitable[bool]]
"""One piece of work. True: call again at once; False: there was nothing to do. It bounds its own waits."""

_RESTED_AFTER = 60.0
_ATTEMPTS_PER_TTL = 10
_RENEWALS_PER_TTL = 3
_HOPELESS_TTLS = 3

_log = structlog.get_logger()


class Worker:
    """Runs `step` until `stop()`; with a `lease`, only in its terms.

    It polls every `poll[0]` s right after work, slowing down to `poll[1]`, and to `rested` after a minute without
    work; setting `wake` (which several workers may share) cuts the wait short. A step that raises is repeated
    after a back-off: a streak of failures is logged once, and again when another kind of error joins it, as a
    warning when waiting may cure it and as an error when not. A step that takes longer than `step_limit` s is
    cancelled and counts as failed, so that one that hangs neither keeps its lease for ever nor goes unseen.
    """

    def __init__(
        self,
        name: str,
        step: Step,
        *,
        lease: Lease | None = None,
        wake: asyncio.Event | None = None,
        poll: tuple[float, float] = (0.005, 0.05),
        rested: float = 0.25,
        backoff: Backoff = Backoff(),  # noqa: B008  (immutable)
        step_limit: float = 60.0,
        grace: float = 10.0,
    ) -> None:
        """`grace`: how many seconds `stop()` leaves the running step."""
        self.name = name
        self.progressed_at: float | None = None
        """The instant of `time.monotonic()` at which a step last ended well, None before the first."""
        self.failing_since: float | None = None
        """When the present streak of failures began, None outside of one."""
        self._step = step
        self._lease = lease
        self._wake = wake or asyncio.Event()
        self._poll = poll
        self._rested = rested
        self._backoff = backoff
        self._delays = backoff.delays()
        self._kinds: set[type[BaseException]] = set()
        self._step_limit = step_limit
        self._grace = grace
        self._limit: asyncio.Timeout | None = None
        self._worked_at = time.monotonic()
        self._wait = poll[0]
        self._stopping = asyncio.Event()
        self._running = False
        self._ended = asyncio.Event()

    @property
    def healthy(self) -> bool:
        """Whether it runs and does not fail; a stand-by that waits for its lease is healthy."""
        return self._running and self.failing_since is None

    async def run(self) -> None:
        """Returns after `stop()`, also when that came first. To be called once.

        Raises nothing but the CancelledError of its own task being cancelled.
        """
        self._running = True
        try:
            while not self._stopping.is_set():
                if self._lease is None:
                    await self._turn(None)
                else:
                    await self._candidate(self._lease)
        finally:
            self._running = False
            self._ended.set()

    async def stop(self) -> None:
        """Lets the running step finish, for `grace` s at most; when this returns, the lease is free."""
        self._stopping.set()
        self._wake.set()
        if self._limit is not None:
            self._shorten(self._limit)
        if self._running:
            await self._ended.wait()

    def _shorten(self, limit: asyncio.Timeout) -> None:
        latest, now = limit.when(), asyncio.get_running_loop().time()
        if not limit.expired() and (latest is None or now + self._grace < latest):
            limit.reschedule(now + self._grace)

    async def _candidate(self, lease: Lease) -> None:
        """Wait for a term and serve it to its end."""
        term = await self._attempt(lease.acquire())
        if term is None:
            await self._pause(lease.ttl / _ATTEMPTS_PER_TTL)
            return
        _log.info("lease_acquired", worker=self.name, lease=lease.name, epoch=term.epoch)
        began = time.monotonic()
        keeper = asyncio.create_task(_keep(lease, term), name=f"{self.name} keeps its lease")
        try:
            while term.valid and not self._stopping.is_set() and not self._hopeless(began, lease):
                await self._turn(term)
        finally:
            keeper.cancel()
            await asyncio.wait([keeper])
            if term.valid:
                await self._release(lease, term)
            else:
                _log.warning("lease_lost", worker=self.name, lease=lease.name, epoch=term.epoch)
        if self._hopeless(began, lease):
            # Longer than a stand-by waits between two attempts.
            await self._pause(lease.ttl)

    def _hopeless(self, began: float, lease: Lease) -> bool:
        """Whether this term has seen nothing but failures for so long that another process should have a try."""
        return self.failing_since is not None and (
            time.monotonic() - max(began, self.failing_since) > _HOPELESS_TTLS * lease.ttl
        )

    async def _release(self, lease: Lease, term: Term) -> None:
        try:
            async with asyncio.timeout(lease.ttl):
                await lease.release(term)
        except Exception as error:  # noqa: BLE001  (it expires by itself)
            _log.warning("lease_not_released", worker=self.name, lease=lease.name, error=type(error))

    async def _turn(self, term: Term | None) -> None:
        """One step and the rest after it."""
        # Before the step: what is set from here on may be work that the step no longer sees.
        self._wake.clear()
        busy = await self._attempt(self._step(term), term)
        if busy is None or self._stopping.is_set():
            return
        if busy:
            self._worked_at = time.monotonic()
            self._wait = self._poll[0]
            await asyncio.sleep(0)  # lets others run even if no step ever waits
        else:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._rest()):
                    await self._wake.wait()

    def _rest(self) -> float:
        if time.monotonic() - self._worked_at > _RESTED_AFTER:
            return self._rested
        wait, self._wait = self._wait, min(self._wait * 2, self._poll[1])
        return wait

    async def _attempt(self, work: Awaitable[T], term: Term | None = None) -> T | None:
        """What `work` returns; None when it failed, after reporting that and backing off."""
        try:
            async with asyncio.timeout(self._step_limit) as self._limit:
                result = await work
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            failure: BaseException = error  # of something the step waited for, not of this worker
        except Exception as error:  # noqa: BLE001  (reported below; the loop must live)
            failure = error
        else:
            self._succeeded()
            return result
        finally:
            self._limit = None
        if self._stopping.is_set():
            _log.warning("step_abandoned_at_stop", worker=self.name, error=type(failure))
            return None
        if isinstance(failure, Fenced) and term is not None:
            term.end()
        self._failed(failure)
        await self._pause(next(self._delays))
        return None

    def _succeeded(self) -> None:
        self.progressed_at = time.monotonic()
        WORKER_PROGRESS_TIME.labels(self.name).set_to_current_time()
        if self.failing_since is not None:
            lasted = self.progressed_at - self.failing_since
            _log.info("worker_recovered", worker=self.name, after_seconds=round(lasted, 3))
            self.failing_since = None
            self._kinds.clear()
            self._delays = self._backoff.delays()

    def _failed(self, error: BaseException) -> None:
        if self.failing_since is None:
            self.failing_since = time.monotonic()
        if type(error) in self._kinds:
            return
        self._kinds.add(type(error))
        if isinstance(error, (Fenced, asyncio.CancelledError)) or is_transient(error):
            _log.warning("worker_waits", worker=self.name, error=type(error))
        else:
            _log.error("worker_fails", worker=self.name, error=type(error), exc_info=error)

    async def _pause(self, seconds: float) -> None:
        """Wait, unless `stop()` is or gets called."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()


async def _keep(lease: Lease, term: Term) -> None:
    """Renew until somebody else has taken over; while the database does not answer, the term runs out by itself."""
    every = lease.ttl / _RENEWALS_PER_TTL
    renewed = True
    while renewed:
        await asyncio.sleep(every)
        with suppress(Exception):
            async with asyncio.timeout(every):
                renewed = await lease.renew(term)
