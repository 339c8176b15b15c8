"""Filling a new generation of a projection from the log, never further than the live consumer has come.

How far that is, is asked of its `progress`, stream by stream: its offsets count in one log, and its rows outlive logs.
A partition stops at the first record the live consumer has not applied, and goes on when it has.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import asyncpg
from aiokafka import AIOKafkaConsumer
from aiokafka.structs import TopicPartition

from upwell_shared.consuming.applying import Applier, Batch
from upwell_shared.consuming.offsets import Offsets, Part
from upwell_shared.consuming.salvaging import of_records, salvage
from upwell_shared.contracts import headers as names
from upwell_shared.errors import UpwellError
from upwell_shared.log_identity import ClusterClient

_PAGE_RECORDS = 500
_HELD_RECORDS = 2_000
_FETCH_MS = 50
_OFFSETS_SECONDS = 10.0

_APPLIED = """
SELECT stream_id, sequence FROM progress WHERE consumer = $1 AND channel = $2 AND stream_id = ANY ($3)
"""


class RebuildFailed(UpwellError):
    """The new generation could not be filled, for the reason given; the live one is as it was."""


class Filler:
    """Reads some partitions from their beginnings for `applier`, behind the consumer `live`.

    `next` is the offset after the last record applied, by partition.
    """

    def __init__(
        self,
        applier: Applier,
        live: str,
        pool: asyncpg.Pool,
        *,
        reader: AIOKafkaConsumer,
        cluster: ClusterClient,
        parts: Sequence[Part],
    ) -> None:
        """`cluster` has just seen all of `parts`; it reads what `reader` cannot."""
        self.next: dict[Part, int] = {}
        self._applier = applier
        self._live = live
        self._pool = pool
        self._reader = reader
        self._cluster = cluster
        self._parts = {TopicPartition(part.channel, part.partition): part for part in parts}
        self._held: dict[Part, list[Any]] = {part: [] for part in parts}

    async def begin(self) -> None:
        """Goes to the beginning of every partition."""
        if not self._parts:
            return
        self._reader.assign([*self._parts])
        async with asyncio.timeout(_OFFSETS_SECONDS):
            beginnings = await self._reader.beginning_offsets([*self._parts])
        self.next = {part: beginnings[place] for place, part in self._parts.items()}
        await Offsets(self._pool, self._applier.name).begin(self.next)
        for place, offset in beginnings.items():
            self._reader.seek(place, offset)

    async def fetch(self) -> None:
        """Waits a moment for further records, and holds them."""
        wanted = [place for place, part in self._parts.items() if len(self._held[part]) < _HELD_RECORDS]
        if not wanted:
            await asyncio.sleep(_FETCH_MS / 1000)
            return
        try:
            fetched = await self._reader.getmany(*wanted, timeout_ms=_FETCH_MS)
        except Exception as error:
            if not of_records(error):
                raise
            fetched = await self._salvage(error)
        for place, records in fetched.items():
            self._held[self._parts[place]] += records

    async def _salvage(self, error: Exception) -> Mapping[TopicPartition, Sequence[Any]]:
        """What the reader should have fetched instead of this error. Raises it when there is nothing it cannot read."""
        places = {
            place: self._held[part][-1].offset + 1 if self._held[part] else self.next[part]
            for place, part in self._parts.items()
        }
        found = await salvage(self._cluster, places)
        if not found:
            raise error
        # The reader has lost what it had fetched of all others too.
        for place, offset in places.items():
            self._reader.seek(place, found[place][-1].offset + 1 if place in found else offset)
        return found

    def gap(self, goals: Mapping[Part, int]) -> int | None:
        """How many records are to be applied to get to these offsets; None when they are not all held."""
        count = 0
        for part, goal in goals.items():
            if self.next[part] < goal:
                missing = [record for record in self._held[part] if record.offset < goal]
                if not missing or missing[-1].offset + 1 < goal:
                    return None
                count += len(missing)
        return count

    async def apply(self, goals: Mapping[Part, int] | None = None) -> int:
        """Applies what is held as far as it may be, or only as far as these offsets; returns how many records.

        Raises RebuildFailed when one of them cannot be applied.
        """
        count = 0
        for part, held in self._held.items():
            goal = None if goals is None else goals.get(part, 0)
            while page := [record for record in held[:_PAGE_RECORDS] if goal is None or record.offset < goal]:
                allowed = await self._allowed(part, page)
                if allowed:
                    await self._apply(part, page[:allowed])
                    del held[:allowed]
                    count += allowed
                if allowed < len(page):
                    break
        return count

    async def _allowed(self, part: Part, records: Sequence[Any]) -> int:
        """How many of the records, from the first on, the live consumer has behind it."""
        named = [_named(record, part.log_id) for record in records]
        streams = {name[0] for name in named if name is not None}
        rows = await self._pool.fetch(_APPLIED, self._live, part.channel, streams)
        applied: dict[UUID, int] = {row["stream_id"]: row["sequence"] for row in rows}
        for count, name in enumerate(named):
            if name is not None and name[1] > applied.get(name[0], 0):
                return count
        return len(records)

    async def _apply(self, part: Part, records: Sequence[Any]) -> None:
        batch = Batch(
            log_id=part.log_id,
            channel=part.channel,
            partition=part.partition,
            first_offset=self.next[part],
            records=records,
        )
        applied = await self._applier.apply(batch)
        if applied.parked:
            reasons = ", ".join(f"{count} {reason.value}" for reason, count in applied.parked.items())
            raise RebuildFailed(f"{part.channel}/{part.partition}: {reasons}")
        self.next[part] = batch.next_offset


def _named(record: Any, log_id: UUID) -> tuple[UUID, int] | None:
    """Stream and sequence of a record; None if it is of another log or does not say, which is for the applier to judge."""
    headers = dict(record.headers)
    try:
        if UUID(headers[names.LOG_ID].decode()) != log_id:
            return None
        return UUID(record.key.decode()), int(headers[names.SEQUENCE])
    except (KeyError, ValueError, AttributeError, TypeError):
        return None
