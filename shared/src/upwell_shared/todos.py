"""To-dos: commands a service has promised itself, written with the fact that led to them, carried out apart.

A consumed event or a due timer leaves a to-do in its own transaction; the worker takes it through the handler, and
the append that records the command's id deletes it in the same commit. So a crash anywhere repeats at most a
command that is already done, which the id turns into nothing.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from itertools import groupby
from typing import Any, NamedTuple
from uuid import UUID, uuid5

import asyncpg
import structlog

from upwell_shared import tracing
from upwell_shared.clock import Clock
from upwell_shared.database import Connection
from upwell_shared.decider import DomainError
from upwell_shared.events import Envelope, EventCodec, UnknownEvent
from upwell_shared.handling import Outcome
from upwell_shared.observability import bind_correlation
from upwell_shared.retrying import is_transient

log = structlog.get_logger()

_NAMESPACE = UUID("8f6f0a4e-5c2f-5c0e-9c55-0b6d3f7f6a11")

_PAGE = 200

_INSERT = """
INSERT INTO todos (command_id, stream_id, type, schema_version, command, correlation_id, causation_id, traceparent)
SELECT t.command_id, t.stream_id, t.type, t.schema_version, t.command::json, t.correlation_id, t.causation_id,
       t.traceparent
FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::smallint[], $5::text[], $6::uuid[], $7::uuid[], $8::text[])
    WITH ORDINALITY
    AS t (command_id, stream_id, type, schema_version, command, correlation_id, causation_id, traceparent, n)
ORDER BY t.n
ON CONFLICT (command_id) DO NOTHING
"""

_OPEN = """
SELECT command_id, stream_id, type, schema_version, command, correlation_id, causation_id, traceparent
FROM todos t
WHERE parked_because IS NULL AND next_try_at <= now() AND NOT EXISTS (
    SELECT FROM todos w
    WHERE w.stream_id = t.stream_id AND w.number < t.number AND w.parked_because IS NULL AND w.attempts > 0
      AND w.next_try_at > now()
)
ORDER BY number LIMIT $1
"""

# The append that records a command's id deletes its to-do; one promised again after that is done already.
_DONE = "DELETE FROM todos t USING commands c WHERE t.command_id = $1 AND c.command_id = t.command_id"

_POSTPONE = """
UPDATE todos SET attempts = attempts + 1, next_try_at = now() + least(60, 0.1 * 2 ^ least(attempts, 10)) * interval '1 second'
WHERE command_id = $1
"""

_PARK = "UPDATE todos SET parked_because = $2 WHERE command_id = $1"


@dataclass(frozen=True, slots=True)
class Send:
    """A reaction's wish: this command to that stream."""

    stream_id: UUID
    command: object


class Todo(NamedTuple):
    """A row of `todos`; `command` is JSON."""

    command_id: UUID
    stream_id: UUID
    type: str
    schema_version: int
    command: str
    correlation_id: UUID
    causation_id: UUID | None
    traceparent: str | None


def todo_id(cause: UUID, reason: str, stream_id: UUID, command_type: str) -> UUID:
    """The same cause, reason and target always give the same command id, so that doing it twice is doing it once."""
    return uuid5(_NAMESPACE, f"{cause}/{reason}/{stream_id}/{command_type}")


async def insert(connection: Connection, todos: Sequence[Todo]) -> None:
    """Adds to-dos inside the caller's transaction; those already there stay as they are."""
    if todos:
        await connection.execute(_INSERT, *zip(*todos, strict=True))


def due_now(command: Any, clock: Clock) -> Any:
    """A stored command as it is to be decided: the field `now`, where it has one, is the time of carrying it out."""
    if is_dataclass(command) and not isinstance(command, type) and "now" in {f.name for f in fields(command)}:
        return replace(command, now=clock.now())
    return command


Carry = Callable[[UUID, object, Envelope], Awaitable[Outcome]]
"""Carries out one command on one stream: `Handler.send`, or a service's own function around it."""


class TodoWorker:
    """Takes open to-dos in the order they were promised: one at a time a stream, streams side by side."""

    def __init__(self, pool: asyncpg.Pool, commands: EventCodec, carry: Carry, clock: Clock) -> None:
        self._pool = pool
        self._commands = commands
        self._carry = carry
        self._clock = clock

    async def step(self, _: object = None) -> bool:
        """One page of to-dos; True when it found any.

        What a rule refuses and what fails for good is parked. What another try, or another release, may well do is
        postponed, with what is behind it on its stream, each time for longer up to a minute.
        """
        rows = [Todo(*row) for row in await self._pool.fetch(_OPEN, _PAGE)]
        # sorted() is stable: within a stream the promised order stays.
        by_stream = groupby(sorted(rows, key=lambda row: row.stream_id), key=lambda row: row.stream_id)
        results = await asyncio.gather(
            *(self._take([*todos]) for _, todos in by_stream), return_exceptions=True
        )
        for result in results:
            if isinstance(result, BaseException):
                raise result
        return bool(rows)

    async def _take(self, todos: Sequence[Todo]) -> None:
        for todo in todos:
            with (
                bind_correlation(todo.correlation_id),
                tracing.span(
                    f"to-do {todo.type}",
                    kind="consumer",
                    parent=todo.traceparent,
                    command_id=todo.command_id,
                    correlation_id=todo.correlation_id,
                ),
            ):
                if not await self._settle(todo):
                    return

    async def _settle(self, todo: Todo) -> bool:
        """Carries out or parks a to-do; False when it was postponed."""
        envelope = Envelope(
            command_id=todo.command_id,
            correlation_id=todo.correlation_id,
            causation_id=todo.causation_id,
            traceparent=todo.traceparent,
        )
        try:
            command = self._commands.decode(todo.type, todo.schema_version, todo.command)
            outcome = await self._carry(todo.stream_id, due_now(command, self._clock), envelope)
        except DomainError as refusal:
            await self._park(todo, refusal.slug)
        except Exception as error:
            # What is unknown here was written by a newer release, as during a rolling restart, which can read it.
            if is_transient(error) or isinstance(error, UnknownEvent):
                log.warning(
                    "todo_postponed", command=todo.type, command_id=todo.command_id, error=type(error)
                )
                await self._pool.execute(_POSTPONE, todo.command_id)
                return False
            log.exception("todo_failed", command=todo.type, command_id=todo.command_id)
            await self._park(todo, type(error).__name__)
        else:
            if outcome.repeated:
                await self._pool.execute(_DONE, todo.command_id)
        return True

    async def _park(self, todo: Todo, reason: str) -> None:
        log.error("todo_parked", command=todo.type, command_id=todo.command_id, reason=reason)
        await self._pool.execute(_PARK, todo.command_id, reason)
