"""What tests need of servers: databases of their own, brokers they can share."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from typing import Protocol
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from upwell.servers import Server


class FaultyServer(Server, Protocol):
    """A server that can also be ended the hard way."""

    async def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        ...


class Databases:
    """Makes and drops databases on one server, by its superuser's DSN."""

    def __init__(self, superuser_dsn: str) -> None:
        """Nothing is connected yet; every call connects for itself, so any event loop may make it."""
        self._dsn = superuser_dsn

    async def create(self, name: str | None = None, template: str = "template0") -> str:
        """A new database's DSN: a copy of `template`, to which nobody may be connected meanwhile.

        Without a name it gets one that no other database has.
        """
        name = name or f"test_{uuid.uuid4().hex[:16]}"
        # FILE_COPY is twice as slow for a small template: it takes two checkpoints.
        await self._run(f"CREATE DATABASE {_quoted(name)} TEMPLATE {_quoted(template)} STRATEGY wal_log")
        return urlunsplit(urlsplit(self._dsn)._replace(path=f"/{name}"))

    async def drop(self, dsn: str) -> None:
        """Drop the database of this DSN, its connections cut; nothing happens when it is not there."""
        name = urlsplit(dsn).path.removeprefix("/")
        await self._run(f"DROP DATABASE IF EXISTS {_quoted(name)} WITH (FORCE)")

    async def _run(self, statement: str) -> None:
        connection = await asyncpg.connect(self._dsn)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()


@dataclass(frozen=True)
class SharedBroker:
    """A running broker that many tests use at once, each under names of its own."""

    kind: str
    bootstrap: str
    server: FaultyServer
    """For tests that own their broker: a restart or a kill disturbs everybody else on a shared one."""
    idempotent: bool
    """Whether aiokafka's idempotent producer works with it."""
    session_timeout_ms: int
    heartbeat_interval_ms: int
    fetch_max_wait_ms: int
    _prefix: str = field(default_factory=lambda: uuid.uuid4().hex[:8])

    def name(self, suffix: str) -> str:
        """A topic or group name that no other test of this run or an earlier one has."""
        return f"{self._prefix}.{uuid.uuid4().hex[:8]}.{suffix}"


def _quoted(identifier: str) -> str:
    return '"' + identifier.replace('"', '""') + '"'
