"""The one tail reader: rows in commit order, each once, none missed.

A row is read only when every transaction that could still put a row before it has ended: below
`pg_snapshot_xmin(pg_current_snapshot())`, ordered and resumed by the pair (tx, position). Reads go to the primary.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg

from upwell_shared.database import Connection
from upwell_shared.events import Envelope, EventCodec, Position, Recorded

_EVENTS = """
SELECT tx, position, stream_id, version, event_id, type, schema_version, data,
       command_id, correlation_id, causation_id, actor, traceparent, recorded_at
FROM events
WHERE (tx, position) > ($1, $2) AND tx < pg_snapshot_xmin(pg_current_snapshot())
ORDER BY tx, position
LIMIT $3
"""

_LEDGER = """
SELECT tx, position, event_id, channel, key, partition, sequence, type, headers, body, recorded_at
FROM ledger
WHERE (tx, position) > ($1, $2) AND tx < pg_snapshot_xmin(pg_current_snapshot())
ORDER BY tx, position
LIMIT $3
"""


@dataclass(frozen=True, slots=True)
class LedgerRow:
    """A finished record for a channel; `headers` are the JSON of [[name, value], ...] without the log's id."""

    at: Position
    event_id: UUID
    channel: str
    key: UUID
    partition: int
    sequence: int
    type: str
    headers: bytes
    body: bytes
    recorded_at: datetime


def recorded(row: asyncpg.Record, codec: EventCodec) -> Recorded[Any]:
    """One row of `events`, raised to the event's current version. Raises UnknownEvent."""
    return Recorded(
        stream_id=row["stream_id"],
        version=row["version"],
        event=codec.decode(row["type"], row["schema_version"], row["data"]),
        event_id=row["event_id"],
        at=Position(row["tx"], row["position"]),
        envelope=Envelope(
            command_id=row["command_id"],
            correlation_id=row["correlation_id"],
            causation_id=row["causation_id"],
            actor=row["actor"],
            traceparent=row["traceparent"],
        ),
        recorded_at=row["recorded_at"],
    )


async def events_after(
    connection: Connection, codec: EventCodec, after: Position, limit: int
) -> Sequence[Recorded[Any]]:
    """The next events in commit order; empty when the reader has caught up with the barrier."""
    return [recorded(row, codec) for row in await connection.fetch(_EVENTS, *after, limit)]


async def ledger_after(connection: Connection, after: Position, limit: int) -> Sequence[LedgerRow]:
    """The next ledger rows in commit order; empty when the reader has caught up with the barrier."""
    return [
        LedgerRow(Position(tx, position), *rest)
        for tx, position, *rest in await connection.fetch(_LEDGER, *after, limit)
    ]
