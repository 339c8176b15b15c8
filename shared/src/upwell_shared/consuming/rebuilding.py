"""Making a projection fed by others' events again from zero, beside the live one.

The channels are read from their beginnings by a reader of its own, which belongs to no group and keeps its own offsets
and progress, so that every rule of `applying` holds for it too. No reaction runs. When it has nearly come to where the
live consumer is, the live generation is held still for a moment, the few records that are missing and already fetched
are applied, and both are exchanged in one transaction; if that is not enough, it lets go and fills on.

The new rows must be those of the live consumer's *progress*, since that is what it goes on with. It outlives logs: in
one that is being filled again the live consumer's offset says nothing until it has caught up with itself. So

- nothing is applied here that the live consumer has not applied (`filling`);
- before the live generation is held, all streams are compared once, which is too much to be done while it is held.
  Those that differ then are compared again when it is held; of the others only those can have changed whose records
  the live consumer has read since, and these lie before its offsets, which must be reached here.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from uuid import UUID

import asyncpg
from aiokafka import AIOKafkaConsumer
from aiokafka import errors as kafka

from upwell_shared.consuming.applying import Applier
from upwell_shared.consuming.filling import Filler, RebuildFailed
from upwell_shared.consuming.handlers import ForeignProjection, fold
from upwell_shared.consuming.offsets import Part
from upwell_shared.contracts import Consumed, Contract
from upwell_shared.database import Connection
from upwell_shared.errors import UpwellError
from upwell_shared.events import Position
from upwell_shared.log_identity import ClusterClient, read_log_id
from upwell_shared.projecting import (
    RebuildAbandoned,
    Roles,
    create_generation,
    ensure,
    switch_if,
)

__all__ = ["LettersOpen", "RebuildFailed", "rebuild"]

_IDENTITY_SECONDS = 2.0
_COMPARE_SECONDS = 0.5
_START_SECONDS = 30.0
_STOP_SECONDS = 5.0
_FETCH_WAIT_MS = 20
# What is compared and applied while the live generation is held.
_FEW_STREAMS = 200
_FEW_RECORDS = 100

_LETTERS = "SELECT count(*) FROM dead_letters WHERE consumer = $1"

_OFFSETS = "SELECT log_id, channel, partition, next_offset FROM consumer_offsets WHERE consumer = $1"

_BEHIND = """
SELECT channel, stream_id FROM progress AS live
WHERE consumer = $1 AND channel = ANY ($3) AND sequence > 0 AND NOT EXISTS (
    SELECT FROM progress AS new
    WHERE new.consumer = $2 AND (new.channel, new.stream_id) = (live.channel, live.stream_id)
      AND (new.sequence, new.event_id) = (live.sequence, live.event_id)
)
LIMIT $4
"""

_STILL_BEHIND = """
SELECT channel, stream_id
FROM unnest($3::text[], $4::uuid[]) AS wanted (channel, stream_id)
JOIN progress AS live USING (channel, stream_id)
WHERE live.consumer = $1 AND NOT EXISTS (
    SELECT FROM progress AS new
    WHERE new.consumer = $2 AND (new.channel, new.stream_id) = (live.channel, live.stream_id)
      AND (new.sequence, new.event_id) = (live.sequence, live.event_id)
)
"""

_ENTER_GENERATION = """
SELECT set_config('search_path', quote_ident(schema) || ', public', true)
FROM projections WHERE name = $1 AND generation = $2
"""

_FORGET_OFFSETS = "DELETE FROM consumer_offsets WHERE consumer = $1"
_FORGET_PROGRESS = "DELETE FROM progress WHERE consumer = $1"
_FORGET_LETTERS = "DELETE FROM dead_letters WHERE consumer = $1"

_StreamOf = tuple[str, UUID]
"""Channel and stream."""


class LettersOpen(UpwellError):
    """Dead letters of this consumer are open: retry or discard them first, or the new rows would differ by them."""


@dataclass(frozen=True, slots=True)
class _Filling:
    """Stands where the live consumer has its Handlers."""

    projection: ForeignProjection
    generation: int

    async def take(self, connection: Connection, events: Sequence[Consumed]) -> None:
        if not events:
            return
        if await connection.fetchval(_ENTER_GENERATION, self.projection.name, self.generation) is None:
            raise RebuildAbandoned
        await fold(connection, self.projection, events)


async def rebuild(
    consumer: str,
    projection: ForeignProjection,
    contracts: Sequence[Contract],
    bootstrap: str,
    *,
    pool: asyncpg.Pool,
    owner: asyncpg.Pool,
    app_role: str,
    reader_role: str,
    patience: float = 60.0,
) -> int:
    """Fills a new generation of one of the projections of `consumer`, switches to it, and returns its number.

    `contracts` are all that the consumer reads; `owner` is a pool of the database's owner, who may create schemas.
    Reads see the old rows until the switch and the new ones after it; the new rows are those of what the consumer has
    applied. Should a log just be filled again, that is waited for, the consumer at work or not.

    Raises LettersOpen; RebuildFailed, also after `patience` seconds without progress and when a log is lost
    meanwhile; and RebuildAbandoned when another rebuild of the same projection took over. Then the live generation is
    as it was, and all of this may be called again.
    """
    if await pool.fetchval(_LETTERS, consumer):
        raise LettersOpen
    roles = Roles(app_role=app_role, reader_role=reader_role)
    # The first generation would be live at once, and the consumer would fill it too.
    await ensure(owner, [projection], **roles)
    generation = await create_generation(owner, projection, **roles)
    name = f"{consumer}@{projection.name}.{generation}"
    try:
        async with _broker(bootstrap, name, contracts) as (logs, reader, cluster):
            applier = Applier(name, pool, contracts, _Filling(projection, generation), discards_of=consumer)
            filler = Filler(applier, consumer, pool, reader=reader, cluster=cluster, parts=await logs.parts())
            await filler.begin()
            comparison = _Comparison(consumer, name, pool, filler, contracts)
            moved_at = time.monotonic()
            while True:
                await filler.fetch()
                applied = await filler.apply()
                if applied:
                    moved_at = time.monotonic()
                if (
                    applied <= _FEW_RECORDS
                    and await comparison.nearly_there()
                    and await switch_if(owner, projection.name, generation, comparison.there, **roles)
                ):
                    return generation
                await logs.check()
                if time.monotonic() - moved_at > patience:
                    if await pool.fetchval(_LETTERS, consumer):
                        raise LettersOpen
                    raise RebuildFailed(f"nothing moved for {patience:.0f} s: {comparison.obstacle}")
    finally:
        for forget in (_FORGET_OFFSETS, _FORGET_PROGRESS, _FORGET_LETTERS):
            await pool.execute(forget, name)


class _Comparison:
    """Whether the new generation is where the live consumer is; `obstacle` says why it was not when last asked."""

    def __init__(
        self, consumer: str, name: str, pool: asyncpg.Pool, filler: Filler, contracts: Sequence[Contract]
    ) -> None:
        self.obstacle = ""
        self._names = (consumer, name)
        self._pool = pool
        self._filler = filler
        self._channels = [c.channel(audience) for c in contracts for audience in ("public", "internal")]
        self._behind: list[_StreamOf] | None = None
        self._compared_at = float("-inf")
        self._elsewhere: Mapping[Part, int] = {}

    async def nearly_there(self) -> bool:
        """Whether it is worth holding the live generation: what is missing is little, and here already."""
        goals = await self._goals(self._pool)
        if self._behind is None:
            if time.monotonic() - self._compared_at < _COMPARE_SECONDS:
                return False
            self._compared_at = time.monotonic()
            if await self._pool.fetchval(_LETTERS, self._names[0]):
                self.obstacle = "dead letters are open"
                return False
            found = await self._pool.fetch(_BEHIND, *self._names, self._channels, _FEW_STREAMS + 1)
            if len(found) > _FEW_STREAMS:
                return self._not_yet([tuple(row) for row in found])
            self._behind = [tuple(row) for row in found]
        gap = self._filler.gap(goals)
        if gap is None or gap > _FEW_RECORDS:
            self.obstacle = "the live consumer has read what is not in the log, or not yet here"
            return False
        # A record brings one stream on.
        behind = await self._still_behind(self._pool)
        if len(behind) > gap:
            return self._not_yet(behind)
        self.obstacle = "somebody reads the live tables for long"
        return True

    async def there(self, connection: Connection, _: Position) -> bool:
        """The same while the live generation is held, exactly, after the last few records."""
        goals = await self._goals(connection)
        gap = self._filler.gap(goals)
        if self._behind is None or gap is None or gap > _FEW_RECORDS:
            return False
        await self._filler.apply(goals)
        behind = await self._still_behind(connection)
        return (self._filler.gap(goals) == 0 and not behind) or self._not_yet(behind)

    async def _goals(self, connection: Connection | asyncpg.Pool) -> Mapping[Part, int]:
        """How far the live consumer has come in the logs that are read here.

        If it has moved in others, its streams may have too: all are to be compared again.
        """
        offsets = {Part(*row[:3]): row[3] for row in await connection.fetch(_OFFSETS, self._names[0])}
        elsewhere = {part: offset for part, offset in offsets.items() if part not in self._filler.next}
        if elsewhere != self._elsewhere:
            self._elsewhere, self._behind = elsewhere, None
        return {part: offset for part, offset in offsets.items() if part in self._filler.next}

    async def _still_behind(self, connection: Connection | asyncpg.Pool) -> list[_StreamOf]:
        if not self._behind:
            return []
        columns = zip(*self._behind, strict=True)
        return [tuple(row) for row in await connection.fetch(_STILL_BEHIND, *self._names, *columns)]

    def _not_yet(self, behind: Sequence[_StreamOf]) -> bool:
        if behind:
            (channel, stream_id), count = behind[0], len(behind)
            several = f"{count} streams" if count <= _FEW_STREAMS else f"more than {_FEW_STREAMS} streams"
            self.obstacle = (
                f"{several} are not as the log has them, or it does not hold them: {stream_id} of {channel}"
            )
        return False


class _Logs:
    """The logs that were there when the rebuild began, which have to stay."""

    def __init__(self, cluster: ClusterClient, contracts: Sequence[Contract]) -> None:
        self._cluster = cluster
        self._contracts = contracts
        self._ids: dict[str, UUID] = {}
        self._looked_at = float("-inf")

    async def parts(self) -> list[Part]:
        """All partitions of all channels of the owners that have a log."""
        seen, self._ids = await self._look()
        return [
            Part(self._ids[contract.owner], channel, number)
            for contract in self._contracts
            if contract.owner in self._ids
            for channel in (contract.channel("public"), contract.channel("internal"))
            for number in range(seen[channel])
        ]

    async def check(self) -> None:
        """Raises RebuildFailed when a log is another one, or gone; looks every 2 s."""
        if time.monotonic() - self._looked_at < _IDENTITY_SECONDS:
            return
        _, ids = await self._look()
        if ids != self._ids:
            changed = sorted(o for o in {*ids, *self._ids} if ids.get(o) != self._ids.get(o))
            raise RebuildFailed(
                f"the log of {', '.join(changed)} is another one since, or is gone: rebuild again"
            )

    async def _look(self) -> tuple[Mapping[str, int], dict[str, UUID]]:
        seen = await self._cluster.look()
        self._looked_at = time.monotonic()
        ids = {}
        for contract in self._contracts:
            if {contract.channel("public"), contract.channel("internal")} <= seen.partitions.keys():
                log_id = await read_log_id(self._cluster, seen, contract.owner)
                if log_id is not None:
                    ids[contract.owner] = log_id
        return seen.partitions, ids


@asynccontextmanager
async def _broker(
    bootstrap: str, name: str, contracts: Sequence[Contract]
) -> AsyncIterator[tuple[_Logs, AIOKafkaConsumer, ClusterClient]]:
    """The logs, a reader, and a client that reads what it cannot. Any trouble with the broker ends the rebuild."""
    reader = AIOKafkaConsumer(
        bootstrap_servers=bootstrap,
        client_id=name,
        enable_auto_commit=False,
        auto_offset_reset="none",
        fetch_max_wait_ms=_FETCH_WAIT_MS,
    )
    try:
        async with ClusterClient(bootstrap, client_id=name) as cluster:
            async with asyncio.timeout(_START_SECONDS):
                await reader.start()
            yield _Logs(cluster, contracts), reader, cluster
    except kafka.KafkaError as error:
        raise RebuildFailed(f"{type(error).__name__} of the broker: rebuild again") from error
    finally:
        with suppress(TimeoutError):
            async with asyncio.timeout(_STOP_SECONDS):
                await reader.stop()
