"""Random programs of a whole service, with a crash at any wait of any part: model and system agree at the end.

UPWELL_MODEL_PROGRAMS=1000 runs so many other ones; without it the same 200 run each time.
"""

import asyncio
import logging
import os
from collections import Counter
from collections.abc import Iterator
from uuid import uuid4

import asyncpg
import pytest
from hypothesis import HealthCheck, given, note, settings

from tests.shared.conftest import Dsns
from tests.shared.crashes import Crash
from tests.shared.example.contract import contract
from tests.shared.model.log import Log
from tests.shared.model.program import Program, programs
from tests.shared.model.reckoning import reckon
from tests.shared.model.world import World
from upwell.servers.testing import Databases, SharedBroker
from upwell_shared.database import create_pool

PROGRAMS = os.environ.get("UPWELL_MODEL_PROGRAMS")


# DELETE, not TRUNCATE or a new database for each program: those sync files, and a program has few rows.
_TABLES = """
SELECT format('DELETE FROM %I.%I', nspname, relname)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND (nspname = 'public' OR nspname LIKE 'projection%') AND relname NOT IN ('projections', 'migrations')
"""


class Bench:
    """The servers, one database that is wiped before each program, and what the programs were about."""

    def __init__(self, superuser_dsn: str, template: str, bootstrap: str) -> None:
        self._databases = Databases(superuser_dsn)
        self._template = template
        self._bootstrap = bootstrap
        self._runner = asyncio.Runner()
        self._runner.get_loop().set_exception_handler(_only_the_living)
        self._runner.run(self._start())
        self.programs = 0
        self.deaths: Counter[str] = Counter()
        self.troubles: Counter[str] = Counter()
        self.steps: Counter[str] = Counter()

    async def _start(self) -> None:
        self._dsn = await self._databases.create(template=self._template)
        self._admin = await asyncpg.connect(self._dsn)
        tables = [row[0] for row in await self._admin.fetch(_TABLES)]
        self._wipe = "; ".join([*tables, "UPDATE projections SET tx = '0', position = 0"])
        await self._admin.execute("SET session_replication_role = replica")
        self._pool = await create_pool(Dsns(self._dsn).app, application_name="model", size=6)

    def run(self, program: Program) -> None:
        self.programs += 1
        self.steps.update(type(step).__name__ for step in program)
        self._runner.run(self._run(program))

    async def _run(self, program: Program) -> None:
        await self._admin.execute(self._wipe)
        owner = f"m{uuid4().hex[:10]}"
        async with Log(self._bootstrap, contract(owner)) as log:
            world = World(self._pool, self._bootstrap, log, owner)
            try:
                await world.run(program)
                await reckon(world)
            finally:
                self.deaths += world.deaths
                self.troubles += world.troubles
                await world.close()

    def close(self) -> None:
        self._runner.run(self._pool.close())
        self._runner.run(self._admin.close())
        self._runner.run(self._databases.drop(self._dsn))
        self._runner.close()


def _only_the_living(loop: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
    if not isinstance(context.get("exception"), Crash):
        loop.default_exception_handler(context)


@pytest.fixture(scope="module")
def bench(postgres_dsn: str, migrated_template: str, tansu: SharedBroker) -> Iterator[Bench]:
    bench = Bench(postgres_dsn, migrated_template, tansu.bootstrap)
    yield bench
    bench.close()


@settings(
    max_examples=int(PROGRAMS or 200),
    derandomize=PROGRAMS is None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    print_blob=True,
)
@given(programs)
def explore(bench: Bench, program: Program) -> None:
    note("\n".join(["program:", *(f"  {step}" for step in program)]))
    bench.run(program)


@pytest.mark.timeout(3600)
def test_model_and_system_agree(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, "aiokafka")  # deleted topics are what this is about
    try:
        explore(bench)
    finally:
        print(f"\nprograms {bench.programs}")
    print(f"steps {dict(bench.steps.most_common())}")
    print(f"deaths {dict(bench.deaths.most_common())}, troubles {dict(bench.troubles.most_common())}")
    mortal = {"handler", "relay", "reader", "worker", "ticker", "who_sits_where", "timers"}
    assert set(bench.deaths) == mortal, "programs that let nobody die prove little"
