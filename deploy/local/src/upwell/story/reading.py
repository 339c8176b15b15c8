"""Reads a story from the services' databases, as their readers. Each is looked at at a moment of its own."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID, uuid5

import asyncpg

from upwell.story.facts import Event, Facts, Heard, Promise, Publication, Taking
from upwell_shared.errors import UpwellError

MOST_EVENTS: Final = 20_000
"""Of one service in one story; an import of a large file has more."""

_ANSWER_SECONDS = 60.0

# Found by an index, at any size of the store.
_OF_CORRELATION = "SELECT correlation_id FROM events WHERE correlation_id = $1 LIMIT 1"
_DONE = "SELECT result ->> 0 FROM commands WHERE command_id = $1"
_OF_STREAM = "SELECT correlation_id FROM events WHERE stream_id = $1 AND command_id = $2 LIMIT 1"
_PROMISED = "SELECT correlation_id, command_id FROM todos WHERE $1 IN (command_id, correlation_id) LIMIT 1"
_SET = "SELECT correlation_id, command_id FROM timers WHERE $1 IN (command_id, correlation_id) LIMIT 1"

# Found by looking through a whole table: nobody but this command asks for these, and an index would cost every append.
_ANY_EVENT = "SELECT correlation_id, command_id FROM events WHERE $1 IN (event_id, command_id) LIMIT 1"
_ANY_RECORD = "SELECT key, type, recorded_at FROM ledger WHERE event_id = $1"
_AT = "SELECT event_id, correlation_id, command_id FROM events WHERE stream_id = $1 AND recorded_at = $2"

_EVENTS = """
SELECT tx, position, event_id, type, stream_id, version, command_id, causation_id, recorded_at
FROM events WHERE correlation_id = $1 ORDER BY tx, position LIMIT $2
"""
_LEDGER = """
SELECT l.event_id, l.type, l.channel, l.key, l.sequence,
       coalesce((l.tx, l.position) <= (SELECT c.tx, c.position FROM cursors c WHERE c.name = 'relay'), false)
FROM ledger l
JOIN (SELECT DISTINCT * FROM unnest($1::uuid[], $2::timestamptz[]) AS e (key, recorded_at)) e USING (key, recorded_at)
ORDER BY l.tx, l.position
"""
_TODOS = """
SELECT command_id, type, stream_id, causation_id, created_at, attempts, parked_because
FROM todos WHERE correlation_id = $1 ORDER BY number
"""
_TIMERS = """
SELECT command_id, type, stream_id, causation_id, due_at FROM timers WHERE correlation_id = $1 ORDER BY due_at
"""
_HAS_TIMERS = "SELECT to_regclass('timers') IS NOT NULL"
# One that is fed by others never moves its cursor; the timers are fed by own events, also before the first.
_READ_MODELS = """
SELECT name, tx, position FROM projections WHERE live AND (tx > '0'::xid8 OR name = 'timers') ORDER BY name
"""
_PROGRESS = """
SELECT p.channel, p.stream_id, p.sequence
FROM progress p
JOIN (SELECT DISTINCT * FROM unnest($2::text[], $3::uuid[]) AS w (channel, stream_id)) w USING (channel, stream_id)
WHERE p.consumer = $1
"""
_LETTERS = """
SELECT event_id, reason, error, attempts FROM dead_letters WHERE consumer = $1 AND event_id = ANY ($2::uuid[])
"""
_DISCARDED = "SELECT event_id FROM discards WHERE consumer = $1 AND event_id = ANY ($2::uuid[])"

_AWAY = (
    OSError,
    asyncpg.InterfaceError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
)


class UnknownId(UpwellError):
    """No store knows this id. A command that was refused leaves nothing behind; what was asked is in the log."""


class StoreUnreachable(UpwellError):
    """A service's database does not answer: `upwell start postgres`, or see its log."""


@dataclass(frozen=True, slots=True)
class Found:
    """What an id turned out to be: a whole correlation, or one command in it.

    `correlation_id` is None for a command that was carried out and changed nothing: its id is all there is.
    """

    correlation_id: UUID | None
    command_id: UUID | None = None
    service: str | None = None


@dataclass(slots=True)
class _Store:
    """What one service's database says of a correlation."""

    events: list[Event] = field(default_factory=list)
    publications: list[Publication] = field(default_factory=list)
    promises: list[Promise] = field(default_factory=list)
    more: bool = False


class Stores:
    """Connections to the databases of all services. Made by `opened`."""

    def __init__(
        self, connections: Mapping[str, asyncpg.Connection], hears: Mapping[str, Sequence[str]]
    ) -> None:
        self._connections = connections
        self._hears = hears

    @classmethod
    @asynccontextmanager
    async def opened(cls, services: Mapping[str, Mapping[str, Any]]) -> AsyncIterator["Stores"]:
        """`services`: as the state of a running stack names them. Raises StoreUnreachable, whenever one is lost."""
        try:
            async with AsyncExitStack() as stack:
                connections = {}
                for name, service in services.items():
                    connections[name] = await asyncpg.connect(
                        service["reader_url"],
                        timeout=5,
                        command_timeout=_ANSWER_SECONDS,
                        server_settings={"application_name": "trace"},
                    )
                    stack.push_async_callback(connections[name].close, timeout=5)
                yield cls(connections, {name: service["hears"] for name, service in services.items()})
        except _AWAY as error:
            raise StoreUnreachable(
                f"a service's database does not answer ({type(error).__name__}): see `upwell status`"
            ) from error

    async def find(self, id_: UUID) -> Found:
        """What the id is. Raises UnknownId. Quick for correlations and commands; else it looks through every event."""
        empty: Found | None = None
        for look in (self._by_index, self._by_scan):
            for found in await asyncio.gather(*(look(name, id_) for name in self._connections)):
                if found is not None and found.correlation_id is not None:
                    return found
                empty = empty or found
        if empty is None:
            raise UnknownId(
                f"no store knows {id_}: a command that was refused leaves nothing behind, and is in the log alone"
            )
        return empty

    async def _by_index(self, name: str, id_: UUID) -> Found | None:
        connection = self._connections[name]
        if (correlation_id := await connection.fetchval(_OF_CORRELATION, id_)) is not None:
            return Found(correlation_id)
        promised = await connection.fetchrow(_PROMISED, id_)
        if promised is None and await connection.fetchval(_HAS_TIMERS):
            promised = await connection.fetchrow(_SET, id_)
        if promised is not None:
            correlation_id, command_id = promised
            return Found(correlation_id, None if id_ == correlation_id else command_id, name)
        position = await connection.fetchval(_DONE, id_)
        if position is None:
            return None
        # "matching/<stream>@…": the first stream of the command, on which there may have been nothing to do.
        stream_id = UUID(position.partition("/")[2].partition("@")[0])
        row = await connection.fetchrow(_OF_STREAM, stream_id, id_)
        return Found(None, id_, name) if row is None else Found(row[0], id_, name)

    async def _by_scan(self, name: str, id_: UUID) -> Found | None:
        connection = self._connections[name]
        if (row := await connection.fetchrow(_ANY_EVENT, id_)) is not None:
            correlation_id, command_id = row
            return Found(correlation_id, command_id, name)
        if (record := await connection.fetchrow(_ANY_RECORD, id_)) is None:
            return None
        for event_id, correlation_id, command_id in await connection.fetch(
            _AT, record["key"], record["recorded_at"]
        ):
            if uuid5(event_id, record["type"]) == id_:
                return Found(correlation_id, command_id, name)
        return None

    async def read(self, correlation_id: UUID) -> Facts:
        """All there is of a correlation.

        Stores, then listeners, then stores again: whatever a listener has taken, its to-do or its events are seen.
        """
        told = [p for store in (await self._stores(correlation_id)).values() for p in store.publications]
        heard = await asyncio.gather(*(self._heard(name, told) for name in self._connections))
        stores = await self._stores(correlation_id)
        return Facts(
            events=[event for store in stores.values() for event in store.events],
            publications=[each for store in stores.values() for each in store.publications],
            promises=[promise for store in stores.values() for promise in store.promises],
            heard=[each for service in heard for each in service],
            cut={name: MOST_EVENTS for name, store in stores.items() if store.more},
        )

    async def _stores(self, correlation_id: UUID) -> dict[str, _Store]:
        found = await asyncio.gather(*(self._store(name, correlation_id) for name in self._connections))
        return dict(zip(self._connections, found, strict=True))

    async def _store(self, name: str, correlation_id: UUID) -> _Store:
        connection, store = self._connections[name], _Store()
        # One snapshot: a to-do is either still there, or its events are.
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            rows = await connection.fetch(_EVENTS, correlation_id, MOST_EVENTS + 1)
            store.more = len(rows) > MOST_EVENTS
            models = await connection.fetch(_READ_MODELS)
            for tx, position, event_id, kind, *rest in rows[:MOST_EVENTS]:
                stream_id, version, command_id, causation_id, recorded_at = rest
                store.events.append(
                    Event(
                        service=name,
                        event_id=event_id,
                        type=kind,
                        stream_id=stream_id,
                        version=version,
                        command_id=command_id,
                        causation_id=causation_id,
                        recorded_at=recorded_at,
                        behind=tuple(m["name"] for m in models if (m["tx"], m["position"]) < (tx, position)),
                    )
                )
            await self._publications(connection, store)
            for *row, created_at, attempts, parked_because in await connection.fetch(_TODOS, correlation_id):
                store.promises.append(
                    _promise(name, row, since=created_at, attempts=attempts, parked_because=parked_because)
                )
            if await connection.fetchval(_HAS_TIMERS):
                for *row, due_at in await connection.fetch(_TIMERS, correlation_id):
                    store.promises.append(_promise(name, row, due_at=due_at))
        return store

    async def _publications(self, connection: asyncpg.Connection, store: _Store) -> None:
        by_stream: dict[UUID, list[Event]] = defaultdict(list)
        for event in store.events:
            by_stream[event.stream_id].append(event)
        places = [(event.stream_id, event.recorded_at) for event in store.events]
        if not places:
            return
        for event_id, kind, channel, key, sequence, relayed in await connection.fetch(
            _LEDGER, *zip(*places, strict=True)
        ):
            for event in by_stream[key]:
                if uuid5(event.event_id, kind) == event_id:
                    store.publications.append(
                        Publication(
                            service=event.service,
                            event_id=event_id,
                            source_id=event.event_id,
                            type=kind,
                            channel=channel,
                            stream_id=key,
                            sequence=sequence,
                            relayed=relayed,
                        )
                    )

    async def _heard(self, name: str, told: Sequence[Publication]) -> list[Heard]:
        """How far this service is with what it listens to of it."""
        of_interest = [each for each in told if each.service in self._hears[name]]
        if not of_interest:
            return []
        connection = self._connections[name]
        places = zip(*((each.channel, each.stream_id) for each in of_interest), strict=True)
        # Letters first: one that is released in between shows as taken, and not as neither.
        ids = [each.event_id for each in of_interest]
        letters = {row["event_id"]: row for row in await connection.fetch(_LETTERS, name, ids)}
        discarded = {row["event_id"] for row in await connection.fetch(_DISCARDED, name, ids)}
        progress = {
            (channel, stream_id): sequence
            for channel, stream_id, sequence in await connection.fetch(_PROGRESS, name, *places)
        }
        found = []
        for each in of_interest:
            letter, taking = letters.get(each.event_id), Taking.NOT_YET
            if each.event_id in discarded:
                taking = Taking.DISCARDED
            elif progress.get((each.channel, each.stream_id), 0) >= each.sequence:
                taking = Taking.TAKEN
            elif letter is not None:
                taking = Taking.WAITING if letter["reason"] == "waiting" else Taking.PARKED
            told_why = letter if taking is Taking.PARKED else None
            found.append(
                Heard(
                    service=name,
                    event_id=each.event_id,
                    taking=taking,
                    error=None if told_why is None else told_why["error"],
                    attempts=0 if told_why is None else told_why["attempts"],
                )
            )
        return found


def _promise(service: str, row: Sequence[Any], **more: Any) -> Promise:
    command_id, kind, stream_id, causation_id = row
    return Promise(
        service=service,
        command_id=command_id,
        type=kind,
        stream_id=stream_id,
        causation_id=causation_id,
        **more,
    )
