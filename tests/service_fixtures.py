"""The databases of a service's suite: migrated once, copied for each test.

In the suite's conftest.py:

    migrated_template, dsns, pool, owner_pool = service_fixtures(SERVICE)

and, of a service that keeps texts, the database of their keys:

    keys_template, keys_dsns, keys_pool = keys_fixtures(SERVICE)
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest

from tests.conftest import CreateDatabase, run
from upwell.servers.testing import Databases
from upwell_shared.database import create_pool
from upwell_shared.service import Service
from upwell_shared.testing.databases import Dsns, create_roles, hand_over


def service_fixtures(service: Service[Any]) -> tuple[Any, Any, Any, Any]:
    """The fixtures `migrated_template`, `dsns`, `pool` (of the app role) and `owner_pool`, in this order."""

    @pytest.fixture(scope="session")
    def migrated_template(postgres_dsn: str, databases: Databases) -> Iterator[str]:
        """The name of a database with the service's tables in it, to copy."""
        yield from _template(postgres_dsn, databases, service, service.migrate)

    @pytest.fixture
    async def dsns(create_database: CreateDatabase, migrated_template: str) -> Dsns:
        """A migrated database of the test's own."""
        dsn = await create_database(template=migrated_template)
        await hand_over(dsn, service.name)
        return Dsns(dsn, service.name)

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

    return migrated_template, dsns, pool, owner_pool


def keys_fixtures(service: Service[Any]) -> tuple[Any, Any, Any]:
    """The fixtures `keys_template`, `keys_dsns` and `keys_pool` (of the app role), in this order."""

    @pytest.fixture(scope="session")
    def keys_template(postgres_dsn: str, databases: Databases) -> Iterator[str]:
        """The name of a database for keys, to copy."""
        yield from _template(postgres_dsn, databases, service, service.migrate_keys)

    @pytest.fixture
    async def keys_dsns(create_database: CreateDatabase, keys_template: str) -> Dsns:
        """A database for keys of the test's own."""
        dsn = await create_database(template=keys_template)
        await hand_over(dsn, service.name)
        return Dsns(dsn, service.name)

    @pytest.fixture
    async def keys_pool(keys_dsns: Dsns) -> AsyncIterator[asyncpg.Pool]:
        """A pool of the app role on that database."""
        pool = await create_pool(keys_dsns.app, application_name="test-keys", size=2)
        yield pool
        await pool.close()

    return keys_template, keys_dsns, keys_pool


def _template(
    postgres_dsn: str,
    databases: Databases,
    service: Service[Any],
    migrate: Callable[[str], Awaitable[None]],
) -> Iterator[str]:
    """The name of a database that `migrate` has prepared as its owner; dropped at the end."""

    async def prepare() -> str:
        await create_roles(postgres_dsn, service.name)
        dsn = await databases.create()
        await hand_over(dsn, service.name)
        await migrate(Dsns(dsn, service.name).owner)
        return dsn

    dsn = run(prepare())
    yield urlsplit(dsn).path.removeprefix("/")
    run(databases.drop(dsn))
