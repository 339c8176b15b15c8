"""One session of a pair: what happens to it, what the two say of it, and how it stands after it."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import assert_never
from uuid import UUID


class Side(StrEnum):
    """The mentor is the junior of the two."""

    MENTOR = "mentor"
    MENTEE = "mentee"


class Word(StrEnum):
    """What one side says became of a session; where it did not happen, whose doing that was, if anybody's."""

    HELD = "held"
    MISSED = "missed"
    MISSED_BY_MENTOR = "missed_by_mentor"
    MISSED_BY_MENTEE = "missed_by_mentee"
    MISSED_BY_BOTH = "missed_by_both"

    @property
    def blames(self) -> frozenset[Side]:
        """The sides that did not come, in this word."""
        match self:
            case Word.HELD | Word.MISSED:
                return frozenset()
            case Word.MISSED_BY_MENTOR:
                return frozenset({Side.MENTOR})
            case Word.MISSED_BY_MENTEE:
                return frozenset({Side.MENTEE})
            case Word.MISSED_BY_BOTH:
                return frozenset(Side)
            case _:
                assert_never(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionBooked:
    """`number` counts the pair's bookings from 1."""

    session_id: UUID
    number: int
    starts_at: datetime
    minutes: int
    by: Side


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionMoved:
    session_id: UUID
    starts_at: datetime
    minutes: int
    by: Side


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionCancelled:
    """By neither side where the pair came to its end."""

    session_id: UUID
    by: Side | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionConfirmed:
    """A side said what became of the session, or says something else now."""

    session_id: UUID
    side: Side
    word: Word


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionHeld:
    session_id: UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionMissed:
    session_id: UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class SideMissed:
    """Both say that the session was missed by this side."""

    session_id: UUID
    side: Side


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionDisputed:
    session_id: UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionUnconfirmed:
    session_id: UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class RecapWritten:
    """The text itself lies encrypted elsewhere; it takes the place of an earlier one."""

    session_id: UUID
    text_id: UUID
    by: Side


@dataclass(frozen=True, slots=True, kw_only=True)
class RecapConfirmed:
    """The side that did not write it agrees."""

    session_id: UUID
    side: Side


SessionEvent = (
    SessionMoved
    | SessionCancelled
    | SessionConfirmed
    | SessionHeld
    | SessionMissed
    | SideMissed
    | SessionDisputed
    | SessionUnconfirmed
    | RecapWritten
    | RecapConfirmed
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """What each side has said so far."""

    mentor: Word | None = None
    mentee: Word | None = None

    def of(self, side: Side) -> Word | None:
        return self.mentor if side is Side.MENTOR else self.mentee

    def saying(self, side: Side, word: Word) -> "Words":
        """With the word of one side."""
        return replace(self, mentor=word) if side is Side.MENTOR else replace(self, mentee=word)

    @property
    def none_said(self) -> bool:
        return self.mentor is None and self.mentee is None


@dataclass(frozen=True, slots=True, kw_only=True)
class Recap:
    """The pair's shared note."""

    text_id: UUID
    by: Side
    confirmed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Details:
    """What is known of a session however it stands. `starts_at` is in UTC."""

    number: int
    starts_at: datetime
    minutes: int
    words: Words = Words()
    recap: Recap | None = None

    @property
    def ends_at(self) -> datetime:
        return self.starts_at + timedelta(minutes=self.minutes)

    def overlaps(self, starts_at: datetime, minutes: int) -> bool:
        """Whether the two have a moment in common; one may begin when the other ends."""
        return starts_at < self.ends_at and self.starts_at < starts_at + timedelta(minutes=minutes)


@dataclass(frozen=True, slots=True)
class Scheduled:
    details: Details


@dataclass(frozen=True, slots=True)
class Held:
    details: Details


@dataclass(frozen=True, slots=True)
class Missed:
    details: Details


@dataclass(frozen=True, slots=True)
class Cancelled:
    details: Details


@dataclass(frozen=True, slots=True)
class Disputed:
    details: Details


@dataclass(frozen=True, slots=True)
class Unconfirmed:
    details: Details


Session = Scheduled | Held | Missed | Cancelled | Disputed | Unconfirmed


def evolve_session(session: Session, event: SessionEvent) -> Session:
    details = session.details
    match event:
        case SessionMoved(starts_at=starts_at, minutes=minutes):
            return replace(session, details=replace(details, starts_at=starts_at, minutes=minutes))
        case SessionCancelled():
            return Cancelled(details)
        case SessionConfirmed(side=side, word=word):
            return replace(session, details=replace(details, words=details.words.saying(side, word)))
        case SessionHeld():
            return Held(details)
        case SessionMissed():
            return Missed(details)
        case SideMissed():
            return session
        case SessionDisputed():
            return Disputed(details)
        case SessionUnconfirmed():
            return Unconfirmed(details)
        case RecapWritten(text_id=text_id, by=by):
            return replace(session, details=replace(details, recap=Recap(text_id=text_id, by=by)))
        case RecapConfirmed():
            if details.recap is None:
                return session
            return replace(session, details=replace(details, recap=replace(details.recap, confirmed=True)))
        case _:
            assert_never(event)
