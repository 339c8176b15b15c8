"""A service as a child process, ready when it says so itself."""

import asyncio
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from upwell.servers import ServerUnavailable
from upwell.servers.processes import ChildProcess
from upwell.services import ServiceSpec

_READY_SECONDS = 60.0
_STOP_SECONDS = 20.0
_MIGRATE_SECONDS = 120.0
_POLL_SECONDS = 0.03
_ANSWER_SECONDS = 2.0
_LONGEST_LOG = 16 * 1024 * 1024
_READY = b"GET /health/ready HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"


class ServiceProcess:
    """`python -m upwell_<name> all`, on a port that stays the same over any number of starts."""

    def __init__(self, spec: ServiceSpec, port: int, log: Path, environment: Mapping[str, str]) -> None:
        """Nothing happens before `start`. `environment` is the whole of its settings."""
        self.spec = spec
        self.port = port
        self.log = log
        self._environment = environment
        self._child: ChildProcess | None = None

    @property
    def pid(self) -> int | None:
        """None when it does not run."""
        return self._child.pid if self._child is not None and self._child.running else None

    async def start(self) -> None:
        """Returns when its readiness says so. Raises ServerUnavailable with its last words."""
        if self.pid is not None:
            return
        _turn(self.log)
        child = _spawn(self.spec, "all", self.log, self._environment)
        try:
            async with asyncio.timeout(_READY_SECONDS):
                while child.running and not await is_ready(self.port):
                    await asyncio.sleep(_POLL_SECONDS)
        except BaseException as error:
            await child.kill()
            if isinstance(error, TimeoutError):
                raise ServerUnavailable(
                    f"{self.spec.name} was not ready after {_READY_SECONDS:g} s; see {self.log}"
                ) from None
            raise
        if not child.running:
            raise ServerUnavailable(f"{self.spec.name} ended at its start: {_last_words(child, self.log)}")
        self._child = child

    async def stop(self) -> None:
        """Requests under way end first."""
        if self._child is not None:
            await self._child.stop(signal.SIGTERM, within=_STOP_SECONDS)
            self._child = None

    async def kill(self) -> None:
        """SIGKILL, as a fault would."""
        if self._child is not None:
            await self._child.kill()
            self._child = None


async def migrate(spec: ServiceSpec, log: Path, environment: Mapping[str, str]) -> None:
    """Its role `migrate`, to the end. Raises ServerUnavailable with its last words."""
    child = _spawn(spec, "migrate", log, environment)
    try:
        await child.succeeded(within=_MIGRATE_SECONDS)
    except ServerUnavailable:
        raise ServerUnavailable(f"{spec.name} could not be migrated: {_last_words(child, log)}") from None


async def is_ready(port: int) -> bool:
    """What /health/ready on this port of 127.0.0.1 answers; False also when nobody does."""
    with suppress(OSError, TimeoutError):
        async with asyncio.timeout(_ANSWER_SECONDS):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(_READY)
                return b" 200 " in await reader.readline()
            finally:
                writer.close()
    return False


def _spawn(spec: ServiceSpec, role: str, log: Path, environment: Mapping[str, str]) -> ChildProcess:
    return ChildProcess.spawn(
        [sys.executable, "-m", spec.module, role], name=spec.name, log=log, environment=environment
    )


def _last_words(child: ChildProcess, log: Path) -> str:
    """The last line of its log that was written for people, not for machines."""
    lines = [line.strip() for line in child.log_tail().splitlines()]
    spoken = [line for line in lines if line and not line.startswith("{")]
    return f"{spoken[-1] if spoken else f'status {child.status}'} (its log: {log})"


def _turn(log: Path) -> None:
    """Puts a long log aside, in the place of the one put aside before."""
    if log.exists() and log.stat().st_size > _LONGEST_LOG:
        log.replace(log.with_name(f"{log.name}.1"))
