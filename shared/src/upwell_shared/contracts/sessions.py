"""What `sessions` publishes. All of a pair's sessions are told on the key of its cadence, in the order they happened."""

from typing import ClassVar, Literal
from uuid import UUID

from pydantic import AwareDatetime

from upwell_shared.contracts import Audience, Contract, PublishedEvent
from upwell_shared.contracts.erasure import PersonErasureAcknowledged
from upwell_shared.contracts.matching import Count, Side

Commitment = Literal["booked", "moved", "cancelled", "said_held", "said_missed", "missed"]
"""What a side did about a session; `missed`: both say it did not happen, and that it was this side's doing."""


class CadenceOpened(PublishedEvent):
    """A pair may book its sessions: so many, one every so many days, of so many minutes each."""

    cadence_id: UUID
    pair_id: UUID
    programme_id: UUID
    sessions: Count
    days_between: Count
    minutes: Count


class SessionScheduled(PublishedEvent):
    """A session was booked; `number` counts the pair's bookings from 1."""

    session_id: UUID
    pair_id: UUID
    programme_id: UUID
    number: Count
    starts_at: AwareDatetime
    minutes: Count


class SessionRescheduled(PublishedEvent):
    """A session has another time."""

    session_id: UUID
    pair_id: UUID
    programme_id: UUID
    starts_at: AwareDatetime
    minutes: Count


class SessionCancelled(PublishedEvent):
    """A session will not take place."""

    session_id: UUID
    pair_id: UUID
    programme_id: UUID


class SessionHeld(PublishedEvent):
    """Both sides say that the session took place."""

    session_id: UUID
    pair_id: UUID
    programme_id: UUID


class SessionMissed(PublishedEvent):
    """Both sides say that the session did not take place."""

    session_id: UUID
    pair_id: UUID
    programme_id: UUID


class SessionUnconfirmed(PublishedEvent):
    """Not both sides have said what became of the session in time. They still may."""

    session_id: UUID
    pair_id: UUID
    programme_id: UUID


class SessionDisputed(PublishedEvent):
    """The two sides say different things of the session. Once they agree it is held or missed."""

    audience: ClassVar[Audience] = "internal"

    session_id: UUID
    pair_id: UUID
    programme_id: UUID


class CommitmentRecorded(PublishedEvent):
    """A line of the commitment ledger: what one side did about a session."""

    audience: ClassVar[Audience] = "internal"

    session_id: UUID
    pair_id: UUID
    programme_id: UUID
    side: Side
    commitment: Commitment


CONTRACT = Contract(
    "sessions",
    CadenceOpened,
    SessionScheduled,
    SessionRescheduled,
    SessionCancelled,
    SessionHeld,
    SessionMissed,
    SessionUnconfirmed,
    SessionDisputed,
    CommitmentRecorded,
    PersonErasureAcknowledged,
)
