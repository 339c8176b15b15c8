"""Timers: "when this is due, send that command", kept as a projection of the service's own events.

The ticker turns what is due into to-dos. Their ids follow from the event that set the timer, so late is fine, twice is
fine, and the projection can be made again from zero: a command that was carried out is known by its id, and one whose
time has passed decides "nothing to do".
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg

from upwell_shared.clock import Clock
from upwell_shared.database import Connection
from upwell_shared.events import EventCodec, Recorded
from upwell_shared.todos import Todo, todo_id

_PAGE = 500

_TABLES = """
CREATE TABLE timers (
    stream_id      uuid        NOT NULL,
    name           text        NOT NULL,
    due_at         timestamptz NOT NULL,
    command_id     uuid        NOT NULL,
    type           text        NOT NULL,
    schema_version smallint    NOT NULL,
    command        json        NOT NULL,
    correlation_id uuid        NOT NULL,
    causation_id   uuid,
    traceparent    text,
    PRIMARY KEY (stream_id, name)
);
CREATE INDEX timers_due ON timers (due_at);
"""

_CLEAR = """
DELETE FROM timers t USING unnest($1::uuid[], $2::text[]) AS gone (stream_id, name)
WHERE t.stream_id = gone.stream_id AND t.name = gone.name
"""

_SET = """
INSERT INTO timers (name, due_at, command_id, stream_id, type, schema_version, command, correlation_id, causation_id,
                    traceparent)
SELECT t.name, t.due_at, t.command_id, t.stream_id, t.type, t.schema_version, t.command::json, t.correlation_id,
       t.causation_id, t.traceparent
FROM unnest($1::text[], $2::timestamptz[], $3::uuid[], $4::uuid[], $5::text[], $6::smallint[], $7::text[],
            $8::uuid[], $9::uuid[], $10::text[])
    AS t (name, due_at, command_id, stream_id, type, schema_version, command, correlation_id, causation_id,
          traceparent)
"""

# One statement: a timer is either still set or already a to-do.
_ISSUE = """
WITH due AS (
    DELETE FROM timers WHERE (stream_id, name) IN (
        SELECT stream_id, name FROM timers WHERE due_at <= $1 ORDER BY due_at LIMIT $2
    ) RETURNING *
), promised AS (
    INSERT INTO todos (command_id, stream_id, type, schema_version, command, correlation_id, causation_id, traceparent)
    SELECT command_id, stream_id, type, schema_version, command, correlation_id, causation_id, traceparent
    FROM due ORDER BY due_at
    ON CONFLICT (command_id) DO NOTHING
)
SELECT count(*) FROM due
"""


@dataclass(frozen=True, slots=True)
class SetTimer:
    """At `due_at` send `command` to the event's stream; replaces a timer of the same name there."""

    name: str
    due_at: datetime
    command: object


@dataclass(frozen=True, slots=True)
class ClearTimer:
    """The timer of that name on the event's stream is no longer wanted."""

    name: str


Timing = Callable[[Recorded[Any]], Iterable[SetTimer | ClearTimer]]
"""What an own event sets and clears. Pure."""


class Timers:
    """The projection `timers`, kept like any other of the service's own."""

    name = "timers"
    version = 1
    tables = _TABLES

    def __init__(self, timing: Timing, commands: EventCodec) -> None:
        self._timing = timing
        self._commands = commands

    async def project(self, connection: Connection, events: Sequence[Recorded[Any]]) -> None:
        """Of several changes to one timer in a page only the last counts."""
        last: dict[tuple[UUID, str], tuple[Recorded[Any], SetTimer | ClearTimer]] = {}
        for recorded in events:
            for change in self._timing(recorded):
                last[recorded.stream_id, change.name] = recorded, change
        if not last:
            return
        await connection.execute(_CLEAR, *zip(*last, strict=True))
        rows = [
            self._row(recorded, change) for recorded, change in last.values() if isinstance(change, SetTimer)
        ]
        if rows:
            await connection.execute(_SET, *zip(*rows, strict=True))

    def _row(self, recorded: Recorded[Any], change: SetTimer) -> tuple[Any, ...]:
        encoded = self._commands.encode(change.command)
        return (
            change.name,
            change.due_at,
            *Todo(
                command_id=todo_id(recorded.event_id, change.name, recorded.stream_id, encoded.type),
                stream_id=recorded.stream_id,
                type=encoded.type,
                schema_version=encoded.schema_version,
                command=encoded.data,
                correlation_id=recorded.envelope.correlation_id,
                causation_id=recorded.event_id,
                traceparent=recorded.envelope.traceparent,
            ),
        )


class Ticker:
    """Issues what is due by the service's clock as to-dos."""

    def __init__(self, pool: asyncpg.Pool, clock: Clock) -> None:
        self._pool = pool
        self._clock = clock

    async def step(self, _: object = None) -> bool:
        """Issues one page, oldest first; True when there may be more."""
        return bool(await self._pool.fetchval(_ISSUE, self._clock.now(), _PAGE) == _PAGE)
