"""Row 3: the relay draining a ledger into the broker."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from typing import Any
from uuid import uuid4

import asyncpg
import orjson
from aiokafka import AIOKafkaProducer

from tests.bench.rounds import AtLeast, Figures, Row, Segment, Watch, compare
from tests.bench.world import World, pool, settled
from tests.shared.example.contract import BookingAgreed, BookingEnded, BookingOpened, contract
from upwell_shared.clock import WallClock
from upwell_shared.contracts import PARTITIONS, ChannelSpec, Publication
from upwell_shared.events import START, Envelope
from upwell_shared.lease import Lease
from upwell_shared.log_identity import ClusterClient
from upwell_shared.relay import CURSOR, Relay

_ROWS = 40_000
_PAGE = 1_000
_CONTRACT = contract("bench")
_CHANNEL = _CONTRACT.channel("public")
_FLOOR_CHANNEL = "floor"
_COLUMNS = (
    *("event_id", "channel", "key", "partition", "sequence", "type", "headers", "body"),
    "recorded_at",
)
_READY = """
SELECT tx, position, partition, key::text, headers, body FROM ledger
WHERE (tx, position) > ($1, $2) ORDER BY tx, position LIMIT $3
"""


async def rows(world: World) -> AsyncIterator[Row]:
    """One row: events a second, the page that connects and warms up left out on both sides."""
    async with world.database() as dsns, world.broker() as bootstrap, pool(dsns.app) as app:
        await fill_ledger(dsns.owner, _ROWS)
        await settled(dsns.superuser)
        async with ClusterClient(bootstrap) as cluster:
            await cluster.create([ChannelSpec(_FLOOR_CHANNEL, PARTITIONS, {})])
        readings = await world.rounds.measure(floor=floor(dsns.app, bootstrap), ours=ours(app, bootstrap))
    yield compare(
        "relay drain",
        readings["floor"],
        readings["ours"],
        floor_is="the page loop alone: read, send_batch",
        goal=AtLeast(0.6, 20_000),
    )


def publications(count: int) -> Iterator[Publication]:
    """What streams of three events told, one stream after another."""
    now = WallClock().now()
    for _ in range(count // 3 + 1):
        stream_id, room = uuid4(), uuid4()
        told = (
            BookingOpened(booking_id=stream_id, room_id=room),
            BookingAgreed(booking_id=stream_id, room_id=room, confirmed_at=now),
            BookingEnded(booking_id=stream_id, room_id=room),
        )
        for sequence, event in enumerate(told, 1):
            yield _CONTRACT.publish(
                event,
                source_event_id=uuid4(),
                stream_id=stream_id,
                sequence=sequence,
                recorded_at=now,
                envelope=Envelope(command_id=stream_id, correlation_id=stream_id),
            )


async def fill_ledger(owner: str, count: int) -> None:
    """So many rows, a transaction for each page."""
    connection = await asyncpg.connect(owner)
    now = WallClock().now()
    ready = [
        (p.event_id, p.channel, p.key, p.partition, p.sequence, p.type, p.headers, p.body, now)
        for p, _ in zip(publications(count), range(count), strict=False)
    ]
    for start in range(0, count, _PAGE):
        await connection.copy_records_to_table(
            "ledger", records=ready[start : start + _PAGE], columns=_COLUMNS
        )
    await connection.close()


def ours(app: asyncpg.Pool, bootstrap: str) -> Segment:
    async def segment(watch: Watch) -> Figures:
        await app.execute("UPDATE cursors SET tx = '0', position = 0 WHERE name = $1", CURSOR)
        lease = Lease(app, "relay", ttl=600.0)
        await app.execute("DELETE FROM leases")
        term = await lease.acquire()
        relay = Relay(app, "bench", bootstrap, channels=_CONTRACT.channels, page=_PAGE)
        while not await app.fetchval("SELECT tx > '0' FROM cursors WHERE name = $1", CURSOR):
            await relay.step(term)
        with watch:
            while await relay.step(term):
                pass
        await relay.close()
        return watch.rate(_ROWS - _PAGE)

    return segment


def floor(dsn: str, bootstrap: str) -> Segment:
    async def segment(watch: Watch) -> Figures:
        connection = await asyncpg.connect(dsn)
        producer = AIOKafkaProducer(
            bootstrap_servers=bootstrap,
            acks="all",
            linger_ms=5,
            max_batch_size=256 * 1024,
            compression_type="lz4",
        )
        await producer.start()
        await producer.client.force_metadata_update()
        at, sent = await send_page(connection, producer, START)
        done = 0
        with watch:
            while sent:
                at, sent = await send_page(connection, producer, at)
                done += sent
        await producer.stop()
        await connection.close()
        return watch.rate(done)

    return segment


async def send_page(
    connection: asyncpg.Connection, producer: Any, after: tuple[int, int]
) -> tuple[tuple[int, int], int]:
    """The next page of the ledger, acknowledged; where it ends, and how many records it had."""
    page = await connection.fetch(_READY, *after, _PAGE)
    batches: dict[int, Any] = defaultdict(producer.create_batch)
    for _, _, partition, key, headers, body in page:
        decoded = [(name, value.encode()) for name, value in orjson.loads(headers)]
        batches[partition].append(timestamp=None, key=key.encode(), value=body, headers=decoded)
    sent = []
    for partition, batch in batches.items():
        batch.close()
        sent.append(await producer.send_batch(batch, _FLOOR_CHANNEL, partition=partition))
    await asyncio.gather(*sent)
    return ((page[-1][0], page[-1][1]) if page else after), len(page)
