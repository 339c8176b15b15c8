"""A consumer and what no honest client sends, on real brokers of both kinds."""

from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest
from structlog.testing import capture_logs

from tests.shared.conftest import APP, READER, Dsns
from tests.shared.consuming_broker import SPOILT, Scene, at_work, scene, until
from tests.shared.consuming_world import Trail, make_tables
from tests.shared.test_consuming_broker import STREAMS, A, B, here, publish, settings, upto, write
from tests.shared.test_salvaging import sealed
from upwell.servers.apache_kafka import ApacheKafka
from upwell.servers.testing import SharedBroker
from upwell_shared.consuming import ConsumerSettings, repairing
from upwell_shared.consuming.rebuilding import LettersOpen, rebuild
from upwell_shared.consuming.repairing import By
from upwell_shared.worker import Worker

__all__ = ["here"]


async def _healthy(worker: Worker) -> bool:
    return worker.healthy


def unheard_of(batch: bytearray) -> bytearray:
    return sealed(batch.replace(SPOILT.encode(), b"\xff" * len(SPOILT)))


def malformed(batch: bytearray) -> bytearray:
    """The last header of the last record is longer than the record."""
    batch[-2] = 100
    return sealed(batch)


@pytest.mark.parametrize("together", [True, False], ids=["with others", "by itself"])
async def test_a_header_whose_name_is_no_text_keeps_nothing_from_being_applied(
    here: Scene, *, together: bool
) -> None:
    same = [s for s in STREAMS if here.told(s, 1)[0].partition == here.told(A, 1)[0].partition]
    await write(here, 1)
    await publish(here)
    if not together:
        async with at_work(here.consumer()):
            await here.arrived(upto(1))
    await here.send_spoiled([*here.told(same[0], 2), *here.told(same[-1], 2)], unheard_of)
    await here.send(
        [p for s in STREAMS for p in here.told(s, *((3,) if s in {same[0], same[-1]} else (2, 3)))]
    )
    with capture_logs() as lines:
        async with at_work(here.consumer()) as worker:
            await here.arrived(upto(3))
            await until(lambda: _healthy(worker))
    assert [line["partition"] for line in lines if line["event"] == "records_not_readable"] == [
        here.told(A, 1)[0].partition
    ]
    assert await here.pool.fetchval("SELECT count(*) FROM dead_letters") == 0


async def test_a_rebuild_reads_what_only_salvaging_can(here: Scene, owner_pool: asyncpg.Pool) -> None:
    await write(here, 1)
    await publish(here)
    same = [s for s in STREAMS if here.told(s, 1)[0].partition == here.told(A, 1)[0].partition]
    async with at_work(here.consumer()):
        for n in (2, 4):
            await here.send_spoiled([p for s in same for p in here.told(s, n)], unheard_of)
            await here.send(
                [p for s in STREAMS for p in here.told(s, *((n + 1,) if s in same else (n, n + 1)))]
            )
        await here.arrived(upto(5))
        await rebuilt(here, owner_pool)
    assert await here.trails() == upto(5)


@pytest.mark.parametrize("discarded", [True, False], ids=["discarded", "open"])
async def test_a_rebuild_passes_over_a_record_that_is_none_once_it_is_discarded(
    pool: asyncpg.Pool, owner_pool: asyncpg.Pool, dsns: Dsns, tansu: SharedBroker, *, discarded: bool
) -> None:
    # Apache Kafka refuses it.
    await make_tables(owner_pool)
    here = scene(pool, tansu.bootstrap, settings(tansu), dsns.app)
    await write(here, 1)
    await publish(here)
    async with at_work(here.consumer()):
        await here.arrived(upto(1))
        await here.send_spoiled([*here.told(A, 2), *here.told(A, 2)], malformed)
        await here.send([p for s in STREAMS for p in here.told(s, *((3,) if s == A else (2, 3)))])
        await here.arrived(upto(3))
        letter = await here.pool.fetchval("SELECT letter_id FROM dead_letters")
        if discarded:
            await repairing.discard(here.pool, letter, "bytes of nobody", By("somebody", uuid4(), b""))
            await rebuilt(here, owner_pool)
        else:
            with pytest.raises(LettersOpen):
                await rebuilt(here, owner_pool)
    assert await here.trails() == upto(3)


async def rebuilt(here: Scene, owner_pool: asyncpg.Pool) -> None:
    """Its projection, made again from zero."""
    publisher = here.publisher
    generation = await rebuild(
        *(here.group, Trail(), [publisher.contract], publisher.bootstrap),
        pool=here.pool,
        owner=owner_pool,
        app_role=APP,
        reader_role=READER,
        patience=20.0,
    )
    assert generation == 2


async def test_a_record_that_is_none_is_parked_with_its_bytes_and_those_around_it_are_applied(
    pool: asyncpg.Pool, owner_pool: asyncpg.Pool, dsns: Dsns, tansu: SharedBroker
) -> None:
    # Apache Kafka refuses it.
    await make_tables(owner_pool)
    here = scene(pool, tansu.bootstrap, settings(tansu), dsns.app)
    await write(here, 1)
    await publish(here)
    spoilt = here.told(A, 2)[0]
    async with at_work(here.consumer()):
        await here.arrived(upto(1))
        offset = await here.send_spoiled([*here.told(A, 2), *here.told(A, 2)], malformed)
        await here.send([p for s in STREAMS for p in here.told(s, *((3,) if s == A else (2, 3)))])
        await here.arrived(upto(3))
    (letter,) = await here.pool.fetch("SELECT * FROM dead_letters")
    assert (letter["channel"], letter["partition"]) == (spoilt.channel, spoilt.partition)
    assert (letter["reason"], letter["record_offset"], letter["stream_id"]) == (
        "unreadable",
        offset + 1,
        None,
    )
    assert letter["log_id"] == await here.publisher.log_id()
    assert spoilt.body in letter["body"]
    assert letter["location"] == "the record is malformed"


@pytest.mark.kafka
async def test_a_batch_spoilt_on_the_broker_s_disk_is_parked_and_the_rest_is_read(
    pool: asyncpg.Pool, owner_pool: asyncpg.Pool, dsns: Dsns, tmp_path: Path
) -> None:
    await make_tables(owner_pool)
    server = ApacheKafka(tmp_path / "kafka")
    bootstrap = await server.start()
    try:
        short = ConsumerSettings(session_timeout_ms=3_000, heartbeat_interval_ms=500)
        here = scene(pool, bootstrap, short, dsns.app)
        await publish(here)
        await here.send(here.told(A, 1))
        await here.send(here.told(B, 1))
        await here.send(here.told(A, 2))
        place = here.told(A, 1)[0]
        await server.stop()
        (segment,) = (tmp_path / "kafka").rglob(f"{place.channel}-{place.partition}/*.log")
        spoilt = segment.read_bytes().replace(place.body, place.body[:-1] + b"?", 1)
        segment.write_bytes(spoilt)
        await server.start()
        async with at_work(here.consumer()):
            await until(lambda: _letters_are(here, [("unreadable", None), ("waiting", 2)]))
            await here.arrived({B: [1]})
    finally:
        await server.stop()


async def _letters_are(here: Scene, expected: list[tuple[str, int | None]]) -> bool:
    rows = await here.pool.fetch("SELECT reason, sequence FROM dead_letters ORDER BY reason")
    return [tuple(row) for row in rows] == expected
