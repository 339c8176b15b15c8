"""What `upwell doctor` looks at: each check says what is so, and what to do where that is wrong."""

import asyncio
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.util import find_spec
from typing import Any, Final

import asyncpg
import psutil
from aiokafka.errors import KafkaError

from upwell.control import ask
from upwell.folder import FORMAT, DataFolder, NotRunning
from upwell.measuring import Figures, measurer_of
from upwell.ports import PortTaken, port_to_listen_on
from upwell.services import SERVICES
from upwell.serving import is_ready
from upwell_shared.clock import SimulatedClock, UnreadableClock
from upwell_shared.contracts.shipped import shipped
from upwell_shared.errors import UpwellError
from upwell_shared.log_identity import ClusterClient

_LEAST_DISK: Final = 1 << 30
_LEAST_MEMORY: Final = 1 << 30
_BROKER_SECONDS: Final = 8.0


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at. `advice` is empty unless it is wrong."""

    what: str
    found: str
    advice: str = ""

    @property
    def ok(self) -> bool:
        return not self.advice


async def inspect(folder: DataFolder, port: int) -> AsyncIterator[Check]:
    """Everything there is to look at, whether Upwell runs in that folder or not; changes nothing."""
    for check in (_python(), _packages(), _disk(folder), _format(folder), _memory(), _clock(folder)):
        yield check
    state, parts = _running(folder)
    yield _strays(folder, None if state is None else state["pid"])
    if state is None:
        yield Check("running", "no")
        yield _port(port)
        return
    for part in parts:
        yield _part(part)
    yield await _gateway(state)
    async for check in _databases(state):
        yield check
    yield await _broker(state)


def _python() -> Check:
    # An older one does not get as far as this: the packages refuse to be installed.
    return Check("Python", sys.version.split()[0])


def _packages() -> Check:
    missing = [spec.module for spec in SERVICES if find_spec(spec.module) is None]
    if missing:
        return Check("packages", f"{', '.join(missing)} missing", "run `make dev`")
    return Check("packages", f"{len(SERVICES)} services")


def _disk(folder: DataFolder) -> Check:
    above = next(path for path in (folder.path, *folder.path.parents) if path.exists())
    try:
        with tempfile.TemporaryFile(dir=above) as file:
            file.write(b"upwell")
            file.flush()
    except OSError as error:
        return Check(
            "disk",
            f"{above} cannot be written: {error.strerror}",
            "take another folder with --data, or make room",
        )
    free = shutil.disk_usage(above).free
    found = f"{above} can be written, {free / (1 << 30):.1f} GiB free"
    return Check("disk", found, "make room: at least 1 GiB" if free < _LEAST_DISK else "")


def _format(folder: DataFolder) -> Check:
    try:
        folder.check_format()
    except UpwellError as error:
        return Check("data folder", str(error), "see there")
    return Check(
        "data folder", f"layout {FORMAT}" if folder.path.exists() else "none yet: `upwell up` makes it"
    )


def _memory() -> Check:
    free = psutil.virtual_memory().available
    found = f"{free / (1 << 30):.1f} GiB available"
    return Check(
        "memory", found, "end something else: Upwell needs about 1 GiB" if free < _LEAST_MEMORY else ""
    )


def _clock(folder: DataFolder) -> Check:
    try:
        lead = SimulatedClock(folder.clock).lead
    except UnreadableClock as error:
        return Check("clock", "unreadable", str(error))
    if datetime.now(UTC).year < 2026:
        return Check("clock", f"{datetime.now(UTC):%Y-%m-%d}", "set this machine's clock: it is in the past")
    return Check(
        "clock", f"simulated time is {lead} ahead" if lead else "the simulated clock was never advanced"
    )


def _strays(folder: DataFolder, launcher: int | None) -> Check:
    """Processes of this folder that no running launcher looks after."""
    strays = [process.pid for process in _processes_of(folder) if not _descends(process, launcher)]
    if strays:
        pids = " ".join(map(str, strays))
        return Check("stale processes", f"of an earlier run: {pids}", f"end them: kill {pids}")
    return Check("stale processes", "none")


def _processes_of(folder: DataFolder) -> Iterator[psutil.Process]:
    cluster, keys = str(folder.path / "postgres" / "cluster"), str(folder.keys)
    for process in psutil.process_iter():
        # Of processes that end meanwhile, and of other users', nothing can be said.
        with suppress(psutil.Error):
            arguments = process.cmdline()
            environment = process.environ() if "-m" in arguments else {}
            if cluster in arguments or environment.get("UPWELL_ISSUER_KEYS_FILE", "").startswith(keys):
                yield process


def _descends(process: psutil.Process, launcher: int | None) -> bool:
    with suppress(psutil.Error):
        return launcher in {process.pid, *(above.pid for above in process.parents())}
    return True  # it has ended meanwhile


def _running(folder: DataFolder) -> tuple[dict[str, Any] | None, list[dict[str, Any]]]:
    try:
        return folder.read_state(), ask(folder, do="status")["parts"]
    except NotRunning:
        return None, []


def _port(port: int) -> Check:
    try:
        port_to_listen_on(port)
    except PortTaken as error:
        return Check("port", "taken", str(error))
    return Check("port", f"{port} is free")


def _part(part: dict[str, Any]) -> Check:
    name, restarts = part["name"], part["restarts"]
    found = f"{part['state']}, process {part['pid']}" + (f", {restarts} restarts" if restarts else "")
    if part["ready"]:
        return Check(name, found)
    if part["state"] == "stopped":
        return Check(name, "stopped", f"upwell start {name}")
    return Check(name, f"{found}, not ready", "its log says why")


async def _gateway(state: dict[str, Any]) -> Check:
    if await is_ready(int(state["gateway"].rpartition(":")[2])):
        return Check("address", f"{state['gateway']} answers")
    return Check("address", f"{state['gateway']} does not answer", "upwell start gateway, or see its log")


async def _databases(state: dict[str, Any]) -> AsyncIterator[Check]:
    try:
        figures = await measurer_of(state).measure()
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        yield Check(
            "databases", f"no answer: {type(error).__name__}", "upwell start postgres, or see its log"
        )
        return
    yield Check("databases", f"{len(figures.services)} answer")
    yield _waiting(figures)


def _waiting(figures: Figures) -> Check:
    open_letters = {name: each.letters for name, each in figures.services.items() if each.letters}
    parked = {name: each.parked for name, each in figures.services.items() if each.parked}
    if open_letters or parked:
        found = ", ".join(
            [f"{name} {count} dead letters" for name, count in open_letters.items()]
            + [f"{name} {count} parked to-dos" for name, count in parked.items()]
        )
        return Check("waiting for a person", found, "see dead_letters and todos in the databases of these")
    return Check("waiting for a person", "nothing")


async def _broker(state: dict[str, Any]) -> Check:
    bootstrap = state["kafka_bootstrap"]
    wanted = {spec.name: spec.partitions for contract in shipped() for spec in contract.channels}
    try:
        async with asyncio.timeout(_BROKER_SECONDS), ClusterClient(bootstrap) as cluster:
            found = (await cluster.look(wanted)).partitions
    except (OSError, KafkaError):
        return Check("broker", f"{bootstrap} does not answer", "upwell start broker, or see its log")
    if missing := sorted(set(wanted) - set(found)):
        return Check(
            "channels", f"missing: {', '.join(missing)}", "relays make theirs: are all services running?"
        )
    if wrong := sorted(name for name, count in found.items() if count != wanted[name]):
        return Check(
            "channels",
            f"not of {wanted[wrong[0]]} partitions: {', '.join(wrong)}",
            "delete them, if they are empty",
        )
    return Check("channels", f"{len(wanted)} on {bootstrap}, as they must be")
