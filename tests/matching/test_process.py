"""Matching as a process, killed and started again: what it is told and what it has answered counts once, and stays."""

import asyncio
import json
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import httpx2
import orjson
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from tests.matching.telling import Directory
from tests.service_process import PATIENCE, ServiceProcess, until
from upwell.servers.testing import SharedBroker
from upwell_shared.contracts import PARTITIONS, PublishedEvent
from upwell_shared.contracts.directory import PersonJoined, PersonLeft, PersonMoved, UnitOpened
from upwell_shared.testing.databases import Dsns

PAIRS = 10
LEAVERS = 3

TRY_AGAIN = {
    (409, "command-in-flight"),
    (409, "concurrent-update"),
    (409, "standing-changed"),
    (409, "unknown-person"),  # the directory has not told of them yet
    (409, "not-of-the-programme"),  # nor of their unit
    (404, "not-found"),
    (503, "unavailable"),
}


@pytest.fixture
async def service(dsns: Dsns, broker: SharedBroker, tmp_path: Path) -> AsyncIterator[ServiceProcess]:
    service = ServiceProcess("tests.matching.process", dsns, broker, tmp_path)
    await service.migrate()
    yield service
    await service.stop()
    await service.http.aclose()


def token(person_id: UUID, *roles: str, units: Sequence[UUID] = ()) -> str:
    return json.dumps({"id": str(person_id), "roles": roles, "units": [str(unit) for unit in units]})


async def insisted(
    service: ServiceProcess, who: str, method: str, path: str, body: object = None
) -> httpx2.Response:
    """The answer to a command that is sent, with one key, until it is carried out."""
    key = uuid4()
    async with asyncio.timeout(PATIENCE * 2):
        while True:
            try:
                told = await service.command(method, path, body, key=key, who=who)
            except httpx2.TransportError:
                await asyncio.sleep(0.02)  # it is being started again
                continue
            if told.status_code in {200, 201}:
                return told
            assert (told.status_code, told.json()["type"].rpartition(":")[2]) in TRY_AGAIN, told.text
            await asyncio.sleep(0.02)


async def while_killed(
    service: ServiceProcess, pool: asyncpg.Pool, counted: str, each: Sequence[int], work: Awaitable[Any]
) -> None:
    """Does the work, and kills the process each time that so many events of that type are recorded."""
    doing = asyncio.ensure_future(work)
    for wanted in each:

        async def so_many(wanted: int = wanted) -> bool:
            assert not doing.done() or doing.exception() is None, doing.exception()
            found = await pool.fetchval("SELECT count(*) FROM events WHERE type = $1", counted)
            return bool(found >= wanted)

        await until(so_many)
        assert service.process is not None
        await service.process.kill()
        await service.start()
    await doing


def joining(person_id: UUID, acme: UUID, grade: int) -> list[PublishedEvent]:
    about: Any = {"person_id": person_id, "organisation_id": acme, "unit_id": acme}
    return [
        PersonJoined(**about),
        PersonMoved(**about, grade=grade, manager_id=None, in_role_since=date(2020, 1, 1)),
    ]


async def published(broker: SharedBroker, programme: str, ends: int) -> dict[tuple[str, str], set[int]]:
    """(stream, type) → sequences, of this programme's events, read from the log until so many pairs have ended."""
    found: dict[tuple[str, str], set[int]] = {}
    async with AIOKafkaConsumer(
        bootstrap_servers=broker.bootstrap, auto_offset_reset="earliest", enable_auto_commit=False
    ) as reader:
        reader.assign([TopicPartition("upwell.matching.v1", number) for number in range(PARTITIONS)])
        async with asyncio.timeout(PATIENCE):
            while sum(kind.endswith("PairEnded.v1") for _, kind in found) < ends:
                for records in (await reader.getmany(timeout_ms=500)).values():
                    for record in records:
                        headers = dict(record.headers)
                        if orjson.loads(record.value).get("programme_id") == programme:
                            place = (record.key.decode(), headers["ce_type"].decode())
                            found.setdefault(place, set()).add(int(headers["ce_sequence"]))
    return found


async def test_killed_from_the_first_enrolment_to_the_last_pair_nothing_is_lost_or_doubled(
    service: ServiceProcess, broker: SharedBroker, pool: asyncpg.Pool
) -> None:
    acme, directory = uuid4(), Directory(broker)
    await directory.begin()
    mentors, mentees = [uuid4() for _ in range(PAIRS)], [uuid4() for _ in range(PAIRS)]
    await service.start()
    team = token(uuid4(), "coordinator", units=[acme])
    opening = {"name": "Upward", "unit_ids": [str(acme)], "rules": {"measure": "grade", "gap": 2}}
    programme = (await insisted(service, team, "POST", "/v1/programmes", opening)).json()["programme_id"]
    path = f"/v1/programmes/{programme}"
    topic = (await insisted(service, team, "POST", f"{path}/topics", {"name": "Code"})).json()["topic_id"]
    today = service.clock.now().date()
    days = {"name": "First", "starts_on": str(today), "ends_on": str(today + timedelta(days=180))}
    cohort = (await insisted(service, team, "POST", f"{path}/cohorts", days)).json()["cohort_id"]

    async def tell_of_people() -> None:
        await directory.tell(UnitOpened(unit_id=acme, organisation_id=acme, parent_id=None))
        for mentor, mentee in zip(mentors, mentees, strict=True):
            await directory.tell(*joining(mentor, acme, 3), *joining(mentee, acme, 9))

    async def enrol(person: UUID, body: dict[str, Any]) -> None:
        await insisted(service, team, "PUT", f"/v1/cohorts/{cohort}/enrolments/{person}", body)

    made: list[str] = []

    async def pair_up(mentor: UUID, mentee: UUID) -> None:
        await asyncio.gather(
            enrol(mentor, {"role": "mentor", "offers": [topic]}),
            enrol(mentee, {"role": "mentee", "seeks": [topic]}),
        )
        asked = {"mentor_id": str(mentor), "mentee_id": str(mentee)}
        proposed = await insisted(service, team, "POST", f"/v1/cohorts/{cohort}/pairs", asked)
        made.append(proposed.json()["pair_id"])
        accept = f"/v1/pairs/{made[-1]}/accept"
        await asyncio.gather(
            *(insisted(service, token(who, "participant"), "POST", accept) for who in (mentor, mentee))
        )

    async def everything() -> None:
        await asyncio.gather(tell_of_people(), *map(pair_up, mentors, mentees))

    await while_killed(service, pool, "PairAccepted", (2, PAIRS, 2 * PAIRS - 2), everything())

    counted = Counter(row["type"] for row in await pool.fetch("SELECT type FROM events"))
    expected = {
        "EnrolmentSubmitted": 2 * PAIRS,
        "PairProposed": PAIRS,
        "PairAccepted": 2 * PAIRS,
        "PairCreated": PAIRS,
        "EnrolmentPlaceTaken": 2 * PAIRS,
    }
    assert {kind: counted[kind] for kind in expected} == expected

    # Some leave, told while the process is dead: their pairs end by themselves once it is there again.
    assert service.process is not None
    await service.process.kill()
    for mentor in mentors[:LEAVERS]:
        await directory.tell(PersonLeft(person_id=mentor, organisation_id=acme, unit_id=acme))
    await service.start()

    async def settled() -> bool:
        count = "SELECT count(*) FROM events WHERE type = $1"
        ended, withdrawn = [await pool.fetchval(count, kind) for kind in ("PairEnded", "WithdrawalSettled")]
        return bool((ended, withdrawn) == (LEAVERS, LEAVERS))

    await until(settled)
    told = await published(broker, programme, LEAVERS)
    by_kind = Counter(kind.removeprefix("upwell.matching.") for _, kind in told)
    assert {kind: by_kind[kind] for kind in ("PairProposed.v1", "PairCreated.v1", "PairEnded.v1")} == {
        "PairProposed.v1": PAIRS,
        "PairCreated.v1": PAIRS,
        "PairEnded.v1": LEAVERS,
    }
    # Whatever came twice came with the same number.
    assert {len(sequences) for (stream, kind), sequences in told.items() if stream in made} == {1}
    for open_ in ("SELECT count(*) FROM dead_letters", "SELECT count(*) FROM todos"):
        assert await pool.fetchval(open_) == 0


def test_a_process_says_how_it_is_used() -> None:
    wrong = subprocess.run(
        [sys.executable, "-m", "upwell_matching", "serve"], capture_output=True, text=True, check=False
    )
    assert wrong.returncode == 2
    assert "migrate" in wrong.stderr
