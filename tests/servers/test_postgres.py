"""Embedded PostgreSQL: its data survive every way it can end."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import psutil
import pytest

from upwell.servers import ServerUnavailable
from upwell.servers.postgres import EmbeddedPostgres
from upwell.servers.processes import eventually
from upwell.servers.testing import Databases


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[EmbeddedPostgres]:
    server = EmbeddedPostgres(tmp_path / "postgres")
    yield server
    await server.stop()


async def execute(dsn: str, *statements: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


async def value(dsn: str, query: str) -> object:
    connection = await asyncpg.connect(dsn)
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()


async def test_it_is_postgresql_18_or_newer_with_durable_commits(postgres_dsn: str) -> None:
    assert int(str(await value(postgres_dsn, "SHOW server_version_num"))) >= 180_000
    assert await value(postgres_dsn, "SHOW fsync") == "on"
    assert await value(postgres_dsn, "SHOW synchronous_commit") == "on"
    assert await value(postgres_dsn, "SHOW full_page_writes") == "on"


async def test_it_listens_on_the_loopback_only_and_asks_for_the_password(server: EmbeddedPostgres) -> None:
    dsn = await server.start()
    assert await value(dsn, "SHOW listen_addresses") == "127.0.0.1"
    without = dsn.split("//postgres:")[1].split("@")[1]
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(f"postgresql://postgres:wrong@{without}")


async def test_a_restart_keeps_data_and_address(server: EmbeddedPostgres) -> None:
    dsn = await server.start()
    await execute(dsn, "CREATE TABLE kept (n int)", "INSERT INTO kept VALUES (1)")
    await server.stop()
    assert server.pid is None
    assert await server.start() == dsn
    assert await value(dsn, "SELECT n FROM kept") == 1


async def test_a_second_start_of_a_running_server_changes_nothing(server: EmbeddedPostgres) -> None:
    dsn = await server.start()
    pid = server.pid
    assert await server.start() == dsn
    assert server.pid == pid


async def test_a_killed_postmaster_is_succeeded_by_one_with_every_commit(server: EmbeddedPostgres) -> None:
    dsn = await server.start()
    await execute(dsn, "CREATE TABLE kept (n int)", "INSERT INTO kept VALUES (1)")
    # A backend inside a statement does not notice the postmaster's death, and keeps its successor out.
    busy = await asyncpg.connect(dsn)
    backend = psutil.Process(busy.get_server_pid())
    statement = asyncio.create_task(busy.execute("SELECT sum(n) FROM generate_series(1, 1e12) AS n"))
    assert await eventually(lambda: backend.cpu_times().user > 0.02, within=10)
    assert server.pid is not None
    os.kill(server.pid, signal.SIGKILL)
    assert await eventually(lambda: server.pid is None, within=10)
    assert await server.start() == dsn
    assert await value(dsn, "SELECT n FROM kept") == 1
    assert await eventually(
        lambda: not backend.is_running() or backend.status() == psutil.STATUS_ZOMBIE, within=10
    )
    with pytest.raises((asyncpg.PostgresError, ConnectionError)):
        await statement
    busy.terminate()


async def test_two_launchers_cannot_share_a_directory(server: EmbeddedPostgres, tmp_path: Path) -> None:
    await server.start()
    with pytest.raises(ServerUnavailable, match=f"in use by process {os.getpid()}"):
        await EmbeddedPostgres(tmp_path / "postgres").start()


async def test_it_ends_with_a_launcher_that_is_killed(server: EmbeddedPostgres, tmp_path: Path) -> None:
    launcher = textwrap.dedent("""
        import asyncio, sys
        from pathlib import Path
        from upwell.servers.postgres import EmbeddedPostgres

        async def main():
            server = EmbeddedPostgres(Path(sys.argv[1]))
            await server.start()
            print(server.pid, flush=True)
            await asyncio.Event().wait()

        asyncio.run(main())
    """)
    command = [sys.executable, "-c", launcher, str(tmp_path / "postgres")]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as launched:  # noqa: ASYNC220 - one line is read
        assert launched.stdout is not None
        postmaster = psutil.Process(int(launched.stdout.readline()))
        assert postmaster.is_running()
        launched.send_signal(signal.SIGKILL)
    assert await value(await server.start(), "SELECT 1") == 1
    assert server.pid != postmaster.pid


async def test_a_database_is_a_copy_of_its_template(postgres_dsn: str) -> None:
    databases = Databases(postgres_dsn)
    template = await databases.create()
    await execute(template, "CREATE TABLE here (n int)")
    copy = await databases.create(template=template.rpartition("/")[2])
    assert await value(copy, "SELECT count(*) FROM here") == 0
    await databases.drop(copy)
    await databases.drop(template)
    with pytest.raises(asyncpg.InvalidCatalogNameError):
        await asyncpg.connect(copy)
