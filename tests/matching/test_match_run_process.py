"""A match run in a process that is killed while pairs are found, and while they are proposed."""

import json
from collections import Counter
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import httpx2
import pytest

from tests.matching.telling import Directory
from tests.matching.test_process import insisted, joining, token, while_killed
from tests.service_process import ServiceProcess, until
from upwell.servers.testing import SharedBroker
from upwell_shared.contracts.directory import UnitOpened
from upwell_shared.testing.databases import Dsns

PAIRS = 12


@pytest.fixture
async def service(dsns: Dsns, broker: SharedBroker, tmp_path: Path) -> AsyncIterator[ServiceProcess]:
    service = ServiceProcess("tests.matching.process", dsns, broker, tmp_path)
    await service.migrate()
    yield service
    await service.stop()
    await service.http.aclose()


async def test_killed_while_pairs_are_found_and_proposed_every_pair_is_proposed_once(
    service: ServiceProcess, broker: SharedBroker, pool: asyncpg.Pool
) -> None:
    acme, directory = uuid4(), Directory(broker)
    await directory.begin()
    await service.start()
    team = token(uuid4(), "coordinator", units=[acme])
    opening = {"name": "Upward", "unit_ids": [str(acme)], "rules": {"measure": "grade", "gap": 2}}
    programme = (await insisted(service, team, "POST", "/v1/programmes", opening)).json()["programme_id"]
    path = f"/v1/programmes/{programme}"
    topic = (await insisted(service, team, "POST", f"{path}/topics", {"name": "Code"})).json()["topic_id"]
    today = service.clock.now().date()
    days = {"name": "First", "starts_on": str(today), "ends_on": str(today + timedelta(days=180))}
    cohort = (await insisted(service, team, "POST", f"{path}/cohorts", days)).json()["cohort_id"]
    await directory.tell(UnitOpened(unit_id=acme, organisation_id=acme, parent_id=None))

    async def enrolled(grade: int, body: dict[str, Any]) -> UUID:
        person_id = uuid4()
        await directory.tell(*joining(person_id, acme, grade))
        await insisted(service, team, "PUT", f"/v1/cohorts/{cohort}/enrolments/{person_id}", body)
        return person_id

    for _ in range(PAIRS):
        await enrolled(3, {"role": "mentor", "offers": [topic]})
        await enrolled(9, {"role": "mentee", "seeks": [topic]})

    started = await insisted(service, team, "POST", f"/v1/cohorts/{cohort}/match-runs", {"seed": 5})
    run = started.json()["match_run_id"]
    assert service.process is not None
    await service.process.kill()
    await service.start()

    async def stands(state: str) -> bool:
        headers = {"Authorization": f"Bearer {team}"}
        try:
            found = (await service.http.get(f"/v1/match-runs/{run}", headers=headers)).json()
        except (httpx2.TransportError, json.JSONDecodeError):
            return False
        taken_up = state == "draft" or found.get("proposed", 0) + found.get("skipped", 0) == PAIRS
        return found.get("state") == state and taken_up

    await until(lambda: stands("draft"))

    async def publish() -> None:
        await insisted(service, team, "POST", f"/v1/match-runs/{run}/publish")
        await until(lambda: stands("published"))

    await while_killed(service, pool, "PairProposed", (1, 5), publish())

    async def finished() -> bool:
        return bool(await pool.fetchval("SELECT count(*) FROM events WHERE type = 'MatchRunFinished'"))

    await until(finished)
    counted = Counter(row["type"] for row in await pool.fetch("SELECT type FROM events"))
    expected = {
        "MatchRunStarted": 1,
        "MatchRunDrafted": 1,
        "MatchRunPublished": 1,
        "MatchRunFinished": 1,
        "PairProposed": PAIRS,
        "ProposalSkipped": 0,
    }
    assert {kind: counted[kind] for kind in expected} == expected
    members = await pool.fetch("SELECT mentor_id, mentee_id FROM pairs WHERE state = 'proposed'")
    assert len({person_id for row in members for person_id in row}) == 2 * PAIRS
    again = await insisted(service, team, "POST", f"/v1/cohorts/{cohort}/match-runs", {})
    assert again.json()["match_run_id"] != run
    assert await pool.fetchval("SELECT count(*) FROM todos WHERE parked_because IS NOT NULL") == 0
