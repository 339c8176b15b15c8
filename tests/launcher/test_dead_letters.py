"""`upwell dead-letters` on a running Upwell: records nobody can apply, written into a channel past every relay."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from aiokafka import AIOKafkaProducer

from tests.launcher.world import PATIENCE, Up, answer, refusal, upwell
from upwell.folder import DataFolder
from upwell.services import SERVICES
from upwell_shared.contracts.feedback import CONTRACT
from upwell_shared.contracts.headers import dump_headers, load_headers
from upwell_shared.events import Envelope

pytestmark = pytest.mark.timeout(300)

LETTERS = "dead-letters"
NOBODY = uuid4()


def broken(stream_id: UUID) -> tuple[bytes, list[tuple[str, bytes]], bytes]:
    """The first event of a stream, without what its contract asks for."""
    headers = dump_headers(
        event_id=uuid4(),
        type_name="upwell.feedback.ReflectionSubmitted.v1",
        source="/upwell/feedback",
        stream_id=stream_id,
        recorded_at=datetime.now(UTC),
        sequence=1,
        envelope=Envelope(command_id=uuid4(), correlation_id=uuid4()),
        dataschema="urn:upwell:schema:feedback:ReflectionSubmitted:1",
    )
    return str(stream_id).encode(), load_headers(headers), b"{}"


async def letters_of(running: Up, stream_id: UUID) -> list[asyncpg.Record]:
    url = DataFolder(running.folder).read_state()["services"]["gateway"]["reader_url"]
    connection = await asyncpg.connect(url)
    try:
        return list(
            await connection.fetch("SELECT letter_id FROM dead_letters WHERE stream_id = $1", stream_id)
        )
    finally:
        await connection.close()


@pytest.fixture
async def parked(running: Up) -> AsyncIterator[UUID]:
    """A stream that stands still at the gateway, and nothing of it in the end."""
    stream_id = uuid4()
    key, headers, body = broken(stream_id)
    producer = AIOKafkaProducer(bootstrap_servers=DataFolder(running.folder).read_state()["kafka_bootstrap"])
    await producer.start()
    try:
        await producer.send_and_wait(CONTRACT.channel("public"), body, key, headers=headers, partition=0)
    finally:
        await producer.stop()
    async with asyncio.timeout(PATIENCE):
        while not await letters_of(running, stream_id):
            await asyncio.sleep(0.05)
    yield stream_id
    assert await letters_of(running, stream_id) == []


def listed(running: Up, *arguments: str) -> dict[str, list[dict[str, Any]]]:
    done = upwell(running.folder, LETTERS, "list", *arguments, "--json")
    found: dict[str, list[dict[str, Any]]] = json.loads(done.stdout)
    wrong = any(found.values()) and "--discarded" not in arguments
    assert done.returncode == int(wrong), done.stderr
    return found


async def test_a_letter_is_found_looked_into_tried_and_discarded(running: Up, parked: UUID) -> None:
    def asked() -> None:
        found = listed(running)
        assert list(found) == [service.name for service in SERVICES]
        (letter,) = found["gateway"]
        assert (letter["stream_id"], letter["reason"], letter["behind"]) == (str(parked), "unreadable", 0)
        assert str(parked) in upwell(running.folder, LETTERS, "list").stdout
        assert listed(running, "directory") == {"directory": []}
        one = ("gateway", letter["letter_id"])

        whole = answer(running.folder, LETTERS, "inspect", *one)
        assert (whole["body"], whole["key"]) == ({}, str(parked))
        assert "ce_type: upwell.feedback" in upwell(running.folder, LETTERS, "inspect", *one).stdout

        tried = upwell(running.folder, LETTERS, "retry", *one)
        assert (tried.returncode, "failed again" in tried.stdout) == (1, True), tried.stderr

        assert "--reason" in refusal(upwell(running.folder, LETTERS, "discard", *one))
        why = ("--reason", "written past the relay, OPS-17")
        assert answer(running.folder, LETTERS, "discard", *one, *why)["released"] is False
        assert listed(running) == {service.name: [] for service in SERVICES}
        (kept,) = listed(running, "gateway", "--discarded")["gateway"]
        assert (kept["letter_id"], kept["reason"]) == (letter["letter_id"], why[1])

        for command in (("retry", *one), ("inspect", *one), ("discard", *one, *why)):
            assert "discarded, for good" in refusal(upwell(running.folder, LETTERS, *command))

    await asyncio.to_thread(asked)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("inspect", "gateway", str(NOBODY)), "nothing here"),
        (("retry", "directory", str(NOBODY)), "nothing here"),
        (("discard", "matching", str(NOBODY), "--reason", "no"), "reason"),
        (("discard", "matching", str(NOBODY), "--reason", "not there"), "nothing here"),
        (("list", "marketing"), "gateway"),
        (("inspect", "gateway", "nonsense"), "--help"),
    ],
    ids=lambda value: " ".join(value[:2]) if isinstance(value, tuple) else "",
)
def test_what_cannot_be_done_is_one_line(running: Up, arguments: Sequence[str], told: str) -> None:
    assert told in refusal(upwell(running.folder, LETTERS, *arguments))


def test_where_nothing_runs_it_is_said(tmp_path: Path) -> None:
    assert "upwell up" in refusal(upwell(tmp_path / "data", LETTERS, "list"))
