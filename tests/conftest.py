"""Servers for every test: one PostgreSQL and one broker of each kind for a whole run, a database for each test."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Coroutine, Iterator
from typing import Any, Protocol, TypeVar

import pytest

from upwell.servers.apache_kafka import ApacheKafka
from upwell.servers.postgres import EmbeddedPostgres
from upwell.servers.tansu import Tansu
from upwell.servers.testing import Databases, SharedBroker

T = TypeVar("T")


class CreateDatabase(Protocol):
    """See the fixture `create_database`."""

    def __call__(self, name: str | None = None, template: str = "template0") -> Awaitable[str]: ...


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine from a session fixture, outside every test's event loop and without touching it.

    In this thread, not one of its own: a server ends with the thread that started it.
    """
    loop = asyncio.new_event_loop()
    try:
        return loop.run_until_complete(work)
    finally:
        loop.close()


@pytest.fixture(scope="session")
def postgres_dsn(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A superuser's DSN: of UPWELL_TEST_POSTGRES if that is set, else of one started for this run."""
    external = os.environ.get("UPWELL_TEST_POSTGRES")
    if external:
        yield external
        return
    server = EmbeddedPostgres(tmp_path_factory.mktemp("postgres"))
    yield run(server.start())
    run(server.stop())


@pytest.fixture(scope="session")
def databases(postgres_dsn: str) -> Databases:
    """Makes databases that outlive a test, for example templates with migrations applied."""
    return Databases(postgres_dsn)


@pytest.fixture
async def create_database(databases: Databases) -> AsyncIterator[CreateDatabase]:
    """`await create_database(name, template)` answers a new database's DSN; dropped after the test."""
    made: list[str] = []

    async def create(name: str | None = None, template: str = "template0") -> str:
        made.append(await databases.create(name, template))
        return made[-1]

    yield create
    for dsn in made:
        await databases.drop(dsn)


@pytest.fixture
async def database(create_database: CreateDatabase) -> str:
    """The DSN of an empty database of the test's own."""
    return await create_database()


def tansu_broker(server: Tansu, bootstrap: str) -> SharedBroker:
    """Tansu with the client settings it needs; why, is in docs/decisions/0002-brokers.md."""
    return SharedBroker(
        kind="tansu",
        bootstrap=bootstrap,
        server=server,
        idempotent=False,
        session_timeout_ms=1_000,
        heartbeat_interval_ms=200,
        fetch_max_wait_ms=20,
    )


@pytest.fixture(scope="session")
def tansu(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SharedBroker]:
    """The embedded broker, one for the run."""
    server = Tansu(log=tmp_path_factory.mktemp("tansu") / "server.log")
    yield tansu_broker(server, run(server.start()))
    run(server.stop())


def kafka_broker(server: ApacheKafka, bootstrap: str) -> SharedBroker:
    """Apache Kafka with settings under which tests need not wait long for a member that died."""
    return SharedBroker(
        kind="apache_kafka",
        bootstrap=bootstrap,
        server=server,
        idempotent=True,
        session_timeout_ms=3_000,
        heartbeat_interval_ms=500,
        fetch_max_wait_ms=500,
    )


@pytest.fixture(scope="session")
def apache_kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SharedBroker]:
    """Apache Kafka, one for the run. A test that uses it bears the marker `kafka`; where it cannot start, that fails."""
    server = ApacheKafka(tmp_path_factory.mktemp("kafka"))
    yield kafka_broker(server, run(server.start()))
    run(server.stop())


@pytest.fixture(params=["tansu", pytest.param("apache_kafka", marks=pytest.mark.kafka)])
def broker(request: pytest.FixtureRequest) -> SharedBroker:
    """Each broker in turn."""
    found = request.getfixturevalue(request.param)
    assert isinstance(found, SharedBroker)
    return found
