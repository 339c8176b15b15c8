"""Parts that end by themselves are started again, ever later; those that were asked to stop stay so."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from tests.launcher.world import PATIENCE
from upwell import keeping
from upwell.keeping import Died, Happening, Keeper, Restarted, StillDown
from upwell.servers import ServerUnavailable
from upwell.servers.processes import ChildProcess


class Clerk:
    """Works while there is an office, and ends with status 3 where there is none."""

    def __init__(self, folder: Path) -> None:
        self.office = folder / "office"
        self.office.touch()
        self._log = folder / "log"
        self._child: ChildProcess | None = None

    @property
    def pid(self) -> int | None:
        return self._child.pid if self._child is not None and self._child.running else None

    async def start(self) -> None:
        script = f"test -e {self.office} || exit 3; echo open; while true; do sleep 0.05; done"
        opened = self._log.read_text().count("open") if self._log.exists() else 0
        child = ChildProcess.spawn(["sh", "-c", script], name="clerk", log=self._log)
        await child.ready(lambda: self._log.read_text().count("open") > opened, within=PATIENCE)
        self._child = child

    async def stop(self) -> None:
        if self._child is not None:
            await self._child.stop(signal.SIGTERM, within=PATIENCE)

    async def kill(self) -> None:
        if self._child is not None:
            await self._child.kill()


class Kept:
    """A keeper of a clerk, and what it told."""

    def __init__(self, folder: Path) -> None:
        self.clerk = Clerk(folder)
        self.told: list[Happening] = []
        self.keeper = Keeper("clerk", self.clerk, self.told.append)

    async def until(self, reached: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not reached():
                await asyncio.sleep(0.01)

    def of(self, kind: type[Happening]) -> list[Happening]:
        return [what for what in self.told if isinstance(what, kind)]


@pytest.fixture
async def kept(tmp_path: Path) -> AsyncIterator[Kept]:
    kept = Kept(tmp_path)
    await kept.keeper.start()
    yield kept
    await kept.keeper.stop()
    assert kept.keeper.pid is None


async def test_one_that_is_killed_is_started_again(kept: Kept) -> None:
    pid = kept.keeper.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    await kept.until(lambda: bool(kept.of(Restarted)))
    assert kept.told == [Died("clerk", pid, keeping.FIRST_DELAY), Restarted("clerk", kept.keeper.pid, 1)]
    assert (kept.keeper.state, kept.keeper.restarts) == ("running", 1)
    assert kept.keeper.pid not in {pid, None}


async def test_one_that_keeps_dying_is_waited_for_longer_each_time(kept: Kept) -> None:
    for number in range(3):
        await kept.keeper.kill()
        await kept.until(lambda number=number: len(kept.of(Restarted)) == number + 1)  # type: ignore[misc]
    assert [what.delay for what in kept.told if isinstance(what, Died)] == [0.2, 0.4, 0.8]


async def test_one_that_cannot_start_is_tried_until_it_can(kept: Kept) -> None:
    kept.clerk.office.unlink()
    await kept.keeper.kill()
    await kept.until(lambda: len(kept.of(StillDown)) == 2)
    assert kept.keeper.state == "waiting"
    first, second = (what for what in kept.told if isinstance(what, StillDown))
    assert (first.delay, second.delay) == (0.4, 0.8)
    assert "status 3" in first.reason
    kept.clerk.office.touch()
    await kept.keeper.running()
    assert kept.keeper.restarts == 1


async def test_the_back_off_has_an_end(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "LONGEST_DELAY", 0.25)
    kept.clerk.office.unlink()
    await kept.keeper.kill()
    await kept.until(lambda: len(kept.of(StillDown)) == 3)
    assert [what.delay for what in kept.told if isinstance(what, StillDown)] == [0.25, 0.25, 0.25]


async def test_one_that_waits_is_started_at_once_when_asked_to(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeping, "FIRST_DELAY", 3600.0)
    await kept.keeper.restart()  # whose back-off begins with an hour
    await kept.keeper.kill()
    await kept.until(lambda: kept.keeper.state == "waiting")
    async with asyncio.timeout(PATIENCE):
        await kept.keeper.start()
    assert kept.keeper.state == "running"


async def test_one_that_was_stopped_stays_so(kept: Kept) -> None:
    await kept.keeper.stop()
    await kept.keeper.stop()
    assert (kept.keeper.state, kept.keeper.pid, kept.told) == ("stopped", None, [])
    await kept.keeper.start()
    await kept.keeper.start()
    assert kept.keeper.state == "running"
    assert kept.keeper.restarts == 0


async def test_stopping_one_that_waits_ends_the_waiting(kept: Kept) -> None:
    kept.clerk.office.unlink()
    await kept.keeper.kill()
    await kept.until(lambda: bool(kept.of(StillDown)))
    await kept.keeper.stop()
    kept.clerk.office.touch()
    told = list(kept.told)
    assert kept.keeper.state == "stopped"
    await asyncio.sleep(0)
    assert kept.told == told


async def test_a_first_start_that_fails_is_told_and_not_repeated(tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    kept.clerk.office.unlink()
    with pytest.raises(ServerUnavailable, match="status 3"):
        await kept.keeper.start()
    assert (kept.keeper.state, kept.told) == ("stopped", [])


async def test_asked_for_everything_at_once_it_ends_as_it_was_asked_last(kept: Kept) -> None:
    work: list[Awaitable[None]] = [
        kept.keeper.stop(),
        kept.keeper.start(),
        kept.keeper.restart(),
        kept.keeper.stop(),
        kept.keeper.start(),
    ]
    async with asyncio.timeout(PATIENCE):
        await asyncio.gather(*work)
    assert kept.keeper.state == "running"
    assert kept.keeper.pid is not None
