"""Row 5: from a command's acknowledgement to its row in a projection fed by Kafka, at 100 commands a second."""

import asyncio
import statistics
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import orjson
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from tests.bench.rounds import AtMost, Figures, Row, Segment, Watch, compare
from tests.bench.world import World, pool, settled
from tests.shared.conftest import Dsns
from tests.shared.example.aggregates import BOOKING
from tests.shared.example.app import Example
from tests.shared.example.contract import contract
from tests.shared.example.domain.booking import RequestBooking
from tests.shared.example.settings import ExampleSettings
from upwell_shared.contracts import PARTITIONS, ChannelSpec, partition_of
from upwell_shared.events import Envelope
from upwell_shared.handling import Intent
from upwell_shared.log_identity import ClusterClient
from upwell_shared.running import run_until
from upwell_shared.settings import Dsn

_A_SECOND = 100
_SECONDS = 6.0
_FETCH_WAIT_MS = 20
_PATIENCE = 30.0
_OWNER = "visible"
_CHANNEL = "floor"

# Both sides are watched in the same way: a listener hears of a row when its transaction has committed.
_WATCHED = """
CREATE FUNCTION floor_tell() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN PERFORM pg_notify('visible', NEW.booking_id::text); RETURN NULL; END $$;
CREATE TABLE floor_seen (booking_id uuid PRIMARY KEY, room_id uuid NOT NULL);
CREATE TABLE floor_events (
    position bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, stream_id uuid NOT NULL, version int NOT NULL,
    data json NOT NULL, UNIQUE (stream_id, version)
);
CREATE TABLE floor_outbox (
    position bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, key uuid NOT NULL, partition int NOT NULL, body bytea NOT NULL
);
GRANT ALL ON floor_seen, floor_events, floor_outbox TO example_app;
CREATE TRIGGER told AFTER INSERT OR UPDATE ON floor_seen FOR EACH ROW EXECUTE FUNCTION floor_tell();
CREATE TRIGGER told AFTER INSERT OR UPDATE ON projection_how_bookings_stand_1.bookings
    FOR EACH ROW EXECUTE FUNCTION floor_tell();
"""

_APPEND = """
WITH event AS (INSERT INTO floor_events (stream_id, version, data) VALUES ($1, 1, $2))
INSERT INTO floor_outbox (key, partition, body) VALUES ($1, $3, $4)
"""
_NEXT = (
    "SELECT position, key, partition, body FROM floor_outbox WHERE position > $1 ORDER BY position LIMIT 1000"
)
_UPSERT = """
INSERT INTO floor_seen SELECT * FROM unnest($1::uuid[], $2::uuid[])
ON CONFLICT (booking_id) DO UPDATE SET room_id = excluded.room_id
"""

Send = Callable[[UUID], Awaitable[object]]


async def rows(world: World) -> AsyncIterator[Row]:
    """Two rows: the median and the 99th percentile, in milliseconds."""
    async with world.database() as dsns, world.broker() as bootstrap, pool(dsns.app) as app:
        owner = await asyncpg.connect(dsns.owner)
        await owner.execute(_WATCHED)
        await owner.close()
        async with ClusterClient(bootstrap) as cluster:
            await cluster.create([*contract(_OWNER).channels, ChannelSpec(_CHANNEL, PARTITIONS, {})])
        readings = await world.rounds.measure(
            floor=through(dsns, lambda: bare(dsns.app, bootstrap)),
            ours=through(dsns, lambda: example(dsns, app, bootstrap)),
        )
    for figure in ("p50", "p99"):
        yield compare(
            f"acknowledged → visible, {_A_SECOND}/s, {figure}",
            readings["floor"],
            readings["ours"],
            floor_is="bare append, relay, consumer, upsert",
            figure=figure,
            unit=" ms",
            goal=AtMost(2),
        )


def through(dsns: Dsns, pipeline: Callable[[], Any]) -> Segment:
    """Commands at their pace through a pipeline, and how long each took from its answer to its row."""

    async def segment(watch: Watch) -> Figures:
        seen: dict[str, float] = {}
        listener = await asyncpg.connect(dsns.app)

        def heard(_: object, __: int, ___: str, booking: object) -> None:
            seen.setdefault(str(booking), time.perf_counter())

        await listener.add_listener("visible", heard)
        answered: dict[str, float] = {}

        async def send_one(send: Send) -> None:
            booking = uuid4()
            await send(booking)
            answered[str(booking)] = time.perf_counter()

        async with pipeline() as send:
            await send_one(send)
            await all_seen(seen, answered)
            await settled(dsns.superuser)
            for counted in (
                False,
                True,
            ):  # the first second and the looks at the log are not what is asked for
                seen.clear()
                answered.clear()
                with watch if counted else Watch():
                    await paced(lambda: send_one(send), _SECONDS if counted else 1.0)
                    await all_seen(seen, answered)
        await listener.close()
        delays = [max(0.0, seen[booking] - at) * 1000 for booking, at in answered.items()]
        cuts = statistics.quantiles(delays, n=100)
        return {"p50": cuts[49], "p99": cuts[98], "operations": len(delays)}

    return segment


async def paced(send: Callable[[], Awaitable[None]], seconds: float) -> None:
    """One at each beat, whether the earlier ones have been answered or not."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    async with asyncio.TaskGroup() as group:
        for number in range(int(_A_SECOND * seconds)):
            await asyncio.sleep(began + number / _A_SECOND - loop.time())
            group.create_task(send())  # type: ignore[arg-type]  # a coroutine


async def all_seen(seen: dict[str, float], answered: dict[str, float]) -> None:
    async with asyncio.timeout(_PATIENCE):
        while not seen.keys() >= answered.keys():
            await asyncio.sleep(0.005)


@asynccontextmanager
async def example(dsns: Dsns, app: asyncpg.Pool, bootstrap: str) -> AsyncIterator[Send]:
    """The example's relay and consumer, on the product's workers."""
    settings = ExampleSettings(
        database_url=Dsn(dsns.app),
        owner=_OWNER,
        kafka_bootstrap=bootstrap,
        consumer_session_ms=1_000,
        consumer_heartbeat_ms=200,
        consumer_fetch_wait_ms=_FETCH_WAIT_MS,
    )
    service = Example(settings, app)
    stop = asyncio.Event()
    running = asyncio.create_task(
        run_until(stop, *service.workers(["relay", "consume"]), closing=service.closing)
    )

    async def send(booking: UUID) -> None:
        intent = Intent(BOOKING, booking, RequestBooking(room_id=booking, now=service.clock.now()))
        await service.handler.handle(intent, envelope=Envelope(command_id=uuid4(), correlation_id=uuid4()))

    yield send
    stop.set()
    await running


@asynccontextmanager
async def bare(dsn: str, bootstrap: str) -> AsyncIterator[Send]:
    """Nothing but what must be there: one statement to append, one loop to send, one to read and upsert."""
    appending, relaying, consuming = [await asyncpg.connect(dsn) for _ in range(3)]
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all", linger_ms=0)
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap, enable_auto_commit=False, fetch_max_wait_ms=_FETCH_WAIT_MS
    )
    await producer.start()
    await consumer.start()
    consumer.assign([TopicPartition(_CHANNEL, partition) for partition in range(PARTITIONS)])
    await consumer.seek_to_beginning()  # what Tansu gives for the end may lie before it
    wake, one_at_a_time = asyncio.Event(), asyncio.Lock()

    async def send(booking: UUID) -> None:
        body = orjson.dumps({"booking_id": str(booking), "room_id": str(booking)})
        for task in tasks:
            if task.done():
                await task
        async with one_at_a_time:
            await appending.execute(_APPEND, booking, body.decode(), partition_of(booking), body)
        wake.set()

    async def relay(at: int) -> None:
        while True:
            await wake.wait()
            wake.clear()
            while page := await relaying.fetch(_NEXT, at):
                at = page[-1]["position"]
                batches: dict[int, Any] = defaultdict(producer.create_batch)
                for _, key, partition, body in page:
                    batches[partition].append(timestamp=None, key=str(key).encode(), value=body)
                sent = []
                for partition, batch in batches.items():
                    batch.close()
                    sent.append(await producer.send_batch(batch, _CHANNEL, partition=partition))
                await asyncio.gather(*sent)

    async def consume() -> None:
        while True:
            for records in (await consumer.getmany(timeout_ms=200)).values():
                read = [orjson.loads(record.value) for record in records]
                await consuming.execute(
                    _UPSERT, *zip(*((each["booking_id"], each["room_id"]) for each in read), strict=True)
                )

    at = await relaying.fetchval("SELECT coalesce(max(position), 0) FROM floor_outbox")
    tasks = [asyncio.create_task(relay(at)), asyncio.create_task(consume())]
    yield send
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await producer.stop()
    await consumer.stop()
    for connection in (appending, relaying, consuming):
        await connection.close()
