"""What is due when: a session that not both have spoken of becomes unconfirmed."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any
from uuid import UUID

from upwell_sessions.domain.cadence import (
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


def timing(recorded: Recorded[Any]) -> Iterable[SetTimer | ClearTimer]:
    """One timer a session, on the stream of its cadence."""
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


def _name(session_id: UUID) -> str:
    return f"silence {session_id}"
