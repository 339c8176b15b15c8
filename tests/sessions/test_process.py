"""Sessions as a process, killed and started again: what it is told and what it has answered counts once, and stays."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import httpx2
import orjson
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from tests.service_process import PATIENCE, ServiceProcess, until
from tests.sessions.world import created
from upwell.servers.testing import SharedBroker
from upwell_sessions.app import CONSUMED
from upwell_sessions.domain.cadence import cadence_id
from upwell_shared.contracts import (
    PARTITIONS,
    Contract,
    PublishedEvent,
    directory,
    matching,
    partition_of,
    record_headers,
)
from upwell_shared.contracts.directory import PersonErased
from upwell_shared.contracts.matching import PairCreated, PairEnded, PairPaused, PairResumed
from upwell_shared.events import Envelope
from upwell_shared.log_identity import ClusterClient, encode_log_id, meta_channel
from upwell_shared.testing.databases import Dsns

PAIRS = 12
NOTE = "XQ kingfisher QX"
WHENEVER = datetime(2026, 3, 2, 9, tzinfo=UTC)

TRY_AGAIN = {
    (404, "not-found"),  # the pair has not been heard of yet
    (409, "cadence-is-paused"),
    (409, "command-in-flight"),
    (409, "concurrent-update"),
    (503, "unavailable"),
}


class Others:
    """The services that are listened to, as their relays leave it on a broker: every third record twice."""

    def __init__(self, broker: SharedBroker) -> None:
        self._broker = broker
        self._log_id = uuid4()
        self._sequences: Counter[tuple[str, UUID]] = Counter()
        self._told = 0

    async def begin_logs(self) -> None:
        """Logs of their own, so that nothing told to other suites on this broker is heard."""
        async with ClusterClient(self._broker.bootstrap) as cluster:
            for contract in CONSUMED:
                await cluster.create(contract.channels)
        async with self._producer() as producer:
            for contract in CONSUMED:
                named = encode_log_id(self._log_id, "now")
                await producer.send_and_wait(meta_channel(contract.owner), named, b"log_id", 0)

    async def tell(self, contract: Contract, *told: tuple[UUID, PublishedEvent]) -> None:
        """Says it in this order."""
        async with self._producer() as producer:
            for key, event in told:
                self._sequences[contract.owner, key] += 1
                self._told += 1
                publication = contract.publish(
                    event,
                    source_event_id=uuid4(),
                    stream_id=key,
                    sequence=self._sequences[contract.owner, key],
                    recorded_at=WHENEVER,
                    envelope=Envelope(command_id=uuid4(), correlation_id=uuid4()),
                )
                for _ in range(1 + (self._told % 3 == 0)):
                    await producer.send_and_wait(
                        publication.channel,
                        publication.body,
                        str(key).encode(),
                        partition_of(key),
                        headers=record_headers(publication.headers, self._log_id),
                    )

    def _producer(self) -> AIOKafkaProducer:
        return AIOKafkaProducer(bootstrap_servers=self._broker.bootstrap, acks="all")


@pytest.fixture
async def service(
    dsns: Dsns, keys_dsns: Dsns, broker: SharedBroker, tmp_path: Path
) -> AsyncIterator[ServiceProcess]:
    service = ServiceProcess("tests.sessions.process", dsns, broker, tmp_path, keys=keys_dsns)
    await service.migrate()
    yield service
    await service.stop()
    await service.http.aclose()


def token(person_id: UUID) -> str:
    return json.dumps({"id": str(person_id), "roles": ["participant"]})


async def insisted(
    service: ServiceProcess, who: UUID, method: str, path: str, body: object = None
) -> httpx2.Response:
    """The answer to a command that is sent, with one key, until it is carried out."""
    key = uuid4()
    async with asyncio.timeout(PATIENCE * 2):
        while True:
            try:
                told = await service.command(method, path, body, key=key, who=token(who))
            except httpx2.TransportError:
                await asyncio.sleep(0.02)  # it is being started again
                continue
            if told.status_code in {200, 201}:
                return told
            assert (told.status_code, told.json()["type"].rpartition(":")[2]) in TRY_AGAIN, told.text
            await asyncio.sleep(0.02)


async def while_killed(
    service: ServiceProcess, done: Callable[[], Awaitable[int]], each: Sequence[int], *work: Awaitable[Any]
) -> list[Any]:
    """Does the work, and kills the process each time that so much is done."""
    doing = asyncio.gather(*work)
    for wanted in each:

        async def enough(wanted: int = wanted) -> bool:
            return await done() >= wanted

        await until(enough)
        assert service.process is not None
        await service.process.kill()
        await service.start()
    return list(await doing)


async def published(
    broker: SharedBroker, keys: set[UUID], wanted: int
) -> dict[UUID, list[tuple[str, UUID | None]]]:
    """What subscribers find of these streams: types and sessions in order, copies dropped as they are told to."""
    found: dict[UUID, dict[int, tuple[str, UUID | None]]] = {key: {} for key in keys}
    async with AIOKafkaConsumer(
        bootstrap_servers=broker.bootstrap, auto_offset_reset="earliest", enable_auto_commit=False
    ) as reader:
        reader.assign([TopicPartition("upwell.sessions.v1", number) for number in range(PARTITIONS)])
        async with asyncio.timeout(PATIENCE):
            while sum(map(len, found.values())) < wanted:
                for records in (await reader.getmany(timeout_ms=500)).values():
                    for record in records:
                        headers, key = dict(record.headers), UUID(record.key.decode())
                        if key in keys:
                            session = orjson.loads(record.value).get("session_id")
                            event = headers["ce_type"].decode().split(".")[2], session and UUID(session)
                            assert found[key].setdefault(int(headers["ce_sequence"]), event) == event
    assert all([*sorted(each)] == [*range(1, len(each) + 1)] for each in found.values())
    return {key: [each[sequence] for sequence in sorted(each)] for key, each in found.items()}


async def test_kill_9_loses_and_doubles_nothing_from_the_first_booking_to_the_end_of_the_pair(
    service: ServiceProcess, pool: asyncpg.Pool, broker: SharedBroker
) -> None:
    others = Others(broker)
    await others.begin_logs()
    await service.start()
    last_day = (service.clock.now() + timedelta(days=180)).date()
    pairs = [created(uuid4(), uuid4(), ends_on=last_day) for _ in range(PAIRS)]

    async def count(kind: str) -> int:
        return int(await pool.fetchval("SELECT count(*) FROM events WHERE type = $1", kind))

    async def reached(kind: str, wanted: int) -> None:
        async def there() -> bool:
            return await count(kind) == wanted

        await until(there)

    # Pairs begin, and rest for a moment; their members book all the while.
    story: list[tuple[UUID, PublishedEvent]] = []
    for pair in pairs:
        ids: Any = {"pair_id": pair.pair_id, "programme_id": pair.programme_id}
        story += [(pair.pair_id, pair), (pair.pair_id, PairPaused(**ids)), (pair.pair_id, PairResumed(**ids))]
    begins = service.clock.now()

    async def book(pair: PairCreated, who: UUID, days: int) -> UUID:
        body = {"starts_at": (begins + timedelta(days=days)).isoformat()}
        told = await insisted(service, who, "POST", f"/v1/cadences/{pair.pair_id}/sessions", body)
        return UUID(told.json()["session_id"])

    booked = await while_killed(
        service,
        lambda: count("SessionBooked"),
        [4, 10, 16],
        *(book(pair, pair.mentor_id, 1) for pair in pairs),
        *(book(pair, pair.mentee_id, 60) for pair in pairs),
        others.tell(matching.CONTRACT, *story),
    )
    first, second = booked[:PAIRS], booked[PAIRS : 2 * PAIRS]
    assert await count("SessionBooked") == 2 * PAIRS

    # The first session takes place: a third agrees that it did, a third that it did not, of a third one side is silent.
    service.clock.advance(timedelta(days=1, hours=1))
    words: list[Awaitable[Any]] = []
    for number, (pair, session) in enumerate(zip(pairs, first, strict=True)):
        path = f"/v1/cadences/{pair.pair_id}/sessions/{session}"
        body = {"held": False, "missed_by": "mentor"} if number % 3 == 1 else {"held": True}
        said = [pair.mentor_id] if number % 3 == 2 else [pair.mentor_id, pair.mentee_id]
        words += [insisted(service, who, "POST", f"{path}/confirm", body) for who in said]
        words.append(insisted(service, pair.mentee_id, "PUT", f"{path}/recap", {"text": f"{NOTE} {number}"}))
    await while_killed(service, lambda: count("SessionConfirmed"), [6, 14], *words)
    third = PAIRS // 3
    assert [await count(kind) for kind in ("SessionHeld", "SessionMissed", "SideMissed")] == [third] * 3

    # A week goes by; then the pairs end, and somebody is erased.
    service.clock.advance(timedelta(days=8))
    await while_killed(service, lambda: count("SessionUnconfirmed"), [1])
    await reached("SessionUnconfirmed", third)
    ends = [(pair.pair_id, PairEnded(pair_id=pair.pair_id, programme_id=pair.programme_id)) for pair in pairs]
    gone = pairs[0]
    erased = PersonErased(person_id=gone.mentor_id, organisation_id=gone.mentor_organisation_id)
    await while_killed(
        service,
        lambda: count("CadenceClosed"),
        [2],
        others.tell(matching.CONTRACT, *ends),
        others.tell(directory.CONTRACT, (gone.mentor_id, erased)),
    )
    await reached("CadenceClosed", PAIRS)
    await reached("ErasureAcknowledged", 1)

    # The two see what they were told, and subscribers each fact once and in order.
    ending = ("SessionHeld", "SessionMissed", "SessionUnconfirmed")
    told = await published(broker, {cadence_id(pair.pair_id) for pair in pairs}, 5 * PAIRS)
    for number, pair in enumerate(pairs):
        one, other = first[number], second[number]
        facts = told[cadence_id(pair.pair_id)]
        assert facts[0] == ("CadenceOpened", None)
        assert {*facts[1:3]} == {("SessionScheduled", one), ("SessionScheduled", other)}
        assert facts[3:] == [(ending[number % 3], one), ("SessionCancelled", other)]
        mine = {"Authorization": f"Bearer {token(pair.mentee_id)}"}
        path = f"/v1/cadences/{pair.pair_id}"
        shown = (await service.http.get(path, headers=mine)).json()
        states = {session["session_id"]: session["state"] for session in shown["sessions"]}
        assert states == {
            str(one): ending[number % 3].removeprefix("Session").lower(),
            str(other): "cancelled",
        }
        recap = (await service.http.get(f"{path}/sessions/{one}/recap", headers=mine)).json()
        text = None if pair is gone else f"{NOTE} {number}"
        assert (recap["state"], recap["text"]) == ("erased" if pair is gone else "ok", text)
    ledger = Counter(
        {
            row["commitment"]: row["n"]
            for row in await pool.fetch("SELECT commitment, count(*) AS n FROM commitments GROUP BY 1")
        }
    )
    assert ledger == {
        "booked": 2 * PAIRS,
        "said_held": 3 * third,
        "said_missed": 2 * third,
        "missed": third,
    }

    async def nothing_is_left_to_do() -> bool:
        return not await pool.fetchval("SELECT (SELECT count(*) FROM timers) + (SELECT count(*) FROM todos)")

    await until(nothing_is_left_to_do)
    assert await pool.fetchval("SELECT count(*) FROM dead_letters") == 0
    assert NOTE not in service.log.read_text()


async def test_started_without_an_issuer_it_lets_nobody_in(
    dsns: Dsns, keys_dsns: Dsns, tansu: SharedBroker, tmp_path: Path
) -> None:
    service = ServiceProcess("upwell_sessions", dsns, tansu, tmp_path, keys=keys_dsns)
    await service.migrate()
    await service.start()
    assert (await service.command("GET", "/v1/cadences")).status_code == 401
    await service.stop()
    await service.http.aclose()
