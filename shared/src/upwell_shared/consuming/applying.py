"""One page of records, one transaction: offset, progress, letters and effects are committed together or not at all."""

from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from uuid import UUID

import asyncpg
import structlog

from upwell_shared import metrics, tracing
from upwell_shared.consuming import dead_letters
from upwell_shared.consuming.dead_letters import Limits, Place
from upwell_shared.consuming.handlers import Effects, HandlerFailed
from upwell_shared.consuming.salvaging import Salvaged
from upwell_shared.consuming.sequencing import Failure, Letter, Page, Parked, Read, Reason, Record, Stream
from upwell_shared.contracts import Consumed, Contract, Unreadable, decode
from upwell_shared.contracts.headers import CORRELATION_ID, LOG_ID
from upwell_shared.database import Connection
from upwell_shared.errors import UpwellError
from upwell_shared.observability import bind_correlation

_log = structlog.get_logger()

# A plan made while the tables were small would scan them whole until statistics are gathered again.
_PLAN_ANEW = "SET LOCAL plan_cache_mode = force_custom_plan"

_MOVE = """
UPDATE consumer_offsets SET next_offset = $6
WHERE consumer = $1 AND log_id = $2 AND channel = $3 AND partition = $4 AND next_offset = $5
"""

# One look-up by the whole key a stream: whatever the planner believes of the tables, it cannot do better, or worse.
_PROGRESS = """
SELECT wanted.stream_id, p.sequence, p.event_id, p.letters, ARRAY(
    SELECT (d.event_id, d.letter_reason) FROM discards AS d
    WHERE d.consumer = $4 AND d.channel = $2 AND d.stream_id = wanted.stream_id
) AS discarded
FROM unnest($3::uuid[]) AS wanted (stream_id)
LEFT JOIN LATERAL (
    SELECT * FROM progress AS p WHERE p.consumer = $1 AND p.channel = $2 AND p.stream_id = wanted.stream_id LIMIT 1
) AS p ON true
"""

_PASSED_OVER = """
SELECT record_offset FROM discards
WHERE consumer = $1 AND channel = $3 AND stream_id IS NULL AND log_id = $2 AND partition = $4
  AND record_offset = ANY ($5)
"""

# Whoever else may be at work on the same stream (a member that lost its partition, one that reads another log, the
# retrier), only one of them finds it as it was read; the others write fewer rows than they wanted.
_ADVANCE = """
INSERT INTO progress AS p (consumer, channel, stream_id, sequence, event_id, letters)
SELECT $1, $2, * FROM unnest($3::uuid[], $4::int[], $5::uuid[], $6::int[])
ON CONFLICT (consumer, channel, stream_id) DO UPDATE
SET sequence = excluded.sequence, event_id = excluded.event_id, letters = excluded.letters
WHERE (p.stream_id, p.sequence, p.letters) IN (SELECT * FROM unnest($3::uuid[], $7::int[], $8::int[]))
"""


Failures = Mapping[tuple[UUID, int], Failure]
"""Events known to fail, by stream and sequence."""


class Overtaken(UpwellError):
    """Somebody else has moved this partition or stream on: read where it stands now, then go on from there."""


class _Faulty(Exception):
    """Takes back a transaction in which events turned out to fail."""

    def __init__(self, failures: Failures) -> None:
        super().__init__()
        self.failures = failures


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Records as they follow one another in a partition of the log `log_id`, read from `first_offset` on."""

    log_id: UUID
    channel: str
    partition: int
    first_offset: int
    records: Sequence[Record]

    @property
    def next_offset(self) -> int:
        """Where reading goes on. Offsets may have holes, so it is no matter of counting."""
        return self.records[-1].offset + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """What one transaction did. Letters `released` are among the events `applied` and `unknown`."""

    applied: int
    unknown: int
    duplicates: int
    released: int
    parked: Counter[Reason]
    skipped: int
    """Events passed over because somebody has discarded them."""
    other_logs: Counter[UUID]
    """Records passed over because they say they are of another log, by its id."""
    last: Consumed | None
    """The last event applied."""


class Applier:
    """Applies records for the consumer `name`. Safe to call again with the same records, by anybody, at any time."""

    def __init__(
        self,
        name: str,
        pool: asyncpg.Pool,
        contracts: Sequence[Contract],
        handlers: Effects,
        limits: Limits = Limits(),  # noqa: B008  (immutable)
        *,
        discards_of: str | None = None,
    ) -> None:
        """`contracts`: those whose events the handlers take; events of no contract are counted as unknown.

        `discards_of`: the consumer whose discards are honoured, if it is another one.
        """
        self.name = name
        self.pool = pool
        self._contracts = {contract.owner: contract for contract in contracts}
        self._handlers = handlers
        self._limits = limits
        self._discards_of = discards_of or name

    async def apply(self, batch: Batch) -> Applied:
        """Applies what is next in its stream, drops what is here already, parks the rest; moves the offset past it.

        An event that makes a handler fail is found by taking ever smaller parts of the page, and parked. Raises
        Overtaken when the offset or a stream is not where it was, DeadLettersFull, and whatever is transient; then
        nothing is changed.
        """
        reads: list[tuple[Record, Read]] = []
        other_logs: Counter[UUID] = Counter()
        for record in batch.records:
            read = self._read(batch.channel, record)
            log_id = _log_of(record, read)
            if log_id is None or log_id == batch.log_id:
                reads.append((record, read))
            else:
                other_logs[log_id] += 1

        async def attempt(connection: Connection, failures: Failures) -> Page:
            moved = await connection.execute(
                *(_MOVE, self.name, batch.log_id, batch.channel, batch.partition),
                *(batch.first_offset, batch.next_offset),
            )
            if moved != "UPDATE 1":
                raise Overtaken
            streams = await self._streams(
                connection, batch.channel, {r.stream_id for _, r in reads if r.stream_id}
            )
            unnamed = [
                r.offset for r, read in reads if None in (read.stream_id, read.sequence, read.event_id)
            ]
            page = self._page(
                batch.channel, streams, failures, await self._passed_over(connection, batch, unnamed)
            )
            for record, read in reads:
                page.take(record, read)
            await self._advance(connection, batch.channel, streams)
            place = Place(self.name, batch.log_id, batch.channel, batch.partition)
            await dead_letters.park(connection, place, page.parked, streams.values(), self._limits)
            return page

        with tracing.span(
            "consume",
            kind="consumer",
            links=(read.traceparent for _, read in reads if isinstance(read, Consumed)),
            consumer=self.name,
            channel=batch.channel,
            records=len(batch.records),
        ):
            page = await self._until_settled(attempt)
        for letter in page.parked:
            self._tell(batch.channel, letter)
        return self._report(batch.channel, page, other_logs)

    async def retry(self, channel: str, stream_id: UUID) -> Applied:
        """Takes the parked events of a stream in order, as far as they can be applied now.

        What fails again is postponed, each time for longer. Raises like `apply`.
        """
        stream = Stream(stream_id)

        async def attempt(connection: Connection, failures: Failures) -> Page:
            nonlocal stream
            streams = await self._streams(connection, channel, {stream_id})
            stream = streams[stream_id]
            page = self._page(channel, streams, failures)
            page.release(stream, again=True)
            await self._advance(connection, channel, streams)
            return page

        page = await self._until_settled(attempt)
        for letter_id, failure in page.spoiled:
            for letter in stream.held.values():
                if isinstance(letter, Letter) and letter.letter_id == letter_id:
                    told = {"letter_id": letter_id, "event_id": letter.event_id, "error": failure.error}
                    with _about(letter.record):
                        _log.warning("event_failed_again", consumer=self.name, channel=channel, **told)
        return self._report(channel, page, Counter())

    async def _until_settled(self, attempt: Callable[[Connection, Failures], Awaitable[Page]]) -> Page:
        """Runs `attempt` and the handlers in one transaction, anew for as long as events turn out to fail.

        There is no second try of a failing event for its own sake: finding it is one, and the retrier follows.
        """
        failures: dict[tuple[UUID, int], Failure] = {}
        careful = False
        while True:
            try:
                async with self.pool.acquire() as connection, connection.transaction():
                    await connection.execute(_PLAN_ANEW)
                    page = await attempt(connection, failures)
                    await dead_letters.settle(connection, page)
                    if not careful:
                        await self._handlers.take(connection, page.accepted)
                    else:
                        await self._take_apart(connection, page.accepted)
                    return page
            except HandlerFailed:
                careful = True
            except _Faulty as faulty:
                failures |= faulty.failures

    async def _take_apart(self, connection: Connection, events: Sequence[Consumed]) -> None:
        if found := await self._faults(connection, events):
            raise _Faulty(found)

    async def _faults(self, connection: Connection, events: Sequence[Consumed]) -> Failures:
        """Takes what can be taken of a page, and names the events that cannot."""
        if not events:
            return {}
        try:
            async with connection.transaction():
                await self._handlers.take(connection, events)
        except HandlerFailed as failed:
            if len(events) == 1:
                return {(events[0].stream_id, events[0].sequence): Failure.of(failed.__cause__ or failed)}
        else:
            return {}
        half = len(events) // 2
        found = await self._faults(connection, events[:half])
        stopped = {stream_id for stream_id, _ in found}
        rest = [event for event in events[half:] if event.stream_id not in stopped]
        return {**found, **await self._faults(connection, rest)}

    def _read(self, channel: str, record: Record) -> Read:
        if isinstance(record, Salvaged) and record.damage is not None:
            return Unreadable(record.damage)
        try:
            return decode(record.headers, record.key, record.value, self._contracts, channel=channel)
        except Unreadable as reason:
            return reason

    def _page(
        self,
        channel: str,
        streams: Mapping[UUID, Stream],
        failures: Failures,
        passed_over: Collection[int] = (),
    ) -> Page:
        return Page(streams, lambda record: self._read(channel, record), failures, passed_over)

    async def _passed_over(
        self, connection: Connection, batch: Batch, offsets: Sequence[int]
    ) -> frozenset[int]:
        if not offsets:
            return frozenset()
        place = (self._discards_of, batch.log_id, batch.channel, batch.partition)
        return frozenset(row[0] for row in await connection.fetch(_PASSED_OVER, *place, offsets))

    async def _streams(
        self, connection: Connection, channel: str, ids: Collection[UUID]
    ) -> dict[UUID, Stream]:
        streams = {stream_id: Stream(stream_id) for stream_id in ids}
        for stream_id, sequence, event_id, letters, discarded in await connection.fetch(
            _PROGRESS, self.name, channel, ids, self._discards_of
        ):
            stream = streams[stream_id]
            stream.discarded = {event: Reason(reason) for event, reason in discarded}
            if sequence is not None:
                stream.sequence, stream.event_id, stream.letters = sequence, event_id, letters
                stream.before = (sequence, letters)
        await dead_letters.load(connection, self.name, channel, streams)
        return streams

    async def _advance(self, connection: Connection, channel: str, streams: Mapping[UUID, Stream]) -> None:
        # In the order of their ids, so that two who meet on several streams do not wait for each other.
        rows = [
            (s.stream_id, s.sequence, s.event_id, s.letters, *(s.before or (None, None)))
            for s in sorted(streams.values(), key=lambda stream: stream.stream_id)
            if s.changed
        ]
        if rows:
            written = await connection.execute(_ADVANCE, self.name, channel, *zip(*rows, strict=True))
            if written != f"INSERT 0 {len(rows)}":
                raise Overtaken

    def _tell(self, channel: str, letter: Parked) -> None:
        """Of one that waits behind another there is nothing to tell: the other one's line says it."""
        if letter.reason is Reason.WAITING:
            return
        with _about(letter.record):
            _log.error(
                "event_parked",
                consumer=self.name,
                channel=channel,
                reason=letter.reason.value,
                event_id=letter.event_id,
                type=letter.type,
                stream_id=letter.stream_id,
                sequence=letter.sequence,
                error=None if letter.failure is None else letter.failure.error,
            )

    def _report(self, channel: str, page: Page, other_logs: Counter[UUID]) -> Applied:
        parked = Counter([*(letter.reason for letter in page.parked), *(f.reason for _, f in page.spoiled)])
        metrics.CONSUMER_APPLIED.labels(self.name).inc(len(page.accepted))
        metrics.CONSUMER_DUPLICATES.labels(self.name).inc(page.duplicates)
        metrics.CONSUMER_UNKNOWN.labels(self.name).inc(page.unknown)
        for reason, count in parked.items():
            metrics.CONSUMER_PARKED.labels(self.name, reason.value).inc(count)
        if parked:
            counts = {reason.value: count for reason, count in parked.items()}
            _log.error("events_parked", consumer=self.name, channel=channel, **counts)
        if page.opened:
            _log.info("letters_released", consumer=self.name, channel=channel, count=len(page.opened))
        return Applied(
            applied=len(page.accepted),
            unknown=page.unknown,
            duplicates=page.duplicates,
            released=len(page.opened),
            parked=parked,
            skipped=page.skipped,
            other_logs=other_logs,
            last=page.accepted[-1] if page.accepted else None,
        )


def _about(record: Record | None) -> AbstractContextManager[None]:
    """Lines written inside carry the correlation of that record, if it has one."""
    correlation_id = None if record is None else _header(record, CORRELATION_ID)
    return nullcontext() if correlation_id is None else bind_correlation(correlation_id)


def _header(record: Record, wanted: str) -> UUID | None:
    """An id that a record tells in a header, also one that is unreadable otherwise."""
    for name, value in record.headers:
        if name == wanted and value is not None:
            with suppress(ValueError):
                return UUID(value.decode("ascii", "replace"))
    return None


def _log_of(record: Record, read: Read) -> UUID | None:
    """The log a record says it belongs to."""
    return _header(record, LOG_ID) if isinstance(read, Unreadable) else read.log_id
