"""The servers and databases the rows run on, made and thrown away by the run."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import asyncpg

from tests.bench.rounds import Rounds
from tests.shared.conftest import APP, READER, Dsns, create_roles, hand_over
from tests.shared.example.app import PROJECTIONS
from upwell.servers.postgres import EmbeddedPostgres
from upwell.servers.tansu import Tansu
from upwell.servers.testing import Databases
from upwell_shared.database import create_pool
from upwell_shared.migrating import CHASSIS, migrate
from upwell_shared.projecting import ensure

# No checkpoint falls into one segment and not into the next; durability is as it comes.
_STEADY = ("max_wal_size = '8GB'", "checkpoint_timeout = '1h'")


@dataclass(frozen=True, slots=True)
class World:
    """One PostgreSQL for the whole run, with its data on disk."""

    superuser: str
    folder: Path
    rounds: Rounds

    @asynccontextmanager
    async def database(self) -> AsyncIterator[Dsns]:
        """A database of the row's own with the chassis and the example's projections in it."""
        databases = Databases(self.superuser)
        dsns = Dsns(await databases.create())
        await hand_over(dsns.superuser)
        await migrate(dsns.owner, [CHASSIS], app_role=APP, reader_role=READER)
        async with pool(dsns.owner) as owner:
            await ensure(owner, PROJECTIONS, app_role=APP, reader_role=READER)
        yield dsns
        await databases.drop(dsns.superuser)

    @asynccontextmanager
    async def broker(self) -> AsyncIterator[str]:
        """A broker of the row's own; its bootstrap address."""
        server = Tansu(log=self.folder / "tansu.log")
        yield await server.start()
        await server.stop()


@asynccontextmanager
async def world(rounds: Rounds, folder: Path | None) -> AsyncIterator[World]:
    """Everything ends, and every file is gone, with the block. Without `folder`, where temporary files go."""
    with TemporaryDirectory(prefix="upwell-bench-", dir=folder) as place:
        server = EmbeddedPostgres(Path(place) / "postgres")
        superuser = await server.start()
        try:
            connection = await asyncpg.connect(superuser)
            for setting in _STEADY:
                await connection.execute(f"ALTER SYSTEM SET {setting}")
            await connection.execute("SELECT pg_reload_conf()")
            await connection.close()
            await create_roles(superuser)
            yield World(superuser, Path(place), rounds)
        finally:
            await server.stop()


@asynccontextmanager
async def pool(dsn: str, size: int = 8) -> AsyncIterator[asyncpg.Pool]:
    """The product's own pool."""
    made = await create_pool(dsn, application_name="bench", size=size)
    try:
        yield made
    finally:
        await made.close()


async def settled(superuser: str) -> None:
    """Nothing is left to do for the server that the next segment would pay for."""
    connection = await asyncpg.connect(superuser)
    await connection.execute("VACUUM ANALYZE")
    await connection.execute("CHECKPOINT")
    await connection.close()
