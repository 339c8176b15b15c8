"""What is due when: a session that not both have spoken of becomes unconfirmed; a recap that was replaced is forgotten."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from upwell_sessions.domain.cadence import (
    ForgetReplacedRecaps,
    RecapWritten,
    RecordSilence,
    SessionBooked,
    SessionCancelled,
    SessionDisputed,
    SessionHeld,
    SessionMissed,
    SessionMoved,
    SessionUnconfirmed,
    silent_from,
)
from upwell_shared.events import Recorded
from upwell_shared.timers import ClearTimer, SetTimer

STILL_READ: Final = timedelta(minutes=1)
"""Whoever asked for a recap just before it was replaced has got it by then."""


def timing(recorded: Recorded[Any]) -> Iterable[SetTimer | ClearTimer]:
    """One timer a session, and one for all recaps of the cadence, on its stream."""
    match recorded.event:
        case (
            SessionBooked(session_id=session_id, starts_at=starts_at, minutes=minutes)
            | SessionMoved(session_id=session_id, starts_at=starts_at, minutes=minutes)
        ):
            due: datetime = silent_from(starts_at, minutes)
            yield SetTimer(_name(session_id), due, RecordSilence(session_id=session_id, now=due))
        case (
            SessionCancelled(session_id=session_id)
            | SessionHeld(session_id=session_id)
            | SessionMissed(session_id=session_id)
            | SessionDisputed(session_id=session_id)
            | SessionUnconfirmed(session_id=session_id)
        ):
            yield ClearTimer(_name(session_id))
        case RecapWritten():
            yield SetTimer("recaps", recorded.recorded_at + STILL_READ, ForgetReplacedRecaps())


def _name(session_id: UUID) -> str:
    return f"silence {session_id}"
