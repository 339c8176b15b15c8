"""The gateway as a process on a broker of its own: killed while it reads, and asked over the wire."""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4, uuid5

import asyncpg
import orjson
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from tests.conftest import CreateDatabase, kafka_broker, tansu_broker
from tests.gateway.owners import Owner, owner
from tests.gateway.telling import NOON, Reader, Teller, tables
from tests.service_process import PATIENCE, ServiceProcess, until
from tests.shared.test_relay_faults import Server, server
from upwell.servers.apache_kafka import ApacheKafka
from upwell_gateway.issuer import Issuer, make_keys
from upwell_gateway.sources import SOURCES
from upwell_shared.contracts import (
    PARTITIONS,
    Publication,
    directory,
    feedback,
    matching,
    record_headers,
    sessions,
)
from upwell_shared.database import create_pool
from upwell_shared.log_identity import ClusterClient, encode_log_id, meta_channel
from upwell_shared.testing.databases import Dsns, hand_over
from upwell_shared.web.policies import UserRole

__all__ = ["server"]

PAIRS = 60
ACME, PROGRAMME, COHORT = (UUID(int=n) for n in (1, 2, 3))


class Owners:
    """What all owners' relays have brought to a broker, without them."""

    def __init__(self, bootstrap: str) -> None:
        self._bootstrap = bootstrap
        self._log_id = uuid4()
        self._producer: AIOKafkaProducer | None = None

    async def begin(self) -> None:
        """Channels, and the name of the log on each owner's meta channel."""
        async with ClusterClient(self._bootstrap) as cluster:
            await cluster.create([channel for contract in SOURCES.values() for channel in contract.channels])
        self._producer = AIOKafkaProducer(bootstrap_servers=self._bootstrap, acks="all")
        await self._producer.start()
        for name in SOURCES:
            said = encode_log_id(self._log_id, NOON.isoformat())
            await self._producer.send_and_wait(meta_channel(name), said, b"log_id", 0)

    async def send(self, publications: Sequence[Publication]) -> None:
        assert self._producer is not None
        for p in publications:
            headers = record_headers(p.headers, self._log_id)
            await self._producer.send(p.channel, p.body, str(p.key).encode(), p.partition, headers=headers)
        await self._producer.flush()

    async def end(self) -> None:
        assert self._producer is not None
        await self._producer.stop()


def life_of(teller: Teller, number: int) -> list[Publication]:
    """A pair from its proposal to its third session; the mentor of every tenth one is erased in the end."""
    pair = uuid5(PROGRAMME, f"pair {number}")
    mentor, mentee = uuid5(pair, "mentor"), uuid5(pair, "mentee")
    about: dict[str, Any] = {"pair_id": pair, "programme_id": PROGRAMME}
    members = {"mentor_id": mentor, "mentee_id": mentee}
    told = []
    for person in (mentor, mentee):
        place = {"person_id": person, "organisation_id": ACME, "unit_id": ACME}
        told.append(teller.tell(person, directory.PersonJoined(**place)))
        moved = directory.PersonMoved(**place, grade=7, manager_id=None, in_role_since=date(2024, 1, 1))
        told.append(teller.tell(person, moved))
    reply_by = NOON + timedelta(days=10)
    told.append(
        teller.tell(pair, matching.PairProposed(**about, **members, cohort_id=COHORT, reply_by=reply_by))
    )
    told += [teller.tell(pair, matching.PairAccepted(**about, side=side)) for side in ("mentor", "mentee")]
    created = matching.PairCreated(
        **about,
        **members,
        cohort_id=COHORT,
        mentor_unit_id=ACME,
        mentor_organisation_id=ACME,
        mentee_unit_id=ACME,
        mentee_organisation_id=ACME,
        sessions=6,
        days_between=14,
        minutes=60,
        ends_on=date(2030, 7, 1),
    )
    told.append(teller.tell(pair, created))
    cadence, asked = uuid5(pair, "cadence"), uuid5(pair, "reflections")
    for n in range(1, 4):
        session: dict[str, Any] = {"session_id": uuid5(pair, f"session {n}"), **about}
        booked = sessions.SessionScheduled(
            **session, number=n, starts_at=NOON + timedelta(days=n), minutes=60
        )
        line = sessions.CommitmentRecorded(**session, side="mentor", commitment="booked")
        told += [teller.tell(cadence, each) for each in (booked, line, sessions.SessionHeld(**session))]
        reflection: dict[str, Any] = {"reflection_id": uuid5(pair, str(n)), **about, "person_id": mentee}
        request = feedback.ReflectionRequested(**reflection, stage="after_session", due_on=date(2030, 2, 1))
        told += [teller.tell(asked, request)]
        told += [teller.tell(asked, feedback.ReflectionSubmitted(**reflection, stage="after_session"))]
    if number % 10 == 0:
        gone = {"person_id": mentor, "organisation_id": ACME}
        told.append(teller.tell(mentor, directory.PersonLeft(**gone, unit_id=ACME)))
        told.append(teller.tell(mentor, directory.PersonErased(**gone)))
    return told


def everything() -> list[Publication]:
    """All that is ever told; the lives of the pairs go on side by side."""
    teller = Teller()
    opened = [
        teller.tell(ACME, directory.UnitOpened(unit_id=ACME, organisation_id=ACME, parent_id=None)),
        teller.tell(PROGRAMME, matching.ProgrammeOpened(programme_id=PROGRAMME, unit_ids=[ACME])),
    ]
    lives = [iter(life_of(teller, number)) for number in range(PAIRS)]
    turns, mixed = random.Random(7), list[Publication]()
    while lives:
        life = turns.choice(lives)
        if (event := next(life, None)) is None:
            lives.remove(life)
        else:
            mixed.append(event)
    return [*opened, *mixed]


@pytest.fixture
async def owners(server: Server) -> AsyncIterator[Owners]:
    made = Owners(await server.start())
    await made.begin()
    yield made
    await made.end()


@pytest.fixture
async def matching_owner() -> AsyncIterator[Owner]:
    async with owner() as made:
        yield made


@pytest.fixture
async def service(
    dsns: Dsns, server: Server, owners: Owners, matching_owner: Owner, tmp_path: Path
) -> AsyncIterator[ServiceProcess]:
    bootstrap = await server.start()
    broker = (
        kafka_broker(server, bootstrap)
        if isinstance(server, ApacheKafka)
        else tansu_broker(server, bootstrap)
    )
    keys = make_keys(tmp_path / "keys")
    service = ServiceProcess(
        "upwell_gateway",
        dsns,
        broker,
        tmp_path,
        UPWELL_ISSUER_KEYS_FILE=str(keys.public),
        UPWELL_GATEWAY_ISSUER_KEY_FILE=str(keys.private),
        UPWELL_GATEWAY_MATCHING_URLS=matching_owner.url,
    )
    await service.migrate()
    await service.start()
    yield service
    await service.stop()
    await service.http.aclose()


async def straight(
    told: Sequence[Publication], create_database: CreateDatabase, template: str
) -> dict[str, list[tuple[object, ...]]]:
    """The tables after one reading in order, in a database of its own."""
    dsn = await create_database(template=template)
    await hand_over(dsn, "gateway")
    pool = await create_pool(Dsns(dsn, "gateway").app, application_name="twin")
    try:
        await Reader(pool).take(*sorted(told, key=lambda publication: publication.channel))
        return {name: rows for name, rows in (await tables(pool)).items() if name != "todos"}
    finally:
        await pool.close()


async def test_kill_9_while_it_reads_loses_and_doubles_nothing(
    service: ServiceProcess,
    owners: Owners,
    server: Server,
    pool: asyncpg.Pool,
    create_database: CreateDatabase,
    migrated_template: str,
) -> None:
    told = everything()
    part = len(told) // 4

    async def applied(at_least: int) -> None:
        async def reached() -> bool:
            return bool(await pool.fetchval("SELECT coalesce(sum(sequence), 0) FROM progress") >= at_least)

        await until(reached)

    for number in range(4):
        assert service.process is not None
        await owners.send(told[number * part : (number + 1) * part])
        await applied(number * part + part // 3)
        await service.process.kill()
        # What was sent already comes a second time, as after a relay that died.
        await owners.send(told[number * part : number * part + part // 2])
        await service.start()
    await owners.send(told[4 * part :])
    await applied(len(told))
    erased = {p.key for p in told if p.type.endswith("PersonErased.v1")}
    receipts: set[tuple[bytes, bytes]] = set()
    async with AIOKafkaConsumer(
        bootstrap_servers=await server.start(), auto_offset_reset="earliest", enable_auto_commit=False
    ) as reader:
        channel = "upwell.gateway.internal.v1"
        reader.assign([TopicPartition(channel, number) for number in range(PARTITIONS)])
        async with asyncio.timeout(PATIENCE):
            while len(receipts) < len(erased):
                for records in (await reader.getmany(timeout_ms=200)).values():
                    receipts |= {(record.key, dict(record.headers)["ce_sequence"]) for record in records}
    assert receipts == {(str(uuid5(person, "erasure")).encode(), b"0000000001") for person in erased}

    found = await tables(pool)
    assert found.pop("todos") == []
    assert found == await straight(told, create_database, migrated_template)
    assert await pool.fetchval("SELECT count(*) FROM dead_letters") == 0
    assert await pool.fetchval("SELECT sum(sequence) FROM progress") == len(told)


async def test_a_running_gateway_reports_no_error(
    service: ServiceProcess, owners: Owners, pool: asyncpg.Pool
) -> None:
    # At its very first start the broker's client complains of channels that are only about to be made.
    await service.stop()
    before = len(service.log.read_text())
    await service.start()
    told = life_of(Teller(), 0)
    await owners.send(told)

    async def kept() -> bool:
        read = await pool.fetchval("SELECT coalesce(sum(sequence), 0) FROM progress") == len(told)
        return bool(read and await pool.fetchval("SELECT count(*) FROM events") == 1)

    await until(kept)
    await service.stop()
    lines = service.log.read_text()[before:].splitlines()
    said = [orjson.loads(line) for line in lines if line.startswith("{")]
    assert "stopped" in {line["event"] for line in said}
    assert [line for line in said if line["level"] not in {"debug", "info", "warning"}] == []


async def test_over_the_wire_a_token_lets_in_and_a_strange_target_leads_nowhere(
    service: ServiceProcess, owners: Owners, matching_owner: Owner, tmp_path: Path
) -> None:
    pair = uuid5(PROGRAMME, "pair 1")
    teller = Teller()
    await owners.send(life_of(teller, 1))
    issuer = Issuer.of(make_keys(tmp_path / "keys").private)
    mentor = issuer.token(uuid5(pair, "mentor"))
    after = {
        "Authorization": f"Bearer {mentor}",
        "Upwell-After": teller.position("sessions", uuid5(pair, "cadence")),
    }

    async def shown() -> bool:
        response = await service.http.get(f"/v1/pages/pairs/{pair}?parts=false", headers=after)
        return response.status_code == 200 and len(response.json()["sessions"]) == 3

    await until(shown)
    login = {"person_id": str(uuid4()), "roles": [UserRole.ANALYST.value]}
    token = (await service.http.post("/v1/login", json=login)).json()["access_token"]
    told = {"Authorization": f"Bearer {token}"}
    assert (await service.http.get(f"/v1/pages/pairs/{pair}", headers=told)).status_code == 404
    assert (await service.http.get("/v1/pages/programmes?parts=false", headers=told)).status_code == 200
    strange = {"Authorization": f"Bearer {Issuer.of(make_keys(tmp_path / 'others').private).token(uuid4())}"}
    assert (await service.http.get("/v1/pages/queue", headers=strange)).status_code == 401

    async def status_of(target: str) -> int:
        reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
        head = f"GET {target} HTTP/1.1\r\nHost: evil.example\r\nAuthorization: Bearer {token}\r\n\r\n"
        writer.write(head.encode("latin-1"))
        line = await reader.readline()
        writer.close()
        return int(line.split(b" ")[1])

    # Whatever host a request names, it is asked of the owner that the settings name.
    assert await status_of("http://evil.example/v1/pairs/x") == 200
    (asked,) = matching_owner.asked
    assert (asked.target, asked.headers["host"]) == ("/v1/pairs/x", f"127.0.0.1:{matching_owner.port}")
    for target in (
        "/v1/pairs/../../health/ready",
        "/v1/pairs/%2e%2e/x",
        "/v1/pairs/%2E%2E%2Fx",
        "//evil.example/v1/pairs/x",
        "/v1/pairs//evil.example",
        "/v1/pairs/http://evil.example",
        "http://evil.example//v1/pairs",
    ):
        assert await status_of(target) == 404, target
    assert len(matching_owner.asked) == 1
