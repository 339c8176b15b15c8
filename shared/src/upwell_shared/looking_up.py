"""Facts for a command, looked up in own read models: these run behind, and what was acknowledged must not be missed."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

import asyncpg

from upwell_shared.projecting import has_read, head
from upwell_shared.web.positions import wait_until

T = TypeVar("T")


async def looked_up(
    pool: asyncpg.Pool,
    projection: str,
    query: Callable[[], Awaitable[T]],
    good: Callable[[T], bool] = lambda found: found is not None,
) -> T:
    """What `query` finds; asked again, once the projection has read all that was there, where that is not `good`.

    So nobody is refused for want of what was acknowledged to them a moment ago.
    """
    found = await query()
    if good(found):
        return found
    await caught_up(pool, projection, timeout=1.0)
    return await query()


async def caught_up(pool: asyncpg.Pool, *projections: str, timeout: float = 2.0) -> bool:
    """Waits until these own projections have read all that is committed now; False when that takes longer."""
    newest = await head(pool)

    async def all_have() -> bool:
        return all([await has_read(pool, name, newest) for name in projections])

    return await wait_until(all_have, timeout)
