"""`upwell up`: what is started, what is started again, and what is left behind."""

import asyncio
import json
import os
import signal
import socket
from datetime import timedelta
from pathlib import Path

import httpx2
import pytest

from tests.launcher.world import PATIENCE, Up, alive, refusal, upwell
from upwell.folder import DataFolder
from upwell.servers.processes import eventually
from upwell_shared.clock import SimulatedClock

pytestmark = pytest.mark.timeout(300)


def test_everything_is_up(running: Up) -> None:
    (ready,) = running.said("ready")
    steps = [step["what"] for step in running.said("progress")]
    assert {"postgres", "broker"} == set(steps[:2])
    assert steps[2] == "migrations"
    assert set(steps[3:-1]) == {"directory", "matching", "sessions", "feedback"}
    assert steps[-1] == "gateway"
    assert httpx2.get(f"{ready['gateway']}/health/ready").status_code == 200
    state = running.folder / "run" / "state.json"
    assert state.stat().st_mode & 0o077 == 0
    assert json.loads(state.read_text())["gateway"] == ready["gateway"]


@pytest.mark.parametrize("part", ["matching", "gateway", "broker", "postgres"])
async def test_a_part_that_was_killed_is_started_again(running: Up, part: str) -> None:
    before = running.part(part)
    os.kill(before["pid"], signal.SIGKILL)
    assert await eventually(
        lambda: any(said["part"] == part for said in running.said("restarted")), within=PATIENCE
    )
    died = [said for said in running.said("died") if said["part"] == part]
    assert [said["pid"] for said in died] == [before["pid"]]
    after = running.part(part)
    assert (after["state"], after["restarts"], after["ready"]) == ("running", before["restarts"] + 1, True)
    assert after["pid"] != before["pid"]
    assert after["port"] == before["port"]


def test_a_second_one_is_told_and_does_no_harm(running: Up) -> None:
    assert "already runs" in refusal(upwell(running.folder, "up"))
    assert upwell(running.folder, "status").returncode == 0


async def test_a_killed_launcher_takes_all_with_it_and_the_next_one_cleans_up(tmp_path: Path) -> None:
    up = Up(tmp_path / "data")
    await up.start()
    pids = up.pids()
    assert len(pids) == 7
    postgres = up.part("postgres")["pid"]
    assert up.process is not None
    os.kill(postgres, signal.SIGKILL)  # not even PostgreSQL could clean up behind itself
    await up.process.kill()
    assert await eventually(lambda: not any(map(alive, pids)), within=PATIENCE)
    assert (up.folder / "run" / "control.sock").exists()
    assert (up.folder / "postgres" / "cluster" / "postmaster.pid").exists()
    assert "does not run" in refusal(upwell(up.folder, "status"))
    assert "stale processes: none" in upwell(up.folder, "doctor", "--port", "0").stdout

    ready = await up.start()
    assert [step["what"] for step in up.said("progress") if step["what"] == "migrations"] == []
    assert httpx2.get(f"{ready['gateway']}/health/ready").status_code == 200
    pids = up.pids()
    assert await up.stop(signal.SIGINT) == 0
    assert not any(map(alive, pids))
    assert not (up.folder / "run" / "state.json").exists()
    ends = {
        name: _end_of(DataFolder(up.folder).log_of(name)) for name in ("gateway", "directory", "feedback")
    }
    assert ends["gateway"] < min(ends["directory"], ends["feedback"])


def _end_of(log: Path) -> str:
    """When a service said that it had stopped."""
    lines = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    return max(str(line["at"]) for line in lines if line["event"] == "stopped")


async def test_ctrl_c_while_it_starts_leaves_nothing_behind(tmp_path: Path) -> None:
    up = Up(tmp_path / "data")
    up.begin()
    assert up.process is not None
    assert await eventually(lambda: bool(up.said("progress")), within=PATIENCE)
    children = _children(up.process.pid)
    assert children
    assert await up.stop(signal.SIGINT) == 0
    assert not any(map(alive, children))
    assert up.said("ready") == []
    # What was made half-way is completed by the next one.
    await up.start()
    assert await up.stop() == 0


def _children(pid: int) -> list[int]:
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        found += [int(child) for child in (task / "children").read_text().split()]
    return found


async def test_upwell_stop_ends_all(tmp_path: Path) -> None:
    up = Up(tmp_path / "data", "--wall-clock", "--follow")
    await up.start()

    def shown() -> set[str]:
        return {str(said["part"]) for said in up.said("line") if '"running"' in said["line"]}

    assert await eventually(lambda: {"directory", "gateway"} <= shown(), within=PATIENCE)
    assert "wall clock" in refusal(upwell(up.folder, "clock", "advance", "7d"))
    assert '"simulated": false' in upwell(up.folder, "clock", "show", "--json").stdout
    assert up.process is not None
    process = up.process
    assert upwell(up.folder, "stop").returncode == 0
    assert await eventually(lambda: not process.running, within=PATIENCE)
    assert process.status == 0


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert f"port {port}" in refusal(upwell(tmp_path / "data", "up", "--port", port))
    assert not (tmp_path / "data" / "postgres").exists()


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    in_the_way = tmp_path / "file"
    in_the_way.write_text("mine")
    assert str(in_the_way) in refusal(upwell(in_the_way, "up"))
    assert "/proc/upwell" in refusal(upwell(Path("/proc/upwell"), "up"))
    assert in_the_way.read_text() == "mine"


@pytest.mark.parametrize(("content", "told"), [("99\n", "newer release"), ("my novel", "no data folder")])
def test_a_folder_that_is_not_of_this_release(tmp_path: Path, content: str, told: str) -> None:
    (tmp_path / "format").write_text(content)
    assert told in refusal(upwell(tmp_path, "up"))
    assert told in upwell(tmp_path, "doctor", "--port", "0").stdout


def test_a_clock_that_was_advanced_does_not_go_back_to_the_walls(tmp_path: Path) -> None:
    SimulatedClock(tmp_path / "clock").advance(timedelta(days=7))
    assert "7 days" in refusal(upwell(tmp_path, "up", "--wall-clock"))


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"UPWELL_ENV": "production"}, "UPWELL_ENV"),
        (
            {"UPWELL_FEEDBACK_DATABASE_URL": "postgresql://localhost/feedback"},
            "UPWELL_FEEDBACK_KEYS_DATABASE_URL",
        ),
    ],
)
def test_an_environment_it_is_not_made_for(tmp_path: Path, settings: dict[str, str], told: str) -> None:
    assert told in refusal(upwell(tmp_path / "data", "up", **settings))


async def test_a_setting_that_a_service_refuses_is_told_in_its_own_words(tmp_path: Path) -> None:
    done = await asyncio.to_thread(
        upwell, tmp_path / "data", "up", "--port", "0", UPWELL_MATCHING_COLOUR="blue"
    )
    line = refusal(done)
    assert "matching" in line
    assert "UPWELL_MATCHING_COLOUR: no such setting" in line
