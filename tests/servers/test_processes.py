"""What a server that cannot start says, and what it leaves behind."""

from __future__ import annotations

import signal
import socket
from pathlib import Path

import pytest

from upwell.servers import ServerUnavailable
from upwell.servers.apache_kafka import ApacheKafka
from upwell.servers.processes import ChildProcess, free_port, listening


def spawn(script: str, log: Path) -> ChildProcess:
    return ChildProcess.spawn(["sh", "-c", script], name="the child", log=log)


async def test_a_child_that_ends_early_is_reported_with_the_end_of_its_log(tmp_path: Path) -> None:
    child = spawn("echo no disk; exit 3", tmp_path / "log")
    with pytest.raises(ServerUnavailable, match=r"(?s)the child ended with status 3.*no disk"):
        await child.ready(lambda: False, within=10)


async def test_a_child_that_is_never_ready_is_reported_and_ended(tmp_path: Path) -> None:
    child = spawn("echo thinking; sleep 600", tmp_path / "log")
    with pytest.raises(ServerUnavailable, match=r"(?s)the child was not ready after 0.3 s.*thinking"):
        await child.ready(lambda: False, within=0.3)
    assert not child.running


async def test_a_child_that_ignores_a_polite_request_is_killed(tmp_path: Path) -> None:
    log = tmp_path / "log"
    child = spawn("trap '' TERM; echo ready; while true; do sleep 0.05; done", log)
    await child.ready(lambda: "ready" in log.read_text(), within=10)
    await child.stop(signal.SIGTERM, within=0.2)
    assert not child.running


async def test_a_child_does_not_see_the_callers_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGPORT", "1")
    log = tmp_path / "log"
    await spawn('echo "port=$PGPORT."', log).succeeded(within=10)
    assert log.read_text() == "port=.\n"


async def test_without_java_apache_kafka_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    server = ApacheKafka(tmp_path / "kafka")
    with pytest.raises(ServerUnavailable, match=r"needs `java`.*17 or newer"):
        await server.start()
    await server.stop()


def test_a_free_port_is_outside_the_range_of_outgoing_connections() -> None:
    port = free_port()
    assert 15_000 <= port < 30_000
    assert not listening(port)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        assert listening(port)
