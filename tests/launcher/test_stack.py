"""The stack as the demo and the end-to-end tests drive it: in their own process, on real servers."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import httpx2
import pytest

from tests.conftest import CreateDatabase
from tests.launcher.world import environment
from upwell.control import ask
from upwell.folder import AlreadyRunning, DataFolder
from upwell.servers import ServerUnavailable
from upwell.servers.postgres import EmbeddedPostgres
from upwell.servers.testing import SharedBroker
from upwell.services import SERVICES, UnknownPart
from upwell.stack import NeverSettled, Progress, Stack, WallClockOnly
from upwell_directory.app import SERVICE
from upwell_shared.clock import BackwardClock, UnreadableDuration
from upwell_shared.testing.databases import Dsns, create_roles, hand_over
from upwell_shared.web.policies import UserRole

pytestmark = pytest.mark.timeout(300)

DIRECTORY = [service for service in SERVICES if service.name == "directory"]
TWO = [service for service in SERVICES if service.name in {"directory", "matching"}]


class World:
    """A directory in a stack, and an HR team."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack

    async def open(self, root: UUID) -> httpx2.Response:
        token = self.stack.token(uuid4(), [UserRole.HR_ADMIN], [root])
        headers = {"Authorization": f"Bearer {token}", "Idempotency-Key": str(uuid4())}
        async with httpx2.AsyncClient(base_url=self.stack.url("directory"), timeout=30) as client:
            body = {"name": f"Organisation {root}"}
            return await client.put(f"/v1/organisations/{root}", json=body, headers=headers)

    async def opened(self, count: int) -> None:
        for _ in range(count):
            assert (await self.open(uuid4())).status_code == 201


@pytest.fixture
async def stack(tmp_path: Path) -> AsyncIterator[Stack]:
    async with Stack(tmp_path / "data", services=TWO, environment=environment()) as stack:
        yield stack


async def test_what_is_appended_settles_and_a_lost_log_is_filled_again(stack: Stack) -> None:
    world = World(stack)
    await world.opened(3)
    figures = await stack.settled()
    assert figures.services["directory"].events == 3
    assert figures.services["directory"].told == {"upwell.directory.v1": 3}
    assert figures.services["matching"].lag == {"directory": 0}

    await stack.part("broker").stop()
    await world.opened(2)  # no broker is needed for that
    with pytest.raises(NeverSettled, match=r"directory.*'untold': 2.*matching.*'directory': 2"):
        await stack.settled(within=0.5)
    await stack.part("broker").start()
    assert (await stack.settled()).services["directory"].told == {"upwell.directory.v1": 5}


async def test_what_is_killed_comes_back_where_it_was(stack: Stack) -> None:
    world = World(stack)
    await world.opened(1)
    for part in ("directory", "broker", "postgres"):
        keeper = stack.part(part)
        pid, port = keeper.pid, stack.port(part)
        await stack.kill(part)
        while keeper.restarts == 0:
            await keeper.running()
        assert keeper.pid != pid
        assert stack.port(part) == port
    answer = await world.open(uuid4())
    while answer.status_code == 503:  # its connections were cut, and it says so
        answer = await world.open(uuid4())
    assert answer.status_code == 201
    settled = await stack.settled()
    assert settled.services["directory"].letters == settled.services["matching"].letters == 0


async def test_a_folder_has_one_stack_at_a_time_and_keeps_all_in_between(tmp_path: Path) -> None:
    steps: list[Progress] = []
    folder, settings = tmp_path / "data", environment()
    async with Stack(folder, services=DIRECTORY, environment=settings, progress=steps.append) as first:
        await World(first).opened(2)
        with pytest.raises(AlreadyRunning):
            await Stack(folder, services=DIRECTORY, environment=settings).start()
        assert first.folder.read_state()["services"]["directory"]["port"] == first.port("directory")
        first.advance("1d")
        token = first.token(uuid4())
    assert [step.what for step in steps] == ["broker", "postgres", "migrations", "directory"] or [
        step.what for step in steps
    ] == ["postgres", "broker", "migrations", "directory"]
    steps.clear()
    async with Stack(folder, services=DIRECTORY, environment=settings, progress=steps.append) as second:
        assert "migrations" not in {step.what for step in steps}
        assert (await second.settled()).services["directory"].told == {"upwell.directory.v1": 2}
        assert second.lead == timedelta(days=1)
        # The issuer is the same one.
        async with httpx2.AsyncClient(base_url=second.url("directory")) as client:
            asked = await client.get("/v1/people", headers={"Authorization": f"Bearer {token}"})
        assert asked.status_code not in {401, 404}


async def test_databases_of_a_newer_release_are_left_alone(tmp_path: Path) -> None:
    folder, settings = tmp_path / "data", environment()
    server = EmbeddedPostgres(folder / "postgres")
    async with Stack(folder, services=DIRECTORY, environment=settings):
        pass
    superuser = await server.start()
    try:
        connection = await asyncpg.connect(superuser.rpartition("/")[0] + "/directory")
        await connection.execute("INSERT INTO migrations VALUES ('directory', '0099_later.sql', 'x')")
        await connection.close()
    finally:
        await server.stop()
    with pytest.raises(ServerUnavailable, match=r"directory.*0099_later\.sql, unknown to this release"):
        await Stack(folder, services=DIRECTORY, environment=settings).start()


async def test_a_folder_with_a_long_name_and_a_long_log(tmp_path: Path) -> None:
    """Addresses of sockets may have a hundred bytes."""
    folder = DataFolder(tmp_path / ("deep" * 40) / "data")
    folder.logs.mkdir(parents=True)
    with folder.log_of("directory").open("wb") as log:
        log.truncate(17 * 1024 * 1024)
    async with Stack(folder.path, services=DIRECTORY, environment=environment()) as stack:
        told = await asyncio.to_thread(ask, folder, do="restart", part="directory")
        assert (told["state"], told["ready"], told["pid"]) == ("running", True, stack.part("directory").pid)
    assert folder.log_of("directory").with_name("directory.log.1").stat().st_size >= 17 * 1024 * 1024
    assert folder.log_of("directory").stat().st_size < 1024 * 1024


async def test_the_clock_of_a_stack(stack: Stack, tmp_path: Path) -> None:
    before = stack.clock.now()
    assert stack.advance("7d") >= before + timedelta(days=7)
    assert stack.advance(timedelta(hours=1)) >= before + timedelta(days=7, hours=1)
    with pytest.raises(UnreadableDuration):
        stack.advance("a week")
    with pytest.raises(BackwardClock):
        stack.advance(timedelta(seconds=-1))
    with pytest.raises(WallClockOnly):
        Stack(tmp_path / "other", simulated_clock=False, environment=environment()).advance("7d")


async def test_each_role_sees_its_own_database_and_readers_no_names(stack: Stack) -> None:
    databases = stack.databases("directory")
    reader = await asyncpg.connect(databases.reader_url)
    try:
        assert await reader.fetchval("SELECT count(*) FROM events") == 0
        for statement in ("SELECT 1 FROM contacts", "DELETE FROM todos"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await reader.execute(statement)
    finally:
        await reader.close()
    foreign = f"{databases.url.rpartition('/')[0]}/matching"
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await asyncpg.connect(foreign)


async def test_parts_that_are_not_there(stack: Stack) -> None:
    for look_up in (stack.part, stack.url, stack.databases):
        with pytest.raises(UnknownPart):
            look_up("marketing")
    assert [keeper.name for keeper in stack.parts][-2:] == ["directory", "matching"] or [
        keeper.name for keeper in stack.parts
    ][-2:] == ["matching", "directory"]


@pytest.fixture
async def elsewhere(
    create_database: CreateDatabase, postgres_dsn: str, tansu: SharedBroker
) -> dict[str, Any]:
    """A database and a broker that somebody else runs, as a caller's environment names them."""
    await create_roles(postgres_dsn, "directory")
    dsn = await create_database()
    await hand_over(dsn, "directory")
    dsns = Dsns(dsn, "directory")
    return {
        "owner": dsns.owner,
        "environment": environment(
            UPWELL_DIRECTORY_DATABASE_URL=dsns.app, UPWELL_KAFKA_BOOTSTRAP=tansu.bootstrap
        ),
        "bootstrap": tansu.bootstrap,
    }


async def test_parts_that_run_elsewhere_are_used_and_not_started(
    elsewhere: dict[str, Any], tmp_path: Path
) -> None:
    folder = tmp_path / "data"
    with pytest.raises(ServerUnavailable, match="run `migrate` first"):
        await Stack(folder, services=DIRECTORY, environment=elsewhere["environment"]).start()
    await SERVICE.migrate(elsewhere["owner"])
    async with Stack(folder, services=DIRECTORY, environment=elsewhere["environment"]) as stack:
        assert [keeper.name for keeper in stack.parts] == ["directory"]
        assert stack.kafka_bootstrap == elsewhere["bootstrap"]
        await World(stack).opened(1)
        await stack.settled()
        with pytest.raises(UnknownPart, match="there are directory"):
            stack.part("postgres")
    assert not (folder / "postgres").exists()


@pytest.mark.kafka
async def test_apache_kafka_in_its_place(tmp_path: Path) -> None:
    folder, settings = tmp_path / "data", environment()
    async with Stack(folder, kafka="apache", services=TWO, environment=settings) as stack:
        await World(stack).opened(2)
        await stack.settled()
        await stack.kill("broker")
        await World(stack).opened(1)
        assert (await stack.settled()).services["directory"].events == 3
    async with Stack(folder, kafka="apache", services=TWO, environment=settings) as stack:
        assert (await stack.settled()).services["matching"].lag == {"directory": 0}
