"""The example as its users see it: over HTTP, in a process of its own, on both brokers."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from uuid import UUID, uuid4

import asyncpg
import httpx2
import pytest

from tests.service_process import ServiceProcess, until
from upwell.servers.testing import SharedBroker
from upwell_shared.testing.databases import Dsns


class Service(ServiceProcess):
    """The example, under a name of its own, and what its users do."""

    def __init__(self, dsns: Dsns, broker: SharedBroker, folder: Path) -> None:
        self.owner = f"example{uuid4().hex[:8]}"
        super().__init__("tests.shared.example", dsns, broker, folder, UPWELL_EXAMPLE_OWNER=self.owner)

    async def book(self, room: UUID) -> UUID:
        """A confirmed booking."""
        booking = uuid4()
        asked = await self.command("PUT", f"/v1/bookings/{booking}", {"room_id": str(room)})
        assert asked.status_code == 201, asked.text
        confirmed = await self.command("POST", f"/v1/rooms/{room}/bookings/{booking}/confirm")
        assert confirmed.status_code == 200, confirmed.text
        return booking

    async def taken(self, room: UUID) -> int:
        answer = await self.http.get(f"/v1/rooms/{room}/seats", headers={"Authorization": "Bearer ada"})
        return int(answer.json()["taken"]) if answer.status_code == 200 else -1


@pytest.fixture
async def service(dsns: Dsns, broker: SharedBroker, tmp_path: Path) -> AsyncIterator[Service]:
    service = Service(dsns, broker, tmp_path)
    await service.migrate()
    await service.start()
    yield service
    await service.stop()
    await service.http.aclose()


async def test_one_command_is_followed_from_http_to_its_last_effect(
    service: Service, pool: asyncpg.Pool
) -> None:
    room = uuid4()
    opened = await service.command("PUT", f"/v1/rooms/{room}", {"seats": 2})
    assert opened.headers["Upwell-Position"] == f"{service.owner}/{room}@1.0.0"
    booking = await service.book(room)

    # A read that carries the position of a command sees its effect.
    second = uuid4()
    await service.command("PUT", f"/v1/bookings/{second}", {"room_id": str(room)})
    confirmed = await service.command("POST", f"/v1/rooms/{room}/bookings/{second}/confirm")
    version = (await pool.fetchval("SELECT version FROM streams WHERE stream_id = $1", room)) or 0
    position = f"{service.owner}/{room}@{version}.0.0"
    assert confirmed.headers["Upwell-Position"].startswith(f"{service.owner}/{second}@2.")
    seats = await service.http.get(
        f"/v1/rooms/{room}/seats", headers={"Authorization": "Bearer ada", "Upwell-After": position}
    )
    assert (seats.json()["taken"], "Upwell-Stale" in seats.headers) == (2, False)

    # The full room says no; a stale and a missing If-Match say what to do.
    third = uuid4()
    await service.command("PUT", f"/v1/bookings/{third}", {"room_id": str(room)})
    full = await service.command("POST", f"/v1/rooms/{room}/bookings/{third}/confirm")
    assert (full.status_code, full.json()["type"]) == (409, "urn:upwell:problem:room-full")
    blind = await service.command("POST", f"/v1/bookings/{booking}/cancel")
    assert blind.status_code == 428
    stale = await service.command("POST", f"/v1/bookings/{booking}/cancel", if_match=1)
    assert stale.status_code == 412

    # A cancellation goes out over Kafka, comes back, and frees the seat by a to-do of its own.
    key = uuid4()
    cancelled = await service.command("POST", f"/v1/bookings/{booking}/cancel", key=key, if_match=2)
    assert cancelled.status_code == 200
    again = await service.command("POST", f"/v1/bookings/{booking}/cancel", key=key, if_match=2)
    assert (again.status_code, again.headers["Upwell-Position"]) == (
        200,
        cancelled.headers["Upwell-Position"],
    )

    async def freed() -> bool:
        return await service.taken(room) == 1

    await until(freed)
    standing = "SELECT standing FROM bookings WHERE booking_id = $1"
    assert await pool.fetchval(standing, booking) == "ended"

    # One correlation id from the request to its last effect.
    correlation = await pool.fetchval(
        "SELECT correlation_id FROM events WHERE stream_id = $1 AND type = 'BookingCancelled'", booking
    )
    effects = "SELECT type FROM events WHERE correlation_id = $1 ORDER BY tx, position"
    types = [row["type"] for row in await pool.fetch(effects, correlation)]
    assert types == ["BookingCancelled", "SeatFreed"]

    # What nobody confirms expires by the clock of the service.
    service.clock.advance(timedelta(days=2))

    async def expired() -> bool:
        return bool(await pool.fetchval(standing, third) == "ended")

    await until(expired)


async def test_kill_9_under_load_loses_nothing_that_was_answered_and_doubles_nothing(
    service: Service, pool: asyncpg.Pool
) -> None:
    room = uuid4()
    await service.command("PUT", f"/v1/rooms/{room}", {"seats": 1000})
    answered: dict[UUID, UUID] = {}
    enough = asyncio.Event()

    async def client() -> None:
        while not enough.is_set():
            booking, key = uuid4(), uuid4()
            while True:
                try:
                    told = await service.command(
                        "PUT", f"/v1/bookings/{booking}", {"room_id": str(room)}, key=key
                    )
                except httpx2.TransportError:
                    await asyncio.sleep(0.02)
                    continue
                if told.status_code == 201:
                    answered[key] = booking
                    break
                assert told.status_code in {409, 503}, told.text

    clients = [asyncio.create_task(client()) for _ in range(4)]
    for kills in range(3):
        target = len(answered) + 25

        async def more(target: int = target) -> bool:
            return len(answered) >= target

        await until(more)
        assert service.process is not None
        await service.process.kill()
        await service.start()
        assert kills < 3
    enough.set()
    await asyncio.gather(*clients)

    async def applied() -> bool:
        return bool(await pool.fetchval("SELECT count(*) FROM bookings") == len(answered))

    await until(applied)
    facts = await pool.fetch(
        "SELECT stream_id, count(*) AS n FROM events WHERE type = 'BookingRequested' GROUP BY 1"
    )
    assert {row["stream_id"]: row["n"] for row in facts} == dict.fromkeys(answered.values(), 1)
    changes = await pool.fetch("SELECT booking_id, changes FROM bookings")
    assert {row["booking_id"]: row["changes"] for row in changes} == dict.fromkeys(answered.values(), 1)
    assert await pool.fetchval("SELECT count(*) FROM dead_letters") == 0


async def test_a_stopping_service_answers_what_it_has_taken(service: Service, pool: asyncpg.Pool) -> None:
    room = uuid4()
    await service.command("PUT", f"/v1/rooms/{room}", {"seats": 1000})
    bookings = [uuid4() for _ in range(40)]
    asked = [
        asyncio.create_task(service.command("PUT", f"/v1/bookings/{b}", {"room_id": str(room)}))
        for b in bookings
    ]
    await asked[0]
    await service.stop()
    outcomes = await asyncio.gather(*asked, return_exceptions=True)
    kept = {
        booking
        for booking, outcome in zip(bookings, outcomes, strict=True)
        if isinstance(outcome, httpx2.Response) and outcome.status_code == 201
    }
    stored = {
        row["stream_id"] for row in await pool.fetch("SELECT stream_id FROM streams WHERE type = 'booking'")
    }
    assert kept
    # Whoever got no answer finds nothing half-done: the connection was refused, or the command is there whole.
    assert kept <= stored
    assert "stopped" in service.log.read_text()
    await service.start()


async def test_a_process_without_the_role_api_shows_its_health_and_what_only_it_can_count(
    dsns: Dsns, broker: SharedBroker, tmp_path: Path
) -> None:
    service = Service(dsns, broker, tmp_path)
    await service.migrate()
    await service.start("relay", "consume", "work")

    async def connected() -> bool:
        return "upwell_relay_producers_total 1.0" in (await service.http.get("/metrics")).text

    await until(connected)
    told = (await service.http.get("/metrics")).text
    assert "upwell_dead_letters 0.0" in told
    assert 'upwell_projection_lag_seconds{projection="who_sits_where"} 0.0' in told
    assert (await service.command("PUT", f"/v1/rooms/{uuid4()}", {"seats": 2})).status_code == 404
    await service.stop()
    await service.http.aclose()
