"""The worker loop: what it does when a step works, rests, fails, hangs, and when it is told to stop."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import asyncpg
import pytest
from structlog.testing import capture_logs

from upwell_shared.lease import Fenced, Lease, Term
from upwell_shared.retrying import Backoff
from upwell_shared.worker import Worker

PATIENCE = 10.0
WORKED = True
SOON = Backoff(first=0.001, cap=0.002)


@asynccontextmanager
async def running(worker: Worker) -> AsyncIterator[None]:
    task = asyncio.create_task(worker.run())
    try:
        yield
    finally:
        await worker.stop()
        await task


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0.001)


class Steps:
    """A step that does what it is told, and remembers when it was called and in which terms."""

    def __init__(self, *outcomes: bool | BaseException, then: bool = False) -> None:
        self._outcomes = list(outcomes)
        self._then = then
        self.calls: list[float] = []
        self.terms: list[Term | None] = []

    async def __call__(self, term: Term | None) -> bool:
        self.calls.append(time.monotonic())
        self.terms.append(term)
        outcome = self._outcomes.pop(0) if self._outcomes else self._then
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome


async def test_a_step_that_worked_is_followed_by_the_next_at_once() -> None:
    steps = Steps(*[True] * 50)
    async with running(Worker("w", steps, poll=(30, 30))):
        await until(lambda: len(steps.calls) == 51)


async def test_waking_cuts_a_rest_short() -> None:
    steps, wake = Steps(), asyncio.Event()
    async with running(Worker("w", steps, wake=wake, poll=(30, 30))):
        await until(lambda: len(steps.calls) == 1)
        wake.set()
        await until(lambda: len(steps.calls) == 2)


async def test_a_wake_during_a_step_is_not_lost() -> None:
    wake, calls = asyncio.Event(), []

    async def step(_: Term | None) -> bool:
        calls.append(1)
        if len(calls) == 1:
            wake.set()
        return False

    async with running(Worker("w", step, wake=wake, poll=(30, 30))):
        await until(lambda: len(calls) == 2)


async def test_polling_slows_down_while_there_is_nothing_to_do() -> None:
    steps = Steps()
    async with running(Worker("w", steps, poll=(0.01, 0.08))):
        await until(lambda: len(steps.calls) == 7)
    rests = [after - before for before, after in zip(steps.calls, steps.calls[1:], strict=False)]
    for rest, least in zip(rests, [0.01, 0.02, 0.04, 0.08, 0.08, 0.08], strict=False):
        assert rest >= least * 0.9


async def test_an_outage_is_one_line_in_the_log_and_one_when_it_is_over() -> None:
    steps = Steps(*[ConnectionRefusedError() for _ in range(20)], WORKED)
    worker = Worker("w", steps, backoff=SOON)
    with capture_logs() as lines:
        async with running(worker):
            await until(lambda: len(steps.calls) > 21)
            assert worker.healthy
    assert [(line["event"], line["log_level"]) for line in lines] == [
        ("worker_waits", "warning"),
        ("worker_recovered", "info"),
    ]


async def test_a_bug_is_reported_as_an_error_and_the_worker_goes_on() -> None:
    steps = Steps(KeyError("x"), TimeoutError(), KeyError("y"), WORKED)
    with capture_logs() as lines:
        async with running(Worker("w", steps, backoff=SOON)):
            await until(lambda: len(steps.calls) > 4)
    assert [line["event"] for line in lines] == ["worker_fails", "worker_waits", "worker_recovered"]


async def test_failing_is_not_healthy() -> None:
    steps = Steps(*[ConnectionRefusedError() for _ in range(10_000)])
    worker = Worker("w", steps, backoff=SOON)
    async with running(worker):
        await until(lambda: len(steps.calls) > 3)
        assert not worker.healthy
        assert worker.failing_since is not None
        assert worker.progressed_at is None


async def test_something_cancelled_inside_a_step_does_not_end_the_worker() -> None:
    steps = Steps(asyncio.CancelledError(), WORKED)
    async with running(Worker("w", steps, backoff=SOON)):
        await until(lambda: len(steps.calls) > 2)


async def test_a_step_that_hangs_is_cancelled_and_counts_as_failed() -> None:
    calls: list[int] = []

    async def step(_: Term | None) -> bool:
        calls.append(1)
        if len(calls) == 1:
            await asyncio.Event().wait()
        return False

    with capture_logs() as lines:
        async with running(Worker("w", step, step_limit=0.02, backoff=SOON)):
            await until(lambda: len(calls) > 1)
    assert "worker_waits" in [line["event"] for line in lines]


async def test_stopping_lets_the_running_step_finish() -> None:
    entered, leave, done = asyncio.Event(), asyncio.Event(), []

    async def step(_: Term | None) -> bool:
        entered.set()
        await leave.wait()
        done.append(1)
        return True

    worker = Worker("w", step)
    task = asyncio.create_task(worker.run())
    await entered.wait()
    stopping = asyncio.create_task(worker.stop())
    await asyncio.sleep(0)
    leave.set()
    await stopping
    await task
    assert done == [1]


async def test_stopping_cuts_off_a_step_that_outlasts_the_grace() -> None:
    entered = asyncio.Event()

    async def step(_: Term | None) -> bool:
        entered.set()
        await asyncio.Event().wait()
        return True

    worker = Worker("w", step, grace=0.02)
    task = asyncio.create_task(worker.run())
    await entered.wait()
    await worker.stop()
    await task
    assert not worker.healthy


async def test_stopping_ends_a_rest_and_a_back_off_at_once() -> None:
    for outcome in (False, ConnectionRefusedError()):
        steps = Steps(outcome)
        worker = Worker("w", steps, poll=(30, 30), backoff=Backoff(first=30, cap=30))
        async with asyncio.timeout(PATIENCE), running(worker):
            await until(lambda s=steps: len(s.calls) == 1)  # type: ignore[misc]


async def test_stopped_before_it_ran_it_does_nothing() -> None:
    steps = Steps()
    worker = Worker("w", steps)
    await worker.stop()
    await worker.run()
    assert steps.calls == []


async def test_cancelling_its_task_cancels_the_step_and_frees_the_lease(pool: asyncpg.Pool) -> None:
    entered = asyncio.Event()

    async def step(_: Term | None) -> bool:
        entered.set()
        await asyncio.Event().wait()
        return True

    task = asyncio.create_task(Worker("w", step, lease=Lease(pool, "l", ttl=60)).run())
    await entered.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await Lease(pool, "l", ttl=60).acquire() is not None


async def test_of_two_workers_only_the_holder_of_the_lease_steps_and_the_other_takes_over_when_it_stops(
    pool: asyncpg.Pool,
) -> None:
    mine, yours = Steps(), Steps()
    first = Worker("first", mine, lease=Lease(pool, "l", ttl=1))
    second = Worker("second", yours, lease=Lease(pool, "l", ttl=1))
    async with running(second), running(first):
        await until(lambda: len(mine.calls) + len(yours.calls) > 20)
        assert not (mine.calls and yours.calls)
        holder, waiting = (first, yours) if mine.calls else (second, mine)
        await holder.stop()
        stopped = time.monotonic()
        await until(lambda: len(waiting.calls) > 0)
        assert waiting.calls[0] - stopped < 0.9, "sooner than the lease would have expired"


async def test_a_holder_that_only_fails_makes_room_for_one_that_may_succeed(pool: asyncpg.Pool) -> None:
    """As when one of two processes cannot reach the broker, or runs an older release."""

    async def fail(_: object) -> bool:
        raise ConnectionRefusedError

    steps = Steps()
    failing = Worker("failing", fail, lease=Lease(pool, "l", ttl=0.3))
    well = Worker("well", steps, lease=Lease(pool, "l", ttl=0.3))
    async with running(failing):
        await until(lambda: failing.failing_since is not None)
        async with running(well):
            await until(lambda: len(steps.calls) > 0)


async def test_a_term_is_prolonged_as_long_as_the_worker_runs(pool: asyncpg.Pool) -> None:
    steps, other = Steps(), Lease(pool, "l", ttl=0.3)
    async with running(Worker("w", steps, lease=Lease(pool, "l", ttl=0.3))):
        await until(lambda: len(steps.calls) > 0)
        begun = time.monotonic()
        while time.monotonic() - begun < 1:
            assert await other.acquire() is None
            await asyncio.sleep(0.02)
    assert len({term.epoch for term in steps.terms if term is not None}) == 1


async def test_a_worker_whose_lease_was_taken_stops_stepping(pool: asyncpg.Pool) -> None:
    steps = Steps(then=True)
    async with running(Worker("w", steps, lease=Lease(pool, "l", ttl=0.3))):
        await until(lambda: len(steps.calls) > 0)
        await pool.execute(
            "UPDATE leases SET holder = gen_random_uuid(), epoch = epoch + 1, expires_at = 'infinity'"
        )
        term = steps.terms[-1]
        assert term is not None
        await until(lambda: not term.valid)
        seen = len(steps.calls)
        await asyncio.sleep(0.05)
        assert len(steps.calls) <= seen + 1


async def test_a_fenced_step_ends_the_term(pool: asyncpg.Pool) -> None:
    steps = Steps(Fenced(), WORKED)
    async with running(Worker("w", steps, lease=Lease(pool, "l", ttl=0.2), backoff=SOON)):
        await until(lambda: len(steps.terms) > 1)
    first, second = steps.terms[0], steps.terms[1]
    assert first is not None
    assert second is not None
    assert second.epoch > first.epoch
