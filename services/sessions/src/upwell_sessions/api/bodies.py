"""What is said of cadences and sessions over HTTP."""

from datetime import date, datetime
from typing import Annotated, Literal, Self
from uuid import UUID

from pydantic import AwareDatetime, Field

from upwell_sessions.domain.cadence import LONGEST_MINUTES, SHORTEST_MINUTES, Side, Word
from upwell_sessions.projections.sessions_by_pair import CadenceRow, NextSession, SessionRow
from upwell_shared.errors import Malformed, Violation
from upwell_shared.privacy import MAX_TEXT
from upwell_shared.web.commands import Body

Blamed = Literal["mentor", "mentee", "both"]

_MISSED: dict[Blamed | None, Word] = {
    None: Word.MISSED,
    "mentor": Word.MISSED_BY_MENTOR,
    "mentee": Word.MISSED_BY_MENTEE,
    "both": Word.MISSED_BY_BOTH,
}
_BLAMED = {word: blamed for blamed, word in _MISSED.items()}


class TimeToTake(Body):
    starts_at: AwareDatetime
    """In whatever time zone; with its offset from UTC."""
    minutes: Annotated[int, Field(ge=SHORTEST_MINUTES, le=LONGEST_MINUTES)] | None = None
    """As planned, or as it was, where it is left out."""


class WordToSay(Body):
    held: bool
    missed_by: Blamed | None = None
    """Who did not come, where it was not held; nobody need be named."""

    def word(self) -> Word:
        """Raises Malformed where somebody is said to have missed what was held."""
        if not self.held:
            return _MISSED[self.missed_by]
        if self.missed_by is not None:
            raise Malformed(Violation("body", "#/missed_by", "is left out of a session that was held"))
        return Word.HELD


class RecapToWrite(Body):
    text: Annotated[str, Field(min_length=1, max_length=MAX_TEXT)]
    instead_of: UUID | None = None
    """The `text_id` that was read, so that nothing is replaced unseen; where it is left out, whatever is there."""


class RecapToConfirm(Body):
    text_id: UUID | None = None
    """The one that was read; where it is left out, whatever is there."""


class Plan(Body):
    sessions: int
    days_between: int
    minutes: int
    ends_on: date


class Said(Body):
    held: bool
    missed_by: Blamed | None

    @classmethod
    def of(cls, word: str | None) -> Self | None:
        """None for a side that has said nothing so far."""
        if word is None:
            return None
        return cls(held=word == Word.HELD, missed_by=_BLAMED.get(Word(word)))


class SaidBySide(Body):
    mentor: Said | None
    mentee: Said | None


class Session(Body):
    session_id: UUID
    number: int
    starts_at: datetime
    minutes: int
    state: Literal["scheduled", "held", "missed", "cancelled", "disputed", "unconfirmed"]
    said: SaidBySide
    recap: Literal["none", "written", "confirmed"]
    recap_by: Side | None

    @classmethod
    def of(cls, row: SessionRow) -> Self:
        written = "confirmed" if row.recap_confirmed else "written"
        return cls.model_validate(
            {
                "session_id": row.session_id,
                "number": row.number,
                "starts_at": row.starts_at,
                "minutes": row.minutes,
                "state": row.state,
                "said": SaidBySide(mentor=Said.of(row.mentor_said), mentee=Said.of(row.mentee_said)),
                "recap": "none" if row.recap_by is None else written,
                "recap_by": row.recap_by,
            }
        )


class Commitments(Body):
    """How often a side did what."""

    booked: int = 0
    moved: int = 0
    cancelled: int = 0
    said_held: int = 0
    said_missed: int = 0
    missed: int = 0


class CommitmentsBySide(Body):
    mentor: Commitments
    mentee: Commitments


class _AnyCadence(Body):
    pair_id: UUID
    programme_id: UUID
    mentor_id: UUID
    mentee_id: UUID
    side: Side
    """Which of the two the caller is."""
    state: Literal["open", "paused", "closed"]
    plan: Plan


class Upcoming(Body):
    session_id: UUID
    number: int
    starts_at: datetime
    minutes: int


class CadenceInList(_AnyCadence):
    next_session: Upcoming | None
    """The first one scheduled that is not over yet."""

    @classmethod
    def of(cls, row: CadenceRow, following: NextSession | None, side: Side) -> Self:
        upcoming = (
            None
            if following is None
            else Upcoming(
                session_id=following.session_id,
                number=following.number,
                starts_at=following.starts_at,
                minutes=following.minutes,
            )
        )
        return cls.model_validate(_common(row, side) | {"next_session": upcoming})


class Cadence(_AnyCadence):
    sessions: list[Session]
    """By number; the cancelled ones too."""
    commitments: CommitmentsBySide

    @classmethod
    def of(
        cls, row: CadenceRow, sessions: list[SessionRow], commitments: CommitmentsBySide, side: Side
    ) -> Self:
        told = {"sessions": [Session.of(session) for session in sessions], "commitments": commitments}
        return cls.model_validate(_common(row, side) | told)


class Recap(Body):
    state: Literal["none", "ok", "erased"]
    text: str | None = None
    text_id: UUID | None = None
    """Names this very text, for `instead_of` and for confirming it."""
    by: Side | None = None
    confirmed: bool = False


def _common(row: CadenceRow, side: Side) -> dict[str, object]:
    return {
        "pair_id": row.pair_id,
        "programme_id": row.programme_id,
        "mentor_id": row.mentor_id,
        "mentee_id": row.mentee_id,
        "side": side,
        "state": row.state,
        "plan": Plan(
            sessions=row.sessions, days_between=row.days_between, minutes=row.minutes, ends_on=row.ends_on
        ),
    }
