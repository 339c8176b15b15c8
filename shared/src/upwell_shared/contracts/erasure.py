"""The receipt every service gives for an erasure; it is part of each service's contract."""

from typing import Annotated, ClassVar
from uuid import UUID

from pydantic import StringConstraints

from upwell_shared.contracts import Audience, PublishedEvent


class PersonErasureAcknowledged(PublishedEvent):
    """A service has destroyed its keys of a person and cleared what it held."""

    audience: ClassVar[Audience] = "internal"

    person_id: UUID
    service: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9]{0,30}$")]
    """The owner of the contract this is in."""
