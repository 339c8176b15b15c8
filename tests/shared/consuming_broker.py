"""Consumers of the example at work on a broker: in this process, and in processes of their own that can be killed."""

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import orjson
from aiokafka import AIOKafkaProducer

from tests.shared.consuming_world import Trail, publish
from tests.shared.example.app import COMMANDS
from tests.shared.example.contract import contract
from tests.shared.example.reactions import free_the_seat
from tests.shared.relay_world import World as Publisher
from upwell_shared.clock import WallClock
from upwell_shared.consuming import Consumer, ConsumerSettings, Handlers, Limits
from upwell_shared.contracts import Contract, Publication, record_headers
from upwell_shared.database import create_pool
from upwell_shared.retrying import Backoff
from upwell_shared.worker import Worker

PATIENCE = 40.0
SPOILT = "to be spoilt"
ROOT = Path(__file__).parents[2]

_INSERT = """
INSERT INTO ledger (event_id, channel, key, partition, sequence, type, headers, body, recorded_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, now())
"""


@dataclass(frozen=True)
class Scene:
    """An owner with a ledger, a broker, and a group that reads what the owner publishes; all in one database."""

    publisher: Publisher
    settings: ConsumerSettings
    group: str
    dsn: str

    @property
    def pool(self) -> asyncpg.Pool:
        return self.publisher.pool

    def consumer(
        self,
        pool: asyncpg.Pool | None = None,
        *,
        trail: Trail | None = None,
        limits: Limits | None = None,
        also: Sequence[Contract] = (),
    ) -> Consumer:
        return Consumer(
            self.group,
            pool or self.pool,
            self.publisher.bootstrap,
            [self.publisher.contract, *also],
            Handlers((trail or Trail(),), (free_the_seat,), COMMANDS),
            settings=self.settings,
            clock=WallClock(),
            limits=limits or Limits(),
        )

    def told(self, stream_id: UUID, *sequences: int) -> list[Publication]:
        return [publish(stream_id, n, by=self.publisher.contract) for n in sequences]

    async def write(self, publications: Sequence[Publication]) -> None:
        """As a service does when it appends."""
        rows = [
            (p.event_id, p.channel, p.key, p.partition, p.sequence, p.type, p.headers, p.body)
            for p in publications
        ]
        await self.pool.executemany(_INSERT, rows)

    async def send(self, publications: Sequence[Publication]) -> None:
        """As the relay does, without the database."""
        log_id = await self.publisher.log_id()
        assert log_id is not None
        producer = AIOKafkaProducer(bootstrap_servers=self.publisher.bootstrap, acks="all")
        await producer.start()
        for p in publications:
            headers = record_headers(p.headers, log_id)
            await producer.send(p.channel, p.body, str(p.key).encode(), p.partition, headers=headers)
        await producer.stop()

    async def send_spoiled(
        self, publications: Sequence[Publication], spoil: Callable[[bytearray], bytearray]
    ) -> int:
        """One batch for the first one's partition, as no honest client makes it; the offset it begins at."""
        log_id = await self.publisher.log_id()
        assert log_id is not None
        async with AIOKafkaProducer(bootstrap_servers=self.publisher.bootstrap, acks="all") as producer:
            batch = producer.create_batch()
            for p in publications:
                headers = [*record_headers(p.headers, log_id), (SPOILT, b"1")]
                batch.append(timestamp=None, key=str(p.key).encode(), value=p.body, headers=headers)
            batch._build()  # noqa: SLF001
            batch._buffer = spoil(bytearray(batch._buffer))  # noqa: SLF001
            first = publications[0]
            sent = await producer.send_batch(batch, first.channel, partition=first.partition)
            return int((await sent).offset)

    async def trails(self) -> dict[UUID, list[int]]:
        rows = await self.pool.fetch("SELECT stream_id, trail FROM trails")
        return {row["stream_id"]: [int(step.split()[0]) for step in row["trail"]] for row in rows}

    async def arrived(self, expected: dict[UUID, list[int]]) -> None:
        """Waits until exactly that has been applied."""
        await until(lambda: self._is(expected), self.trails)

    async def _is(self, expected: dict[UUID, list[int]]) -> bool:
        return await self.trails() == expected


async def until(
    condition: Callable[[], Awaitable[bool]], seen: Callable[[], Awaitable[object]] | None = None
) -> None:
    """Waits for a condition; says what was seen instead when it does not come."""
    try:
        async with asyncio.timeout(PATIENCE):
            while not await condition():
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(await seen() if seen else "it never came") from None


def scene(pool: asyncpg.Pool, bootstrap: str, settings: ConsumerSettings, dsn: str) -> Scene:
    """With an owner and a group that nobody else has."""
    publisher = Publisher(pool, bootstrap, contract(f"told{uuid4().hex[:10]}"))
    return Scene(publisher, settings, f"readers.{uuid4().hex[:10]}", dsn)


@asynccontextmanager
async def at_work(consumer: Consumer) -> AsyncIterator[Worker]:
    """The consumer as in a service: run by a worker, closed after it."""
    worker = Worker("consume", consumer.step, backoff=Backoff(cap=0.5))
    running = asyncio.create_task(worker.run())
    try:
        yield worker
    finally:
        await worker.stop()
        await running
        await consumer.close()


@asynccontextmanager
async def in_a_process(scene: Scene) -> AsyncIterator[asyncio.subprocess.Process]:
    """A member in a process of its own; killed at the end if it still lives."""
    told = {
        "dsn": scene.dsn,
        "bootstrap": scene.publisher.bootstrap,
        "owner": scene.publisher.contract.owner,
        "group": scene.group,
        "session": scene.settings.session_timeout_ms,
        "heartbeat": scene.settings.heartbeat_interval_ms,
        "wait": scene.settings.fetch_max_wait_ms,
    }
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.shared.consuming_broker", orjson.dumps(told).decode()), cwd=ROOT
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def _member(told: dict[str, Any]) -> None:
    pool = await create_pool(told["dsn"], application_name="member", size=4)
    publisher = Publisher(pool, told["bootstrap"], contract=contract(told["owner"]))
    settings = ConsumerSettings(
        session_timeout_ms=told["session"],
        heartbeat_interval_ms=told["heartbeat"],
        fetch_max_wait_ms=told["wait"],
    )
    consumer = Scene(publisher, settings, told["group"], told["dsn"]).consumer()
    await Worker("consume", consumer.step, backoff=Backoff(cap=0.5)).run()


if __name__ == "__main__":
    asyncio.run(_member(orjson.loads(sys.argv[1])))
