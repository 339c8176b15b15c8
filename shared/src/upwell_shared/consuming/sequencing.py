"""Which events may be applied now: those that come next in their stream. Pure, and the whole rule in one place.

A stream's events are numbered 1, 2, 3 … within a channel. What is not next is here already, or waits.
"""

import traceback
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol
from uuid import UUID

from upwell_shared.contracts import Consumed, Unknown, Unreadable


class Record(Protocol):
    """A record as the broker hands it out, and as a dead letter keeps it."""

    @property
    def offset(self) -> int: ...
    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...
    @property
    def headers(self) -> Sequence[tuple[str, bytes | None]]: ...


Read = Consumed | Unknown | Unreadable
"""What a record's bytes turned out to be."""


class Reason(StrEnum):
    """Why a record is a dead letter."""

    FAILED = "failed"
    """A handler raised."""
    UNREADABLE = "unreadable"
    """It does not fit its contract."""
    FORK = "fork"
    """Its number in the stream was taken by another event: the owner's history is not what it was."""
    WAITING = "waiting"
    """Nothing is wrong with it, but one before it is missing or is a letter itself."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an event could not be applied. Names places, never what the event holds."""

    reason: Reason
    error: str
    location: str | None

    @classmethod
    def of(cls, error: BaseException) -> "Failure":
        """The class of `error` and where it was raised, leaving out the driver's own depths."""
        if isinstance(error, Unreadable):
            return cls(Reason.UNREADABLE, type(error).__name__, error.reason)
        frames = [
            f"{module}:{line} {frame.f_code.co_name}"
            for frame, line in traceback.walk_tb(error.__traceback__)
            if not (module := str(frame.f_globals.get("__name__"))).startswith("asyncpg")
        ]
        return cls(Reason.FAILED, type(error).__name__, frames[-1] if frames else None)


@dataclass(frozen=True, slots=True)
class Letter:
    """A parked record of a stream. `record` is None beyond what fits into one page."""

    letter_id: UUID
    event_id: UUID | None
    reason: Reason
    record: Record | None


@dataclass(slots=True, eq=False)
class Parked:
    """A letter to be; one that does not say what it is has neither stream, sequence, event nor type."""

    record: Record
    stream_id: UUID | None
    sequence: int | None
    event_id: UUID | None
    type: str | None
    reason: Reason
    failure: Failure | None


@dataclass(slots=True)
class Stream:
    """What a consumer knows of one stream of a channel.

    `sequence` and `event_id` are the last event applied. `held`: letters by sequence, forks apart: they are `forks`,
    by event. `letters` counts both. `before` is (sequence, letters) as it was read, None when there was no row.
    `discarded`: events somebody has decided to pass over, by what was wrong with them.
    """

    stream_id: UUID
    sequence: int = 0
    event_id: UUID | None = None
    letters: int = 0
    before: tuple[int, int] | None = None
    held: dict[int, Letter | Parked] = field(default_factory=dict)
    forks: set[UUID] = field(default_factory=set)
    discarded: Mapping[UUID, Reason] = field(default_factory=dict)

    @property
    def changed(self) -> bool:
        """Whether its row has to be written."""
        return (self.sequence, self.letters) != (self.before or (0, 0))

    def has(self, sequence: int, event_id: UUID) -> bool:
        """Whether this very event is applied or is a letter. Of events long applied only the number is known."""
        if sequence < self.sequence or event_id in self.forks:
            return True
        if letter := self.held.get(sequence):
            return letter.event_id == event_id
        return sequence == self.sequence and event_id == self.event_id


class Page:
    """Sorts records into events to apply, letters to park, and duplicates to drop.

    `streams` holds every stream the records name; `failures` the events known to fail, by (stream, sequence);
    `passed_over` the offsets of records that do not say what they are and were discarded.
    Afterwards `accepted` is for the handlers, in order; `parked` are new letters; of the old ones `opened` are now
    accepted, `spoiled` turned out to fail, and `left` are next in their stream, but beyond this page.
    """

    def __init__(
        self,
        streams: Mapping[UUID, Stream],
        read: Callable[[Record], Read],
        failures: Mapping[tuple[UUID, int], Failure],
        passed_over: Collection[int] = (),
    ) -> None:
        self.accepted: list[Consumed] = []
        self.parked: list[Parked] = []
        self.opened: list[UUID] = []
        self.spoiled: list[tuple[UUID, Failure]] = []
        self.left: list[UUID] = []
        self.duplicates = 0
        self.unknown = 0
        self.skipped = 0
        self._streams = streams
        self._read = read
        self._failures = failures
        self._passed_over = passed_over

    def take(self, record: Record, read: Read) -> None:
        """The next record of the partition."""
        if read.stream_id is None or read.sequence is None or read.event_id is None:
            if record.offset in self._passed_over:
                self.skipped += 1
                return
            # Whose event this was, and which, nobody can say. If it took a number, its successors will wait.
            unreadable = Failure.of(read)
            self.parked.append(Parked(record, None, None, None, None, Reason.UNREADABLE, unreadable))
            return
        stream, sequence = self._streams[read.stream_id], read.sequence
        if stream.has(sequence, read.event_id):
            self.duplicates += 1
        elif stream.discarded.get(read.event_id) is Reason.FORK:
            # Its number belongs to another event, which comes or has come.
            self.skipped += 1
        elif sequence == stream.sequence or sequence in stream.held:
            stream.forks.add(read.event_id)
            stream.letters += 1
            self._park(record, read, Reason.FORK, None)
        elif sequence > stream.sequence + 1 or stream.forks:
            self._hold(stream, sequence, self._park(record, read, Reason.WAITING, None))
        elif failure := self._failure(stream, read):
            self._hold(stream, sequence, self._park(record, read, failure.reason, failure))
        else:
            self._accept(stream, read)
            if stream.held:
                self.release(stream)

    def release(self, stream: Stream, *, again: bool = False) -> None:
        """Accepts the letters that are next in their stream now; `again` gives one that has failed another try."""
        while not stream.forks and (letter := stream.held.get(stream.sequence + 1)):
            if letter.reason is not Reason.WAITING and not again:
                return
            if letter.record is None:
                self._left(letter)
                return
            read = self._read(letter.record)
            if failure := self._failure(stream, read):
                self._spoil(letter, failure)
                return
            del stream.held[stream.sequence + 1]
            stream.letters -= 1
            self._open(letter)
            self._accept(stream, read)

    def _failure(self, stream: Stream, read: Read) -> Failure | None:
        if read.event_id in stream.discarded:
            return None
        if isinstance(read, Unreadable):
            return Failure.of(read)
        return self._failures.get((read.stream_id, read.sequence))

    def _accept(self, stream: Stream, read: Read) -> None:
        stream.sequence += 1
        stream.event_id = read.event_id
        if read.event_id in stream.discarded:
            self.skipped += 1
        elif isinstance(read, Consumed):
            self.accepted.append(read)
        else:
            self.unknown += 1

    def _park(self, record: Record, read: Read, reason: Reason, failure: Failure | None) -> Parked:
        letter = Parked(record, read.stream_id, read.sequence, read.event_id, read.type, reason, failure)
        self.parked.append(letter)
        return letter

    @staticmethod
    def _hold(stream: Stream, sequence: int, letter: Parked) -> None:
        stream.held[sequence] = letter
        stream.letters += 1

    def _open(self, letter: Letter | Parked) -> None:
        if isinstance(letter, Letter):
            self.opened.append(letter.letter_id)
        else:
            self.parked.remove(letter)

    def _spoil(self, letter: Letter | Parked, failure: Failure) -> None:
        if isinstance(letter, Letter):
            self.spoiled.append((letter.letter_id, failure))
        else:
            letter.reason, letter.failure = failure.reason, failure

    def _left(self, letter: Letter | Parked) -> None:
        if isinstance(letter, Letter):
            self.left.append(letter.letter_id)
