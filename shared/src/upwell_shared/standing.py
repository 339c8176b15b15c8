"""How a service stands, as its database tells it at this moment: what `/metrics` shows beside what a process counts.

Asked when somebody scrapes, so that every replica that serves HTTP tells the same, also of a relay, a projector or a
consumer that runs in another process, and above all of one that no longer runs.
"""

import asyncio
import time

import asyncpg

from upwell_shared import metrics
from upwell_shared.clock import Clock
from upwell_shared.database import Connection, one
from upwell_shared.relay import CURSOR

_ANSWER_SECONDS = 2.0

_UNPUBLISHED = """
SELECT l.recorded_at FROM ledger l
WHERE (l.tx, l.position) > (coalesce((SELECT c.tx FROM cursors c WHERE c.name = $1), '0'::xid8),
                            coalesce((SELECT c.position FROM cursors c WHERE c.name = $1), 0))
ORDER BY l.tx, l.position LIMIT 1
"""

# Own projections, that is, those that somebody has held the lease for: the cursors of others' never move. Where a
# generation is newer than the live one, it is being filled.
_PROJECTIONS = """
SELECT live.name, behind.recorded_at,
       (SELECT least(1.0, new.position::float8 / nullif(live.position, 0)) FROM projections new
        WHERE new.name = live.name AND new.generation > live.generation ORDER BY new.generation DESC LIMIT 1) AS rebuilt
FROM projections live
JOIN leases ON leases.name = 'projector-' || live.name
LEFT JOIN LATERAL (
    SELECT e.recorded_at FROM events e WHERE (e.tx, e.position) > (live.tx, live.position)
    ORDER BY e.tx, e.position LIMIT 1
) behind ON true
WHERE live.live
"""

# Those fed by others are filled by a reader that is called `<consumer>@<projection>.<generation>`.
_FILLED = """
SELECT new.name, least(1.0, coalesce(sum(p.sequence) FILTER (WHERE p.consumer LIKE '%@%'), 0)::float8
                            / nullif(sum(p.sequence) FILTER (WHERE p.consumer NOT LIKE '%@%'), 0)) AS rebuilt
FROM projections new
JOIN projections live ON live.name = new.name AND live.live AND new.generation > live.generation
JOIN progress p ON p.consumer NOT LIKE '%@%' OR p.consumer LIKE '%@' || new.name || '.' || new.generation
WHERE NOT EXISTS (SELECT FROM leases WHERE leases.name = 'projector-' || new.name)
GROUP BY new.name
"""

_LETTERS = "SELECT count(*), extract(epoch FROM now() - min(parked_at))::float8 FROM dead_letters WHERE consumer NOT LIKE '%@%'"

# The barrier of every tail reader, and whether anything was committed above it. Unlike the view of what others do, this
# is shown to everybody.
_OLDEST_WRITER = (
    "SELECT pg_snapshot_xmin(s), pg_snapshot_xmin(s) < pg_snapshot_xmax(s) FROM pg_current_snapshot() s"
)


class Standing:
    """Looks, and sets the gauges. One for a process that serves HTTP; `observe` is safe to call at any time."""

    def __init__(self, pool: asyncpg.Pool, clock: Clock) -> None:
        """`clock` is the one of `recorded_at`."""
        self._pool = pool
        self._clock = clock
        self._writer: tuple[int, float] | None = None
        self._looking = asyncio.Lock()

    async def observe(self) -> None:
        """Returns within two seconds. What cannot be told, because the database does not answer, is told as NaN."""
        async with self._looking:
            try:
                async with asyncio.timeout(_ANSWER_SECONDS), self._pool.acquire() as connection:
                    await self._look(connection)
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                for gauge in (
                    metrics.RELAY_OLDEST_UNPUBLISHED_SECONDS,
                    metrics.DEAD_LETTERS,
                    metrics.DEAD_LETTERS_OLDEST_SECONDS,
                    metrics.OLDEST_WRITER_SECONDS,
                ):
                    gauge.set(float("nan"))
                metrics.PROJECTION_LAG_SECONDS.clear()
                metrics.REBUILD_RATIO.clear()

    async def _look(self, connection: Connection) -> None:
        unpublished = await connection.fetchval(_UNPUBLISHED, CURSOR)
        projections = await connection.fetch(_PROJECTIONS)
        filled = await connection.fetch(_FILLED)
        letters, oldest = await one(connection, _LETTERS)
        writer, writes = await one(connection, _OLDEST_WRITER)
        now = self._clock.now()
        metrics.RELAY_OLDEST_UNPUBLISHED_SECONDS.set(
            0.0 if unpublished is None else max(0.0, (now - unpublished).total_seconds())
        )
        metrics.PROJECTION_LAG_SECONDS.clear()
        metrics.REBUILD_RATIO.clear()
        for name, behind, rebuilt in projections:
            lag = 0.0 if behind is None else max(0.0, (now - behind).total_seconds())
            metrics.PROJECTION_LAG_SECONDS.labels(name).set(lag)
            if rebuilt is not None:
                metrics.REBUILD_RATIO.labels(name).set(rebuilt)
        for name, rebuilt in filled:
            metrics.REBUILD_RATIO.labels(name).set(rebuilt)
        metrics.DEAD_LETTERS.set(letters)
        metrics.DEAD_LETTERS_OLDEST_SECONDS.set(oldest or 0.0)
        metrics.OLDEST_WRITER_SECONDS.set(self._age_of(writer if writes else None))

    def _age_of(self, writer: int | None) -> float:
        """How long this transaction has been seen as the oldest one; from one look to the next at least."""
        if writer is None:
            self._writer = None
            return 0.0
        if self._writer is None or self._writer[0] != writer:
            self._writer = writer, time.monotonic()
        return time.monotonic() - self._writer[1]
