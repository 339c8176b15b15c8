"""Carrying out what is asked of pairs: what follows of it for both enrolments is written in the same append.

So a place is taken when a pair is created and free when it is closed, whoever asks, and whatever dies in between.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID, uuid5

import asyncpg

from upwell_matching.aggregates import ENROLMENT, PAIR, STANDING
from upwell_matching.domain.enrolment import (
    FreePlace,
    RelyOnPlace,
    SettleWithdrawal,
    Side,
    TakePlace,
    Withdrawn,
    enrolment_id,
)
from upwell_matching.domain.pair import (
    LeavePair,
    NoPair,
    PairAccepted,
    PairCommand,
    PairCompleted,
    PairCreated,
    PairEnded,
    PairEvent,
    PairProposed,
    Terms,
    pair,
)
from upwell_matching.domain.standing import Erased
from upwell_matching.projections import pairs, standings
from upwell_shared import erasing
from upwell_shared.clock import Clock
from upwell_shared.decider import DomainError
from upwell_shared.errors import ConcurrentUpdate, StaleVersion, Unavailable
from upwell_shared.event_store import EventStore
from upwell_shared.events import Envelope
from upwell_shared.handling import Aggregate, Handler, Intent, Outcome
from upwell_shared.looking_up import caught_up
from upwell_shared.todos import Carry

_ATTEMPTS: Final = 5


@dataclass(frozen=True, slots=True)
class Means:
    """What commands are carried out with."""

    handler: Handler
    store: EventStore
    pool: asyncpg.Pool
    clock: Clock

    async def state(self, aggregate: Aggregate, stream_id: UUID) -> Any:
        """How a stream stands now; as one that is not there when it is of another kind."""
        loaded = (await self.store.load(stream_id))[stream_id]
        ours = loaded.type == aggregate.name
        return aggregate.decider.fold(loaded.events if ours else ())


async def on_pair(
    means: Means,
    pair_id: UUID,
    command: PairCommand,
    envelope: Envelope,
    *,
    beside: Sequence[Intent] = (),
    if_match: int | None = None,
    fingerprint: bytes | None = None,
    body: Mapping[str, Any] | None = None,
) -> Outcome:
    """`Handler.handle` for a command on a pair, with what follows for its two enrolments. Safe to call again.

    What follows depends on what is decided; so it is decided once to see, and carried out only if the pair is still as
    it was seen. `beside` is written along. Raises what `handle` raises.
    """
    for _ in range(_ATTEMPTS):
        loaded = (await means.store.load(pair_id))[pair_id]
        beyond: list[Intent] = []
        if loaded.type in {None, PAIR.name}:
            beyond = following(pair_id, command, pair.fold(loaded.events))
        seen = loaded.version if if_match is None else if_match
        try:
            return await means.handler.handle(
                Intent(PAIR, pair_id, command, seen),
                *beside,
                *beyond,
                envelope=envelope,
                fingerprint=fingerprint,
                body=body,
            )
        except StaleVersion:
            if if_match is not None:
                raise
    raise ConcurrentUpdate


def following(pair_id: UUID, command: PairCommand, state: Any) -> list[Intent]:
    """What both enrolments are asked beside this command. A refusal is the handler's to give, or its earlier answer."""
    try:
        events: list[PairEvent] = pair.decide(command, state)
    except DomainError:
        return []
    after = pair.fold(events, state)
    if isinstance(after, NoPair):
        return []
    terms = after.terms
    kinds = {type(event) for event in events}
    if PairCreated in kinds:
        return _both(terms, lambda role, partner: TakePlace(role=role, pair_id=pair_id, partner_id=partner))
    if not kinds.isdisjoint({PairProposed, PairAccepted}):
        return _both(terms, lambda role, partner: RelyOnPlace(role=role, partner_id=partner))
    if not kinds.isdisjoint({PairCompleted, PairEnded}):
        return _both(terms, lambda _, __: FreePlace(pair_id=pair_id))
    return []


def _both(terms: Terms, asked: Callable[[Side, UUID], object]) -> list[Intent]:
    sides = (
        (Side.MENTOR, terms.mentor_id, terms.mentee_id),
        (Side.MENTEE, terms.mentee_id, terms.mentor_id),
    )
    return [
        Intent(ENROLMENT, enrolment_id(terms.cohort_id, person_id), asked(role, partner_id))
        for role, person_id, partner_id in sides
    ]


def forgetting(means: Means) -> Callable[[UUID], Awaitable[None]]:
    """Returns once nothing is left here of a person's standing. Raises Unavailable until then: it is on its way."""

    async def forget(person_id: UUID) -> None:
        state = await means.state(STANDING, person_id)
        if not isinstance(state, Erased) or not await caught_up(means.pool, standings.name):
            raise Unavailable

    return forget


def carrying_out(means: Means, forget: Callable[[UUID], Awaitable[None]]) -> Carry:
    """How this service carries out its to-dos. `forget` clears what is held of a person, see `erasing`."""
    others = erasing.carrying_out(means.handler, forget)

    async def carry(stream_id: UUID, command: object, envelope: Envelope) -> Outcome:
        if isinstance(command, PairCommand):
            return await on_pair(means, stream_id, command, envelope)
        if isinstance(command, SettleWithdrawal):
            await _leave_all(means, stream_id, envelope)
        return await others(stream_id, command, envelope)

    return carry


async def _leave_all(means: Means, enrolment: UUID, envelope: Envelope) -> None:
    """Closes all that came of a withdrawn enrolment. Safe to call again, and after a part of it was done.

    Nothing can be added any more: whoever proposes or accepts relies on the enrolment.
    """
    state = await means.state(ENROLMENT, enrolment)
    if not isinstance(state, Withdrawn) or state.settled:
        return
    if not await caught_up(means.pool, pairs.name):
        raise Unavailable
    asked = await pairs.proposals_of(means.pool, state.cohort_id, state.person_id)
    for pair_id in [*asked, *state.partners]:
        part = Envelope(
            command_id=uuid5(envelope.command_id, f"leave {pair_id}"),
            correlation_id=envelope.correlation_id,
            causation_id=envelope.causation_id,
            traceparent=envelope.traceparent,
        )
        await on_pair(means, pair_id, LeavePair(person_id=state.person_id), part)
