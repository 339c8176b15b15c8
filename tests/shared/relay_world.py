"""What tests of the relay share: rows in a ledger, what a reader finds in the log, and crashes at chosen moments."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple
from uuid import UUID, uuid4, uuid5

import asyncpg
import orjson
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.protocol.admin import DeleteTopicsRequest

from upwell_shared.contracts import Contract, partition_of
from upwell_shared.database import Connection
from upwell_shared.lease import Lease, Term
from upwell_shared.log_identity import ClusterClient, read_identity
from upwell_shared.relay import Relay

PATIENCE = 20.0

_INSERT = """
INSERT INTO ledger (event_id, channel, key, partition, sequence, type, headers, body, recorded_at)
VALUES ($1, $2, $3, $4, $5, 'Happened', $6, $7, now())
"""

_LEASE_OVER = "UPDATE leases SET expires_at = '-infinity'"


class Sent(NamedTuple):
    """A record as a reader sees it."""

    key: UUID
    sequence: int
    event_id: UUID


@dataclass(frozen=True)
class World:
    """An owner with a name of its own, its ledger and its broker."""

    pool: asyncpg.Pool
    bootstrap: str
    contract: Contract

    @property
    def public(self) -> str:
        return self.contract.channel("public")

    @property
    def internal(self) -> str:
        return self.contract.channel("internal")

    def relay(self, **options: Any) -> Relay:
        return Relay(
            self.pool,
            self.contract.owner,
            self.bootstrap,
            channels=options.pop("channels", self.contract.channels),
            **options,
        )

    @asynccontextmanager
    async def relaying(self, **options: Any) -> AsyncIterator[tuple[Relay, Term]]:
        """A relay in a term of its own."""
        relay = self.relay(**options)
        term = await next_term(self.pool)
        try:
            yield relay, term
        finally:
            await relay.close()
            await self.pool.execute(_LEASE_OVER)

    async def log_id(self) -> UUID | None:
        async with ClusterClient(self.bootstrap) as client:
            return (await read_identity(client, self.contract.owner)).log_id

    async def read(self, rows: int, channel: str | None = None, within: float = PATIENCE) -> list[Sent]:
        """The present log's records, partition by partition in order, once `rows` different ones are there."""
        log_id = str(await self.log_id()).encode()
        return await read_channel(self.bootstrap, channel or self.public, log_id, rows, within)


def world(pool: asyncpg.Pool, bootstrap: str) -> World:
    return World(pool, bootstrap, Contract(f"relaying{uuid4().hex[:10]}"))


async def next_term(pool: asyncpg.Pool) -> Term:
    """A term with a higher epoch than every earlier one, whoever still believes to be in office."""
    await pool.execute(_LEASE_OVER)
    term = await Lease(pool, "relay", ttl=300).acquire()
    assert term is not None
    return term


async def write(
    connection: Connection | asyncpg.Pool, channel: str, keys: int, each: int, seed: int = 1
) -> list[Sent]:
    """`each` rows for each of `keys` keys, mixed; sequences contiguous per key. Gives them in ledger order."""
    mixed = [uuid5(UUID(int=seed), str(n)) for n in range(keys) for _ in range(each)]
    random.Random(seed).shuffle(mixed)
    counts: dict[UUID, int] = {}
    rows = []
    for key in mixed:
        counts[key] = counts.get(key, 0) + 1
        rows.append(Sent(key, counts[key], uuid4()))
    await write_rows(connection, channel, rows)
    return rows


async def write_rows(connection: Connection | asyncpg.Pool, channel: str, rows: Iterable[Sent]) -> None:
    await connection.executemany(
        _INSERT,
        [
            (row.event_id, channel, row.key, partition_of(row.key), row.sequence, headers_of(row), b'{"n":1}')
            for row in rows
        ],
    )


def headers_of(row: Sent) -> bytes:
    return orjson.dumps([["ce_id", str(row.event_id)], ["ce_sequence", str(row.sequence)]])


async def drain(relay: Relay, term: Term) -> int:
    """Steps until there is nothing to do; how many had something to do."""
    steps = 0
    while await relay.step(term):
        steps += 1
    return steps


async def read_channel(bootstrap: str, channel: str, log_id: bytes, rows: int, within: float) -> list[Sent]:
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap, group_id=None, enable_auto_commit=False, fetch_max_wait_ms=20
    )
    found: list[Sent] = []
    await consumer.start()
    try:
        places = [TopicPartition(channel, n) for n in range(12)]
        consumer.assign(places)
        await consumer.seek_to_beginning(*places)
        async with asyncio.timeout(within):
            while len(set(found)) < rows:
                for records in (await consumer.getmany(timeout_ms=50)).values():
                    for record in records:
                        headers = dict(record.headers)
                        if headers["ce_logid"] == log_id:
                            sequence, event_id = int(headers["ce_sequence"]), UUID(headers["ce_id"].decode())
                            found.append(Sent(UUID(record.key.decode()), sequence, event_id))
    finally:
        await consumer.stop()
    return found


def first_copies(found: Iterable[Sent]) -> dict[UUID, list[Sent]]:
    """By key, what a reader keeps that drops what it has seen."""
    kept: dict[UUID, list[Sent]] = {}
    for record in dict.fromkeys(found):
        kept.setdefault(record.key, []).append(record)
    return kept


def in_order(found: Iterable[Sent], written: Iterable[Sent]) -> bool:
    """Whether all that was written arrived, and the first copies of each key in the order of the ledger."""
    return first_copies(found) == first_copies(written)


CRASH = asyncio.CancelledError("crash")


class _Injected(Awaitable[Any]):
    """Runs `work` and cancels it where it waits for the `k`-th time.

    With `answered`, what it waits for has happened by then and only the answer is lost.
    """

    def __init__(self, work: Coroutine[Any, Any, Any], k: int, *, answered: bool) -> None:
        self._work = work
        self._left = k
        self._answered = answered
        self.struck = False

    def __await__(self) -> Generator[Any, Any, Any]:
        resume: Callable[[], Any] = partial(self._work.send, None)
        while True:
            try:
                awaited = resume()
            except StopIteration as done:
                return done.value
            strikes, self._left = self._left == 0, self._left - 1
            if strikes and not self._answered and awaited is not None:
                awaited.cancel()
            with suppress(asyncio.CancelledError):
                yield awaited
            resume = partial(self._work.throw, CRASH) if strikes else partial(self._work.send, None)
            self.struck |= strikes


async def crash_at(k: int, work: Callable[[], Coroutine[Any, Any, Any]], *, answered: bool) -> bool:
    """Whether `work` got as far as its `k`-th wait, where it was made to crash."""
    injected = _Injected(work(), k, answered=answered)
    try:
        await injected
    except (asyncio.CancelledError, Exception):  # what is cancelled deep in a client may surface as its error
        if not injected.struck:
            raise
    return injected.struck


async def forget_all(superuser_dsn: str) -> None:
    """Another start with an empty ledger, which nobody but a superuser can make."""
    connection = await asyncpg.connect(superuser_dsn)
    await connection.execute(
        "SET session_replication_role = replica; DELETE FROM ledger; DELETE FROM cursors; DELETE FROM leases"
    )
    await connection.close()


async def delete_channels(client: ClusterClient, *names: str) -> None:
    """Deletes topics and waits until they are gone."""
    async with asyncio.timeout(PATIENCE):
        while set(names) & set((await client.look()).partitions):
            await client._controller(DeleteTopicsRequest(list(names), 5_000))  # noqa: SLF001
            await asyncio.sleep(0.02)
