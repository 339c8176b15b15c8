"""What is worth trying again, and how often."""

import asyncio
import errno
import time
from itertools import islice

import asyncpg
import pytest
from aiokafka import errors as kafka

from tests.shared.conftest import Dsns
from upwell_shared.retrying import Backoff, is_transient, retry

AT_ONCE = Backoff(first=0.0, cap=0.0)


class Flaky:
    """Fails with each of `errors` in turn, then answers how often it was called."""

    def __init__(self, *errors: Exception) -> None:
        self._errors = list(errors)
        self.calls = 0

    async def __call__(self) -> int:
        self.calls += 1
        if self._errors:
            raise self._errors.pop(0)
        return self.calls


@pytest.mark.parametrize(
    "error",
    [
        ConnectionRefusedError(),
        OSError("Multiple exceptions: [Errno 111] Connect call failed"),
        OSError(errno.EHOSTUNREACH, "no route"),
        TimeoutError(),
        asyncpg.ConnectionDoesNotExistError("closed in the middle of operation"),
        asyncpg.CannotConnectNowError("starting up"),
        asyncpg.AdminShutdownError("terminating"),
        asyncpg.QueryCanceledError("statement timeout"),
        asyncpg.DeadlockDetectedError("deadlock"),
        asyncpg.SerializationError("could not serialize"),
        asyncpg.TooManyConnectionsError("too many"),
        asyncpg.LockNotAvailableError("lock timeout"),
        asyncpg.InterfaceError("connection is closed"),
        kafka.KafkaConnectionError(),
        kafka.RequestTimedOutError(),
        kafka.KafkaTimeoutError(),
        ExceptionGroup("both", [TimeoutError(), kafka.NodeNotReadyError()]),
    ],
    ids=repr,
)
def test_what_time_alone_may_cure_is_transient(error: Exception) -> None:
    assert is_transient(error)


@pytest.mark.parametrize(
    "error",
    [
        ValueError(),
        FileNotFoundError(),
        PermissionError(),
        asyncpg.UniqueViolationError("duplicate key"),
        asyncpg.UndefinedTableError("no such table"),
        asyncpg.InterfaceError("the server expects 2 arguments for this query, 1 was passed"),
        kafka.MessageSizeTooLargeError(),
        ExceptionGroup("one of them for good", [TimeoutError(), ValueError()]),
    ],
    ids=repr,
)
def test_what_time_does_not_cure_is_not(error: Exception) -> None:
    assert not is_transient(error)


async def test_a_transaction_that_ran_out_of_time_is_transient(dsns: Dsns) -> None:
    connection = await asyncpg.connect(dsns.app, server_settings={"transaction_timeout": "20ms"})
    try:
        with pytest.raises(asyncpg.PostgresError) as raised:
            await connection.execute("SELECT pg_sleep(5)")
    finally:
        await connection.close()
    assert is_transient(raised.value)


async def test_answers_what_the_first_success_answers() -> None:
    assert await retry(Flaky(TimeoutError(), ConnectionResetError()), attempts=3, backoff=AT_ONCE) == 3


async def test_gives_up_after_the_attempts_and_raises_the_last_error() -> None:
    flaky = Flaky(TimeoutError("first"), TimeoutError("second"), TimeoutError("third"))
    with pytest.raises(TimeoutError, match="second"):
        await retry(flaky, attempts=2, backoff=AT_ONCE)
    assert flaky.calls == 2


async def test_a_permanent_error_is_raised_at_once() -> None:
    flaky = Flaky(ValueError())
    with pytest.raises(ValueError):
        await retry(flaky, attempts=9, backoff=AT_ONCE)
    assert flaky.calls == 1


async def test_makes_no_call_that_would_begin_after_the_deadline() -> None:
    flaky = Flaky(*[TimeoutError() for _ in range(9)])
    with pytest.raises(TimeoutError):
        await retry(flaky, deadline=time.monotonic() + 0.5, backoff=Backoff(first=60, cap=60))
    assert flaky.calls == 1


async def test_a_cancelled_action_is_not_repeated() -> None:
    async def cancelled() -> None:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await retry(cancelled, attempts=2, transient=lambda _: True, backoff=AT_ONCE)


async def test_a_limit_is_required() -> None:
    with pytest.raises(ValueError, match="without a limit"):
        await retry(Flaky())


def test_waits_double_up_to_the_cap_and_vary_by_half() -> None:
    whole = [1.0, 2.0, 4.0, 5.0, 5.0, 5.0]
    for delay, most in zip(islice(Backoff(first=1, cap=5).delays(), 6), whole, strict=True):
        assert most / 2 <= delay <= most
