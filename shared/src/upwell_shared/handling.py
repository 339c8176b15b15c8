"""Carrying out a command: load → fold → decide → append, with what follows from it published in the same commit."""

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

import orjson
from uuid_utils.compat import uuid7

from upwell_shared import metrics, tracing
from upwell_shared.clock import Clock
from upwell_shared.contracts import Contract, Publication, PublishedEvent
from upwell_shared.decider import Decider, DomainError
from upwell_shared.errors import ConcurrentUpdate, IdempotencyKeyReused, NotFound, StaleVersion
from upwell_shared.event_store import Append, Appended, EventStore, Loaded, StreamAppend
from upwell_shared.events import Envelope, members
from upwell_shared.retrying import Backoff

_ATTEMPTS = 3
_APART = Backoff(first=0.004, cap=0.02)


@dataclass(frozen=True, slots=True)
class Aggregate:
    """A kind of stream: its name, its decider, and the union of commands it takes."""

    name: str
    decider: Decider[Any, Any, Any]
    commands: Any

    @property
    def command_classes(self) -> tuple[type, ...]:
        """The classes of the command union."""
        return members(self.commands)


@dataclass(frozen=True, slots=True)
class Intent:
    """A command for one stream. With `if_match` it is refused as stale unless the stream is at that version."""

    aggregate: Aggregate
    stream_id: UUID
    command: Any
    if_match: int | None = None


class Publishing(Protocol):
    """The one door out: what others are told of a domain event, given the state it led to. Pure."""

    def __call__(self, stream_id: UUID, event: Any, state: Any) -> Iterable[PublishedEvent]: ...


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a command is answered. `position` is the token of its first stream, see web.positions.

    `repeated`: the command had been carried out before, and this is the answer given then.
    """

    position: str
    version: int
    body: Mapping[str, Any] = field(default_factory=dict)
    repeated: bool = False


class Handler:
    """Carries out the commands of one service. Safe to call again with the same envelope: it happens once."""

    def __init__(
        self,
        store: EventStore,
        clock: Clock,
        contract: Contract,
        publishing: Publishing,
        aggregates: Sequence[Aggregate],
    ) -> None:
        self._store = store
        self._clock = clock
        self._contract = contract
        self._publishing = publishing
        self._by_command = {command: a for a in aggregates for command in a.command_classes}

    async def send(self, stream_id: UUID, command: object, envelope: Envelope) -> Outcome:
        """`handle` for one command whose aggregate follows from its class."""
        return await self.handle(
            Intent(self._by_command[type(command)], stream_id, command), envelope=envelope
        )

    async def handle(
        self,
        *intents: Intent,
        envelope: Envelope,
        fingerprint: bytes | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> Outcome:
        """Carries out one command, given as one intent for each stream it touches: all are written or none.

        `body` is the answer kept for a repetition. Raises what `decide` raises; NotFound when a stream is of
        another kind; StaleVersion; ConcurrentUpdate when the streams kept changing for three attempts;
        IdempotencyKeyReused when the command id came before with another fingerprint; ValueError unless there is one
        intent for each stream. When the database fails the outcome is unknown: try again with the same envelope.
        """
        if not intents or len({intent.stream_id for intent in intents}) < len(intents):
            raise ValueError("one intent for each stream, and at least one")
        began = time.perf_counter()
        name = type(intents[0].command).__name__
        try:
            with tracing.span(
                f"handle {name}",
                stream_id=intents[0].stream_id,
                command_id=envelope.command_id,
                correlation_id=envelope.correlation_id,
                causation_id=envelope.causation_id,
            ) as span:
                if span is not None:
                    envelope = replace(envelope, traceparent=str(tracing.traceparent(span)))
                return await self._carry_out(intents, envelope, fingerprint, body or {})
        finally:
            metrics.COMMAND_SECONDS.labels(name).observe(time.perf_counter() - began)

    async def _carry_out(
        self,
        intents: Sequence[Intent],
        envelope: Envelope,
        fingerprint: bytes | None,
        body: Mapping[str, Any],
    ) -> Outcome:
        for attempt, delay in enumerate(_APART.delays(), start=1):
            outcome = await self._attempt(intents, envelope, fingerprint, body)
            if outcome is not None:
                return outcome
            metrics.APPEND_CONFLICTS.inc()
            if attempt == _ATTEMPTS:
                break
            # Those who contend for a stream would meet again if all began anew at once.
            await asyncio.sleep(delay)
        raise ConcurrentUpdate

    async def _attempt(
        self,
        intents: Sequence[Intent],
        envelope: Envelope,
        fingerprint: bytes | None,
        body: Mapping[str, Any],
    ) -> Outcome | None:
        loaded = await self._store.load(*(intent.stream_id for intent in intents))
        now = self._clock.now()
        try:
            streams = [self._decide(intent, loaded[intent.stream_id], envelope, now) for intent in intents]
        except (DomainError, StaleVersion):
            # A repeated command meets the state it made itself, and the rule may well say no to that.
            if (earlier := await self.repeated(envelope, fingerprint)) is not None:
                return earlier
            raise
        first, head = intents[0].stream_id, streams[0]
        version = head.expected + len(head.events)
        position = f"{self._contract.owner}/{first}@{version}.{head.public_sequence}.{head.internal_sequence}"
        outcome = Outcome(position, version, body)
        appended = await self._store.append(
            Append(
                envelope=envelope,
                recorded_at=now,
                result=orjson.dumps([position, version, body]).decode(),
                fingerprint=fingerprint,
                # Also those on which there was nothing to do: that was decided on a version, too.
                streams=[stream for stream in streams if stream.events or stream.expected],
            )
        )
        if appended is Appended.WRITTEN:
            return outcome
        # A conflict may be with this very command, carried out meanwhile by another replica.
        return await self.repeated(envelope, fingerprint)

    def _decide(self, intent: Intent, loaded: Loaded, envelope: Envelope, now: datetime) -> StreamAppend:
        if loaded.type not in {None, intent.aggregate.name}:
            raise NotFound
        if intent.if_match is not None and intent.if_match != loaded.version:
            raise StaleVersion
        decider = intent.aggregate.decider
        state = decider.fold(loaded.events)
        sequences = {"public": loaded.public_sequence, "internal": loaded.internal_sequence}
        events = []
        publications: list[Publication] = []
        for event in decider.decide(intent.command, state):
            event_id = uuid7()
            state = decider.evolve(state, event)
            events.append((event_id, self._store.codec.encode(event)))
            for told in self._publishing(intent.stream_id, event, state):
                sequences[told.audience] += 1
                publications.append(
                    self._contract.publish(
                        told,
                        source_event_id=event_id,
                        stream_id=intent.stream_id,
                        sequence=sequences[told.audience],
                        recorded_at=now,
                        envelope=envelope,
                    )
                )
        return StreamAppend(
            stream_id=intent.stream_id,
            type=intent.aggregate.name,
            expected=loaded.version,
            events=events,
            publications=publications,
            public_sequence=sequences["public"],
            internal_sequence=sequences["internal"],
        )

    async def repeated(self, envelope: Envelope, fingerprint: bytes | None = None) -> Outcome | None:
        """What this command was answered when it was carried out before. Raises IdempotencyKeyReused.

        For those who look facts up before they call `handle`, and would refuse a repetition for facts of today.
        """
        answer = await self._store.answer(envelope.command_id)
        if answer is None:
            return None
        if answer.fingerprint != fingerprint:
            raise IdempotencyKeyReused
        position, version, body = orjson.loads(answer.result)
        return Outcome(position, version, body, repeated=True)
