"""Group commit: commands that arrive while an append is in flight share the next one.

One connection writes for the whole process. A batch is one call of the SQL function `append`, in which every
command is all or nothing by itself, so a conflict of one costs the others nothing.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

import asyncpg

from upwell_shared.contracts import Publication
from upwell_shared.database import Connection
from upwell_shared.errors import Unavailable
from upwell_shared.events import Encoded, Envelope

# A batch is bounded in commands, so that its locks are short, and in bytes, so that its memory is.
_MOST_COMMANDS = 128
_MOST_BYTES = 4_000_000
# Seconds of work: who comes later than that had better be told.
_MOST_WAITING = 10_000

# So long the writer keeps its connection when nothing comes: to take one from the pool and to give it back costs as
# much of this process's time as the rest of an append.
_LINGER_SECONDS = 0.02

APPEND: Final = "SELECT append($1, $2, $3, $4)"
"""Takes what `columns` makes of a batch and answers an outcome per command."""


class Appended(StrEnum):
    """What became of an append."""

    WRITTEN = "written"
    CONFLICT = "conflict"
    """A stream is not at the version the command was decided on; nothing was written."""
    DUPLICATE = "duplicate"
    """The command's id is known: it was carried out before; nothing was written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamAppend:
    """What one command writes to one stream, or without events: that the stream must not have moved.

    The counts are the stream's after this append.

    `expected` is the version the stream was loaded at, 0 for one that must not exist yet; never a guess, since the
    readers' order rests on its having been read before.
    """

    stream_id: UUID
    type: str
    expected: int
    events: Sequence[tuple[UUID, Encoded]]
    publications: Sequence[Publication] = ()
    public_sequence: int = 0
    internal_sequence: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Append:
    """One command's writes, to one or several streams, or to none: then only its id is recorded.

    `result` is JSON, given back when the same command id comes again.
    """

    envelope: Envelope
    recorded_at: datetime
    result: str
    fingerprint: bytes | None = None
    streams: Sequence[StreamAppend] = ()

    @property
    def size(self) -> int:
        """Bytes of events and publications, roughly."""
        return sum(
            sum(len(encoded.data) for _, encoded in stream.events)
            + sum(len(p.body) + len(p.headers) for p in stream.publications)
            for stream in self.streams
        )


class Appender:
    """Takes appends, writes them in batches, and calls `on_written` after a batch that wrote something."""

    def __init__(self, pool: asyncpg.Pool, on_written: Callable[[], None]) -> None:
        self._pool = pool
        self._on_written = on_written
        self._waiting: deque[tuple[Append, asyncio.Future[Appended]]] = deque()
        self._arrived = asyncio.Event()
        self._writer: asyncio.Task[None] | None = None

    async def append(self, append: Append) -> Appended:
        """Raises what the database raised, and Unavailable when too many wait already; after a lost connection the outcome is unknown, so try again with
        the same command id: it is written once.
        """
        if len(self._waiting) >= _MOST_WAITING:
            raise Unavailable
        future: asyncio.Future[Appended] = asyncio.get_running_loop().create_future()
        self._waiting.append((append, future))
        self._arrived.set()
        if self._writer is None:
            self._writer = asyncio.create_task(self._run(), name="append")
        return await future

    async def drain(self) -> None:
        """Waits until everything taken has its outcome, and the connection is given back."""
        while self._writer is not None:
            self._arrived.set()
            await asyncio.wait([self._writer])

    async def _run(self) -> None:
        try:
            while self._waiting:
                async with self._pool.acquire() as connection:
                    while await self._more() and _is_open(connection):
                        await self._write(connection, self._next_batch())
        except BaseException as error:
            _fail(self._waiting, error)
            self._waiting.clear()
            if not isinstance(error, Exception):
                raise
        finally:
            self._writer = None

    async def _more(self) -> bool:
        """Whether there is something to write, now or in a moment."""
        if not self._waiting:
            self._arrived.clear()
            patience = asyncio.get_running_loop().call_later(_LINGER_SECONDS, self._arrived.set)
            await self._arrived.wait()
            patience.cancel()
        return bool(self._waiting)

    def _next_batch(self) -> list[tuple[Append, asyncio.Future[Appended]]]:
        """A stream, and a command id, is in a batch once; what would come second waits for the next."""
        batch: list[tuple[Append, asyncio.Future[Appended]]] = []
        left: list[tuple[Append, asyncio.Future[Appended]]] = []
        taken: set[UUID] = set()
        size = 0
        while self._waiting and len(batch) < _MOST_COMMANDS and size < _MOST_BYTES:
            append, future = self._waiting.popleft()
            ids = {append.envelope.command_id, *(stream.stream_id for stream in append.streams)}
            if taken.isdisjoint(ids):
                batch.append((append, future))
                size += append.size
            else:
                left.append((append, future))
            # The ids of one left behind are taken too: a third on the same stream must not overtake the second.
            taken |= ids
        self._waiting.extendleft(reversed(left))
        return batch

    async def _write(
        self, connection: Connection, batch: list[tuple[Append, asyncio.Future[Appended]]]
    ) -> None:
        try:
            outcomes = await connection.fetchval(APPEND, *columns([append for append, _ in batch]))
        except asyncpg.PostgresError as error:
            # Where the server answered, nothing of the batch was written, and one bad command must not fail the
            # others. Where the connection was lost each may have been written, and to try one by one on a server
            # that is gone would take as many time-outs.
            if len(batch) > 1 and not isinstance(error, asyncpg.PostgresConnectionError):
                for one in batch:
                    await self._write(connection, [one])
            else:
                _fail(batch, error)
        except BaseException as error:
            _fail(batch, error)
            if not isinstance(error, Exception):
                raise
        else:
            for (_, future), outcome in zip(batch, outcomes, strict=True):
                if not future.done():
                    future.set_result(Appended(outcome))
            if "written" in outcomes:
                self._on_written()


def _is_open(connection: Connection) -> bool:
    try:
        return not connection.is_closed()
    except asyncpg.InterfaceError:  # the pool has taken it back, which it does as soon as it is closed
        return False


def _fail(batch: Iterable[tuple[Append, asyncio.Future[Appended]]], error: BaseException) -> None:
    for _, future in batch:
        if not future.done():
            future.set_exception(error)


def columns(batch: Sequence[Append]) -> tuple[list[tuple[Any, ...]], ...]:
    """The batch as the rows that the SQL function takes: commands, streams, events, records of the ledger."""
    commands: list[tuple[Any, ...]] = []
    streams: list[tuple[Any, ...]] = []
    events: list[tuple[Any, ...]] = []
    records: list[tuple[Any, ...]] = []
    for number, append in enumerate(batch, 1):
        e, at = append.envelope, append.recorded_at
        origin = (e.command_id, e.correlation_id, e.causation_id, e.actor, e.traceparent, at)
        commands.append((number, e.command_id, append.fingerprint, append.result))
        for s in append.streams:
            version = s.expected
            for event_id, encoded in s.events:
                version += 1
                events.append((number, s.stream_id, version, event_id, *encoded, *origin))
            counts = (s.public_sequence, s.internal_sequence)
            streams.append((number, s.stream_id, s.type, s.expected, version, *counts))
            for p in s.publications:
                place = (p.channel, p.key, p.partition, p.sequence)
                records.append((number, p.event_id, *place, p.type, p.headers, p.body, at))
    # Locked in this order by every process, so that none waits for another in a circle.
    for rows in (commands, streams):
        rows.sort(key=lambda row: row[1].int)
    return commands, streams, events, records
