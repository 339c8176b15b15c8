"""What policies and routes ask first: the cadence of the pair in the route. And waiting for read models."""

from collections.abc import Awaitable, Callable
from uuid import UUID

import asyncpg
from starlette.responses import Response

from upwell_sessions.domain.cadence import cadence, cadence_id
from upwell_sessions.policies import Known
from upwell_sessions.projections import commitments, sessions_by_pair
from upwell_shared.event_store import EventStore
from upwell_shared.projecting import reached
from upwell_shared.web.positions import mark_stale, wait_until


async def known_cadence(store: EventStore, pair_id: UUID) -> Known:
    """Read from its own stream, so that nothing that was acknowledged is missing."""
    stream_id = cadence_id(pair_id)
    loaded = (await store.load(stream_id))[stream_id]
    return Known(stream_id, loaded.version, cadence.fold(loaded.events))


def cadence_in_route(store: EventStore) -> Callable[..., Awaitable[Known]]:
    """Dependency: the cadence of the pair in the route, read once a request however many depend on it."""

    async def known(pair_id: UUID) -> Known:
        return await known_cadence(store, pair_id)

    return known


async def wait_for(pool: asyncpg.Pool, stream_id: UUID, version: int, response: Response) -> None:
    """Waits until the read models show that version of the stream, or marks the answer as stale."""

    async def both() -> bool:
        return all(
            [
                await reached(pool, projection.name, stream_id, version)
                for projection in (sessions_by_pair, commitments)
            ]
        )

    if not await wait_until(both):
        mark_stale(response)
