"""Apache Kafka: one broker that is its own controller (KRaft), from jars that Maven fetches."""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import os
import shutil
import signal
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from upwell.servers import ServerUnavailable
from upwell.servers.processes import ChildProcess, Claim, free_port, listening

_ROOT = Path(__file__).resolve().parents[5]
_POM = _ROOT / "deploy" / "kafka" / "pom.xml"
_LOGGING = _POM.with_name("log4j2.xml")
_JARS = _ROOT / ".upwell" / "kafka-jars"

_FETCH_SECONDS = 600.0
_FORMAT_SECONDS = 60.0
_START_SECONDS = 90.0
_STOP_SECONDS = 30.0
_JVM = ("-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto", "-Djava.awt.headless=true")
"""One broker for tests: short to start rather than fast in the long run."""

_SETTINGS = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
    "inter.broker.listener.name": "PLAINTEXT",
    "auto.create.topics.enable": "false",
    "group.initial.rebalance.delay.ms": "0",
    # A broker that was killed may come back under its name only when its session is over; default 9 s.
    "broker.session.timeout.ms": "3000",
    "broker.heartbeat.interval.ms": "500",
    # Kafka's floor is 6 s; tests of a member that dies would wait for it.
    "group.min.session.timeout.ms": "500",
    "offsets.topic.num.partitions": "4",
    "offsets.topic.replication.factor": "1",
    "transaction.state.log.num.partitions": "4",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "share.coordinator.state.topic.num.partitions": "4",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    # The default takes half of the 256 MiB heap.
    "log.cleaner.dedupe.buffer.size": "8388608",
}


class ApacheKafka:
    """A Kafka broker whose log lives in `data_dir` and survives any end.

    Needs Java 17 or newer and Maven; the first start on a machine fetches the jars (45 MB).
    """

    def __init__(self, data_dir: Path, port: int = 0, cluster_id: str | None = None) -> None:
        """Nothing happens before `start`. Port 0 takes a free one at the first start.

        `cluster_id` counts when `data_dir` is empty: it is written there once. None makes a random one.
        """
        self._dir = data_dir.resolve()
        self._log_dir = self._dir / "log"
        self._log = self._dir / "server.log"
        self._properties = self._dir / "server.properties"
        self._port = port
        self._controller_port = 0
        # Not from all 64 digits: an id that begins with a dash is an option to the storage tool.
        self._cluster_id = cluster_id or uuid.uuid4().hex[:22]
        self._claim = Claim(self._dir)
        self._child: ChildProcess | None = None

    @property
    def pid(self) -> int | None:
        """Its process id, None when it does not run."""
        return self._child.pid if self._child is not None and self._child.running else None

    async def start(self) -> str:
        """Start it and return the bootstrap address; the first time this fetches jars and formats the log."""
        self._port = self._port or free_port()
        address = f"127.0.0.1:{self._port}"
        if self.pid is not None:
            return address
        self._dir.mkdir(parents=True, exist_ok=True)
        self._claim.take()
        java = [_program("java", "a Java runtime, 17 or newer (Debian: openjdk-17-jre-headless)"), *_JVM]
        java += [f"-Dlog4j2.configurationFile={_LOGGING}", "-cp", f"{await _jars()}/*"]
        self._write_properties()
        if not (self._log_dir / "meta.properties").exists():
            await self._format(java)
        child = ChildProcess.spawn(
            [*java, "kafka.Kafka", str(self._properties)], name="Apache Kafka", log=self._log
        )
        await child.ready(lambda: listening(self._port), within=_START_SECONDS)
        self._child = child
        return address

    async def stop(self) -> None:
        """Controlled shutdown: the next start needs no recovery."""
        if self._child is not None:
            await self._child.stop(signal.SIGTERM, within=_STOP_SECONDS)
            self._child = None
        self._claim.give_back()

    async def kill(self) -> None:
        """SIGKILL, as a fault would; `start` again recovers."""
        if self._child is not None:
            await self._child.kill()
            self._child = None

    async def lose_log(self, cluster_id: str | None = None) -> None:
        """Kill it and empty its disk; the next start formats it anew, under the same cluster id or another."""
        await self.kill()
        shutil.rmtree(self._log_dir, ignore_errors=True)
        self._cluster_id = cluster_id or self._cluster_id

    def _write_properties(self) -> None:
        self._controller_port = self._controller_port or free_port()
        here = {
            "controller.quorum.voters": f"1@127.0.0.1:{self._controller_port}",
            "listeners": f"PLAINTEXT://127.0.0.1:{self._port},CONTROLLER://127.0.0.1:{self._controller_port}",
            "advertised.listeners": f"PLAINTEXT://127.0.0.1:{self._port}",
            "log.dirs": str(self._log_dir),
        }
        lines = (f"{name}={value}\n" for name, value in (_SETTINGS | here).items())
        self._properties.write_text("".join(lines))

    async def _format(self, java: list[str]) -> None:
        # A format cut short leaves a directory that the tool refuses.
        shutil.rmtree(self._log_dir, ignore_errors=True)
        tool = ChildProcess.spawn(
            [
                *(*java, "kafka.tools.StorageTool", "format"),
                *("--cluster-id", self._cluster_id, "--config", str(self._properties)),
            ],
            name="Kafka's storage tool",
            log=self._log,
        )
        await tool.succeeded(within=_FORMAT_SECONDS)


async def _jars() -> Path:
    """The directory with the class path that deploy/kafka/pom.xml describes, fetched if it is not there yet."""
    if not _POM.exists():
        raise ServerUnavailable(
            "Apache Kafka is run from a checkout of Upwell; deploy/kafka/pom.xml is not here."
        )
    done = _JARS / hashlib.sha256(_POM.read_bytes()).hexdigest()[:16]
    if done.exists():
        return done
    _JARS.mkdir(parents=True, exist_ok=True)
    async with _one_at_a_time(_JARS / "fetch.lock"):
        if not done.exists():
            unfinished = _JARS / "unfinished"
            shutil.rmtree(unfinished, ignore_errors=True)
            await _fetch(unfinished, log=_JARS / "fetch.log")
            unfinished.rename(done)  # only when complete: whoever sees it sees all of it
    return done


async def _fetch(into: Path, *, log: Path) -> None:
    maven = _program("mvn", "Maven (Debian: maven)")
    child = ChildProcess.spawn(
        [maven, "-q", "-B", "-f", str(_POM), "dependency:copy-dependencies", f"-DoutputDirectory={into}"],
        name="Maven",
        log=log,
    )
    await child.succeeded(within=_FETCH_SECONDS)


@asynccontextmanager
async def _one_at_a_time(path: Path) -> AsyncIterator[None]:
    """Holds a lock between processes, waiting for it without stopping the event loop."""
    with path.open("w") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                await asyncio.sleep(0.1)
        yield


def _program(name: str, install: str) -> str:
    home = os.environ.get("JAVA_HOME")
    in_home = shutil.which(name, path=f"{home}/bin") if home else None
    found = in_home or shutil.which(name)
    if found is None:
        raise ServerUnavailable(f"Apache Kafka needs `{name}`, which is not here: install {install}.")
    return found
