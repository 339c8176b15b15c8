"""Several things at once."""

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any


async def all_of(work: Iterable[Coroutine[Any, Any, None]]) -> None:
    """All at once; the first error ends the others, and is raised as it is."""
    try:
        async with asyncio.TaskGroup() as group:
            for each in work:
                group.create_task(each)
    except BaseExceptionGroup as several:
        raise _first(several) from None


def _first(error: BaseException) -> BaseException:
    return _first(error.exceptions[0]) if isinstance(error, BaseExceptionGroup) else error
