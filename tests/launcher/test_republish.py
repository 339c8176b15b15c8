"""`upwell republish` on a running Upwell."""

import asyncio
from pathlib import Path
from uuid import UUID

import asyncpg
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from tests.launcher.world import PATIENCE, Up, answer, person, refusal, upwell, write_people
from upwell.folder import DataFolder

pytestmark = pytest.mark.timeout(300)


async def public_rows(running: Up) -> list[tuple[UUID, int]]:
    """(key, sequence) in the order of the ledger."""
    url = DataFolder(running.folder).read_state()["services"]["directory"]["reader_url"]
    connection = await asyncpg.connect(url)
    try:
        rows = await connection.fetch(
            "SELECT key, sequence FROM ledger WHERE channel = 'upwell.directory.v1' ORDER BY tx, position"
        )
    finally:
        await connection.close()
    return [(row["key"], row["sequence"]) for row in rows]


async def held(running: Up, channel: str, count: int) -> list[tuple[UUID, int]]:
    state = DataFolder(running.folder).read_state()
    consumer = AIOKafkaConsumer(bootstrap_servers=state["kafka_bootstrap"], enable_auto_commit=False)
    found: list[tuple[UUID, int]] = []
    await consumer.start()
    try:
        consumer.assign([TopicPartition(channel, number) for number in range(12)])
        await consumer.seek_to_beginning()
        async with asyncio.timeout(PATIENCE):
            while len(found) < count:
                for records in (await consumer.getmany(timeout_ms=100)).values():
                    found += [
                        (UUID(record.key.decode()), int(dict(record.headers)["ce_sequence"]))
                        for record in records
                    ]
    finally:
        await consumer.stop()
    return found


async def test_a_subscriber_gets_all_of_it_once_more(running: Up, tmp_path: Path) -> None:
    file = tmp_path / "people.csv"
    with file.open("w") as out:
        write_people(out, *(person(number).replace(",Acme,", ",Republished,") for number in range(900, 920)))
    await asyncio.to_thread(
        answer, running.folder, "people", "import", str(file), "--organisation", "Republished"
    )
    told = await asyncio.to_thread(answer, running.folder, "republish", "directory", "dashboard")
    rows = await public_rows(running)
    assert told["channel"] == "upwell.directory.replay.dashboard"
    assert told["records"] == len(rows) > 20
    found = await held(running, told["channel"], len(rows))
    assert sorted(found) == sorted(rows)
    for key in {key for key, _ in rows}:
        assert [number for each, number in found if each == key] == [n for each, n in rows if each == key]


def test_what_cannot_be_done_is_one_line(running: Up, tmp_path: Path) -> None:
    assert "directory" in refusal(upwell(running.folder, "republish", "marketing", "dashboard"))
    assert "small letters" in refusal(upwell(running.folder, "republish", "directory", "The Dashboard"))
    assert "upwell up" in refusal(upwell(tmp_path / "data", "republish", "directory", "dashboard"))
