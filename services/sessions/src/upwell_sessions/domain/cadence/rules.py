"""What may happen in a cadence: refusals → commands → decide."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import assert_never
from uuid import UUID

from upwell_sessions.domain.cadence.facts import (
    Cadence,
    CadenceClosed,
    CadenceEvent,
    CadenceExtended,
    CadenceOpened,
    CadencePaused,
    CadenceResumed,
    Closed,
    NoCadence,
    Open,
    Paused,
    Plan,
    State,
    evolve,
)
from upwell_sessions.domain.cadence.refusals import (
    AllSessionsBooked,
    AlreadySettled,
    CadenceIsClosed,
    CadenceIsPaused,
    NoRecap,
    OverlappingSession,
    OwnRecap,
    RecapChanged,
    SessionAfterTheEnd,
    SessionHasBegun,
    SessionInThePast,
    SessionIsCancelled,
    SessionTooFarAhead,
    TooEarlyToConfirm,
    UnfitLength,
    UnknownCadence,
    UnknownSession,
)
from upwell_sessions.domain.cadence.session import (
    Cancelled,
    Disputed,
    Held,
    Missed,
    RecapConfirmed,
    RecapWritten,
    Scheduled,
    Session,
    SessionBooked,
    SessionCancelled,
    SessionConfirmed,
    SessionDisputed,
    SessionHeld,
    SessionMissed,
    SessionMoved,
    SessionUnconfirmed,
    Side,
    SideMissed,
    Unconfirmed,
    Word,
    Words,
)
from upwell_shared.decider import Decider

SHORTEST_MINUTES, LONGEST_MINUTES = 5, 480
FURTHEST_AHEAD = timedelta(days=365)
TIME_TO_CONFIRM = timedelta(days=7)
"""From the end of a session; then it is unconfirmed, and may be confirmed all the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenCadence:
    plan: Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class PauseCadence:
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class ResumeCadence:
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtendCadence:
    sessions: int
    ends_on: date


@dataclass(frozen=True, slots=True, kw_only=True)
class CloseCadence:
    now: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class BookSession:
    """Without `minutes` it is as long as the plan says."""

    session_id: UUID
    side: Side
    starts_at: datetime
    minutes: int | None
    now: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class MoveSession:
    """Without `minutes` it stays as long as it was."""

    session_id: UUID
    side: Side
    starts_at: datetime
    minutes: int | None
    now: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelSession:
    session_id: UUID
    side: Side
    now: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfirmSession:
    session_id: UUID
    side: Side
    word: Word
    now: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordSilence:
    """Nobody need have been silent: it asks whether the time to confirm is over and the session still open."""

    session_id: UUID
    now: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteRecap:
    """Its text is written already. With `instead_of` it is refused unless that text is the recap at present."""

    session_id: UUID
    side: Side
    text_id: UUID
    instead_of: UUID | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfirmRecap:
    """With `text_id` it is refused unless that text is the recap at present."""

    session_id: UUID
    side: Side
    text_id: UUID | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ForgetReplacedRecaps:
    """Sent once the texts of recaps that others took the place of are cleared."""


CadenceCommand = (
    OpenCadence
    | PauseCadence
    | ResumeCadence
    | ExtendCadence
    | CloseCadence
    | BookSession
    | MoveSession
    | CancelSession
    | ConfirmSession
    | RecordSilence
    | WriteRecap
    | ConfirmRecap
    | ForgetReplacedRecaps
)


def decide(command: CadenceCommand, state: State) -> list[CadenceEvent]:
    if isinstance(command, OpenCadence):
        return [CadenceOpened(plan=command.plan)] if isinstance(state, NoCadence) else []
    if isinstance(state, NoCadence):
        raise UnknownCadence
    match command:
        case PauseCadence():
            return [CadencePaused()] if isinstance(state, Open) else []
        case ResumeCadence():
            return [CadenceResumed()] if isinstance(state, Paused) else []
        case ExtendCadence():
            return _extend(command, state)
        case CloseCadence():
            return _close(command, state)
        case BookSession():
            return _book(command, state)
        case MoveSession():
            return _move(command, state)
        case CancelSession():
            return _cancel(command, state)
        case ConfirmSession():
            return _confirm(command, state)
        case RecordSilence():
            return _record_silence(command, state)
        case WriteRecap():
            return _write_recap(command, state)
        case ConfirmRecap():
            return _confirm_recap(command, state)
        case ForgetReplacedRecaps():
            return []
        case _:
            assert_never(command)


def silent_from(starts_at: datetime, minutes: int) -> datetime:
    """When a session with these times becomes unconfirmed, unless both have agreed by then."""
    return starts_at + timedelta(minutes=minutes) + TIME_TO_CONFIRM


def _extend(command: ExtendCadence, state: Cadence) -> list[CadenceEvent]:
    as_it_is = (command.sessions, command.ends_on) == (state.plan.sessions, state.plan.ends_on)
    if isinstance(state, Closed) or as_it_is:
        return []
    return [CadenceExtended(sessions=command.sessions, ends_on=command.ends_on)]


def _close(command: CloseCadence, state: Cadence) -> list[CadenceEvent]:
    if isinstance(state, Closed):
        return []
    to_come = [
        SessionCancelled(session_id=session_id, by=None)
        for session_id, session in state.sessions.items()
        if isinstance(session, Scheduled) and not _has_begun(session, command.now)
    ]
    return [*to_come, CadenceClosed()]


def _book(command: BookSession, state: Cadence) -> list[CadenceEvent]:
    if command.session_id in state.sessions:
        return []
    if isinstance(state, Closed):
        raise CadenceIsClosed
    if isinstance(state, Paused):
        raise CadenceIsPaused
    minutes = state.plan.minutes if command.minutes is None else command.minutes
    starts_at = _bookable_time(state, command.session_id, command.starts_at, minutes, command.now)
    if sum(map(_counts, state.sessions.values())) >= state.plan.sessions:
        raise AllSessionsBooked
    return [
        SessionBooked(
            session_id=command.session_id,
            number=len(state.sessions) + 1,
            starts_at=starts_at,
            minutes=minutes,
            by=command.side,
        )
    ]


def _move(command: MoveSession, state: Cadence) -> list[CadenceEvent]:
    session = _not_begun(state, command.session_id, command.now)
    if isinstance(state, Closed):
        raise CadenceIsClosed
    details = session.details
    minutes = details.minutes if command.minutes is None else command.minutes
    if (command.starts_at, minutes) == (details.starts_at, details.minutes):
        return []
    starts_at = _bookable_time(state, command.session_id, command.starts_at, minutes, command.now)
    return [
        SessionMoved(
            session_id=command.session_id,
            starts_at=starts_at,
            minutes=minutes,
            by=command.side,
        )
    ]


def _cancel(command: CancelSession, state: Cadence) -> list[CadenceEvent]:
    if isinstance(_session(state, command.session_id), Cancelled):
        return []
    _not_begun(state, command.session_id, command.now)
    return [SessionCancelled(session_id=command.session_id, by=command.side)]


def _confirm(command: ConfirmSession, state: Cadence) -> list[CadenceEvent]:
    session = _session(state, command.session_id)
    if isinstance(session, Cancelled):
        raise SessionIsCancelled
    if command.now < session.details.starts_at:
        raise TooEarlyToConfirm
    if session.details.words.of(command.side) is command.word:
        return []
    if isinstance(session, Held | Missed):
        raise AlreadySettled
    said = SessionConfirmed(session_id=command.session_id, side=command.side, word=command.word)
    words = session.details.words.saying(command.side, command.word)
    return [said, *_outcome(command.session_id, words, session)]


def _outcome(
    session_id: UUID, words: Words, session: Scheduled | Disputed | Unconfirmed
) -> Iterator[CadenceEvent]:
    """What follows from both words; nothing before both are there."""
    if words.mentor is None or words.mentee is None:
        return
    if words.mentor is Word.HELD and words.mentee is Word.HELD:
        yield SessionHeld(session_id=session_id)
    elif Word.HELD not in {words.mentor, words.mentee}:
        yield SessionMissed(session_id=session_id)
        agreed = words.mentor.blames & words.mentee.blames
        yield from (SideMissed(session_id=session_id, side=side) for side in Side if side in agreed)
    elif not isinstance(session, Disputed):
        yield SessionDisputed(session_id=session_id)


def _record_silence(command: RecordSilence, state: Cadence) -> list[CadenceEvent]:
    session = _session(state, command.session_id)
    due = silent_from(session.details.starts_at, session.details.minutes)
    if not isinstance(session, Scheduled) or command.now < due:
        return []
    return [SessionUnconfirmed(session_id=command.session_id)]


def _write_recap(command: WriteRecap, state: Cadence) -> list[CadenceEvent]:
    session = _session(state, command.session_id)
    if isinstance(session, Cancelled):
        raise SessionIsCancelled
    present = None if session.details.recap is None else session.details.recap.text_id
    if present == command.text_id:
        return []
    if command.instead_of is not None and command.instead_of != present:
        raise RecapChanged
    return [RecapWritten(session_id=command.session_id, text_id=command.text_id, by=command.side)]


def _confirm_recap(command: ConfirmRecap, state: Cadence) -> list[CadenceEvent]:
    recap = _session(state, command.session_id).details.recap
    if recap is None:
        raise NoRecap
    if command.text_id is not None and command.text_id != recap.text_id:
        raise RecapChanged
    if recap.by is command.side:
        raise OwnRecap
    return [] if recap.confirmed else [RecapConfirmed(session_id=command.session_id, side=command.side)]


def _session(state: Cadence, session_id: UUID) -> Session:
    if session_id not in state.sessions:
        raise UnknownSession
    return state.sessions[session_id]


def _not_begun(state: Cadence, session_id: UUID, now: datetime) -> Scheduled:
    session = _session(state, session_id)
    if isinstance(session, Cancelled):
        raise SessionIsCancelled
    if not isinstance(session, Scheduled) or _has_begun(session, now):
        raise SessionHasBegun
    return session


def _has_begun(session: Scheduled, now: datetime) -> bool:
    # What somebody spoke of has begun, whatever another process's clock says.
    return session.details.starts_at <= now or not session.details.words.none_said


def _counts(session: Session) -> bool:
    """Whether it takes one of the planned sessions, and its time."""
    return not isinstance(session, Cancelled | Missed)


def _bookable_time(
    state: Cadence, session_id: UUID, starts_at: datetime, minutes: int, now: datetime
) -> datetime:
    """The same time in UTC: reckoning on the wall's clock goes wrong on two days a year."""
    if starts_at <= now:
        raise SessionInThePast
    if starts_at > now + FURTHEST_AHEAD:
        raise SessionTooFarAhead
    if not SHORTEST_MINUTES <= minutes <= LONGEST_MINUTES:
        raise UnfitLength
    in_utc = starts_at.astimezone(UTC)
    if in_utc.date() > state.plan.ends_on:
        raise SessionAfterTheEnd
    others = (other for id_, other in state.sessions.items() if id_ != session_id and _counts(other))
    if any(other.details.overlaps(in_utc, minutes) for other in others):
        raise OverlappingSession
    return in_utc


cadence: Decider[CadenceCommand, State, CadenceEvent] = Decider(NoCadence(), decide, evolve)
