"""Domain event → published events: the one door out."""

from collections.abc import Iterable
from typing import Any, TypedDict
from uuid import UUID

from upwell_sessions.domain import cadence
from upwell_sessions.domain.cadence import Plan, Side, Word
from upwell_shared import erasing
from upwell_shared.contracts import PublishedEvent
from upwell_shared.contracts import sessions as told


class _About(TypedDict):
    session_id: UUID
    pair_id: UUID
    programme_id: UUID


def publishing(stream_id: UUID, event: Any, state: Any) -> Iterable[PublishedEvent]:
    """Of a cadence, and of receipts. What the two write down stays here, and who wrote it too."""
    match event:
        case cadence.CadenceOpened(plan=plan):
            yield told.CadenceOpened(
                cadence_id=stream_id,
                pair_id=plan.pair_id,
                programme_id=plan.programme_id,
                sessions=plan.sessions,
                days_between=plan.days_between,
                minutes=plan.minutes,
            )
        case cadence.SessionBooked(by=by):
            about = _about(event.session_id, state.plan)
            yield told.SessionScheduled(
                **about, number=event.number, starts_at=event.starts_at, minutes=event.minutes
            )
            yield _line(about, by, "booked")
        case cadence.SessionMoved(by=by):
            about = _about(event.session_id, state.plan)
            yield told.SessionRescheduled(**about, starts_at=event.starts_at, minutes=event.minutes)
            yield _line(about, by, "moved")
        case cadence.SessionCancelled(by=by):
            about = _about(event.session_id, state.plan)
            yield told.SessionCancelled(**about)
            if by is not None:
                yield _line(about, by, "cancelled")
        case cadence.SessionConfirmed(side=side, word=word):
            said: told.Commitment = "said_held" if word is Word.HELD else "said_missed"
            yield _line(_about(event.session_id, state.plan), side, said)
        case cadence.SessionHeld():
            yield told.SessionHeld(**_about(event.session_id, state.plan))
        case cadence.SessionMissed():
            yield told.SessionMissed(**_about(event.session_id, state.plan))
        case cadence.SideMissed(side=side):
            yield _line(_about(event.session_id, state.plan), side, "missed")
        case cadence.SessionDisputed():
            yield told.SessionDisputed(**_about(event.session_id, state.plan))
        case cadence.SessionUnconfirmed():
            yield told.SessionUnconfirmed(**_about(event.session_id, state.plan))
        case _:
            yield from erasing.told(told.CONTRACT.owner, event)


def _about(session_id: UUID, plan: Plan) -> _About:
    return {"session_id": session_id, "pair_id": plan.pair_id, "programme_id": plan.programme_id}


def _line(about: _About, side: Side, commitment: told.Commitment) -> told.CommitmentRecorded:
    return told.CommitmentRecorded(**about, side=side.value, commitment=commitment)
