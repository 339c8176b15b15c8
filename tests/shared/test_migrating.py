"""Migrations on real PostgreSQL: applied once, in order, never changed, and what each role may do after them."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest

from tests.conftest import CreateDatabase
from tests.shared.conftest import APP, READER, Dsns, create_roles, hand_over
from tests.shared.example.app import EVENTS
from upwell_shared.database import create_pool
from upwell_shared.event_store import EventStore
from upwell_shared.migrating import (
    CHASSIS,
    DatabaseAhead,
    MigrationChanged,
    MigrationsPending,
    Source,
    migrate,
    require_current,
)

Scripts = Callable[..., Source]


@pytest.fixture
async def empty(create_database: CreateDatabase) -> Dsns:
    """A database of the owner's in which nothing is yet."""
    dsn = await create_database()
    await create_roles(dsn)
    await hand_over(dsn)
    return Dsns(dsn)


@pytest.fixture
def scripts(tmp_path: Path) -> Scripts:
    """Writes migrations, `_0001="CREATE TABLE ..."`, over those that are there, and gives them as a source."""

    def write(**files: str) -> Source:
        for name, sql in files.items():
            (tmp_path / f"{name.removeprefix('_')}.sql").write_text(sql)
        return Source("service", tmp_path)

    return write


async def applied(dsns: Dsns, *sources: Source) -> list[str]:
    return await migrate(dsns.owner, sources, app_role=APP, reader_role=READER)


async def tables(dsns: Dsns) -> set[str]:
    connection = await asyncpg.connect(dsns.owner)
    rows = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    await connection.close()
    return {name for (name,) in rows} - {"migrations"}


async def test_migrations_are_applied_in_the_order_of_their_names_and_once(
    empty: Dsns, scripts: Scripts
) -> None:
    source = scripts(_0002_b="ALTER TABLE a RENAME TO b", _0001_a="CREATE TABLE a ()")
    assert await applied(empty, source) == ["service/0001_a.sql", "service/0002_b.sql"]
    assert await applied(empty, source) == []
    assert await tables(empty) == {"b"}


async def test_sources_are_applied_one_after_the_other(empty: Dsns, scripts: Scripts) -> None:
    done = await applied(empty, CHASSIS, scripts(_0001_a="CREATE TABLE a AS SELECT * FROM streams"))
    assert done[0] == "chassis/0001_event_store.sql"
    assert done[-1] == "service/0001_a.sql"


async def test_only_files_of_sql_are_migrations(empty: Dsns, scripts: Scripts, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("not SQL")
    assert await applied(empty, scripts(_0001_a="CREATE TABLE a ()")) == ["service/0001_a.sql"]


async def test_several_migrators_at_once_apply_each_migration_once(empty: Dsns) -> None:
    done = await asyncio.gather(*(applied(empty, CHASSIS) for _ in range(4)))
    assert sorted(map(len, done)) == [0, 0, 0, len(CHASSIS.scripts())]


async def test_a_script_that_fails_is_undone_and_leaves_its_predecessors(
    empty: Dsns, scripts: Scripts
) -> None:
    source = scripts(
        _0001_a="CREATE TABLE a ()", _0002_b="CREATE TABLE b (); SELECT 1 / 0", _0003_c="CREATE TABLE c ()"
    )
    with pytest.raises(asyncpg.DivisionByZeroError):
        await applied(empty, source)
    assert await tables(empty) == {"a"}
    scripts(_0002_b="CREATE TABLE b ()")
    assert await applied(empty, source) == ["service/0002_b.sql", "service/0003_c.sql"]
    assert await tables(empty) == {"a", "b", "c"}


async def test_a_migration_changed_after_it_was_applied_is_refused_and_nothing_else_applied(
    empty: Dsns, scripts: Scripts
) -> None:
    await applied(empty, scripts(_0001_a="CREATE TABLE a ()"))
    changed = scripts(_0001_a="CREATE TABLE a (id int)", _0002_b="CREATE TABLE b ()")
    with pytest.raises(MigrationChanged, match=r"service/0001_a.sql was changed after it was applied"):
        await applied(empty, changed)
    assert await tables(empty) == {"a"}


async def test_a_database_ahead_of_this_release_is_refused_and_left_alone(
    empty: Dsns, scripts: Scripts, tmp_path: Path
) -> None:
    await applied(empty, scripts(_0001_a="CREATE TABLE a ()", _0002_b="CREATE TABLE b ()"))
    (tmp_path / "0002_b.sql").unlink()
    with pytest.raises(DatabaseAhead, match=r"service/0002_b.sql, unknown to this release"):
        await applied(empty, scripts(_0003_c="CREATE TABLE c ()"))
    assert await tables(empty) == {"a", "b"}


async def test_a_service_starts_on_exactly_its_own_migrations(
    empty: Dsns, scripts: Scripts, tmp_path: Path
) -> None:
    source = scripts(_0001_a="CREATE TABLE a ()")
    pool = await create_pool(empty.app, application_name="starting", size=1)
    store = EventStore(pool, EVENTS)
    with pytest.raises(MigrationsPending, match="run `migrate` first"):
        await store.start([CHASSIS, source])
    await applied(empty, CHASSIS, source)
    await store.start([CHASSIS, source])
    scripts(_0002_b="CREATE TABLE b ()")
    with pytest.raises(MigrationsPending, match=r"service/0002_b.sql is not applied"):
        await store.start([CHASSIS, source])
    (tmp_path / "0001_a.sql").unlink()
    with pytest.raises(DatabaseAhead):
        await store.start([CHASSIS, source])
    await pool.close()


async def test_the_migrations_of_this_release_are_known_to_a_service_that_may_only_read_them(
    dsns: Dsns,
) -> None:
    connection = await asyncpg.connect(dsns.app)
    await require_current(connection, [CHASSIS])
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await connection.execute("DELETE FROM migrations")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await connection.execute("CREATE TABLE mine ()")
    await connection.close()


IMMUTABLE = {"events", "ledger", "migrations", "discards"}
PRIVATE = {"texts", "keys"}


async def test_each_role_may_do_what_it_is_meant_to(empty: Dsns, scripts: Scripts) -> None:
    """Every table there is, private ones among them, by what the database itself says of each right."""
    private = scripts(
        _0001_private="CREATE TABLE IF NOT EXISTS texts (); CREATE TABLE IF NOT EXISTS keys ();"
    )
    await applied(empty, CHASSIS, private)
    connection = await asyncpg.connect(empty.owner)
    for table in await tables(empty) | {"migrations"}:
        rights = {
            role: {
                right
                for right in ("SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE")
                if await connection.fetchval("SELECT has_table_privilege($1, $2, $3)", role, table, right)
            }
            for role in (APP, READER)
        }
        may_change = set() if table in IMMUTABLE else {"UPDATE", "DELETE", "TRUNCATE"}
        assert rights[APP] == {"SELECT", "INSERT"} | may_change, table
        assert rights[READER] == (set() if table in PRIVATE else {"SELECT"}), table
    await connection.close()


async def test_a_table_added_later_is_granted_too(empty: Dsns, scripts: Scripts) -> None:
    await applied(empty, scripts(_0001_a="CREATE TABLE a (id uuid)"))
    await applied(empty, scripts(_0002_b="CREATE TABLE b (id uuid)"))
    for dsn, statement in (
        (empty.app, "INSERT INTO b VALUES ($1)"),
        (empty.reader, "SELECT FROM b WHERE id = $1"),
    ):
        connection = await asyncpg.connect(dsn)
        await connection.execute(statement, uuid4())
        await connection.close()


async def test_what_belongs_to_somebody_else_is_no_concern_of_a_migration(
    empty: Dsns, scripts: Scripts
) -> None:
    """Extensions and administrators keep tables and schemas of their own in many a database."""
    administrator = await asyncpg.connect(empty.superuser)
    await administrator.execute("CREATE SCHEMA monitoring; CREATE TABLE monitoring.samples (at timestamptz)")
    await administrator.close()
    assert await applied(empty, scripts(_0001_a="CREATE TABLE a ()")) == ["service/0001_a.sql"]
    reader = await asyncpg.connect(empty.reader)
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await reader.fetch("SELECT * FROM monitoring.samples")
    await reader.close()
