"""Child processes: start them tied to this one's life, wait until they are ready, end them."""

from __future__ import annotations

import asyncio
import fcntl
import os
import random
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Self

from upwell.servers import ServerUnavailable

_EXEC = Path(__file__).with_name("_exec.py")
_LOG_TAIL_BYTES = 4_000
_POLL_SECONDS = 0.01
_KILL_SECONDS = 10.0
_PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "JAVA_HOME", "LD_LIBRARY_PATH")
"""The environment a server sees: `PGPORT` or `LISTENER_URL` of the caller's must not reach it."""


@dataclass(frozen=True, slots=True)
class RunAs:
    """The user a child runs as when this process is root.

    `reach_all_paths` leaves it the one capability to pass directories that are closed to it, for an
    installation under a private home directory.
    """

    uid: int
    gid: int
    reach_all_paths: bool


class ChildProcess:
    """A process that ends when this one does, by whatever cause (where the system is Linux).

    Start it from a thread that lives as long as the child shall: the kernel ties the two together by thread.
    """

    def __init__(self, name: str, popen: subprocess.Popen[bytes], log: Path) -> None:
        """Use `spawn`."""
        self.name = name
        self._popen = popen
        self._log = log

    @classmethod
    def spawn(
        cls,
        argv: Sequence[str],
        *,
        name: str,
        log: Path,
        cwd: Path = Path("/"),
        run_as: RunAs | None = None,
        death_signal: signal.Signals = signal.SIGKILL,
        environment: Mapping[str, str] | None = None,
    ) -> Self:
        """Start `argv` in a session of its own, its output appended to `log`; it is not ready yet.

        It sees little of our environment, and `environment` in full.
        """
        command = [sys.executable, "-I", "-S", str(_EXEC)]
        command += ["--parent", str(os.getpid()), "--death-signal", str(int(death_signal))]
        if run_as is not None:
            command += ["--uid", str(run_as.uid), "--gid", str(run_as.gid)]
            if run_as.reach_all_paths:
                command.append("--reach-all-paths")
        with log.open("ab") as output:
            popen = subprocess.Popen(  # noqa: S603 - every caller passes its own fixed program
                [*command, "--", *argv],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=cwd,
                env={key: os.environ[key] for key in _PASSED_ON if key in os.environ}
                | dict(environment or {}),
                start_new_session=True,  # so that Ctrl-C at the launcher's terminal is the launcher's to handle
            )
        return cls(name, popen, log)

    @property
    def pid(self) -> int:
        """Its process id, which is also the id of its process group."""
        return self._popen.pid

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return self._popen.poll() is None

    @property
    def status(self) -> int | None:
        """What it ended with: its exit code, minus the number of the signal that ended it, or None while it runs."""
        return self._popen.poll()

    def log_tail(self) -> str:
        """The last few thousand characters it has written."""
        return self._log.read_bytes()[-_LOG_TAIL_BYTES:].decode(errors="replace")

    async def ready(self, condition: Callable[[], bool], *, within: float) -> None:
        """Wait until `condition` holds.

        Raises `ServerUnavailable` with the end of its log, and leaves no process behind, if it ends first
        or `within` seconds do not suffice.
        """
        try:
            held = await eventually(lambda: not self.running or condition(), within=within)
        except BaseException:
            await self.kill()
            raise
        if not self.running:
            status = self._popen.returncode
            raise ServerUnavailable(
                f"{self.name} ended with status {status} at its start:\n{self.log_tail()}"
            )
        if not held:
            await self.kill()
            raise ServerUnavailable(f"{self.name} was not ready after {within:g} s:\n{self.log_tail()}")

    async def succeeded(self, *, within: float) -> None:
        """Wait for its end; raises `ServerUnavailable` with the end of its log unless its status is 0."""
        try:
            ended = await eventually(lambda: not self.running, within=within)
        finally:
            await self.kill()
        if not ended:
            raise ServerUnavailable(f"{self.name} was not done after {within:g} s:\n{self.log_tail()}")
        if self._popen.returncode != 0:
            raise ServerUnavailable(
                f"{self.name} ended with status {self._popen.returncode}:\n{self.log_tail()}"
            )

    async def stop(self, polite: signal.Signals, *, within: float) -> None:
        """Ask it to end, wait `within` seconds, then kill it."""
        if self.running:
            self._popen.send_signal(polite)
            await eventually(lambda: not self.running, within=within)
        await self.kill()

    async def kill(self) -> None:
        """SIGKILL to its whole process group, and wait until it is gone."""
        if self.running:
            os.killpg(self.pid, signal.SIGKILL)
        await eventually(lambda: not self.running, within=_KILL_SECONDS)


class Claim:
    """The right to run a server in a directory, held by one process at a time.

    Whoever holds it knows that any server found running there is a leftover of a killed launcher.
    """

    def __init__(self, directory: Path) -> None:
        """`directory` must exist; nothing is claimed yet."""
        self._path = directory / "claim.lock"
        self._file: IO[str] | None = None

    def take(self) -> None:
        """Take it, or raise `ServerUnavailable` naming the process that has it."""
        if self._file is not None:
            return
        file = self._path.open("a+")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read().strip()
            file.close()
            raise ServerUnavailable(
                f"{self._path.parent} is in use by process {holder}; stop that one first."
            ) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        self._file = file

    def give_back(self) -> None:
        """Let others take it."""
        if self._file is not None:
            self._file.close()
            self._file = None


async def eventually(condition: Callable[[], bool], *, within: float) -> bool:
    """Whether `condition` came to hold within so many seconds; it is asked every 10 ms and must be quick."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + within
    while not condition():
        if loop.time() > deadline:
            return False
        await asyncio.sleep(_POLL_SECONDS)
    return True


def listening(port: int) -> bool:
    """Whether somebody accepts connections on this port of 127.0.0.1."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on.

    It lies below the range from which systems take the near end of outgoing connections. From inside it,
    a client that keeps trying to reach a stopped server can be given the server's own port, connect to
    itself, and so keep the server from coming back.
    """
    for port in random.sample(range(15_000, 30_000), 100):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise ServerUnavailable("no free port between 15000 and 30000 in 100 tries")
