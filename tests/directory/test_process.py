"""The directory as a process: started, killed and stopped, with what it tells read from the broker."""

import asyncio
import json
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID, uuid4

import asyncpg
import httpx2
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from tests.directory.files import as_csv, made_up_people
from tests.service_process import PATIENCE, ServiceProcess, until
from upwell.servers.testing import SharedBroker
from upwell_shared.contracts import PARTITIONS
from upwell_shared.testing.databases import Dsns


@pytest.fixture
async def service(dsns: Dsns, tansu: SharedBroker, tmp_path: Path) -> AsyncIterator[ServiceProcess]:
    service = ServiceProcess("tests.directory.process", dsns, tansu, tmp_path)
    await service.migrate()
    await service.start()
    yield service
    await service.stop()
    await service.http.aclose()


def token(*units: UUID) -> str:
    return json.dumps({"id": str(uuid4()), "roles": ["hr_admin"], "units": [str(unit) for unit in units]})


async def test_kill_9_in_the_middle_of_an_import_loses_and_doubles_nobody(
    service: ServiceProcess, pool: asyncpg.Pool, tansu: SharedBroker
) -> None:
    acme, lines, key = uuid4(), made_up_people(1_500), str(uuid4())
    hr = token(acme)
    opened = await service.command("PUT", f"/v1/organisations/{acme}", {"name": "Acme"}, who=hr)
    assert opened.status_code == 201

    async def send() -> httpx2.Response | None:
        headers = {"Authorization": f"Bearer {hr}", "Idempotency-Key": key, "Content-Type": "text/csv"}
        try:
            return await service.http.post("/v1/imports", content=as_csv(lines), headers=headers)
        except httpx2.TransportError:
            return None

    sending = asyncio.create_task(send())
    joined = "SELECT count(*) FROM events WHERE type = 'PersonJoined'"

    async def begun() -> bool:
        return bool(await pool.fetchval(joined) > 100)

    await until(begun)
    assert service.process is not None
    await service.process.kill()
    assert await sending is None
    assert await pool.fetchval(joined) < 1_500
    await service.start()
    while True:
        answer = await send()
        assert answer is not None
        # 503 while read models wait for the lease of the killed process: nothing is decided on stale rows.
        assert answer.status_code in {200, 202, 503}, answer.text
        if answer.status_code == 200:
            break
    assert (answer.json()["state"], answer.json()["bad"]) == ("done", 0)
    assert await pool.fetchval(joined) == 1_500
    assert await pool.fetchval("SELECT count(DISTINCT stream_id) FROM streams WHERE type = 'person'") == 1_500

    # Whoever listens hears of everybody; what comes twice bears the same number.
    told: set[tuple[bytes, bytes]] = set()
    async with AIOKafkaConsumer(
        bootstrap_servers=tansu.bootstrap, auto_offset_reset="earliest", enable_auto_commit=False
    ) as reader:
        reader.assign([TopicPartition("upwell.directory.v1", number) for number in range(PARTITIONS)])
        async with asyncio.timeout(PATIENCE):
            while len(told) < 1_500 + 8:
                for records in (await reader.getmany(timeout_ms=500)).values():
                    told |= {(record.key, dict(record.headers)["ce_sequence"]) for record in records}
    heard = Counter(key for key, _ in told)
    assert (len(heard), max(heard.values())) == (1_501, 8)


def test_a_process_that_was_given_no_issuer_lets_nobody_in_and_says_how_it_is_used() -> None:
    wrong = subprocess.run(
        [sys.executable, "-m", "upwell_directory", "serve"], capture_output=True, text=True, check=False
    )
    assert wrong.returncode == 2
    assert "migrate" in wrong.stderr
