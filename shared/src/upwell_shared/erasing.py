"""How a service forgets a person: it is told of PersonErased, clears what it holds, and then gives its receipt.

The receipt is an event of a stream of its own, one a person; that it is given twice, or a crash comes between
clearing and receipt, does no harm. A service wires it up in four places: `ErasureEvent` and `ErasureCommand` in its
codecs, `RECEIPT` among its aggregates, `asked` in its `reactions.py`, `told` in its `publishing.py`, and
`carrying_out` around its handler.
"""

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeAlias
from uuid import UUID, uuid5

from upwell_shared.contracts import Consumed, PublishedEvent
from upwell_shared.contracts.directory import PersonErased
from upwell_shared.contracts.erasure import PersonErasureAcknowledged
from upwell_shared.decider import Decider
from upwell_shared.events import Envelope
from upwell_shared.handling import Aggregate, Handler, Outcome
from upwell_shared.todos import Carry, Send


@dataclass(frozen=True, slots=True, kw_only=True)
class ErasureAcknowledged:
    """All that this service held of a person is gone."""

    person_id: UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class AcknowledgeErasure:
    """Give the receipt; sent once everything is cleared."""

    person_id: UUID


ErasureEvent: TypeAlias = ErasureAcknowledged
ErasureCommand: TypeAlias = AcknowledgeErasure


def _decide(command: AcknowledgeErasure, given: bool) -> list[ErasureAcknowledged]:  # noqa: FBT001 the state
    return [] if given else [ErasureAcknowledged(person_id=command.person_id)]


def _evolve(_: bool, __: ErasureAcknowledged) -> bool:  # noqa: FBT001 the state
    return True


receipt: Decider[AcknowledgeErasure, bool, ErasureAcknowledged] = Decider(
    initial=False, decide=_decide, evolve=_evolve
)
RECEIPT = Aggregate("erasure", receipt, ErasureCommand)


def asked(consumed: Consumed) -> Iterable[Send]:
    """Whenever a person is erased, the receipt is to be given."""
    if isinstance(consumed.event, PersonErased):
        person_id = consumed.event.person_id
        yield Send(uuid5(person_id, "erasure"), AcknowledgeErasure(person_id=person_id))


def told(service: str, event: Any) -> Iterable[PublishedEvent]:
    """What others are told of a receipt; nothing for any other event."""
    if isinstance(event, ErasureAcknowledged):
        yield PersonErasureAcknowledged(person_id=event.person_id, service=service)


def carrying_out(handler: Handler, forget: Callable[[UUID], Awaitable[None]]) -> Carry:
    """How a service carries out its to-dos: before a receipt is given, `forget` clears what is held of the person.

    `forget` must be safe to call again: a crash after it has it called once more.
    """

    async def carry(stream_id: UUID, command: object, envelope: Envelope) -> Outcome:
        if isinstance(command, AcknowledgeErasure):
            await forget(command.person_id)
        return await handler.send(stream_id, command, envelope)

    return carry
