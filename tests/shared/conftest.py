"""Databases with the chassis in them: migrated once, copied for each test."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from tests.conftest import CreateDatabase, run
from tests.shared.example.app import PROJECTIONS
from upwell.servers.testing import Databases
from upwell_shared.database import create_pool
from upwell_shared.migrating import CHASSIS, migrate
from upwell_shared.projecting import ensure

OWNER, APP, READER = "example_owner", "example_app", "example_reader"
PASSWORD = "example"


def signed_in(dsn: str, role: str) -> str:
    parts = urlsplit(dsn)
    return urlunsplit(parts._replace(netloc=f"{role}:{PASSWORD}@{parts.hostname}:{parts.port}"))


@dataclass(frozen=True)
class Dsns:
    """One database, by role."""

    superuser: str

    @property
    def owner(self) -> str:
        return signed_in(self.superuser, OWNER)

    @property
    def app(self) -> str:
        return signed_in(self.superuser, APP)

    @property
    def reader(self) -> str:
        return signed_in(self.superuser, READER)


async def create_roles(superuser_dsn: str) -> None:
    connection = await asyncpg.connect(superuser_dsn)
    for role in (OWNER, APP, READER):
        if not await connection.fetchval("SELECT count(*) FROM pg_roles WHERE rolname = $1", role):
            await connection.execute(f"CREATE ROLE {role} LOGIN PASSWORD '{PASSWORD}'")
    await connection.close()


async def hand_over(dsn: str) -> None:
    """Makes the owner role the owner of the database, as operations would."""
    connection = await asyncpg.connect(dsn)
    name = await connection.fetchval("SELECT current_database()")
    await connection.execute(f'ALTER DATABASE "{name}" OWNER TO {OWNER}')
    await connection.execute(f"ALTER SCHEMA public OWNER TO {OWNER}")
    await connection.close()


@pytest.fixture(scope="session")
def migrated_template(postgres_dsn: str, databases: Databases) -> Iterator[str]:
    """The name of a database with the chassis and the example's projections, to copy."""

    async def prepare() -> str:
        await create_roles(postgres_dsn)
        dsn = await databases.create()
        await hand_over(dsn)
        owner = Dsns(dsn).owner
        await migrate(owner, [CHASSIS], app_role=APP, reader_role=READER)
        pool = await create_pool(owner, application_name="template", size=2)
        await ensure(pool, PROJECTIONS, app_role=APP, reader_role=READER)
        await pool.close()
        return dsn

    dsn = run(prepare())
    yield urlsplit(dsn).path.removeprefix("/")
    run(databases.drop(dsn))


@pytest.fixture
async def dsns(create_database: CreateDatabase, migrated_template: str) -> Dsns:
    """A migrated database of the test's own."""
    dsn = await create_database(template=migrated_template)
    # A copy's owner is who made the copy; rights inside it are copied.
    connection = await asyncpg.connect(dsn)
    await connection.execute(f'ALTER DATABASE "{urlsplit(dsn).path[1:]}" OWNER TO {OWNER}')
    await connection.close()
    return Dsns(dsn)


@pytest.fixture
async def pool(dsns: Dsns) -> AsyncIterator[asyncpg.Pool]:
    """A pool of the app role on that database."""
    pool = await create_pool(dsns.app, application_name="test")
    yield pool
    await pool.close()


@pytest.fixture
async def owner_pool(dsns: Dsns) -> AsyncIterator[asyncpg.Pool]:
    """A pool of the owner role on that database."""
    pool = await create_pool(dsns.owner, application_name="test-owner", size=3)
    yield pool
    await pool.close()
