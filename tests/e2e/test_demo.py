"""The whole system, started by the launcher, driven over HTTP by the play, and looked at from the outside."""

import asyncio
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit
from uuid import UUID, uuid4

import asyncpg
import httpx2
import pytest
from aiokafka import AIOKafkaProducer

from tests.e2e.conftest import Stage
from tests.e2e.leaks import Scan, needles
from upwell.demo.acknowledgements import AcknowledgementLog, acknowledged
from upwell.demo.ending import look
from upwell.demo.performing import acknowledgements_of
from upwell.services import SERVICES
from upwell_shared.contracts import ChannelSpec
from upwell_shared.log_identity import ClusterClient
from upwell_shared.web.policies import UserRole

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(600)]

# A row of each table of the gateway, changed by a little.
_CHANGES = (
    ("units", "unit_id", "closed = NOT closed"),
    ("people", "person_id", "unit_id = gen_random_uuid()"),
    ("programmes", "programme_id", "unit_ids = unit_ids[2:]"),
    ("cohorts", "cohort_id", "ends_on = ends_on + 1"),
    ("enrolments", "enrolment_id", "role = 'observer'"),
    ("pairs", "pair_id", "reply_by = reply_by + interval '1 second'"),
    (
        "pair_insides",
        "pair_id",
        "inversion_broken_at = coalesce(inversion_broken_at, now()), no_fault = NOT coalesce(no_fault, true)",
    ),
    ("sessions", "session_id", "minutes = minutes + 1"),
    ("reflections", "reflection_id", "due_on = due_on - 1"),
)

README = Path(__file__).parents[2] / "README.md"


@asynccontextmanager
async def coordinator(stage: Stage) -> AsyncIterator[httpx2.AsyncClient]:
    played = stage.performance
    token = stage.stack.token(
        played.coordinator_id, (UserRole.COORDINATOR, UserRole.HR_ADMIN), played.organisations
    )
    async with httpx2.AsyncClient(
        base_url=f"{stage.stack.gateway}/v1", headers={"Authorization": f"Bearer {token}"}, timeout=30
    ) as http:
        yield http


async def test_the_play_comes_to_what_it_tells(stage: Stage) -> None:
    outcome = await look(stage.stack, stage.performance)
    # One of the sixteen mentors has left.
    assert outcome.overview["enrolled"] == {"mentor": 15, "mentee": 12}
    pairs, sessions = outcome.overview["pairs"], outcome.overview["sessions"]
    assert pairs["completed"] >= 6
    assert pairs["ended"] == 2
    assert pairs["expired"] == 1
    assert pairs["declined"] == 1
    for state in ("held", "missed", "cancelled"):
        assert sessions[state] > 0, state
    for when in ("start", "after_session", "end"):
        counts = outcome.overview["reflections"][when]
        assert 0 < counts["submitted"] <= counts["asked"], when
    assert {item["kind"] for item in outcome.queue} >= {"broken_rules"}


async def test_a_pair_is_shown_with_its_whole_timeline_and_the_names_of_both(stage: Stage) -> None:
    async with coordinator(stage) as http:
        for pair_id in stage.performance.pairs[:3]:
            page = (await http.get(f"/pages/pairs/{pair_id}")).json()
            types = [moment["type"] for moment in page["timeline"]]
            assert types[0] == "PairProposed"
            assert types.count("PairAccepted") == 2
            assert types.count("SessionHeld") == sum(s["state"] == "held" for s in page["sessions"])
            assert [m["at"] for m in page["timeline"]] == sorted(m["at"] for m in page["timeline"])
            assert page["parts"]["names"]["state"] == "ok"
            # The pair's own room is not the coordinator's.
            assert page["parts"]["cadence"]["state"] == "forbidden"


async def test_everything_agrees(stage: Stage) -> None:
    findings = await stage.reconciled()
    assert findings.differences == []
    assert findings.acknowledged == stage.performance.acknowledged > 500
    assert all(count > 0 for count in findings.gateway_rows.values())


async def test_a_missing_row_a_missing_record_and_a_lost_acknowledgement_are_each_named(stage: Stage) -> None:
    pair_id = stage.performance.pairs[0]
    async with superuser(stage, "gateway") as gateway, removed(gateway, "pairs", "pair_id", pair_id):
        (difference,) = (await stage.reconciled()).differences
        assert difference.startswith(f"gateway: pairs {pair_id} is absent")
    async with superuser(stage, "matching") as matching:
        async with removed(
            matching, "ledger", "event_id", await first_of(matching, pair_id, "ledger")
        ) as row:
            found = (await stage.reconciled(patience_seconds=0.0)).differences
            assert any(str(row["key"]) in line and line.startswith("matching: the ledger") for line in found)
            assert any(str(row["key"]) in line and "in no ledger" in line for line in found)
        async with removed(matching, "events", "event_id", await first_of(matching, pair_id, "events")):
            found = (await stage.reconciled()).differences
            assert f"matching: stream {pair_id} is at version" in "".join(found)
            assert any(line.startswith("acknowledged: ") and str(pair_id) in line for line in found)
    file = acknowledgements_of(stage.stack.folder.path)
    kept, invented = file.read_bytes(), uuid4()
    line = next(acknowledged(file))
    with AcknowledgementLog(file) as log:
        log.note(f"{line.service}/{line.stream_id}@{line.version + 1000}.0.0", invented)
    try:
        (difference,) = (await stage.reconciled()).differences
        assert str(invented) in difference
    finally:
        file.write_bytes(kept)
    assert (await stage.reconciled()).equal


async def test_nothing_anybody_is_called_or_wrote_is_in_the_log_the_logs_or_the_metrics(stage: Stage) -> None:
    assert len(stage.words) > 100
    scan = await scanned(stage)
    assert scan.found == []
    assert scan.kinds == {"value", "key", "header", "log", "metrics"}
    assert scan.bytes > 1_000_000


async def test_the_scan_finds_a_leak_of_each_kind(stage: Stage) -> None:
    leak = stage.cast.members[3].family_name.encode()
    channel = f"upwell.planted{uuid4().hex}.v1"
    async with ClusterClient(stage.stack.kafka_bootstrap) as cluster:
        await cluster.create([ChannelSpec(channel, 1, {})])
    async with AIOKafkaProducer(bootstrap_servers=stage.stack.kafka_bootstrap) as producer:
        await producer.send_and_wait(channel, b"x" + leak.upper(), headers=[("ce_id", b"1")])
        await producer.send_and_wait(channel, b"x", key=leak, headers=[("ce_id", b"1")])
        await producer.send_and_wait(channel, b"x", headers=[("ce_subject", leak)])
    planted = stage.stack.folder.logs / "planted.log"
    planted.write_bytes(b'{"event": "no", "name": "' + leak + b'"}\n')
    server = await asyncio.start_server(Metric(leak), "127.0.0.1", 0)
    try:
        port = server.sockets[0].getsockname()[1]
        scan = await scanned(stage, f"http://127.0.0.1:{port}")
    finally:
        server.close()
        planted.unlink()
    assert {line.split(" ")[0] for line in scan.found} == {"value", "key", "header", "log", "metrics"}
    assert len(scan.found) == 5


async def test_without_sessions_pairs_are_made_and_the_gateway_says_what_is_missing(stage: Stage) -> None:
    pairs = stage.performance.pairs
    await stage.stack.part("sessions").stop()
    async with coordinator(stage) as http:
        pair = (await http.get(f"/pages/pairs/{pairs[-1]}")).json()
        mine = stage.stack.token(UUID(pair["mentor_id"]))
        page = (
            await http.get(f"/pages/pairs/{pairs[-1]}", headers={"Authorization": f"Bearer {mine}"})
        ).json()
        assert page["parts"]["cadence"]["state"] == "unavailable"
        assert page["parts"]["names"]["state"] == "ok"
        assert page["timeline"] == pair["timeline"]
        made = await propose_one_more(stage, http)
        await until_shown(http, made, "active")
    await stage.stack.part("sessions").start()
    await stage.stack.settled()
    token = stage.stack.token(made["mentor_id"])
    async with httpx2.AsyncClient(base_url=f"{stage.stack.gateway}/v1", timeout=30) as http:
        cadence = await http.get(f"/cadences/{made['pair_id']}", headers={"Authorization": f"Bearer {token}"})
    assert cadence.status_code == 200, cadence.text
    assert (await stage.reconciled()).differences == []


async def test_the_broker_stopped_and_started_loses_nothing(stage: Stage) -> None:
    await stage.stack.part("broker").stop()
    await stage.stack.part("broker").start()
    await stage.stack.settled(within=120)
    assert (await stage.reconciled()).differences == []


async def test_the_example_subscriber_counts_what_the_gateway_shows(stage: Stage) -> None:
    (code,) = [
        block
        for block in re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
        if "Consumer(" in block
    ]
    assert len(code.splitlines()) <= 30
    said = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", code, stage.stack.kafka_bootstrap],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    overview = (await look(stage.stack, stage.performance)).overview
    assert overview["pairs"]["active"] > 0
    assert said.stdout.split() == [str(stage.performance.programme_id), str(overview["pairs"]["active"])]


@asynccontextmanager
async def superuser(stage: Stage, service: str) -> AsyncIterator[asyncpg.Connection]:
    # It runs already, and says where.
    address = urlsplit(await stage.stack.part("postgres").kept.start())
    connection = await asyncpg.connect(urlunsplit(address._replace(path=f"/{service}")))
    try:
        yield connection
    finally:
        await connection.close()


@asynccontextmanager
async def removed(
    connection: asyncpg.Connection, table: str, column: str, value: UUID
) -> AsyncIterator[asyncpg.Record]:
    """Takes one row away as no service could, and puts it back."""
    name = await place_of(connection, table)
    await connection.execute("SET session_replication_role = replica")
    row = await connection.fetchrow(f"DELETE FROM {name} WHERE {column} = $1 RETURNING *", value)
    assert row is not None
    try:
        yield row
    finally:
        await put_back(connection, name, row)
        await connection.execute("SET session_replication_role = DEFAULT")


@asynccontextmanager
async def changed(connection: asyncpg.Connection, table: str, key: str, change: str) -> AsyncIterator[UUID]:
    """Changes one row as no projection would, and puts it back as it was."""
    name = await place_of(connection, table)
    row = await connection.fetchrow(f"SELECT * FROM {name} ORDER BY {key} LIMIT 1")
    assert row is not None
    await connection.execute(f"UPDATE {name} SET {change} WHERE {key} = $1", row[key])
    try:
        yield row[key]
    finally:
        await connection.execute(f"DELETE FROM {name} WHERE {key} = $1", row[key])
        await put_back(connection, name, row)


async def place_of(connection: asyncpg.Connection, table: str) -> str:
    """The table itself, not the view that shows it."""
    schema = await connection.fetchval(
        "SELECT schemaname FROM pg_tables WHERE tablename = $1 AND schemaname LIKE 'p%' AND schemaname <> 'pg_catalog'",
        table,
    )
    return f'"{schema}"."{table}"'


async def put_back(connection: asyncpg.Connection, name: str, row: asyncpg.Record) -> None:
    places = ", ".join(f"${n}" for n in range(1, len(row) + 1))
    await connection.execute(f"INSERT INTO {name} OVERRIDING SYSTEM VALUE VALUES ({places})", *row.values())


async def first_of(connection: asyncpg.Connection, stream_id: UUID, table: str) -> UUID:
    """An event of the stream that was acknowledged to somebody, or told."""
    column, order = ("key", "sequence") if table == "ledger" else ("stream_id", "version")
    found: UUID = await connection.fetchval(
        f"SELECT event_id FROM {table} WHERE {column} = $1 ORDER BY {order} OFFSET 1 LIMIT 1", stream_id
    )
    return found


async def scanned(stage: Stage, *more_metrics: str) -> Scan:
    scan = Scan(needles(stage.cast, stage.words))
    await scan.records(stage.stack.kafka_bootstrap)
    scan.logs(stage.stack.folder.path)
    await scan.metrics([*(stage.stack.url(spec.name) for spec in SERVICES), *more_metrics])
    return scan


class Metric:
    """A server whose one metric tells too much."""

    def __init__(self, leak: bytes) -> None:
        self._leak = leak

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        body = b'upwell_pairs{of="' + self._leak + b'"} 1\n'
        writer.write(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
        await writer.drain()
        writer.close()


async def propose_one_more(stage: Stage, http: httpx2.AsyncClient) -> dict[str, Any]:
    """Two who wait are proposed to each other by the coordinator, and both accept."""
    cohort = stage.performance.cohort_id
    enrolments = (await http.get(f"/cohorts/{cohort}/enrolments", params={"limit": 200})).json()["items"]
    free = {
        role: [e["person_id"] for e in enrolments if e["role"] == role and e["state"] == "waiting"]
        for role in ("mentor", "mentee")
    }
    for mentee in free["mentee"]:
        for mentor in free["mentor"]:
            answer = await http.post(
                f"/cohorts/{cohort}/pairs",
                json={"mentor_id": mentor, "mentee_id": mentee},
                headers={"Idempotency-Key": str(uuid4())},
            )
            if answer.status_code == 201:
                made = {"pair_id": answer.json()["pair_id"], "mentor_id": UUID(mentor)}
                for person in (mentor, mentee):
                    said = await http.post(
                        f"/pairs/{made['pair_id']}/accept",
                        headers={
                            "Idempotency-Key": str(uuid4()),
                            "Authorization": f"Bearer {stage.stack.token(UUID(person))}",
                        },
                    )
                    assert said.status_code == 200, said.text
                return made
            assert answer.status_code == 409, answer.text
    raise AssertionError("nobody was left to be paired")


async def until_shown(http: httpx2.AsyncClient, pair: dict[str, Any], state: str) -> None:
    async with asyncio.timeout(60):
        while True:
            page = await http.get(f"/pages/pairs/{pair['pair_id']}")
            if page.status_code == 200 and page.json()["state"] == state:
                return
            await asyncio.sleep(0.05)
