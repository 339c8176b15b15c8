"""How far each partition of a log is read, as the database has it; moving on belongs to `applying`."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple
from uuid import UUID

import asyncpg

_KNOWN = """
SELECT channel, partition, next_offset
FROM unnest($2::uuid[], $3::text[], $4::int[]) AS wanted (log_id, channel, partition)
JOIN consumer_offsets o USING (log_id, channel, partition)
WHERE o.consumer = $1
"""

_BEGIN = """
INSERT INTO consumer_offsets (consumer, log_id, channel, partition, next_offset)
SELECT $1, * FROM unnest($2::uuid[], $3::text[], $4::int[], $5::bigint[])
ON CONFLICT DO NOTHING
"""

# Of logs that are gone nobody reads on. A member that does not know yet finds its row missing, and looks again.
_FORGET = """
DELETE FROM consumer_offsets AS o
USING unnest($2::uuid[], $3::text[], $4::int[]) AS begun (log_id, channel, partition)
WHERE o.consumer = $1 AND o.channel = begun.channel AND o.partition = begun.partition AND o.log_id <> begun.log_id
"""

_RESTART = """
UPDATE consumer_offsets SET next_offset = $6
WHERE consumer = $1 AND log_id = $2 AND channel = $3 AND partition = $4 AND next_offset = $5
"""


class Part(NamedTuple):
    """A partition of a channel in a log."""

    log_id: UUID
    channel: str
    partition: int


class Offsets:
    """The offsets of one consumer."""

    def __init__(self, pool: asyncpg.Pool, consumer: str) -> None:
        self._pool = pool
        self._consumer = consumer

    async def known(self, parts: Sequence[Part]) -> dict[tuple[str, int], int]:
        """The next offset of each (channel, partition) that was read before."""
        rows = await self._pool.fetch(_KNOWN, self._consumer, *zip(*parts, strict=True))
        return {(row["channel"], row["partition"]): row["next_offset"] for row in rows}

    async def begin(self, parts: Mapping[Part, int]) -> None:
        """Notes where reading begins in partitions never read before, and forgets what they were in other logs."""
        rows = [(*part, offset) for part, offset in parts.items()]
        await self._pool.execute(_BEGIN, self._consumer, *zip(*rows, strict=True))
        await self._pool.execute(_FORGET, self._consumer, *zip(*parts, strict=True))

    async def restart(self, part: Part, *, seen: int, at: int) -> None:
        """Sets a partition back, unless it is not where it was `seen`."""
        await self._pool.execute(_RESTART, self._consumer, *part, seen, at)
