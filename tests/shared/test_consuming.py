"""What a consumer makes of a partition: effects once, in order, and nothing dropped that somebody may need."""

import asyncio
from collections.abc import Sequence
from uuid import UUID

import asyncpg
import pytest

from tests.shared.consuming_world import (
    CHANNEL,
    LOG,
    OTHER_LOG,
    Raw,
    Trail,
    World,
    make_tables,
    publish,
    record,
    records,
    stream,
    wipe,
)
from tests.shared.crashes import Fuse, everywhere
from upwell_shared.consuming import DeadLettersFull, Limits, Overtaken, Reason, Retrier
from upwell_shared.contracts import Consumed, Publication
from upwell_shared.database import Connection
from upwell_shared.projecting import ProjectionSuperseded

A, B = stream(1), stream(2)


def history(stream_id: UUID, *sequences: int, branch: str = "") -> list[Publication]:
    return [publish(stream_id, n, branch=branch) for n in sequences]


def with_header(raw: Raw, name: str, value: bytes | None) -> Raw:
    kept = [(n, v) for n, v in raw.headers if n != name]
    return raw._replace(headers=kept if value is None else [*kept, (name, value)])


@pytest.fixture
async def world(pool: asyncpg.Pool, owner_pool: asyncpg.Pool) -> World:
    await make_tables(owner_pool)
    return World(pool)


async def make_due(world: World) -> None:
    """As if the wait were over."""
    await world.pool.execute("UPDATE dead_letters SET next_try_at = now() WHERE next_try_at IS NOT NULL")


async def retry_all(world: World) -> None:
    await make_due(world)
    retrier = Retrier(world.applier)
    while await retrier.step():
        pass


async def test_events_are_applied_once_and_leave_progress_offset_and_todos(world: World) -> None:
    (applied,) = await world.read(records(history(A, 1, 2, 3)))
    assert (applied.applied, applied.duplicates, applied.last and applied.last.sequence) == (3, 0, 3)
    assert await world.next_offset() == 3
    tables = await world.tables()
    assert tables["progress"] == [(CHANNEL, A, 3, publish(A, 3).event_id, 0)]
    ((_, _, kind, _, _, cause, _),) = tables["todos"]
    assert (kind, cause) == ("FreeSeat", publish(A, 3).event_id)


async def test_records_that_come_again_are_dropped(world: World) -> None:
    await world.read(records(history(A, 1, 2, 3)))
    before = await world.tables()
    (applied,) = await world.read(records(history(A, 1, 2, 3), OTHER_LOG), OTHER_LOG)
    assert (applied.applied, applied.duplicates) == (0, 3)
    assert await world.tables() == before


async def test_a_hole_in_the_offsets_is_no_matter(world: World) -> None:
    at = await world.next_offset()
    log = [record(publish(A, 1), 4), record(publish(A, 2), 9)]
    await world.applier.apply(world.batch(log, at))
    assert await world.next_offset() == 10


async def test_a_member_that_lost_its_partition_changes_nothing(world: World) -> None:
    log = records(history(A, 1, 2))
    stale = world.batch(log[:1], await world.next_offset())
    await world.read(log)
    before = await world.tables()
    with pytest.raises(Overtaken):
        await world.applier.apply(stale)
    assert await world.tables() == before
    assert await world.next_offset() == 2


class Meeting(Trail):
    """Holds the first page until another one has been tried."""

    def __init__(self) -> None:
        super().__init__()
        self.inside = asyncio.Event()
        self.go_on = asyncio.Event()

    async def project(self, connection: Connection, events: Sequence[Consumed]) -> None:
        self.inside.set()
        await self.go_on.wait()
        await super().project(connection, events)


async def meet(
    pool: asyncpg.Pool, begun: Sequence[Publication], one: Sequence[Publication], other: Sequence[Publication]
) -> World:
    """Two members read after `begun`, each on a log of its own: while the first holds its page, the second tries.

    Their offsets are different rows, so that only a stream's own row can tell one of the other.
    """
    early, late = World(pool, trail=(meeting := Meeting())), World(pool)
    await late.read(records(begun), LOG)
    await late.read(records(begun, OTHER_LOG), OTHER_LOG)
    here, there = records([*begun, *one]), records([*begun, *other], OTHER_LOG)
    first = asyncio.create_task(early.read(here))
    await meeting.inside.wait()
    second = asyncio.create_task(late.read(there, OTHER_LOG))
    while not await pool.fetchval(
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    ):
        await asyncio.sleep(0.005)
    meeting.go_on.set()
    await first
    with pytest.raises(Overtaken):
        await second
    await late.read(there, OTHER_LOG)
    return late


@pytest.mark.parametrize("applied", [0, 1])
async def test_two_members_on_different_logs_do_not_apply_an_event_twice(world: World, applied: int) -> None:
    told = history(A, 1, 2)
    await meet(world.pool, told[:applied], told[applied:], told[applied:])
    assert await world.trails() == {A: [1, 2]}


async def test_an_event_parked_by_one_member_is_released_by_another_that_brings_the_missing_one(
    world: World,
) -> None:
    one, two, three = history(A, 1, 2, 3)
    await meet(world.pool, [one], [three, *history(B, 1)], [two])
    assert await world.trails() == {A: [1, 2, 3], B: [1]}
    assert await world.letters() == []


async def test_an_event_waits_for_the_missing_one_before_it_and_follows_it_in_order(world: World) -> None:
    one, two, three, four = history(A, 1, 2, 3, 4)
    (applied,) = await world.read(records([one, four, three, *history(B, 1)]))
    assert (applied.applied, applied.parked) == (2, {Reason.WAITING: 2})
    assert await world.letters() == [("waiting", 3), ("waiting", 4)]
    (applied,) = await world.read(records([one, four, three, *history(B, 1), two]))
    assert (applied.applied, applied.released) == (3, 2)
    assert await world.letters() == []
    assert await world.trails() == {A: [1, 2, 3, 4], B: [1]}


async def test_a_gap_that_closes_within_a_page_leaves_no_letter(world: World) -> None:
    (applied,) = await world.read(records(history(A, 2, 3, 1)))
    assert (applied.applied, applied.parked, applied.released) == (3, {}, 0)
    assert await world.trails() == {A: [1, 2, 3]}


async def test_another_event_under_a_number_that_is_taken_stops_its_stream(world: World) -> None:
    (applied,) = await world.read(
        records([*history(A, 1, 2), *history(A, 2, 3, branch="other"), *history(B, 1)])
    )
    assert applied.parked == {Reason.FORK: 1, Reason.WAITING: 1}
    assert await world.letters() == [("fork", 2), ("waiting", 3)]
    await retry_all(world)
    assert await world.trails() == {A: [1, 2], B: [1]}
    # It is the same letter however often it comes.
    forks = records(history(A, 2, 3, branch="other"), OTHER_LOG)
    (applied,) = await world.read(forks, OTHER_LOG)
    assert applied.duplicates == 2
    assert await world.letters() == [("fork", 2), ("waiting", 3)]


async def test_a_handler_that_fails_stops_one_stream_and_a_retry_heals_it_in_order(world: World) -> None:
    healthy = World(world.pool)
    log = records([*history(A, 1), *history(B, 1), *history(A, 2, 3), *history(B, 2), *history(A, 4)])
    world.trail.failing = {publish(A, 2).event_id}
    (applied,) = await world.read(log)
    assert (applied.applied, applied.parked) == (3, {Reason.FAILED: 1, Reason.WAITING: 2})
    assert await world.trails() == {A: [1], B: [1, 2]}
    (letter,) = await world.pool.fetch("SELECT * FROM dead_letters WHERE reason = 'failed'")
    assert (letter["error"], letter["stream_id"], letter["sequence"], letter["attempts"]) == (
        "ValueError",
        A,
        2,
        1,
    )
    assert letter["location"].startswith("tests.shared.consuming_world:")
    assert "words" not in str(dict(letter))

    await retry_all(world)
    assert await world.pool.fetchval("SELECT attempts FROM dead_letters WHERE reason = 'failed'") > 1
    world.trail.failing.clear()
    await retry_all(world)
    assert await world.letters() == []
    healed = await world.tables()

    await wipe(world.pool)
    await healthy.read(log)
    assert await world.tables() == healed


async def test_a_retry_goes_as_far_as_it_can(world: World) -> None:
    world.trail.failing = {publish(A, 1).event_id, publish(A, 3).event_id}
    await world.read(records(history(A, 1, 2, 3, 4)))
    world.trail.failing = {publish(A, 3).event_id}
    await retry_all(world)
    assert await world.trails() == {A: [1, 2]}
    assert await world.letters() == [("failed", 3), ("waiting", 4)]


async def test_the_wait_before_the_next_try_doubles(world: World) -> None:
    world.trail.failing = {publish(A, 1).event_id}
    await world.read(records(history(A, 1)))
    waits = []
    for _ in range(4):
        await make_due(world)
        assert await Retrier(world.applier).step()
        assert not await Retrier(world.applier).step()
        query = "SELECT extract(epoch FROM next_try_at - now()) FROM dead_letters"
        waits.append(round(await world.pool.fetchval(query)))
    assert waits == [2, 4, 8, 16]


async def test_only_the_failing_events_of_a_large_page_are_parked(world: World) -> None:
    streams = [stream(n) for n in range(100)]
    bad = {streams[n] for n in (0, 17, 18, 63, 99)}
    world.trail.failing = {publish(s, 2).event_id for s in bad}
    log = records([publish(s, n) for n in (1, 2, 3) for s in streams])
    (applied,) = await world.read(log)
    assert applied.parked == {Reason.FAILED: 5, Reason.WAITING: 5}
    assert await world.trails() == {s: [1] if s in bad else [1, 2, 3] for s in streams}


@pytest.mark.parametrize(
    "error",
    [asyncpg.DeadlockDetectedError(), asyncpg.QueryCanceledError(), ConnectionResetError(), TimeoutError()],
)
async def test_transient_trouble_parks_nothing_and_changes_nothing(world: World, error: Exception) -> None:
    world.trail.failing, world.trail.error = {publish(A, 2).event_id}, error
    log = records(history(A, 1, 2))
    with pytest.raises(type(error)):
        await world.read(log)
    assert await world.letters() == []
    assert await world.next_offset() == 0
    world.trail.failing.clear()
    await world.read(log)
    assert await world.trails() == {A: [1, 2]}


async def test_a_projection_of_another_release_is_no_event_s_fault(
    world: World, owner_pool: asyncpg.Pool
) -> None:
    await owner_pool.execute("UPDATE projections SET version = 2 WHERE name = 'trail'")
    with pytest.raises(ProjectionSuperseded):
        await world.read(records(history(A, 1)))
    assert await world.letters() == []


async def test_a_type_from_the_future_is_counted_and_passed_over(world: World) -> None:
    future = with_header(record(publish(A, 2)), "ce_type", b"upwell.example.BookingPraised.v1")
    (applied,) = await world.read(records([*history(A, 1), future, *history(A, 3)]))
    assert (applied.applied, applied.unknown, applied.parked) == (2, 1, {})
    assert await world.trails() == {A: [1, 3]}


async def test_an_unreadable_event_that_says_which_it_is_stops_its_stream(world: World) -> None:
    broken = record(publish(A, 2))._replace(value=b'{"booking_id": "somebody"}')
    (applied,) = await world.read(records([*history(A, 1), broken, *history(A, 3), *history(B, 1)]))
    assert applied.parked == {Reason.UNREADABLE: 1, Reason.WAITING: 1}
    assert await world.trails() == {A: [1], B: [1]}
    (row,) = await world.pool.fetch("SELECT * FROM dead_letters WHERE reason = 'unreadable'")
    assert (row["body"], row["sequence"], row["log_id"], row["record_offset"]) == (broken.value, 2, LOG, 1)
    assert "somebody" not in row["location"]
    await retry_all(world)
    assert await world.letters() == [("unreadable", 2), ("waiting", 3)]


async def test_an_unreadable_event_met_too_early_is_found_out_when_its_turn_comes(world: World) -> None:
    broken = record(publish(A, 2))._replace(value=b"\xff")
    await world.read(records([broken]))
    assert await world.letters() == [("waiting", 2)]
    (applied,) = await world.read(records([broken, *history(A, 1)]))
    assert (applied.applied, applied.parked) == (1, {Reason.UNREADABLE: 1})
    assert await world.letters() == [("unreadable", 2)]


@pytest.mark.parametrize(
    "junk",
    [
        Raw(0, None, None, []),
        Raw(0, b"\xff\x00", b"\x00", [("a\x00b", b"\xff"), ("a", b"")]),
        Raw(0, b"key", b"{}", [("ce_sequence", b"none")]),
        with_header(record(publish(A, 2)), "ce_sequence", b"0"),
        with_header(record(publish(A, 2)), "ce_id", b"\xf0\x28"),
        record(publish(A, 2))._replace(key=None),
        record(publish(A, 2))._replace(key=b"another"),
    ],
)
async def test_junk_is_kept_byte_by_byte_once_and_stops_no_stream_by_itself(world: World, junk: Raw) -> None:
    (applied,) = await world.read(records([*history(A, 1), junk, *history(B, 1)]))
    assert (applied.applied, applied.parked) == (2, {Reason.UNREADABLE: 1})
    (row,) = await world.pool.fetch("SELECT * FROM dead_letters")
    assert (row["key"], row["body"]) == (junk.key, junk.value)
    assert (row["stream_id"], row["sequence"]) == (None, None)
    await world.pool.execute("UPDATE consumer_offsets SET next_offset = 0")
    await world.read(records([*history(A, 1), junk, *history(B, 1)]))
    assert await world.pool.fetchval("SELECT count(*) FROM dead_letters") == 1


async def test_a_null_header_is_kept_too(world: World) -> None:
    await world.read([Raw(0, None, None, [("empty", None)])])
    assert await world.pool.fetchval("SELECT headers FROM dead_letters") == b'[["empty",null]]'


@pytest.mark.parametrize("name", [name for name, _ in record(publish(A, 1)).headers])
async def test_a_null_in_place_of_any_header_stops_no_partition(world: World, name: str) -> None:
    good = record(publish(A, 1))
    nulled = good._replace(headers=[(n, None if n == name else value) for n, value in good.headers])
    (applied,) = await world.read(records([nulled, *history(B, 1)]))
    assert applied.applied + applied.parked.total() == 2
    assert (await world.trails())[B] == [1]


async def test_records_of_another_log_have_no_effect_here(world: World) -> None:
    foreign = [
        *records(history(A, 1, 2), OTHER_LOG),
        record(publish(A, 3), 2, OTHER_LOG)._replace(value=b"junk"),
    ]
    (applied,) = await world.read(foreign)
    assert (applied.applied, applied.other_logs, applied.parked) == (0, {OTHER_LOG: 3}, {})
    assert await world.next_offset() == 3
    assert await world.trails() == {}


@pytest.mark.parametrize("limits", [Limits(stream=2, consumer=100), Limits(stream=100, consumer=2)])
async def test_too_many_letters_stop_the_partition_and_drop_nothing(
    pool: asyncpg.Pool, owner_pool: asyncpg.Pool, limits: Limits
) -> None:
    await make_tables(owner_pool)
    world = World(pool, limits=limits)
    log = records(history(A, 2, 3, 4))
    await world.read(log[:2])
    with pytest.raises(DeadLettersFull):
        await world.read(log)
    assert await world.next_offset() == 2
    assert await world.letters() == [("waiting", 2), ("waiting", 3)]
    # What needs no room goes on, and makes some.
    roomier = World(pool, limits=Limits())
    await roomier.read(records([*history(A, 2, 3, 4), *history(A, 1)]))
    assert await world.trails() == {A: [1, 2, 3, 4]}


async def test_more_letters_than_a_page_holds_are_released_page_by_page(world: World) -> None:
    log = records(history(A, *range(2, 702)))
    await world.read(log, cuts=range(0, 700, 100))
    (applied,) = await world.read([*log, record(publish(A, 1), 700)])
    assert (applied.applied, applied.released) == (501, 500)
    assert await Retrier(world.applier).step()
    assert await world.letters() == []
    assert await world.trails() == {A: list(range(1, 702))}


async def test_a_crash_at_any_statement_leaves_all_or_nothing(world: World) -> None:
    # The page has everything in it: a gap that closes, a failing handler, junk, to-dos.
    page: list[Publication | Raw] = [
        *history(A, 3),
        *history(A, 1, 2),
        *history(B, 1, 2, 3),
        Raw(0, None, b"junk", []),
    ]
    log = records(page)
    world.trail.failing = {publish(B, 2).event_id}
    await world.read(log, cuts=[1])
    whole = (await world.tables(), await world.letters())

    async def scenario(fuse: Fuse) -> None:
        await wipe(world.pool)
        await world.read(log[:1])
        doomed = World(fuse.pool(world.pool), trail=world.trail)
        with fuse.dying():
            await doomed.applier.apply(doomed.batch(log[1:], 1))
        assert await world.next_offset() in {1, len(log)}
        await world.read(log)
        assert (await world.tables(), await world.letters()) == whole

    assert await everywhere(scenario) > 40


async def test_a_crash_at_any_statement_of_a_retry_leaves_all_or_nothing(world: World) -> None:
    log = records(history(A, 1, 2, 3, 4))
    sick = {publish(A, 2).event_id}

    async def scenario(fuse: Fuse) -> None:
        await wipe(world.pool)
        world.trail.failing = sick
        await world.read(log)
        world.trail.failing = set()
        await make_due(world)
        doomed = World(fuse.pool(world.pool), trail=world.trail)
        with fuse.dying():
            await Retrier(doomed.applier).step()
        assert await world.trails() in ({A: [1]}, {A: [1, 2, 3, 4]})
        await retry_all(world)
        assert await world.trails() == {A: [1, 2, 3, 4]}
        assert await world.letters() == []

    assert await everywhere(scenario) > 20
