"""Trying again: what is worth it, how long to wait in between, and the one helper that does it."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import asyncpg
from aiokafka import errors as kafka

from upwell_shared.errors import ConcurrentUpdate, Unavailable

T = TypeVar("T")

_TRANSIENT_POSTGRES = (
    asyncpg.PostgresConnectionError,  # lost, refused, or closed in the middle of a statement
    asyncpg.OperatorInterventionError,  # statement time-out, server going down or coming up
    asyncpg.TransactionRollbackError,  # deadlock, serialization failure
    asyncpg.InsufficientResourcesError,  # too many connections, disk full
    asyncpg.LockNotAvailableError,
    asyncpg.IdleInTransactionSessionTimeoutError,
)
_TRANSACTION_TIMEOUT = "25P04"  # of PostgreSQL 17, which asyncpg has no class for
_OF_FILES = (FileExistsError, FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError)


def is_transient(error: BaseException) -> bool:
    """Whether the same action may succeed later with nothing changed but time.

    True of lost or refused connections, time-outs, deadlocks and serialization failures, exhausted servers, and what
    Kafka itself calls retriable. A group is transient when all its members are.
    """
    match error:
        case BaseExceptionGroup():
            return all(is_transient(member) for member in error.exceptions)
        case asyncpg.PostgresError():
            return isinstance(error, _TRANSIENT_POSTGRES) or error.sqlstate == _TRANSACTION_TIMEOUT
        case asyncpg.InterfaceError():
            # The class also covers wrong use; only its text tells a connection that died while it lay in the pool.
            return "connection is closed" in str(error)
        case asyncpg.InternalClientError():
            # So asyncpg puts it when the server's farewell came in while the connection lay in the pool.
            return "another operation" in str(error)
        case kafka.KafkaError():
            return bool(error.retriable) or isinstance(error, kafka.KafkaTimeoutError)
        case ConcurrentUpdate() | Unavailable():
            return True
        case OSError():  # TimeoutError and asyncio's are among them
            return not isinstance(error, _OF_FILES)
        case _:
            return False


@dataclass(frozen=True, slots=True)
class Backoff:
    """Waits that double from `first` to `cap` seconds, each shortened by chance to between a half and the whole."""

    first: float = 0.05
    cap: float = 5.0

    def delays(self) -> Iterator[float]:
        """Endless."""
        delay = self.first
        while True:
            yield delay * random.uniform(0.5, 1.0)  # noqa: S311  (spreads clients out, guards no secret)
            delay = min(delay * 2, self.cap)


async def retry(
    action: Callable[[], Awaitable[T]],
    *,
    transient: Callable[[BaseException], bool] = is_transient,
    attempts: int | None = None,
    deadline: float | None = None,
    backoff: Backoff = Backoff(),
) -> T:
    """What `action` returns, calling it again after each error that is `transient`.

    Gives up, raising the last error, after `attempts` calls or when the next call would begin after `deadline` (an
    instant of `time.monotonic()`); at least one of both must be given. `action` bounds its own duration, and must be
    safe to repeat: a call that failed may have taken effect.
    """
    if attempts is None and deadline is None:
        raise ValueError("retry without a limit")
    for attempt, delay in enumerate(backoff.delays(), start=1):
        try:
            return await action()
        except Exception as error:
            if not transient(error) or attempt == attempts:
                raise
            if deadline is not None and time.monotonic() + delay > deadline:
                raise
        await asyncio.sleep(delay)
    raise AssertionError("delays are endless")
