"""The launcher as its users have it: commands in processes of their own."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, TextIO

from upwell.servers.processes import ChildProcess, eventually

PATIENCE = 150.0
_OURS = "UPWELL_"


def environment(**settings: str) -> dict[str, str]:
    """Ours without what would tell a launcher anything."""
    return {name: value for name, value in os.environ.items() if not name.startswith(_OURS)} | settings


def upwell(folder: Path, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """One command on that data folder, to its end."""
    return subprocess.run(
        [sys.executable, "-m", "upwell", *arguments, "--data", str(folder)],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
        env=environment(**settings),
        stdin=subprocess.DEVNULL,
    )


def answer(folder: Path, *arguments: str) -> Any:
    """What a command says in JSON."""
    done = upwell(folder, *arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def refusal(done: subprocess.CompletedProcess[str]) -> str:
    """The one line of a command that could not be done."""
    assert done.returncode == 2, done.stdout + done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("upwell: ")
    return line


class Up:
    """`upwell up` on a folder."""

    def __init__(self, folder: Path, *options: str, **settings: str) -> None:
        self.folder = folder
        self.output = folder.with_name(f"{folder.name}.output")
        self._options = options
        self._settings = settings
        self.process: ChildProcess | None = None

    async def start(self) -> dict[str, Any]:
        """What it says when it is ready."""
        self.begin()
        assert self.process is not None
        await self.process.ready(lambda: bool(self.said("ready")), within=PATIENCE)
        (ready,) = self.said("ready")
        return ready

    def begin(self) -> None:
        """Without waiting for anything."""
        self.output.write_bytes(b"")
        arguments = ["up", "--json", "--port", "0", "--data", str(self.folder), *self._options]
        self.process = ChildProcess.spawn(
            [sys.executable, "-m", "upwell", *arguments],
            name="upwell up",
            log=self.output,
            environment=environment(**self._settings),
        )

    async def stop(self, how: signal.Signals = signal.SIGTERM) -> int | None:
        """Its exit code."""
        assert self.process is not None
        os.kill(self.process.pid, how)
        process = self.process
        assert await eventually(lambda: not process.running, within=PATIENCE), self.output.read_text()
        return process.status

    def said(self, event: str) -> list[dict[str, Any]]:
        """Its lines of that kind so far."""
        whole = self.output.read_text().rpartition("\n")[0]
        lines = [json.loads(line) for line in whole.splitlines() if line.startswith("{")]
        return [line for line in lines if line["event"] == event]

    def part(self, name: str) -> dict[str, Any]:
        """What `status` says of a part."""
        parts = answer(self.folder, "status")["parts"]
        (found,) = (part for part in parts if part["name"] == name)
        assert isinstance(found, dict)
        return found

    def pids(self) -> list[int]:
        """Of all parts."""
        return [part["pid"] for part in answer(self.folder, "status")["parts"]]


def alive(pid: int) -> bool:
    """A zombie is not: whoever adopted it has only not looked yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


class Reader:
    """A command that writes JSON lines without end."""

    def __init__(self, folder: Path, output: Path, *arguments: str) -> None:
        self.output = output
        output.write_bytes(b"")
        self.process = ChildProcess.spawn(
            [sys.executable, "-m", "upwell", *arguments, "--json", "--data", str(folder)],
            name=" ".join(arguments),
            log=output,
            environment=environment(),
        )

    def lines(self) -> list[dict[str, Any]]:
        """So far."""
        assert self.process.running, self.output.read_text()
        return [json.loads(line) for line in self.output.read_text().rpartition("\n")[0].splitlines()]


def person(number: int, *, grade: str = "5", since: str = "2024-01-01", unit: str = "Sales / North") -> str:
    """A line of a file of people."""
    return f"{number},Given{number},Family{number},user{number},user{number}@example.org,Acme,{unit},{grade},,{since}"


def write_people(file: TextIO, *lines: str) -> None:
    """With the header."""
    head = "external_id,given_name,family_name,user_name,mail,organisation,unit,grade,manager_external_id,in_role_since"
    file.write("\n".join([head, *lines]) + "\n")
