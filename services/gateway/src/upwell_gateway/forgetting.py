"""What is left to do before an erasure is acknowledged: to see that nothing is left."""

from collections.abc import Awaitable, Callable
from uuid import UUID

import asyncpg

from upwell_gateway.projections import people
from upwell_shared.errors import UpwellError


class StillHeld(UpwellError):
    """Something is still known of a person who was erased: the read model `people` is not what it should be."""


def forgetter(pool: asyncpg.Pool) -> Callable[[UUID], Awaitable[None]]:
    """`forget` for `erasing.carrying_out`.

    The place of a person, all that is held beside random ids, was dropped by the transaction that made this to-do. So
    this looks, and raises StillHeld instead of giving a false receipt.
    """

    async def forget(person_id: UUID) -> None:
        if await people.place_of(pool, person_id) is not None:
            raise StillHeld

    return forget
