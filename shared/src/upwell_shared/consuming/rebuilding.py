"""Making a projection fed by others' events again from zero, beside the live one.

The channels are read from their beginnings by a reader of its own, which belongs to no group and keeps its own offsets
and progress, so that every rule of `applying` holds for it too. No reaction runs. At the end the live generation is held
still for a moment, the last records it had applied are applied here as well, and both are exchanged in one transaction.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from uuid import UUID

import asyncpg
from aiokafka import AIOKafkaConsumer
from aiokafka.structs import TopicPartition

from upwell_shared.consuming.applying import Applier, Batch
from upwell_shared.consuming.handlers import ForeignProjection, fold
from upwell_shared.consuming.offsets import Offsets, Part
from upwell_shared.contracts import Consumed, Contract
from upwell_shared.database import Connection
from upwell_shared.errors import UpwellError
from upwell_shared.log_identity import ClusterClient, read_identities
from upwell_shared.migrating import grant
from upwell_shared.projecting import RebuildAbandoned, create_generation, hold_live, switch

_PAGE_RECORDS = 500
_FETCH_MS = 200
_STOP_SECONDS = 5.0
# So close that the live generation need not be held still for long.
_NEARLY_RECORDS = 2_000

_LETTERS = "SELECT count(*) FROM dead_letters WHERE consumer = $1"

_READ = """
SELECT log_id, channel, partition, next_offset FROM consumer_offsets
WHERE consumer = $1 AND log_id = ANY ($2) AND next_offset > 0
"""

_ENTER_GENERATION = """
SELECT set_config('search_path', quote_ident(schema) || ', public', true)
FROM projections WHERE name = $1 AND generation = $2
"""

_FORGET_OFFSETS = "DELETE FROM consumer_offsets WHERE consumer = $1"
_FORGET_PROGRESS = "DELETE FROM progress WHERE consumer = $1"
_FORGET_LETTERS = "DELETE FROM dead_letters WHERE consumer = $1"


class LettersOpen(UpwellError):
    """Dead letters of this consumer are open: retry or discard them first, or the new rows would differ by them."""


class RebuildFailed(UpwellError):
    """An event could not be applied to the new generation; the live one is as it was."""


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
) -> int:
    """Fills a new generation of one of the projections of `consumer`, switches to it, and returns its number.

    `owner` is a pool of the database's owner, who may create schemas. Reads see the old rows until the switch and the new ones
    after it; new rows are what the live ones would be at the same offsets. Raises LettersOpen, RebuildFailed, and
    RebuildAbandoned when another rebuild of the same projection took over; then the live generation is as it was.
    """
    if await pool.fetchval(_LETTERS, consumer):
        raise LettersOpen
    generation = await create_generation(owner, projection, app_role=app_role, reader_role=reader_role)
    name = f"{consumer}@{projection.name}.{generation}"
    async with ClusterClient(bootstrap, client_id=name) as cluster:
        identities = await read_identities(cluster, [contract.owner for contract in contracts])
    logs = [identity.log_id for identity in identities.values() if identity.log_id is not None]
    reader = AIOKafkaConsumer(
        bootstrap_servers=bootstrap, client_id=name, enable_auto_commit=False, auto_offset_reset="none"
    )
    await reader.start()
    try:
        filler = _Filler(name, pool, contracts, _Filling(projection, generation), reader)
        while await filler.fill(await _goals(pool, consumer, logs)) > _NEARLY_RECORDS:
            pass
        async with owner.acquire() as connection, connection.transaction():
            await hold_live(connection, projection.name)
            await filler.fill(await _goals(connection, consumer, logs))
            await switch(connection, projection.name, generation)
            await grant(connection, app_role=app_role, reader_role=reader_role)
    finally:
        with suppress(TimeoutError):
            async with asyncio.timeout(_STOP_SECONDS):
                await reader.stop()
        for forget in (_FORGET_OFFSETS, _FORGET_PROGRESS, _FORGET_LETTERS):
            await pool.execute(forget, name)
    return generation


async def _goals(
    connection: Connection | asyncpg.Pool, consumer: str, logs: Sequence[UUID]
) -> dict[Part, int]:
    """How far the live consumer has come in each partition."""
    rows = await connection.fetch(_READ, consumer, logs)
    return {Part(row["log_id"], row["channel"], row["partition"]): row["next_offset"] for row in rows}


class _Filler:
    """Applies what lies between its own offsets and the goals it is given."""

    def __init__(
        self,
        name: str,
        pool: asyncpg.Pool,
        contracts: Sequence[Contract],
        filling: _Filling,
        reader: AIOKafkaConsumer,
    ) -> None:
        self._applier = Applier(name, pool, contracts, filling)
        self._offsets = Offsets(pool, name)
        self._reader = reader
        self._next: dict[Part, int] = {}

    async def fill(self, goals: dict[Part, int]) -> int:
        """Reads up to the goals; returns how many records that were."""
        fresh = [part for part in goals if part not in self._next]
        if fresh:
            await self._place(fresh)
        begun = sum(self._next.values())
        behind = {TopicPartition(p.channel, p.partition): p for p in goals if self._next[p] < goals[p]}
        while behind:
            for place, records in (await self._reader.getmany(*behind, timeout_ms=_FETCH_MS)).items():
                part = behind[place]
                wanted = [record for record in records if record.offset < goals[part]]
                for start in range(0, len(wanted), _PAGE_RECORDS):
                    await self._apply(part, wanted[start : start + _PAGE_RECORDS])
                if self._next[part] >= goals[part]:
                    del behind[place]
                    # What was fetched beyond the goal is fetched again when the goal has moved.
                    self._reader.seek(place, self._next[part])
        return sum(self._next.values()) - begun

    async def _place(self, fresh: Sequence[Part]) -> None:
        places = {part: TopicPartition(part.channel, part.partition) for part in fresh}
        self._reader.assign([*self._reader.assignment(), *places.values()])
        beginnings = await self._reader.beginning_offsets([*places.values()])
        await self._offsets.begin({part: beginnings[place] for part, place in places.items()})
        for part, place in places.items():
            self._next[part] = beginnings[place]
        for part, offset in self._next.items():
            self._reader.seek(TopicPartition(part.channel, part.partition), offset)

    async def _apply(self, part: Part, records: Sequence[object]) -> None:
        batch = Batch(
            log_id=part.log_id,
            channel=part.channel,
            partition=part.partition,
            first_offset=self._next[part],
            records=records,  # type: ignore[arg-type] # aiokafka's records are untyped
        )
        applied = await self._applier.apply(batch)
        if applied.parked:
            reasons = ", ".join(f"{count} {reason.value}" for reason, count in applied.parked.items())
            raise RebuildFailed(
                f"{part.channel}/{part.partition}: {reasons}; the live generation is as it was"
            )
        self._next[part] = batch.next_offset
