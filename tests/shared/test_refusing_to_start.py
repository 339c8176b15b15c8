"""A service that cannot start says why in one line, and exits with 2."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.conftest import CreateDatabase
from tests.service_process import REPOSITORY
from upwell.servers.processes import free_port
from upwell.servers.testing import SharedBroker
from upwell_shared.testing.databases import Dsns, hand_over


def run(role: str, dsn: str, **settings: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.shared.example", role],
        capture_output=True,
        text=True,
        check=False,
        cwd=REPOSITORY,
        timeout=60,
        env={"PATH": os.environ["PATH"], "UPWELL_ENV": "test", "UPWELL_EXAMPLE_DATABASE_URL": dsn} | settings,
    )


def the_line(ended: subprocess.CompletedProcess[str]) -> str:
    assert ended.returncode == 2, ended.stderr + ended.stdout
    assert "Traceback" not in ended.stderr + ended.stdout
    (line,) = ended.stderr.splitlines()
    assert line.startswith("example: ")
    return line


def test_a_port_that_is_taken(dsns: Dsns) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        ended = run("api", dsns.app, UPWELL_EXAMPLE_PORT=port)
    assert f"port {port}" in the_line(ended)
    assert not any(json.loads(line).get("error") for line in ended.stdout.splitlines())


def test_where_from_is_in_the_log_at_level_debug(dsns: Dsns) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        told = {"UPWELL_EXAMPLE_PORT": str(taken.getsockname()[1]), "UPWELL_LOG_LEVEL": "debug"}
        ended = run("api", dsns.app, **told)
    the_line(ended)
    (refused,) = [line for line in map(json.loads, ended.stdout.splitlines()) if line["event"] == "refused"]
    assert refused["error"][0]["type"].endswith("AddressTaken")
    assert any("_bind" in frame for frame in refused["error"][0]["frames"])


async def test_a_database_that_was_never_migrated(create_database: CreateDatabase, dsns: Dsns) -> None:
    dsn = await create_database()
    await hand_over(dsn, dsns.service)
    assert "migrate" in the_line(run("api", Dsns(dsn, dsns.service).app))


@pytest.mark.parametrize("content", [None, "no keys"])
def test_keys_of_the_issuer_that_cannot_be_read(dsns: Dsns, tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "keys.json"
    if content is not None:
        file.write_text(content)
    ended = subprocess.run(
        [sys.executable, "-m", "upwell_directory", "api"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={
            "PATH": os.environ["PATH"],
            "UPWELL_DIRECTORY_DATABASE_URL": dsns.app,
            "UPWELL_ISSUER_KEYS_FILE": str(file),
        },
    )
    assert ended.returncode == 2
    (line,) = ended.stderr.splitlines()
    assert "UPWELL_ISSUER_KEYS_FILE" in line


@pytest.mark.parametrize("role", ["api", "migrate"])
def test_a_database_that_does_not_answer_or_let_it_in(dsns: Dsns, role: str) -> None:
    parts = urlsplit(dsns.owner)
    nobody_there = parts._replace(netloc=f"example_owner:secret@127.0.0.1:{free_port()}").geturl()
    wrong_password = parts._replace(netloc=f"example_owner:secret@{parts.hostname}:{parts.port}").geturl()
    for dsn in (nobody_there, wrong_password):
        line = the_line(run(role, dsn))
        assert "DATABASE_URL" in line
        assert "secret" not in line


def test_a_migration_that_found_no_broker_can_be_repeated(dsns: Dsns, tansu: SharedBroker) -> None:
    away = run("migrate", dsns.owner, UPWELL_KAFKA_BOOTSTRAP=f"127.0.0.1:{free_port()}")
    assert "UPWELL_KAFKA_BOOTSTRAP" in the_line(away)
    assert run("migrate", dsns.owner, UPWELL_KAFKA_BOOTSTRAP=tansu.bootstrap).returncode == 0
