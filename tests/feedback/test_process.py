"""Feedback as a process, killed and started again: what others tell it counts once, what it has answered stays."""

import asyncio
import json
import random
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID, uuid4

import asyncpg
import httpx2
import orjson
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from tests.feedback.telling import Tellers, pair_created
from tests.feedback.world import Pair
from tests.service_process import PATIENCE, ServiceProcess, until
from upwell.servers.testing import SharedBroker
from upwell_feedback.app import CONSUMED
from upwell_feedback.domain.reflections import stream_of
from upwell_feedback.domain.stages import Stage
from upwell_shared.contracts import PARTITIONS, PublishedEvent
from upwell_shared.contracts.directory import PersonErased
from upwell_shared.contracts.matching import PairCompleted, PairEnded
from upwell_shared.contracts.partitioning import partition_of
from upwell_shared.contracts.sessions import SessionHeld
from upwell_shared.log_identity import ClusterClient, encode_log_id, meta_channel
from upwell_shared.testing.databases import Dsns

PAIRS, PROGRAMME = 24, UUID(int=9)


class OnBroker(Tellers):
    """The services that feedback listens to, as their relays leave it on a broker: often twice."""

    def __init__(self, pool: asyncpg.Pool, broker: SharedBroker) -> None:
        super().__init__(pool)
        self._broker = broker

    async def begin_logs(self) -> None:
        """Logs of their own, so that nothing told to other suites on this broker is heard."""
        async with ClusterClient(self._broker.bootstrap) as cluster:
            for contract in CONSUMED:
                await cluster.create(contract.channels)
        async with self._producer() as producer:
            for contract in CONSUMED:
                named = encode_log_id(self.log_id, "now")
                await producer.send_and_wait(meta_channel(contract.owner), named, b"log_id", 0)

    async def tell_all(self, told: list[tuple[UUID, PublishedEvent]]) -> None:
        """Says it in this order, every third twice."""
        async with self._producer() as producer:
            for number, (key, event) in enumerate(told):
                channel, record = self.say(key, event)
                for _ in range(1 + (number % 3 == 0)):
                    await producer.send_and_wait(
                        channel, record.value, record.key, partition_of(key), headers=[*record.headers]
                    )

    def _producer(self) -> AIOKafkaProducer:
        return AIOKafkaProducer(bootstrap_servers=self._broker.bootstrap, acks="all")


@pytest.fixture
async def service(
    dsns: Dsns, keys_dsns: Dsns, broker: SharedBroker, tmp_path: Path
) -> AsyncIterator[ServiceProcess]:
    service = ServiceProcess("tests.feedback.process", dsns, broker, tmp_path, keys=keys_dsns)
    await service.migrate()
    yield service
    await service.stop()
    await service.http.aclose()


def token(person_id: UUID) -> str:
    return json.dumps({"id": str(person_id), "roles": ["participant"], "units": []})


async def insisted(service: ServiceProcess, person_id: UUID, reflection: UUID, text: str) -> None:
    """Submits a reflection, with one key until it is answered."""
    body = {"answers": [{"question_id": "plans", "text": text, "visibility": "pair"}]}
    path, key = f"/v1/reflections/{reflection}/submit", uuid4()
    async with asyncio.timeout(PATIENCE * 2):
        while True:
            try:
                told = await service.command("POST", path, body, key=key, who=token(person_id))
            except httpx2.TransportError:
                await asyncio.sleep(0.02)  # it is being started again
                continue
            if told.status_code == 200:
                return
            # It has not been asked yet, or the first try is still under way.
            assert told.status_code in {404, 409, 503}, told.text
            assert "already-submitted" not in told.text
            await asyncio.sleep(0.02)


async def published(broker: SharedBroker, keys: set[UUID], wanted: int) -> Counter[tuple[str, UUID]]:
    """By type and reflection, how many different events of these streams are on the channel for subscribers."""
    found: dict[tuple[UUID, int], tuple[str, UUID]] = {}
    async with AIOKafkaConsumer(
        bootstrap_servers=broker.bootstrap, auto_offset_reset="earliest", enable_auto_commit=False
    ) as reader:
        reader.assign([TopicPartition("upwell.feedback.v1", number) for number in range(PARTITIONS)])
        async with asyncio.timeout(PATIENCE):
            while len(found) < wanted:
                for records in (await reader.getmany(timeout_ms=500)).values():
                    for record in records:
                        headers, key = dict(record.headers), UUID(record.key.decode())
                        if key in keys:
                            body = orjson.loads(record.value)
                            kind = headers["ce_type"].decode().split(".")[2]
                            place = (key, int(headers["ce_sequence"]))
                            event = (kind, UUID(body["reflection_id"]))
                            assert found.setdefault(place, event) == event
    return Counter(found.values())


async def test_kill_9_loses_and_doubles_no_request_and_no_answer(
    service: ServiceProcess, pool: asyncpg.Pool, broker: SharedBroker
) -> None:
    tellers = OnBroker(pool, broker)
    await tellers.begin_logs()
    await service.start()
    chance = random.Random(7)
    pairs = [Pair(uuid4(), uuid4(), uuid4()) for _ in range(PAIRS)]
    held = {pair: [uuid4() for _ in range(chance.randrange(6))] for pair in pairs}
    told: list[tuple[UUID, PublishedEvent]] = [
        (pair.pair_id, pair_created(pair.pair_id, PROGRAMME, pair.ada, pair.ben)) for pair in pairs
    ]
    for pair, sessions in held.items():
        for session_id in sessions:
            event = SessionHeld(session_id=session_id, pair_id=pair.pair_id, programme_id=PROGRAMME)
            told.append((pair.pair_id, event))
    # Sessions are often heard of before their pair; pairs and sessions are told by two, each in an order of its own.
    chance.shuffle(told)
    telling = asyncio.create_task(tellers.tell_all(told))
    submitting = [
        asyncio.create_task(insisted(service, pair.ada, pair.reflection(pair.ada), f"of {pair.ada}"))
        for pair in pairs
    ]

    async def events(kind: str) -> int:
        return int(await pool.fetchval("SELECT count(*) FROM events WHERE type = $1", kind))

    for kill in range(3):

        async def enough(wanted: int = 12 * (kill + 1)) -> bool:
            return await events("ReflectionRequested") >= wanted

        await until(enough)
        assert service.process is not None
        await service.process.kill()
        await service.start()
    await telling
    await asyncio.gather(*submitting)

    expected = Counter[tuple[UUID, Stage]]()
    for pair, sessions in held.items():
        expected[pair.pair_id, Stage.START] = 2
        expected[pair.pair_id, Stage.AFTER_SESSION] = 2 * (len(sessions) // 2)

    async def asked() -> bool:
        rows = await pool.fetch("SELECT pair_id, stage, count(*) AS n FROM reflections GROUP BY 1, 2")
        found = Counter({(row["pair_id"], Stage(row["stage"])): row["n"] for row in rows})
        return found == expected

    await until(asked)

    # Then the pairs end, and one of their members is erased, while the process dies once more.
    ends: list[tuple[UUID, PublishedEvent]] = [
        (pair.pair_id, kind(pair_id=pair.pair_id, programme_id=PROGRAMME))
        for pair, kind in zip(pairs, [PairEnded, PairCompleted] * (PAIRS // 2), strict=True)
    ]
    gone = pairs[0]
    erased = PersonErased(person_id=gone.ada, organisation_id=uuid4())
    telling = asyncio.create_task(tellers.tell_all([(gone.ada, erased), *ends]))

    async def begun() -> bool:
        return await events("ReflectionsClosed") > 0

    await until(begun)
    assert service.process is not None
    await service.process.kill()
    await service.start()
    await telling
    expected.update({(pair.pair_id, Stage.END): 2 for pair in pairs})
    # Whether she is asked once more depends on what is heard of first.
    ends_of_gone = "SELECT count(*) FROM reflections WHERE pair_id = $1 AND stage = 'end'"

    async def closed() -> bool:
        expected[gone.pair_id, Stage.END] = await pool.fetchval(ends_of_gone, gone.pair_id)
        return expected[gone.pair_id, Stage.END] in {1, 2} and await asked()

    await until(closed)

    async def forgotten() -> bool:
        return await events("ErasureAcknowledged") == 1

    await until(forgotten)

    # What was answered is there once, in the words of its author; and told to others once.
    for pair in pairs:
        path = f"/v1/reflections/{pair.reflection(pair.ada)}"
        shown = await service.http.get(path, headers={"Authorization": f"Bearer {token(pair.ben)}"})
        [answer] = shown.json()["answers"]
        text = None if pair is gone else f"of {pair.ada}"
        assert (answer["text"], answer["state"]) == (text, "erased" if pair is gone else "ok")
    requests = sum(expected.values())
    assert await events("ReflectionRequested") == requests
    assert await events("ReflectionSubmitted") == PAIRS
    counts = await published(broker, {stream_of(pair.pair_id) for pair in pairs}, requests + PAIRS)
    assert set(counts.values()) == {1}
    assert Counter(kind for kind, _ in counts) == {
        "ReflectionRequested": requests,
        "ReflectionSubmitted": PAIRS,
    }
    assert await pool.fetchval("SELECT count(*) FROM dead_letters") == 0
    assert await pool.fetchval("SELECT count(*) FROM todos") == 0
    log = service.log.read_text()
    assert "of " + str(pairs[1].ada) not in log
