"""A service's database as a test needs it: with the roles that operations would make."""

from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit

import asyncpg

_PASSWORD = "throw-away"  # noqa: S105 of databases that live as long as a test
_ROLES = ("owner", "app", "reader")


@dataclass(frozen=True)
class Dsns:
    """One database of one service, by role."""

    superuser: str
    service: str

    @property
    def owner(self) -> str:
        return self._of("owner")

    @property
    def app(self) -> str:
        return self._of("app")

    @property
    def reader(self) -> str:
        return self._of("reader")

    def _of(self, role: str) -> str:
        parts = urlsplit(self.superuser)
        place = f"{self.service}_{role}:{_PASSWORD}@{parts.hostname}:{parts.port}"
        return urlunsplit(parts._replace(netloc=place))


async def create_roles(superuser_dsn: str, service: str) -> None:
    """Owner, app and reader of a service, once a server."""
    connection = await asyncpg.connect(superuser_dsn)
    for role in _ROLES:
        name = f"{service}_{role}"
        if not await connection.fetchval("SELECT count(*) FROM pg_roles WHERE rolname = $1", name):
            await connection.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{_PASSWORD}'")
    await connection.close()


async def hand_over(dsn: str, service: str) -> None:
    """Makes the owner role the owner of the database, which a superuser made or copied."""
    connection = await asyncpg.connect(dsn)
    name = await connection.fetchval("SELECT current_database()")
    await connection.execute(f'ALTER DATABASE "{name}" OWNER TO {service}_owner')
    await connection.execute(f"ALTER SCHEMA public OWNER TO {service}_owner")
    await connection.close()
