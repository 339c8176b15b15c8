"""Group commit: commands that arrive while an append is in flight share the next one.

One connection writes for the whole process. A batch is one call of the SQL function `append`, in which every
command is all or nothing by itself, so a conflict of one costs the others nothing.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

import asyncpg

from upwell_shared.contracts import Publication
from upwell_shared.events import Encoded, Envelope

# A batch is bounded in commands, so that its locks are short, and in bytes, so that its memory is.
_MOST_COMMANDS = 128
_MOST_BYTES = 4_000_000

APPEND: Final = """
SELECT append($1, $2, $3, $4, $5, $6, $7, $8,
              $9, $10, $11, $12, $13, $14, $15,
              $16, $17, $18, $19, $20, $21, $22,
              $23, $24, $25, $26, $27, $28, $29, $30, $31)
"""
"""Takes the arrays of `columns` and answers an outcome per command."""


class Appended(StrEnum):
    """What became of an append."""

    WRITTEN = "written"
    CONFLICT = "conflict"
    """A stream is not at the version the command was decided on; nothing was written."""
    DUPLICATE = "duplicate"
    """The command's id is known: it was carried out before; nothing was written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamAppend:
    """What one command writes to one stream. The counts are the stream's after this append.

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
        self._flusher: asyncio.Task[None] | None = None

    async def append(self, append: Append) -> Appended:
        """Raises what the database raised; after a lost connection the outcome is unknown, so try again with
        the same command id: it is written once.
        """
        future: asyncio.Future[Appended] = asyncio.get_running_loop().create_future()
        self._waiting.append((append, future))
        if self._flusher is None:
            self._flusher = asyncio.create_task(self._flush(), name="append")
        return await future

    async def drain(self) -> None:
        """Waits until everything taken has its outcome."""
        while self._flusher is not None:
            await asyncio.wait([self._flusher])

    async def _flush(self) -> None:
        try:
            while batch := self._next_batch():
                await self._write(batch)
        finally:
            self._flusher = None

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

    async def _write(self, batch: list[tuple[Append, asyncio.Future[Appended]]]) -> None:
        try:
            outcomes = await self._pool.fetchval(APPEND, *columns([append for append, _ in batch]))
        except asyncpg.PostgresError as error:
            # Where the server answered, nothing of the batch was written, and one bad command must not fail the
            # others. Where the connection was lost each may have been written, and to try one by one on a server
            # that is gone would take as many time-outs.
            if len(batch) > 1 and not isinstance(error, asyncpg.PostgresConnectionError):
                for one in batch:
                    await self._write([one])
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


def _fail(batch: list[tuple[Append, asyncio.Future[Appended]]], error: BaseException) -> None:
    for _, future in batch:
        if not future.done():
            future.set_exception(error)


def columns(batch: Sequence[Append]) -> list[tuple[Any, ...]]:
    """The batch as the arrays that the SQL function takes, in its order."""
    commands = [
        (a.envelope.command_id, a.fingerprint, a.result, a.envelope.correlation_id, a.envelope.causation_id,
         a.envelope.actor, a.envelope.traceparent, a.recorded_at)
        for a in batch
    ]  # fmt: skip
    streams: list[tuple[Any, ...]] = []
    events: list[tuple[Any, ...]] = []
    ledger: list[tuple[Any, ...]] = []
    for n, append in enumerate(batch, 1):
        for s in append.streams:
            version = s.expected
            for event_id, encoded in s.events:
                version += 1
                events.append((n, s.stream_id, version, event_id, *encoded))
            streams.append(
                (n, s.stream_id, s.type, s.expected, version, s.public_sequence, s.internal_sequence)
            )
            ledger.extend(
                (n, p.event_id, p.channel, p.key, p.partition, p.sequence, p.type, p.headers, p.body)
                for p in s.publications
            )
    arrays: list[tuple[Any, ...]] = []
    for rows, width in ((commands, 8), (streams, 7), (events, 7), (ledger, 9)):
        arrays.extend(zip(*rows, strict=True) if rows else [()] * width)
    return arrays
