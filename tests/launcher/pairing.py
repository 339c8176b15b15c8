"""Two people brought together over HTTP: proposed to each other, and then both accept."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx2

from tests.launcher.world import PATIENCE
from upwell.folder import DataFolder
from upwell_gateway.issuer import Issuer, make_keys
from upwell_shared.web.policies import UserRole

_HEAD = "external_id,given_name,family_name,user_name,mail,organisation,unit,grade,manager_external_id,in_role_since"


@dataclass
class Paired:
    """A pair; `key`, `correlation_id` and `position` are of the last acceptance, the command that made it."""

    pair_id: UUID
    mentor_id: UUID
    mentee_id: UUID
    key: str
    correlation_id: UUID
    position: str
    proposal_id: UUID
    """The correlation of the proposal."""
    words: list[str] = field(default_factory=list)
    """What people and things were called."""


class Client:
    """Somebody with a token, who is patient with what a service has not heard of yet."""

    def __init__(self, http: httpx2.AsyncClient, token: str) -> None:
        self._http = http
        self._token = token

    async def ask(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        patient: bool = True,
        headers: Mapping[str, str] | None = None,
        content: bytes | None = None,
    ) -> httpx2.Response:
        """The answer; while it is 404, 409, 422 or 503, it is asked again, each time as a new command."""
        async with asyncio.timeout(PATIENCE):
            while True:
                told = {
                    "Authorization": f"Bearer {self._token}",
                    "Idempotency-Key": str(uuid4()),
                    **(headers or {}),
                }
                response = await self._http.request(
                    method, f"/v1/{path}", json=body, content=content, headers=told
                )
                if response.is_success and response.status_code != 202:
                    return response
                if not patient:
                    return response
                assert response.status_code in {202, 404, 409, 422, 503}, response.text
                await asyncio.sleep(0.1)


async def paired(folder: Path, gateway: str, *, accepted: bool = True) -> Paired:
    """On a running stack; everything in it is of an organisation of its own. Unless `accepted`, only proposed."""
    issuer = Issuer.of(make_keys(DataFolder(folder).keys).private)
    organisation, mark = uuid4(), uuid4().hex[:8]
    name = f"Wayfarers {mark}"
    rows = [
        f"A-1,Ottoline,Kingfisher,ok{mark},ok{mark}@example.org,{name},North,3,,2020-01-01",
        f"A-2,Barnaby,Wagtail,bw{mark},bw{mark}@example.org,{name},South,12,,2010-01-01",
    ]
    async with httpx2.AsyncClient(base_url=gateway, timeout=30) as http:
        team = Client(http, issuer.token(uuid4(), (UserRole.COORDINATOR, UserRole.HR_ADMIN), [organisation]))
        await team.ask("PUT", f"organisations/{organisation}", {"name": name})
        await team.ask(
            *("POST", "imports"),
            headers={"Content-Type": "text/csv", "Idempotency-Key": str(uuid4())},
            content="\n".join([_HEAD, *rows, ""]).encode(),
        )
        people: dict[str, UUID] = {}
        async with asyncio.timeout(PATIENCE):
            while len(people) < 2:
                found = (await team.ask("GET", "people")).json()["items"]
                people = {each["contact"]["external_id"]: UUID(each["person_id"]) for each in found}
        opening = {
            "name": "Learning upwards",
            "unit_ids": [str(organisation)],
            "rules": {"measure": "grade", "gap": 2},
            "defaults": {"sessions": 3, "days_between": 30, "minutes": 60},
        }
        programme = await _made(team, "programmes", opening, "programme_id")
        topic = await _made(team, f"programmes/{programme}/topics", {"name": "Spreadsheets"}, "topic_id")
        today = date.today()  # noqa: DTZ011 any day will do
        cohort = {
            "name": "First intake",
            "starts_on": str(today),
            "ends_on": str(today + timedelta(days=300)),
        }
        cohort_id = await _made(team, f"programmes/{programme}/cohorts", cohort, "cohort_id")
        members = {
            side: Client(http, issuer.token(person, (UserRole.PARTICIPANT,)))
            for side, person in (("mentor", people["A-1"]), ("mentee", people["A-2"]))
        }
        for side, person in (("mentor", people["A-1"]), ("mentee", people["A-2"])):
            wish = {
                "role": side,
                "offers": [topic] if side == "mentor" else [],
                "seeks": [topic] if side == "mentee" else [],
            }
            await members[side].ask("PUT", f"cohorts/{cohort_id}/enrolments/{person}", wish)
        both = {"mentor_id": str(people["A-1"]), "mentee_id": str(people["A-2"])}
        proposed = await team.ask("POST", f"cohorts/{cohort_id}/pairs", both)
        pair_id = UUID(proposed.json()["pair_id"])
        key, last = str(uuid4()), proposed
        if accepted:
            await members["mentor"].ask("POST", f"pairs/{pair_id}/accept")
            last = await members["mentee"].ask(
                "POST", f"pairs/{pair_id}/accept", headers={"Idempotency-Key": key}, patient=False
            )
            assert last.is_success, last.text
    return Paired(
        pair_id,
        people["A-1"],
        people["A-2"],
        key,
        UUID(last.headers["Upwell-Correlation-Id"]),
        last.headers["Upwell-Position"],
        UUID(proposed.headers["Upwell-Correlation-Id"]),
        ["Ottoline", "Kingfisher", "Barnaby", "Wagtail", name, "Spreadsheets"],
    )


async def _made(client: Client, path: str, body: Mapping[str, Any], id_: str) -> str:
    return str((await client.ask("POST", path, body)).json()[id_])
