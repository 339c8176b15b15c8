"""The databases of the services on the embedded PostgreSQL: their roles, and whether they need a migration."""

import hashlib
import hmac
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final, Literal
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from upwell.services import ServiceSpec
from upwell_shared.errors import UpwellError

DatabaseRole = Literal["owner", "app", "reader"]

_ROLES: Final[tuple[DatabaseRole, ...]] = ("owner", "app", "reader")
_CODE: Final = (".py", ".sql")

_MIGRATED = "SELECT datname, shobj_description(oid, 'pg_database') AS note FROM pg_database"


class ServiceMissing(UpwellError):
    """A service is not installed."""


@dataclass(frozen=True, slots=True)
class ServiceDatabases:
    """Where one service's databases are."""

    url: str
    keys_url: str | None
    reader_url: str
    """For questions that change nothing; without a reader role that is `url`."""


class Cluster:
    """The embedded PostgreSQL, as its superuser sees it.

    Passwords of roles follow from the superuser's, which lies beside the cluster: there is no second place that could
    be lost or come to differ.
    """

    def __init__(self, superuser_dsn: str) -> None:
        self._dsn = urlsplit(superuser_dsn)
        self.port = self._dsn.port

    def url(self, spec: ServiceSpec, role: DatabaseRole, *, keys: bool = False) -> str:
        """The address of a service's database, or of its keys', for one of its roles."""
        user = f"{spec.name}_{role}"
        place = f"{user}:{self._password(user)}@{self._dsn.hostname}:{self._dsn.port}"
        return urlunsplit(self._dsn._replace(netloc=place, path=f"/{_name(spec, keys=keys)}"))

    def databases(self, spec: ServiceSpec) -> ServiceDatabases:
        """As the service is told of them."""
        keys = self.url(spec, "app", keys=True) if spec.keeps_texts else None
        return ServiceDatabases(self.url(spec, "app"), keys, self.url(spec, "reader"))

    async def outdated(self, specs: Iterable[ServiceSpec]) -> list[ServiceSpec]:
        """Those whose code is another than the one whose migrations were applied last."""
        connection = await asyncpg.connect(self._dsn.geturl())
        try:
            notes = {row["datname"]: row["note"] for row in await connection.fetch(_MIGRATED)}
        finally:
            await connection.close()
        return [spec for spec in specs if notes.get(spec.name) != fingerprint(spec)]

    async def make(self, spec: ServiceSpec) -> None:
        """Roles and databases, as far as they are missing. May be cut off anywhere and called again."""
        connection = await asyncpg.connect(self._dsn.geturl())
        try:
            for role in _ROLES:
                user = f"{spec.name}_{role}"
                if not await connection.fetchval("SELECT count(*) FROM pg_roles WHERE rolname = $1", user):
                    await connection.execute(f"CREATE ROLE {user} LOGIN PASSWORD '{self._password(user)}'")
            for name in [_name(spec, keys=False), *([_name(spec, keys=True)] if spec.keeps_texts else [])]:
                if not await connection.fetchval("SELECT count(*) FROM pg_database WHERE datname = $1", name):
                    # FILE_COPY, the other strategy, takes two checkpoints.
                    await connection.execute(
                        f"CREATE DATABASE {name} OWNER {spec.name}_owner TEMPLATE template0 STRATEGY wal_log"
                    )
                await connection.execute(f"REVOKE CONNECT ON DATABASE {name} FROM PUBLIC")
                await connection.execute(
                    f"GRANT CONNECT ON DATABASE {name} TO {spec.name}_app, {spec.name}_reader"
                )
        finally:
            await connection.close()

    async def note_migrated(self, spec: ServiceSpec) -> None:
        """Called once the migrations are applied: until its code changes there are none to apply."""
        connection = await asyncpg.connect(self._dsn.geturl())
        try:
            await connection.execute(f"COMMENT ON DATABASE {spec.name} IS '{fingerprint(spec)}'")
        finally:
            await connection.close()

    def _password(self, user: str) -> str:
        return hmac.new((self._dsn.password or "").encode(), user.encode(), hashlib.sha256).hexdigest()


def _name(spec: ServiceSpec, *, keys: bool) -> str:
    return f"{spec.name}_keys" if keys else spec.name


def fingerprint(spec: ServiceSpec) -> str:
    """Digest of the code a service's tables come from: its own and the chassis's. Raises ServiceMissing."""
    digest = hashlib.sha256()
    for package in (spec.module, "upwell_shared"):
        found = find_spec(package)
        if found is None or not found.submodule_search_locations:
            raise ServiceMissing(f"{package} is not installed in this environment: run `make dev`")
        folder = Path(next(iter(found.submodule_search_locations)))
        for path in sorted(path for path in folder.rglob("*") if path.suffix in _CODE):
            digest.update(f"{path.relative_to(folder)}\0".encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()
