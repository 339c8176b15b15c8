"""What `directory` publishes."""

from datetime import date
from typing import Annotated, ClassVar, Literal
from uuid import UUID

from pydantic import Field

from upwell_shared.contracts import Audience, Contract, PublishedEvent
from upwell_shared.contracts.erasure import PersonErasureAcknowledged

Purpose = Literal["participation", "quotes"]
"""What a person may agree to."""


class UnitOpened(PublishedEvent):
    """A unit opened. An organisation is a root: it has no parent, and its unit's id is its own."""

    unit_id: UUID
    organisation_id: UUID
    parent_id: UUID | None


class UnitMoved(PublishedEvent):
    """A unit hangs from another parent now, with all that is below it."""

    unit_id: UUID
    organisation_id: UUID
    parent_id: UUID


class UnitClosed(PublishedEvent):
    """A unit is closed for good. With its root the whole organisation is."""

    unit_id: UUID
    organisation_id: UUID


class PersonJoined(PublishedEvent):
    """A person joined an organisation, for the first time or again."""

    person_id: UUID
    organisation_id: UUID
    unit_id: UUID


class PersonLeft(PublishedEvent):
    """A person left; `unit_id` is where they stood last."""

    person_id: UUID
    organisation_id: UUID
    unit_id: UUID


class PersonErased(PublishedEvent):
    """A person's data were erased. Every service destroys its keys, clears what it holds and acknowledges.

    Whoever had not left before has left with an event of its own.
    """

    person_id: UUID
    organisation_id: UUID


class PersonMoved(PublishedEvent):
    """Where a person stands from now on: told at joining and at every change, and always whole."""

    audience: ClassVar[Audience] = "internal"

    person_id: UUID
    organisation_id: UUID
    unit_id: UUID
    grade: Annotated[int, Field(ge=1, le=20)]
    manager_id: UUID | None
    in_role_since: date


class PersonWentOnLeave(PublishedEvent):
    """A person is on leave, until further notice or until a day: later days take the place of earlier ones."""

    audience: ClassVar[Audience] = "internal"

    person_id: UUID
    organisation_id: UUID
    until: date | None


class PersonReturned(PublishedEvent):
    """A person is back from leave."""

    audience: ClassVar[Audience] = "internal"

    person_id: UUID
    organisation_id: UUID


class ConsentGiven(PublishedEvent):
    """A person agrees, for this purpose and no other."""

    audience: ClassVar[Audience] = "internal"

    person_id: UUID
    purpose: Purpose


class ConsentWithdrawn(PublishedEvent):
    """A person does not agree any more."""

    audience: ClassVar[Audience] = "internal"

    person_id: UUID
    purpose: Purpose


CONTRACT = Contract(
    "directory",
    UnitOpened,
    UnitMoved,
    UnitClosed,
    PersonJoined,
    PersonLeft,
    PersonErased,
    PersonMoved,
    PersonWentOnLeave,
    PersonReturned,
    ConsentGiven,
    ConsentWithdrawn,
    PersonErasureAcknowledged,
)
