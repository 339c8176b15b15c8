"""Migrations: numbered SQL files, each in one transaction, one migrator at a time, never changed once applied."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable

import asyncpg

from upwell_shared.database import Connection
from upwell_shared.errors import UpwellError

# Any number will do, as long as every migrator of this database takes the same.
_LOCK = 8_190_402_731_944_617

_BOOK = """
CREATE TABLE IF NOT EXISTS migrations (
    source     text NOT NULL,
    name       text NOT NULL,
    checksum   text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (source, name)
)
"""

_IMMUTABLE = ("events", "ledger", "migrations", "discards")
_PRIVATE = ("texts", "keys", "contacts")

_GRANTS = """
DO $$
DECLARE
    schema text;
    relation record;
BEGIN
    FOR schema IN
        SELECT nspname FROM pg_namespace
        WHERE nspname !~ '^pg_' AND nspname <> 'information_schema' AND pg_has_role(nspowner, 'USAGE')
    LOOP
        EXECUTE format('GRANT USAGE ON SCHEMA %I TO %I, %I', schema, $APP$, $READER$);
    END LOOP;
    FOR relation IN
        SELECT n.nspname, c.relname, c.relkind FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE c.relkind IN ('r', 'p', 'v') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
          AND pg_has_role(c.relowner, 'USAGE')
    LOOP
        EXECUTE format('GRANT SELECT ON %I.%I TO %I', relation.nspname, relation.relname, $APP$);
        IF relation.relname = ANY ($IMMUTABLE$) THEN
            EXECUTE format('GRANT INSERT ON %I.%I TO %I', relation.nspname, relation.relname, $APP$);
        ELSE
            EXECUTE format('GRANT INSERT, UPDATE, DELETE, TRUNCATE ON %I.%I TO %I',
                           relation.nspname, relation.relname, $APP$);
        END IF;
        IF relation.relname <> ALL ($PRIVATE$) THEN
            EXECUTE format('GRANT SELECT ON %I.%I TO %I', relation.nspname, relation.relname, $READER$);
        END IF;
    END LOOP;
END $$
"""


class MigrationChanged(UpwellError):
    """A migration was changed after it was applied: restore the file and write a new one."""


class MigrationsPending(UpwellError):
    """The database is older than this release: run `migrate` first."""


class DatabaseAhead(UpwellError):
    """The database holds migrations this release does not know: deploy the release that made them."""


@dataclass(frozen=True, slots=True)
class Source:
    """A package's migrations: every `NNNN_name.sql` in `folder`, in the order of their names."""

    name: str
    folder: Traversable

    def scripts(self) -> list[tuple[str, str]]:
        """(file name, SQL), in order."""
        found = (entry for entry in self.folder.iterdir() if entry.name.endswith(".sql"))
        return sorted((entry.name, entry.read_text("utf-8")) for entry in found)


CHASSIS = Source("chassis", files("upwell_shared").joinpath("migrations"))
CHASSIS_KEYS = Source("chassis-keys", files("upwell_shared").joinpath("migrations_keys"))


def _checksum(sql: str) -> str:
    return hashlib.sha256(sql.encode()).hexdigest()


async def _pending(connection: Connection, sources: Sequence[Source]) -> list[tuple[str, str, str]]:
    rows = await connection.fetch("SELECT source, name, checksum FROM migrations")
    applied = {(row["source"], row["name"]): row["checksum"] for row in rows}
    known = [(source.name, name, sql) for source in sources for name, sql in source.scripts()]
    if ahead := sorted(set(applied) - {(source, name) for source, name, _ in known}):
        raise DatabaseAhead(f"the database holds {ahead[0][0]}/{ahead[0][1]}, unknown to this release")
    for source, name, sql in known:
        if applied.get((source, name), _checksum(sql)) != _checksum(sql):
            raise MigrationChanged(f"{source}/{name} was changed after it was applied: restore it")
    return [(source, name, sql) for source, name, sql in known if (source, name) not in applied]


async def migrate(dsn: str, sources: Sequence[Source], *, app_role: str, reader_role: str) -> list[str]:
    """Brings the database up to date as its owner and grants the roles what they may do; names what was applied.

    Safe to call at any time and by several at once: they wait for one another, the later find nothing to do. A script
    that fails leaves its predecessors applied and itself undone. `app_role` may read and write all but change what
    is immutable; `reader_role` may read all but texts, keys and contacts.
    """
    connection = await asyncpg.connect(dsn, server_settings={"application_name": "migrate"})
    try:
        await connection.execute("SELECT pg_advisory_lock($1)", _LOCK)
        await connection.execute(_BOOK)
        pending = await _pending(connection, sources)
        for source, name, sql in pending:
            async with connection.transaction():
                await connection.execute(sql)
                await connection.execute(
                    "INSERT INTO migrations (source, name, checksum) VALUES ($1, $2, $3)",
                    source,
                    name,
                    _checksum(sql),
                )
        await grant(connection, app_role=app_role, reader_role=reader_role)
        return [f"{source}/{name}" for source, name, _ in pending]
    finally:
        await connection.close()


async def alone(connection: Connection) -> None:
    """Waits until nobody else migrates, makes or switches tables, and keeps them waiting until the transaction ends.

    To be called before any other lock is taken.
    """
    await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)


async def grant(connection: Connection, *, app_role: str, reader_role: str) -> None:
    """Gives both roles their rights on every table the caller owns; repeated whenever a table was added.

    The caller is `alone`: of two grants on one table at the same time Postgres fails one.
    """
    statement = _GRANTS
    # DO takes no parameters; the server itself quotes what stands in for them.
    for mark, value in (
        ("$APP$", app_role),
        ("$READER$", reader_role),
        ("$IMMUTABLE$", list(_IMMUTABLE)),
        ("$PRIVATE$", list(_PRIVATE)),
    ):
        literal = await connection.fetchval(
            "SELECT quote_literal($1::text)"
            if isinstance(value, str)
            else "SELECT quote_literal($1::text[]) || '::text[]'",
            value,
        )
        statement = statement.replace(mark, literal)
    await connection.execute(statement)


async def require_current(connection: Connection, sources: Sequence[Source]) -> None:
    """Raises MigrationsPending, DatabaseAhead or MigrationChanged unless the database is exactly this release's."""
    if await connection.fetchval("SELECT to_regclass('migrations') IS NULL"):
        raise MigrationsPending
    if pending := await _pending(connection, sources):
        raise MigrationsPending(f"{pending[0][0]}/{pending[0][1]} is not applied: run `migrate` first")
