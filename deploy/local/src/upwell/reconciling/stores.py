"""One service's store against itself: streams, events, ledger."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from uuid import UUID, uuid5

import asyncpg

_STREAMS = "SELECT stream_id, version, public_sequence, internal_sequence FROM streams"
_EVENTS = "SELECT stream_id, version, event_id, command_id FROM events ORDER BY stream_id, version"
_LEDGER = "SELECT key, channel, sequence, event_id, type FROM ledger ORDER BY key, channel, sequence"
_PROGRESS = "SELECT channel, stream_id, sequence FROM progress WHERE consumer = $1"
_LETTERS = "SELECT channel, stream_id, type, reason FROM dead_letters ORDER BY parked_at LIMIT 1"
_TODOS = "SELECT type, parked_because FROM todos ORDER BY number LIMIT 1"


@dataclass(frozen=True, slots=True)
class Published:
    """A row of a ledger, or a record of a channel."""

    event_id: UUID
    type: str


Place = tuple[str, UUID, int]
"""Channel, key and sequence: where a published event stands."""


class Store:
    """What one service has in its database."""

    def __init__(self, service: str) -> None:
        self.service = service
        self.versions: dict[UUID, tuple[int, int, int]] = {}
        """Of each stream: version, public and internal sequence."""
        self.events: dict[UUID, dict[int, tuple[UUID, UUID]]] = defaultdict(dict)
        """Of each stream, by version: event id and command id."""
        self.ledger: dict[Place, Published] = {}
        self.applied: dict[tuple[str, UUID], int] = {}
        """Of others' channels and streams: the last sequence that had its effect here."""
        self.unfinished: str | None = None
        """A letter or a to-do that still lies there."""

    @classmethod
    async def read(cls, service: str, dsn: str) -> "Store":
        """The whole of it, in one snapshot."""
        store = cls(service)
        connection = await asyncpg.connect(dsn, server_settings={"application_name": "reconcile"})
        try:
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                for row in await connection.fetch(_STREAMS):
                    store.versions[row["stream_id"]] = tuple(row)[1:]
                for stream_id, version, event_id, command_id in await connection.fetch(_EVENTS):
                    store.events[stream_id][version] = (event_id, command_id)
                for key, channel, sequence, event_id, kind in await connection.fetch(_LEDGER):
                    store.ledger[channel, key, sequence] = Published(event_id, kind)
                for channel, stream_id, sequence in await connection.fetch(_PROGRESS, service):
                    store.applied[channel, stream_id] = sequence
                if (letter := await connection.fetchrow(_LETTERS)) is not None:
                    store.unfinished = (
                        f"a dead letter of {letter['channel']}, stream {letter['stream_id']}: "
                        f"{letter['type']} ({letter['reason']})"
                    )
                elif (todo := await connection.fetchrow(_TODOS)) is not None:
                    because = todo["parked_because"]
                    store.unfinished = f"a to-do {todo['type']}" + (f", parked: {because}" if because else "")
        finally:
            await connection.close()
        return store

    def differences(self) -> Iterator[str]:
        """Where the store contradicts itself."""
        yield from self._holes()
        yield from self._unpublished()
        yield from self._unfounded()

    def _holes(self) -> Iterator[str]:
        for stream_id in sorted(self.versions.keys() | self.events.keys(), key=str):
            version = self.versions.get(stream_id, (0, 0, 0))[0]
            held = self.events.get(stream_id, {})
            if missing := sorted(set(range(1, version + 1)) - held.keys()):
                yield f"{self.service}: stream {stream_id} is at version {version} and lacks event {missing[0]}"
            if held and max(held) > version:
                yield f"{self.service}: stream {stream_id} is at version {version} and has event {max(held)}"

    def _unpublished(self) -> Iterator[str]:
        told: dict[tuple[str, UUID], set[int]] = defaultdict(set)
        for channel, key, sequence in self.ledger:
            told[channel, key].add(sequence)
        for stream_id, (_, public, internal) in self.versions.items():
            for channel, last in (
                (f"upwell.{self.service}.v1", public),
                (f"upwell.{self.service}.internal.v1", internal),
            ):
                sequences = told.pop((channel, stream_id), set())
                if missing := sorted(set(range(1, last + 1)) ^ sequences):
                    yield f"{self.service}: the ledger has not {last} but other records of stream {stream_id} in {channel}: see sequence {missing[0]}"
        for channel, key in told:
            yield f"{self.service}: the ledger tells in {channel} of stream {key}, which the store does not have"

    def _unfounded(self) -> Iterator[str]:
        for (channel, key, sequence), published in self.ledger.items():
            if not any(
                uuid5(event_id, published.type) == published.event_id
                for event_id, _ in self.events.get(key, {}).values()
            ):
                yield f"{self.service}: sequence {sequence} of stream {key} in {channel} comes from no event of it"
