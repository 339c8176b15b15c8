"""The socket by which other processes of the same user ask a running stack: one JSON object a line, each answered by one.

{"do": "status"}                      → {"ok": {…}}
{"do": "stop", "part": "matching"}    → {"ok": {…}} once it is so; likewise "start" and "restart"
{"do": "stop"}                        → {"ok": {}}, and then all of it ends
anything else                         → {"error": "one line"}
"""

import asyncio
import json
import os
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, Protocol

from upwell.folder import DataFolder, NotRunning
from upwell.keeping import Keeper
from upwell.servers import ServerUnavailable
from upwell_shared.clock import Clock
from upwell_shared.errors import UpwellError

_LONGEST_NAME: Final = 100
_LONGEST_LINE: Final = 1 << 20
_ANSWER_SECONDS: Final = 150.0


class BadRequest(UpwellError):
    """The control socket takes status, stop, start and restart."""


class Controlled(Protocol):
    """What is asked: a `Stack`."""

    asked_to_end: asyncio.Event

    @property
    def parts(self) -> tuple[Keeper, ...]: ...
    @property
    def clock(self) -> Clock: ...
    @property
    def lead(self) -> timedelta | None: ...
    def part(self, name: str) -> Keeper: ...
    def port(self, part: str) -> int | None: ...
    async def answers(self, part: str) -> bool: ...


class ControlSocket:
    """Answers for one stack. Whoever can open the socket's folder may do all it can."""

    def __init__(self, path: Path, stack: Controlled) -> None:
        """Nothing happens before `open`."""
        self._path = path
        self._stack = stack
        self._server: asyncio.Server | None = None
        self._talks: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Listens; what a former process left in its place is removed."""
        self._path.unlink(missing_ok=True)
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        with _reachable(self._path) as name:
            listening.bind(name)
        self._server = await asyncio.start_unix_server(self._talk, sock=listening, limit=_LONGEST_LINE)

    async def close(self) -> None:
        """Safe at any time; who is being answered is cut off."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for talk in self._talks:
            talk.cancel()
        await asyncio.gather(*self._talks, return_exceptions=True)

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        talk = asyncio.current_task()
        assert talk is not None  # noqa: S101 asyncio runs every talk as a task
        self._talks.add(talk)
        try:
            with suppress(ConnectionError, ValueError):
                while line := await reader.readline():
                    writer.write(json.dumps(await self._answer(line)).encode() + b"\n")
                    await writer.drain()
        finally:
            self._talks.discard(talk)
            writer.close()

    async def _answer(self, line: bytes) -> dict[str, Any]:
        try:
            return {"ok": await self._carry_out(line)}
        except (UpwellError, ServerUnavailable, OSError) as error:
            return {"error": str(error)}
        except Exception as error:  # noqa: BLE001 whoever asks gets an answer, and does not take us for dead
            return {"error": f"this could not be answered: {error!r}"}

    async def _carry_out(self, line: bytes) -> dict[str, Any]:
        match _read(line):
            case {"do": "status"}:
                return await self._status()
            case {"do": "stop", "part": str(name)}:
                await self._stack.part(name).stop()
            case {"do": "stop", **rest} if not rest:
                self._stack.asked_to_end.set()
                return {}
            case {"do": "start", "part": str(name)}:
                await self._stack.part(name).start()
            case {"do": "restart", "part": str(name)}:
                await self._stack.part(name).restart()
            case _:
                raise BadRequest
        return await self._part(self._stack.part(name))

    async def _status(self) -> dict[str, Any]:
        lead = self._stack.lead
        return {
            "parts": await asyncio.gather(*map(self._part, self._stack.parts)),
            "clock": {
                "now": self._stack.clock.now().isoformat(),
                "simulated": lead is not None,
                "lead_seconds": None if lead is None else lead.total_seconds(),
            },
        }

    async def _part(self, keeper: Keeper) -> dict[str, Any]:
        return {
            "name": keeper.name,
            "state": keeper.state,
            "ready": keeper.pid is not None and await self._stack.answers(keeper.name),
            "pid": keeper.pid,
            "restarts": keeper.restarts,
            "port": self._stack.port(keeper.name),
        }


def ask(folder: DataFolder, **request: str) -> Any:
    """What the stack running in that folder answers; blocks until it has done what was asked.

    Raises NotRunning; Refused with its own words.
    """
    try:
        with closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as connection:
            connection.settimeout(_ANSWER_SECONDS)
            with _reachable(folder.control) as name:
                connection.connect(name)
            connection.sendall(json.dumps(request).encode() + b"\n")
            line = connection.makefile("rb").readline()
    except OSError as error:
        raise NotRunning(
            f"Upwell does not run on {folder.path}: `upwell up{folder.hint}` starts it"
        ) from error
    if not line:
        raise NotRunning(f"Upwell on {folder.path} ended before it answered")
    answer = json.loads(line)
    if "error" in answer:
        raise Refused(answer["error"])
    return answer["ok"]


class Refused(UpwellError):
    """The running Upwell would not do it."""


def _read(line: bytes) -> Any:
    try:
        return json.loads(line)
    except ValueError as error:
        raise BadRequest from error


@contextmanager
def _reachable(path: Path) -> Iterator[str]:
    """A name of the socket that the system takes: addresses of sockets may have about a hundred bytes."""
    if len(os.fsencode(path)) <= _LONGEST_NAME:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
