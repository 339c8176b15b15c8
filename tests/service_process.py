"""A service in a process of its own, as operations would start it, and a client of it."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from uuid import UUID, uuid4

import httpx2

from upwell.servers.processes import ChildProcess, free_port
from upwell.servers.testing import SharedBroker
from upwell_shared.clock import SimulatedClock
from upwell_shared.testing.databases import Dsns

PATIENCE = 30.0
REPOSITORY = Path(__file__).parents[1]


async def until(reached: Callable[[], Awaitable[bool]]) -> None:
    """Returns once it is so; fails the test when that takes too long."""
    deadline = time.monotonic() + PATIENCE
    while not await reached():
        assert time.monotonic() < deadline, "waited in vain"
        await asyncio.sleep(0.02)


class ServiceProcess:
    """`python -m <module>` with all roles, on a clock of its own; `settings` are further variables of its environment.

    A service that keeps texts is given the database of their keys too.
    """

    def __init__(
        self,
        module: str,
        dsns: Dsns,
        broker: SharedBroker,
        folder: Path,
        *,
        keys: Dsns | None = None,
        **settings: str,
    ) -> None:
        self.module = module
        self.name = dsns.service
        self.port = free_port()
        self.http = httpx2.AsyncClient(base_url=f"http://127.0.0.1:{self.port}", timeout=10)
        self.clock = SimulatedClock(folder / "clock")
        self.log = folder / f"{self.name}.log"
        self.process: ChildProcess | None = None
        own = f"UPWELL_{self.name.upper()}"
        common = settings | {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(REPOSITORY),
            "UPWELL_ENV": "test",
            "UPWELL_KAFKA_BOOTSTRAP": broker.bootstrap,
            "UPWELL_CONSUMER_SESSION_MS": str(broker.session_timeout_ms),
            "UPWELL_CONSUMER_HEARTBEAT_MS": str(broker.heartbeat_interval_ms),
            "UPWELL_CLOCK_FILE": str(folder / "clock"),
        }
        self._migration = common | {f"{own}_DATABASE_URL": dsns.owner}
        self._environment = common | {f"{own}_DATABASE_URL": dsns.app, f"{own}_PORT": str(self.port)}
        if keys is not None:
            self._migration[f"{own}_KEYS_DATABASE_URL"] = keys.owner
            self._environment[f"{own}_KEYS_DATABASE_URL"] = keys.app

    async def migrate(self) -> None:
        """The role `migrate`, to its end."""
        await self._spawn(self._migration, "migrate").succeeded(within=PATIENCE)

    async def start(self, *roles: str) -> None:
        """All roles, unless some are named; returns when it is ready."""
        self.process = self._spawn(self._environment, *(roles or ("all",)))
        await until(self.is_ready)

    async def stop(self) -> None:
        """As an orchestrator stops it."""
        assert self.process is not None
        await self.process.stop(signal.SIGTERM, within=PATIENCE)

    async def is_ready(self) -> bool:
        assert self.process is not None
        assert self.process.running, self.log.read_text()[-3000:]
        try:
            return (await self.http.get("/health/ready")).status_code == 200
        except httpx2.TransportError:
            return False

    async def command(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        key: UUID | None = None,
        if_match: int | None = None,
        who: str = "ada",
    ) -> httpx2.Response:
        told = {"Authorization": f"Bearer {who}", "Idempotency-Key": str(key or uuid4())}
        if if_match is not None:
            told["If-Match"] = f'"{if_match}"'
        return await self.http.request(method, path, json=body, headers=told)

    def _spawn(self, environment: dict[str, str], *roles: str) -> ChildProcess:
        return ChildProcess.spawn(
            [sys.executable, "-m", self.module, *roles],
            name=self.name,
            log=self.log,
            cwd=REPOSITORY,
            environment=environment,
        )
