"""Parts of the service that can die, each made anew from the database then.

What dies is a part: its calls to database and broker fail from then on, whatever tasks of it are still there (the group
commit of an append among them) end at their next call, its connections are closed, and a new one begins with what is
in the database. What it had already handed to the broker's client may or may not still be sent, as in life.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any, Generic, TypeVar
from uuid import UUID

import asyncpg

from tests.shared.consuming_world import Raw
from tests.shared.crashes import Crash, Fuse
from tests.shared.example.app import COMMANDS, FOREIGN
from tests.shared.example.contract import contract
from tests.shared.example.reactions import free_the_seat
from tests.shared.model.log import Log, Place
from tests.shared.model.program import Death
from upwell_shared import relay as product
from upwell_shared.consuming import Applier, Batch, Handlers, Overtaken
from upwell_shared.consuming.offsets import Offsets, Part
from upwell_shared.database import Connection
from upwell_shared.event_store.appending import APPEND
from upwell_shared.lease import Term

P = TypeVar("P")
T = TypeVar("T")

CONSUMER = "reader"
_NEVER = 1e9
_BROKER_LIMIT = 0.5


class Mortal(Generic[P]):
    """A part of the service that can die; `make` builds it on a pool whose calls a fuse counts.

    `deaths` counts the times any part of that name did.
    """

    def __init__(
        self,
        name: str,
        make: Callable[[Fuse], P],
        end: Callable[[P], Awaitable[None]] | None,
        deaths: Counter[str],
    ) -> None:
        self._name = name
        self._deaths = deaths
        self._make = make
        self._end = end
        self._fuse = Fuse(0, "before")
        self.part = make(self._fuse)

    async def run(self, action: Callable[[P], Awaitable[T]], death: Death | None) -> T:
        """What the action returns. Raises Crash when the part died, which is a new one then."""
        fuse = self._fuse
        if death is not None:
            fuse.at, fuse.when = fuse.calls + death.call, death.when
        try:
            return await action(self.part)
        finally:
            fuse.at = 0
            if fuse.dead:
                self._deaths[self._name] += 1
                await self.renew()

    async def renew(self) -> None:
        if self._end is not None:
            await self._end(self.part)
        self._fuse = Fuse(0, "before")
        self.part = self._make(self._fuse)


class WatchedRelay(product.Relay):
    """A relay each of whose requests to the broker is a call. To connect changes nothing, and is none."""

    def __init__(self, pool: asyncpg.Pool, bootstrap: str, owner: str, fuse: Fuse) -> None:
        channels = contract(owner).channels
        # It looks at the log when a program says so.
        super().__init__(
            *(fuse.pool(pool), owner, bootstrap),
            channels=channels,
            check_every=_NEVER,
            broker_limit=_BROKER_LIMIT,
        )
        self._fuse = fuse

    async def publish(self, term: Term, *, page: int, looks: bool) -> bool:
        self._page = page
        if looks and self._link is not None:
            self._link.checked_at = float("-inf")
        return await self.step(term)

    async def _connect(self) -> Any:
        link = await super()._connect()
        requests, producer = link.cluster._client, link.producer._producer  # noqa: SLF001
        requests.send = self._fuse.guard(requests.send, "request")
        producer.send_and_wait = self._fuse.guard(producer.send_and_wait, "send_and_wait")
        producer.send_batch = self._fuse.guard(partial(_send_acknowledged, producer.send_batch), "send_batch")
        return link


async def _send_acknowledged(send: Any, *args: Any, **kwargs: Any) -> Any:
    """To die after it means that the broker has the batch."""
    future = await send(*args, **kwargs)
    await asyncio.wait([future])
    return future


class Reader:
    """What the consumer does with a log, without a group: where it stands is its own belief, and may be wrong."""

    def __init__(self, pool: asyncpg.Pool, log: Log, owner: str, fuse: Fuse) -> None:
        guarded = fuse.pool(pool)
        handlers = Handlers(FOREIGN, (free_the_seat,), COMMANDS)
        self.applier = Applier(CONSUMER, guarded, [contract(owner)], handlers)
        self._offsets = Offsets(guarded, CONSUMER)
        self._log = log
        self._fetch = fuse.guard(log.fetch, "fetch")
        self._log_id: UUID | None = None
        self._next: dict[Place, int] = {}
        self._held: dict[Place, list[Raw]] = {}

    async def read(self, *, looks: bool, stops: bool) -> bool:
        """Applies one page of each partition, or `stops` before that and leaves it to the next call; True when there was any."""
        if self._held:
            await self._apply()
            return True
        log_id = self._log_id
        if looks or log_id is None:
            log_id = (await self._log.identity()).log_id
            if log_id != self._log_id:
                self._log_id, self._next = log_id, {}
        if log_id is None:
            return False
        if len(self._next) < len(self._log.places):
            await self._place(log_id)
        self._held = await self._fetch(self._next)
        fetched = bool(self._held)
        if not stops:
            await self._apply()
        return fetched

    async def _apply(self) -> None:
        held, self._held = self._held, {}
        for place, records in held.items():
            assert self._log_id is not None
            batch = Batch(
                log_id=self._log_id,
                channel=place[0],
                partition=place[1],
                first_offset=self._next.pop(place),
                records=records,
            )
            with suppress(Overtaken):
                applied = await self.applier.apply(batch)
                self._next[place] = batch.next_offset
                if applied.other_logs:
                    self._log_id, self._next = None, {}
                    break

    async def _place(self, log_id: UUID) -> None:
        parts = [Part(log_id, *place) for place in self._log.places if place not in self._next]
        known = await self._offsets.known(parts)
        fresh = {part: 0 for part in parts if (part.channel, part.partition) not in known}
        if fresh:
            await self._offsets.begin(fresh)
        for part in parts:
            self._next[part.channel, part.partition] = known.get((part.channel, part.partition), 0)


class SlowPool:
    """A pool on which an append is executed and waits to be committed, or lost."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
        self.executed = asyncio.Event()
        self.lost: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pool, name)

    @asynccontextmanager
    async def acquire(self) -> AsyncIterator["_SlowConnection"]:
        async with self._pool.acquire() as connection:
            yield _SlowConnection(connection, self)


class _SlowConnection:
    def __init__(self, connection: Connection, pool: SlowPool) -> None:
        self._connection = connection
        self._pool = pool

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    async def fetchval(self, query: str, *args: Any) -> Any:
        if query != APPEND:
            return await self._connection.fetchval(query, *args)
        transaction = self._connection.transaction()
        await transaction.start()
        answer = await self._connection.fetchval(query, *args)
        self._pool.executed.set()
        if await self._pool.lost:
            await transaction.rollback()
            raise Crash
        await transaction.commit()
        return answer
