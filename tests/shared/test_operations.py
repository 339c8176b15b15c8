"""What operators do over HTTP, on the example in a process of its own, on both brokers."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import httpx2
import pytest

from tests.service_process import ServiceProcess, until
from tests.shared.conftest import APP, READER
from tests.shared.example.contract import contract
from tests.shared.example.projections import how_bookings_stand
from upwell.servers.testing import SharedBroker
from upwell_shared.consuming.rebuilding import LettersOpen, rebuild
from upwell_shared.testing.databases import Dsns

LETTERS = "/v1/operations/dead-letters"
OPS = {"Authorization": "Bearer ops"}


class Service(ServiceProcess):
    """The example, whose read model refuses some bookings."""

    def __init__(self, dsns: Dsns, broker: SharedBroker, folder: Path, owner_pool: asyncpg.Pool) -> None:
        self.owner = f"example{uuid4().hex[:8]}"
        self.owner_pool = owner_pool
        super().__init__("tests.shared.example", dsns, broker, folder, UPWELL_EXAMPLE_OWNER=self.owner)

    async def jinx(self, *bookings: UUID) -> None:
        """From now on whatever is told of them fails, and of nobody else."""
        table = "projection_how_bookings_stand_1.bookings"
        named = ", ".join(f"'{booking}'" for booking in bookings)
        await self.owner_pool.execute(
            f"ALTER TABLE {table} DROP CONSTRAINT IF EXISTS jinx;"
            f"ALTER TABLE {table} ADD CONSTRAINT jinx CHECK (booking_id NOT IN ({named}))"
        )

    async def book(self, room: UUID, booking: UUID) -> None:
        """Two published events of the booking's stream."""
        for asked in (
            await self.command("PUT", f"/v1/bookings/{booking}", {"room_id": str(room)}),
            await self.command("POST", f"/v1/rooms/{room}/bookings/{booking}/confirm"),
        ):
            assert asked.status_code in {200, 201}, asked.text

    async def seen(self, path: str = "") -> Any:
        answer = await self.http.get(f"{LETTERS}{path}", headers=OPS)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def letters(self) -> dict[UUID, dict[str, Any]]:
        """By stream."""
        return {UUID(each["stream_id"]): each for each in (await self.seen())["items"]}


@pytest.fixture
async def service(
    dsns: Dsns, broker: SharedBroker, tmp_path: Path, owner_pool: asyncpg.Pool
) -> AsyncIterator[Service]:
    service = Service(dsns, broker, tmp_path, owner_pool)
    await service.migrate()
    await service.start()
    yield service
    await service.stop()
    await service.http.aclose()


def problem(answer: httpx2.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["type"].rpartition(":")[2]


async def test_letters_are_listed_looked_into_tried_again_and_passed_over(
    service: Service, broker: SharedBroker, pool: asyncpg.Pool, owner_pool: asyncpg.Pool
) -> None:
    room, healed, lost, healthy = (uuid4() for _ in range(4))
    await service.command("PUT", f"/v1/rooms/{room}", {"seats": 9})
    await service.jinx(healed, lost)
    for booking in (healed, lost, healthy):
        await service.book(room, booking)

    async def parked() -> bool:
        found = await service.letters()
        return set(found) == {healed, lost} and all(each["behind"] == 1 for each in found.values())

    await until(parked)
    letters = await service.letters()
    shown = letters[lost]
    assert (shown["reason"], shown["error"], shown["sequence"]) == ("failed", "CheckViolationError", 1)
    whole = await service.seen(f"/{shown['letter_id']}")
    assert whole["body"]["booking_id"] == str(lost)
    assert ["ce_id", str(shown["event_id"])] in whole["headers"]

    # Still wrong: it is tried, and says so.
    again = await service.command("POST", f"{LETTERS}/{shown['letter_id']}/retry", who="ops")
    assert (again.status_code, again.json()["outcome"]) == (200, "failed"), again.text

    # Put right for one of them, whose turn by itself is far off.
    await pool.execute(
        "UPDATE dead_letters SET next_try_at = now() + interval '1 hour' WHERE error IS NOT NULL"
    )
    await service.jinx(lost)
    key = uuid4()
    for _ in range(2):
        tried = await service.command(
            "POST", f"{LETTERS}/{letters[healed]['letter_id']}/retry", key=key, who="ops"
        )
        assert (tried.status_code, tried.json()["outcome"]) == (200, "applied"), tried.text

    why = {"reason": "its row cannot be, OPS-17"}
    rebuilding = (service.owner, how_bookings_stand, [contract(service.owner)], broker.bootstrap)
    with pytest.raises(LettersOpen):
        await rebuild(*rebuilding, pool=pool, owner=owner_pool, app_role=APP, reader_role=READER)
    discarded = await service.command("POST", f"{LETTERS}/{shown['letter_id']}/discard", why, who="ops")
    assert (discarded.status_code, discarded.json()["released"]) == (200, True), discarded.text

    # The next event of that booking is refused by the same rule; it is passed over too.
    async def next_failed() -> bool:
        found = await service.letters()
        return set(found) == {lost} and found[lost]["sequence"] == 2 and found[lost]["reason"] == "failed"

    await until(next_failed)
    second = (await service.letters())[lost]["letter_id"]
    await service.command("POST", f"{LETTERS}/{second}/discard", why, who="ops")
    assert await service.letters() == {}
    rows = "SELECT * FROM bookings ORDER BY booking_id"
    live = [tuple(row) for row in await pool.fetch(rows)]
    assert {row[0] for row in live} == {healed, healthy}
    (kept, _) = (await service.http.get("/v1/operations/discards", headers=OPS)).json()["items"]
    assert (kept["letter_id"], kept["reason"]) == (shown["letter_id"], why["reason"])

    # Killed and started, nothing comes back; made anew without the rule, the read model has the same rows.
    assert service.process is not None
    await service.process.kill()
    await service.start()
    await rebuild(*rebuilding, pool=pool, owner=owner_pool, app_role=APP, reader_role=READER, patience=20.0)
    assert [tuple(row) for row in await pool.fetch(rows)] == live
    assert await service.letters() == {}

    # What cannot be is said.
    gone = await service.command("POST", f"{LETTERS}/{second}/retry", who="ops")
    assert problem(gone) == (409, "letter-discarded")
    unknown = await service.command("POST", f"{LETTERS}/{uuid4()}/discard", why, who="ops")
    assert problem(unknown) == (404, "not-found")
    nameless = await service.command("POST", f"{LETTERS}/{second}/discard", {"reason": ""}, who="ops")
    assert problem(nameless) == (422, "malformed")
    for role in ("ada", "hr_admin", "coordinator", "analyst"):
        refused = await service.http.get(LETTERS, headers={"Authorization": f"Bearer {role}"})
        assert problem(refused) == (403, "forbidden")
    keyless = await service.http.post(f"{LETTERS}/{second}/retry", headers=OPS)
    assert problem(keyless) == (400, "idempotency-key-missing")
    described = (await service.http.get("/v1/openapi.json")).json()
    assert described["paths"][LETTERS]["get"]["x-upwell-policy"] == "operator"
