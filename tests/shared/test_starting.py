"""What a service refuses to start on: each on a real server that is in that very state."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import asyncpg
import pytest

from tests.shared.conftest import Dsns
from tests.shared.example.app import EVENTS, handler
from tests.shared.example.domain.room import OpenRoom, TakeSeat
from tests.shared.world import NOW, all_events, asked
from upwell.servers.postgres import EmbeddedPostgres, _binaries, _run_as
from upwell.servers.processes import ChildProcess
from upwell_shared.database import create_pool
from upwell_shared.event_store import (
    EventStore,
    LogicalRestore,
    NotPrimary,
    UnsafeDurability,
    UnsupportedPostgres,
)
from upwell_shared.migrating import CHASSIS
from upwell_shared.testing import FixedClock

WITHIN = 60.0


async def start(dsn: str) -> None:
    """As a service does."""
    pool = await create_pool(dsn, application_name="starting", size=1)
    try:
        await EventStore(pool, EVENTS).start([CHASSIS])
    finally:
        await pool.close()


async def administer(dsn: str, *statements: str) -> None:
    connection = await asyncpg.connect(dsn)
    for statement in statements:
        await connection.execute(statement)
    await connection.close()


def database_of(dsn: str, name: str) -> str:
    return urlunsplit(urlsplit(dsn)._replace(path=f"/{name}"))


async def test_a_service_starts_on_a_sound_database(dsns: Dsns) -> None:
    await start(dsns.app)
    pool = await create_pool(dsns.app, application_name="serving")
    await handler(pool, FixedClock(NOW)).send(uuid4(), OpenRoom(seats=1), asked())
    await pool.close()
    await start(dsns.app)


@pytest.mark.parametrize("version", ["169999", "160004", "140000"])
async def test_a_server_older_than_17_is_refused(dsns: Dsns, version: str) -> None:
    """The server is a newer one; what it says of itself comes from a function found before its own."""
    name = urlsplit(dsns.superuser).path[1:]
    await administer(
        dsns.superuser,
        "CREATE SCHEMA older; GRANT USAGE ON SCHEMA older TO PUBLIC",
        f"""
        CREATE FUNCTION older.current_setting(name text) RETURNS text LANGUAGE sql AS $$
            SELECT CASE name WHEN 'server_version_num' THEN '{version}' ELSE pg_catalog.current_setting(name) END
        $$
        """,
        f"ALTER DATABASE {name} SET search_path = older, pg_catalog, public",
    )
    with pytest.raises(UnsupportedPostgres, match=f"17 or newer is required; this one is {version[:2]}"):
        await start(dsns.app)


async def test_a_server_that_does_not_know_a_setting_we_need_is_refused_as_too_old(
    dsns: Dsns, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one before 17 does not know transaction_timeout: it refuses the connection, before any question."""
    settings = {"setting_of_the_future": "1s"}
    monkeypatch.setattr("upwell_shared.database._TIMEOUTS", settings)
    with pytest.raises(UnsupportedPostgres, match="17 or newer is required"):
        await start(dsns.app)


@pytest.mark.parametrize("level", ["off", "database"])
async def test_commits_that_may_be_lost_are_refused(dsns: Dsns, level: str) -> None:
    name = urlsplit(dsns.superuser).path[1:]
    target = f"DATABASE {name}" if level == "database" else f"ROLE example_app IN DATABASE {name}"
    await administer(dsns.superuser, f"ALTER {target} SET synchronous_commit = off")
    with pytest.raises(UnsafeDurability, match="synchronous_commit is off"):
        await start(dsns.app)


# The rest needs a server of its own: a young one, with a database restored from the one all tests share.


@pytest.fixture(scope="module")
def programs() -> Callable[[str], str]:
    """Where a program of PostgreSQL's lies."""
    return lambda name: str(_binaries() / name)


async def run(log: Path, *argv: str, directory: Path | None = None) -> None:
    child = ChildProcess.spawn(
        argv, name=argv[0], log=log, run_as=None if directory is None else _run_as(directory, _binaries())
    )
    await child.succeeded(within=WITHIN)


@pytest.fixture
async def young(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[EmbeddedPostgres, Path]]:
    directory = tmp_path_factory.mktemp("young")
    server = EmbeddedPostgres(directory)
    yield server, directory
    await server.stop()


# Transactions whose fate PostgreSQL keeps in one file: it needs no file for the next ones to begin.
_SEGMENT = 1_048_576

_USE_UP_IDS = """
DO $$ BEGIN
    SET LOCAL synchronous_commit = off;
    FOR n IN 1 .. 6000 LOOP
        PERFORM pg_current_xact_id();
        COMMIT;
    END LOOP;
END $$
"""


async def test_a_young_server_is_refused_with_a_dump_with_fsync_off_and_as_a_replica(
    dsns: Dsns,
    young: tuple[EmbeddedPostgres, Path],
    programs: Callable[[str], str],
    tmp_path: Path,
) -> None:
    """One server, since it takes seconds to make: each state is entered, refused, and left by its remedy."""
    server, directory = young
    log, dump = tmp_path / "log", tmp_path / "dump.sql"

    # An older cluster: it has given away thousands of transaction ids before these facts.
    await administer(dsns.superuser, _USE_UP_IDS)
    pool = await create_pool(dsns.app, application_name="old")
    room_id = uuid4()
    await handler(pool, FixedClock(NOW)).send(room_id, OpenRoom(seats=2), asked())
    [fact] = await all_events(pool)
    assert fact.at.tx > 6_000
    await pool.close()
    await run(log, programs("pg_dump"), "--no-owner", "--no-privileges", f"--file={dump}", dsns.superuser)

    # Restored into a younger one.
    dsn = await server.start()
    await administer(dsn, "CREATE DATABASE restored")
    restored = database_of(dsn, "restored")
    await run(log, programs("psql"), "--quiet", "--set=ON_ERROR_STOP=1", f"--file={dump}", restored)
    with pytest.raises(LogicalRestore, match="pg_resetwal --next-transaction-id") as refused:
        await start(restored)
    assert "Restore a physical backup instead" in str(refused.value)

    # What the message says helps, and new facts come after the old ones.
    await server.stop()
    await run(
        log,
        programs("pg_resetwal"),
        f"--next-transaction-id={(fact.at.tx // _SEGMENT + 1) * _SEGMENT}",
        f"--pgdata={directory / 'cluster'}",
        directory=directory,
    )
    await server.start()
    await start(restored)
    pool = await create_pool(restored, application_name="young")
    await handler(pool, FixedClock(NOW)).send(room_id, TakeSeat(booking_id=uuid4()), asked())
    assert [recorded.version for recorded in await all_events(pool)] == [1, 2]
    await pool.close()

    # fsync off.
    await administer(dsn, "ALTER SYSTEM SET fsync = off")
    await server.stop()
    await server.start()
    with pytest.raises(UnsafeDurability, match="fsync is off"):
        await start(restored)
    await administer(dsn, "ALTER SYSTEM RESET fsync")
    await server.stop()

    # In recovery, as every replica is.
    (directory / "cluster" / "standby.signal").touch()
    await server.start()
    with pytest.raises(NotPrimary, match="connect to the primary"):
        await start(restored)
