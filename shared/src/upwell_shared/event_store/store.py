"""Loading, appending, and what was answered before."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import asyncpg

from upwell_shared.event_store.appending import Append, Appended, Appender
from upwell_shared.event_store.starting import require_safe
from upwell_shared.events import Envelope, EventCodec
from upwell_shared.migrating import Source, require_current

# One statement is one snapshot: the head of a stream and its events cannot disagree. By equality, since for a list of
# ids the server makes a new plan each time, which costs three times what running it does.
_LOAD = """
SELECT s.type, s.version, s.public_sequence, s.internal_sequence, e.type, e.schema_version, e.data
FROM streams s JOIN events e USING (stream_id)
WHERE s.stream_id = $1
ORDER BY e.version
"""

_LATEST = """
SELECT event_id, correlation_id, traceparent FROM events WHERE stream_id = $1 AND type = $2 ORDER BY version DESC LIMIT 1
"""

_ANSWER = "SELECT fingerprint, result FROM commands WHERE command_id = $1"

# In small batches: no transaction of the product writes for long.
_FORGET = """
DELETE FROM commands WHERE command_id IN (
    SELECT command_id FROM commands WHERE recorded_at < now() - make_interval(days => $1) LIMIT 500
)
"""

COMMAND_IDS_KEPT_DAYS = 30
"""The horizon within which a repeated command is recognised."""


@dataclass(slots=True)
class Loaded:
    """A stream as read: no `type`, `version` 0 and no events when it does not exist."""

    type: str | None
    version: int
    public_sequence: int
    internal_sequence: int
    events: list[Any]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command was answered, and the fingerprint of what was asked."""

    fingerprint: bytes | None
    result: str


class EventStore:
    """A service's facts. `on_written` is called after each append that wrote, to wake relay, projections, workers."""

    def __init__(
        self, pool: asyncpg.Pool, codec: EventCodec, on_written: Callable[[], None] = lambda: None
    ) -> None:
        self.pool = pool
        self.codec = codec
        self._appender = Appender(pool, on_written)

    async def start(self, sources: Sequence[Source]) -> None:
        """Refuses, each with its own error, a database that would lose or hide facts, or of another release."""
        async with self.pool.acquire() as connection:
            await require_current(connection, sources)
            await require_safe(connection)

    async def load(self, *stream_ids: UUID) -> dict[UUID, Loaded]:
        """Every asked stream with its events raised to their current versions. Raises UnknownEvent.

        Each is as it was at a moment of its own; an append on several streams is refused when one has moved since.
        """
        async with self.pool.acquire() as connection:
            return {
                stream_id: self._loaded(await connection.fetch(_LOAD, stream_id)) for stream_id in stream_ids
            }

    async def following(self, stream_id: UUID, event: type, command_id: UUID) -> Envelope:
        """The envelope of a command that follows from the latest event of a class in a stream, though no to-do was left
        for it: the event is its cause, and it belongs to the same story. Without such an event it begins one.
        """
        row = await self.pool.fetchrow(_LATEST, stream_id, event.__name__)
        if row is None:
            return Envelope(command_id=command_id, correlation_id=command_id)
        event_id, correlation_id, traceparent = row
        return Envelope(
            command_id=command_id,
            correlation_id=correlation_id,
            causation_id=event_id,
            traceparent=traceparent,
        )

    def _loaded(self, rows: Sequence[asyncpg.Record]) -> Loaded:
        if not rows:
            return Loaded(None, 0, 0, 0, [])
        kind, version, public, internal, *_ = rows[0]
        decode = self.codec.decode
        events = [decode(name, schema_version, data) for *_, name, schema_version, data in rows]
        return Loaded(kind, version, public, internal, events)

    async def append(self, append: Append) -> Appended:
        """All streams of the command or none, in one round trip shared with other commands; see Appender."""
        return await self._appender.append(append)

    async def answer(self, command_id: UUID) -> Answer | None:
        """What the command was answered when it was carried out, within the last 30 days."""
        row = await self.pool.fetchrow(_ANSWER, command_id)
        return None if row is None else Answer(row["fingerprint"], row["result"])

    async def forget_commands(self) -> bool:
        """Deletes one small batch of command ids past their horizon; True when there may be more."""
        return await self.pool.execute(_FORGET, COMMAND_IDS_KEPT_DAYS) != "DELETE 0"

    async def stop(self) -> None:
        """Waits until everything taken has its outcome. The pool stays the caller's."""
        await self._appender.drain()
