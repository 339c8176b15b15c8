"""What `directory` publishes."""

from uuid import UUID

from upwell_shared.contracts import Contract, PublishedEvent
from upwell_shared.contracts.erasure import PersonErasureAcknowledged


class PersonErased(PublishedEvent):
    """A person's data were erased. Every service destroys its keys, clears what it holds and acknowledges."""

    person_id: UUID
    organisation_id: UUID


CONTRACT = Contract("directory", PersonErased, PersonErasureAcknowledged)
