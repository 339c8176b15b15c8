"""The other commands, on a running Upwell and on none."""

import asyncio
import json
import socket
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import asyncpg
import httpx2
import pytest

from tests.launcher.world import (
    PATIENCE,
    Reader,
    Up,
    answer,
    environment,
    person,
    refusal,
    upwell,
    write_people,
)
from upwell.control import ask
from upwell.folder import DataFolder
from upwell.people import organisations
from upwell.servers.processes import eventually
from upwell.services import SERVICES

pytestmark = pytest.mark.timeout(300)


@pytest.mark.parametrize(
    "arguments",
    [
        ("status",),
        ("clock", "show"),
        ("clock", "advance", "1d"),
        ("stop", "matching"),
        ("start", "matching"),
        ("events", "tail"),
        ("people", "import", "people.csv"),
        ("token",),
    ],
    ids=" ".join,
)
def test_where_nothing_runs_every_command_says_so(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    assert "upwell up" in refusal(upwell(tmp_path / "data", *arguments))


@pytest.mark.parametrize(
    "arguments",
    [("nonsense",), ("up", "--port", "many"), ("clock", "advance"), ("token", "--role", "king")],
    ids=" ".join,
)
def test_what_is_not_understood_is_told_in_one_line(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    assert "--help" in refusal(upwell(tmp_path, *arguments))


def test_every_command_says_what_it_is_for() -> None:
    shown = subprocess.run(
        [sys.executable, "-m", "upwell"], capture_output=True, text=True, check=True, env=environment()
    ).stdout
    for name in ("up", "status", "doctor", "clock", "stop", "start", "people", "token", "events"):
        assert f" {name} " in shown


def test_status(running: Up) -> None:
    told = answer(running.folder, "status")
    assert [part["name"] for part in told["parts"]][-1] == "gateway"
    assert {part["name"] for part in told["parts"]} == {"postgres", "broker", *(s.name for s in SERVICES)}
    assert all(part["ready"] for part in told["parts"])
    assert set(told["services"]) == {service.name for service in SERVICES}
    for service in SERVICES:
        assert set(told["services"][service.name]["lag"]) == set(service.hears)
    shown = upwell(running.folder, "status").stdout
    assert all(service.name in shown for service in SERVICES)
    assert "simulated" in shown


async def test_every_service_hears_whom_it_is_said_to_hear(running: Up) -> None:
    """Lag is reckoned by that list."""
    state = DataFolder(running.folder).read_state()

    async def heard(name: str) -> set[str]:
        connection = await asyncpg.connect(state["services"][name]["reader_url"])
        try:
            rows = await connection.fetch("SELECT DISTINCT channel FROM consumer_offsets")
        finally:
            await connection.close()
        return {row["channel"] for row in rows}

    for service in SERVICES:
        wanted = {f"upwell.{owner}.{kind}v1" for owner in service.hears for kind in ("", "internal.")}
        async with asyncio.timeout(PATIENCE):
            while await heard(service.name) < wanted:
                await asyncio.sleep(0.1)
        assert await heard(service.name) == wanted


def test_a_part_is_stopped_and_started(running: Up) -> None:
    assert upwell(running.folder, "stop", "sessions").returncode == 0
    try:
        stopped = running.part("sessions")
        assert (stopped["state"], stopped["ready"], stopped["pid"]) == ("stopped", False, None)
        examined = upwell(running.folder, "doctor")
        assert examined.returncode == 1
        assert "WRONG  sessions: stopped\n       → upwell start sessions" in examined.stdout
    finally:
        assert upwell(running.folder, "start", "sessions").returncode == 0
    started = running.part("sessions")
    assert (started["state"], started["ready"]) == ("running", True)
    assert answer(running.folder, "restart", "sessions")["pid"] != started["pid"]
    assert upwell(running.folder, "doctor").returncode == 0
    wrong = refusal(upwell(running.folder, "stop", "sesions"))
    assert "sesions" in wrong
    assert "feedback" in wrong


def test_without_a_database_status_still_answers(running: Up) -> None:
    assert upwell(running.folder, "stop", "postgres").returncode == 0
    try:
        told = answer(running.folder, "status")
        assert told["services"] is None
        assert "database" in told["figures_missing"]
        assert "WRONG  databases" in upwell(running.folder, "doctor").stdout
    finally:
        assert upwell(running.folder, "start", "postgres").returncode == 0
    assert answer(running.folder, "status")["services"] is not None


def test_without_a_broker_the_doctor_says_so(running: Up) -> None:
    assert upwell(running.folder, "stop", "broker").returncode == 0
    try:
        examined = upwell(running.folder, "doctor")
        assert examined.returncode == 1
        assert "upwell start broker" in examined.stdout
    finally:
        assert upwell(running.folder, "start", "broker").returncode == 0


def test_the_doctor_of_what_does_not_run(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        examined = upwell(tmp_path / "data", "doctor", "--port", port)
    assert examined.returncode == 1
    assert "WRONG  port" in examined.stdout
    assert "take another with --port" in examined.stdout
    healthy = upwell(tmp_path / "data", "doctor", "--port", "0", "--json")
    assert healthy.returncode == 0, healthy.stdout
    assert all(json.loads(line)["ok"] for line in healthy.stdout.splitlines())
    assert not (tmp_path / "data").exists()


def test_the_doctor_finds_what_an_earlier_run_left(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    left = subprocess.Popen(
        [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", "0"],
        env=environment(UPWELL_ISSUER_KEYS_FILE=str(folder / "keys" / "issuer-keys.json")),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        examined = upwell(folder, "doctor", "--port", "0")
        assert examined.returncode == 1
        assert f"kill {left.pid}" in examined.stdout
    finally:
        left.kill()
        left.wait()
    assert upwell(folder, "doctor", "--port", "0").returncode == 0


def test_a_clock_file_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "clock").write_text("noon")
    assert "WRONG  clock" in upwell(tmp_path, "doctor", "--port", "0").stdout
    assert "clock file" in refusal(upwell(tmp_path, "up"))


def test_the_clock_is_moved_for_everybody(running: Up) -> None:
    before = timedelta(seconds=answer(running.folder, "clock", "show")["lead_seconds"])
    told = answer(running.folder, "clock", "advance", "1d12h")
    assert timedelta(seconds=told["lead_seconds"]) == before + timedelta(days=1, hours=12)
    assert timedelta(seconds=answer(running.folder, "status")["clock"]["lead_seconds"]) == before + timedelta(
        days=1, hours=12
    )
    assert "7d" in refusal(upwell(running.folder, "clock", "advance", "soon"))


def test_a_token_is_let_in(running: Up) -> None:
    (ready,) = running.said("ready")
    root = uuid4()
    token = upwell(running.folder, "token", "--role", "hr_admin", "--unit", str(root)).stdout.strip()

    def opens(text: str) -> int:
        headers = {"Authorization": f"Bearer {text}", "Idempotency-Key": str(uuid4())}
        return httpx2.put(
            f"{ready['gateway']}/v1/organisations/{root}", json={"name": f"Org {root}"}, headers=headers
        ).status_code

    assert opens(token) == 201
    assert opens(f"{token[:-4]}AAAA") == 401
    assert opens(answer(running.folder, "token")["access_token"]) == 403


async def _organisations(running: Up) -> dict[UUID, str]:
    state = DataFolder(running.folder).read_state()
    return await organisations(state["services"]["directory"]["reader_url"])


async def test_people_are_imported_and_told_of(running: Up, tmp_path: Path) -> None:
    file = tmp_path / "people.csv"
    with file.open("w") as out:
        write_people(out, person(1), person(2, grade="king"), person(3, since="soon"))
    known = await _organisations(running)
    dry = ("people", "import", str(file), "--organisation", "Nowhere", "--dry-run")
    assert upwell(running.folder, *dry).returncode == 1
    assert await _organisations(running) == known
    refused = upwell(running.folder, "people", "import", str(file), "--organisation", "Acme")
    assert refused.returncode == 1
    assert "line 3, grade:" in refused.stdout
    assert "line 4, in_role_since:" in refused.stdout
    assert "king" not in refused.stdout
    assert "nothing was imported" in refused.stdout

    tail = Reader(running.folder, tmp_path / "tail", "events", "tail", "--from-start")
    others = Reader(running.folder, tmp_path / "others", "events", "tail", "--channel", "upwell.matching.v1")
    planned = upwell(running.folder, "people", "import", str(file), "--skip-bad", "--dry-run")
    assert "1 new" in planned.stdout
    lead = timedelta(seconds=answer(running.folder, "clock", "advance", "7d")["lead_seconds"])
    imported = answer(running.folder, "people", "import", str(file), "--skip-bad")
    assert (imported["state"], imported["create"], imported["bad"]) == ("done", 1, 2)
    again = answer(running.folder, "people", "import", str(file), "--skip-bad")
    assert (again["create"], again["unchanged"]) == (0, 1)

    def joined() -> list[str]:
        return [line["key"] for line in tail.lines() if line["type"] == "upwell.directory.PersonJoined.v1"]

    assert await eventually(lambda: len(joined()) == 1, within=PATIENCE)
    (told,) = (line for line in tail.lines() if line["type"] == "upwell.directory.PersonJoined.v1")
    assert datetime.fromisoformat(told["time"]) > datetime.now(UTC) + lead - timedelta(hours=1)
    assert told["body"]["person_id"] == told["key"]
    assert "Given1" not in tail.output.read_text()

    # A broker that was away, and has lost everything: what it is filled with again is not told again, what is new is.
    assert upwell(running.folder, "stop", "broker").returncode == 0
    assert upwell(running.folder, "start", "broker").returncode == 0
    with file.open("w") as out:
        write_people(out, person(4))
    assert answer(running.folder, "people", "import", str(file))["create"] == 1
    assert await eventually(lambda: len(joined()) == 2, within=PATIENCE)
    places = [(line["channel"], line["key"], line["sequence"]) for line in tail.lines()]
    assert len(places) == len(set(places))
    assert others.lines() == []
    for reader in (tail, others):
        await reader.process.kill()


async def test_a_tail_begins_with_what_comes_next(running: Up, tmp_path: Path) -> None:
    file = tmp_path / "people.csv"

    def imported(number: int) -> None:
        with file.open("w") as out:
            write_people(out, person(number))
        assert answer(running.folder, "people", "import", str(file), "--organisation", "Acme")["create"] == 1

    await asyncio.to_thread(imported, 100)
    tail = Reader(running.folder, tmp_path / "tail", "events", "tail", "--channel", "upwell.directory.v1")
    number = 100
    async with asyncio.timeout(PATIENCE):
        while not tail.lines():  # until it has begun there is nothing to see
            number += 1
            await asyncio.to_thread(imported, number)
    state = DataFolder(running.folder).read_state()
    connection = await asyncpg.connect(state["services"]["directory"]["reader_url"])
    first = await connection.fetchval(
        "SELECT key::text FROM ledger WHERE type LIKE '%PersonJoined%' ORDER BY tx, position LIMIT 1"
    )
    await connection.close()
    assert first not in {line["key"] for line in tail.lines()}
    await tail.process.kill()


def test_a_channel_that_is_not_there(running: Up) -> None:
    line = refusal(upwell(running.folder, "events", "tail", "--channel", "upwell.marketing.v1"))
    assert "upwell.matching.v1" in line


@pytest.mark.parametrize(
    ("content", "told"), [(None, "cannot be read"), ("a,b\n1,2\n", "external_id"), ("\x00", "refused")]
)
def test_a_file_that_is_none(running: Up, tmp_path: Path, content: str | None, told: str) -> None:
    file = tmp_path / "people.csv"
    if content is not None:
        file.write_text(content)
    assert told in refusal(upwell(running.folder, "people", "import", str(file)))


def test_an_organisation_that_is_not_there(running: Up, tmp_path: Path) -> None:
    file = tmp_path / "people.csv"
    with file.open("w") as out:
        write_people(out, person(1))
    line = refusal(upwell(running.folder, "people", "import", str(file), "--organisation", str(uuid4())))
    assert "no organisation" in line


def test_the_control_socket_survives_nonsense(running: Up) -> None:
    folder = DataFolder(running.folder)
    for sent in (
        b"\n",
        b"nonsense\n",
        b'{"do":"dance"}\n',
        b"[]\n",
        b'{"do":"stop","part":7}\n',
        b"x" * 3_000_000,
    ):
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(folder.control))
            try:
                connection.sendall(sent)
                connection.shutdown(socket.SHUT_WR)
                said = connection.makefile("rb").readline()
            except ConnectionError:
                said = b""  # a line without end is not listened to
        assert said == b"" or "error" in json.loads(said)
    assert len(ask(folder, do="status")["parts"]) == 7
    assert folder.control.parent.stat().st_mode & 0o077 == 0
