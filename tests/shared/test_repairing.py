"""Dead letters in an operator's hands: tried again at once, or passed over for good, and nothing else is touched."""

import asyncio
from collections.abc import Sequence
from itertools import count
from uuid import UUID, uuid4

import asyncpg
import pytest

from tests.shared.consuming_world import (
    CHANNEL,
    EXAMPLE,
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
from upwell_shared.consuming import Applier, Handlers, Reason, Retrier, repairing
from upwell_shared.consuming.repairing import (
    By,
    LetterDiscarded,
    LetterWaits,
    NobodysEvent,
    PredecessorMissing,
    StreamForked,
)
from upwell_shared.contracts import Consumed, Publication
from upwell_shared.database import Connection
from upwell_shared.errors import IdempotencyKeyReused, NotFound

A, B = stream(1), stream(2)
WHY = "the row it names was removed by hand, OPS-17"


def history(stream_id: UUID, *sequences: int, branch: str = "") -> list[Publication]:
    return [publish(stream_id, n, branch=branch) for n in sequences]


def by(actor: str = "somebody") -> By:
    return By(actor, uuid4(), b"fingerprint")


@pytest.fixture
async def world(pool: asyncpg.Pool, owner_pool: asyncpg.Pool) -> World:
    await make_tables(owner_pool)
    return World(pool)


async def letter_of(world: World, reason: str, sequence: int | None = None) -> UUID:
    query = "SELECT letter_id FROM dead_letters WHERE reason = $1 AND ($2::int IS NULL OR sequence = $2)"
    found = await world.pool.fetchval(query, reason, sequence)
    assert isinstance(found, UUID)
    return found


async def retry_due(world: World) -> None:
    """What is due by itself, and nothing before its time."""
    retrier = Retrier(world.applier)
    while await retrier.step():
        pass


async def progress(world: World) -> list[tuple[object, ...]]:
    return (await world.tables())["progress"]


async def made_anew(world: World, *logs: tuple[Sequence[Raw], UUID]) -> dict[UUID, list[int]]:
    """The trails of a consumer that begins at zero and honours what `world` has discarded."""
    await world.pool.execute("DELETE FROM projection_trail_1.trails")
    other = World(world.pool, "new", trail=world.trail)
    handlers = Handlers((world.trail,))
    other.applier = Applier("new", world.pool, [EXAMPLE], handlers, discards_of=world.name)
    for log, log_id in logs:
        (applied,) = await other.read(log, log_id)
        assert not applied.parked
    return await world.trails()


async def test_a_discarded_event_counts_as_seen_and_what_waited_goes_on(world: World) -> None:
    log = records([*history(A, 1, 2, 3, 4), *history(B, 1, 2)])
    world.trail.failing = {publish(A, 2).event_id}
    await world.read(log)
    letter = await letter_of(world, "failed")
    asked = by()
    assert await repairing.discard(world.pool, letter, WHY, asked)
    assert (CHANNEL, A, 2, publish(A, 2).event_id, 2) in await progress(world)

    await retry_due(world)
    assert await world.letters() == []
    assert await world.trails() == {A: [1, 3, 4], B: [1, 2]}
    assert (CHANNEL, A, 4, publish(A, 4).event_id, 0) in await progress(world)

    (kept,) = await repairing.discards(world.pool, None, 10)
    told = {
        name: kept[name] for name in ("letter_id", "stream_id", "sequence", "event_id", "reason", "actor")
    }
    assert told == {
        "letter_id": letter,
        "stream_id": A,
        "sequence": 2,
        "event_id": publish(A, 2).event_id,
        "reason": WHY,
        "actor": "somebody",
    }
    with pytest.raises(asyncpg.PostgresError):
        await world.pool.execute("DELETE FROM discards")

    # Come again in another log it is a duplicate as any other; and whoever begins at zero skips it, and it alone.
    before = await world.tables()
    (again,) = await world.read(records([*history(A, 1, 2, 3, 4)], OTHER_LOG), OTHER_LOG)
    assert (again.applied, again.duplicates, again.skipped) == (0, 4, 0)
    assert await world.tables() == before
    assert await made_anew(world, (log, world.batch(log, 0).log_id)) == {A: [1, 3, 4], B: [1, 2]}


async def test_an_event_that_cannot_be_read_is_skipped_by_who_begins_at_zero(world: World) -> None:
    broken = record(publish(A, 2))._replace(value=b'{"booking_id": "somebody"}')
    log = records([*history(A, 1), broken, *history(A, 3)])
    await world.read(log)
    await repairing.discard(world.pool, await letter_of(world, "unreadable"), WHY, by())
    await retry_due(world)
    assert await world.trails() == {A: [1, 3]}
    assert await made_anew(world, (log, world.batch(log, 0).log_id)) == {A: [1, 3]}


async def test_a_discarded_fork_never_takes_the_number_of_the_event_that_has_it(world: World) -> None:
    forked = [*history(A, 1, 2), *history(A, 2, branch="other"), *history(A, 3)]
    log = records(forked)
    await world.read(log)
    assert await world.letters() == [("fork", 2), ("waiting", 3)]
    assert await repairing.discard(world.pool, await letter_of(world, "fork"), WHY, by())
    await retry_due(world)
    assert (await world.letters(), await world.trails()) == ([], {A: [1, 2, 3]})
    (again,) = await world.read(records(forked, OTHER_LOG), OTHER_LOG)
    assert (again.applied, again.duplicates, again.parked) == (0, 4, {})
    # Also where it comes before the event whose number it bears.
    turned = records([*history(A, 2, branch="other"), *history(A, 1), *history(A, 2, 3)])
    assert await made_anew(world, (turned, world.batch(log, 0).log_id)) == {A: [1, 2, 3]}


async def test_a_fork_is_discarded_while_the_stream_stands_at_it(world: World) -> None:
    """Then its number is the last one applied, and the event is told from it by nothing but its id."""
    forked = [*history(A, 1, 2), *history(A, 2, branch="other")]
    await world.read(records(forked))
    assert not await repairing.discard(world.pool, await letter_of(world, "fork"), WHY, by())
    (again,) = await world.read(records(forked, OTHER_LOG), OTHER_LOG)
    assert (again.skipped, again.parked, await world.letters()) == (1, {}, [])


async def test_a_record_that_does_not_say_what_it_is_is_not_parked_again(world: World) -> None:
    log = records([*history(A, 1), Raw(0, b"\xff", b"\x00", []), *history(B, 1)])
    await world.read(log)
    letter = await letter_of(world, "unreadable")
    with pytest.raises(NobodysEvent):
        await repairing.retry(world.pool, letter, by())
    assert not await repairing.discard(world.pool, letter, WHY, by())
    await world.pool.execute("UPDATE consumer_offsets SET next_offset = 0")
    (again,) = await world.read(log)
    assert (again.skipped, again.duplicates, await world.letters()) == (1, 2, [])
    assert await made_anew(world, (log, world.batch(log, 0).log_id)) == {A: [1], B: [1]}


async def test_what_cannot_be_done_is_said_and_changes_nothing(world: World) -> None:
    world.trail.failing = {publish(A, 1).event_id}
    await world.read(records([*history(A, 1, 2), *history(B, 1, 3)]))
    failed, behind = await letter_of(world, "failed"), await letter_of(world, "waiting", 2)
    early = await letter_of(world, "waiting", 3)
    before = (await world.tables(), await world.letters())
    for letter in (behind, early):
        with pytest.raises(LetterWaits):
            await repairing.discard(world.pool, letter, WHY, by())
    with pytest.raises(PredecessorMissing):
        await repairing.retry(world.pool, early, by())
    with pytest.raises(NotFound):
        await repairing.retry(world.pool, uuid4(), by())
    with pytest.raises(NotFound):
        await repairing.discard(world.pool, uuid4(), WHY, by())
    with pytest.raises(NotFound):
        await repairing.letter(world.pool, uuid4())
    assert (await world.tables(), await world.letters()) == before

    await repairing.discard(world.pool, failed, WHY, by())
    for again in (
        repairing.discard(world.pool, failed, WHY, by()),
        repairing.retry(world.pool, failed, by()),
        repairing.letter(world.pool, failed),
    ):
        with pytest.raises(LetterDiscarded):
            await again


async def test_no_retry_of_a_forked_stream(world: World) -> None:
    await world.read(records([*history(A, 1, 2), *history(A, 2, branch="other"), *history(A, 3)]))
    for reason in ("fork", "waiting"):
        with pytest.raises(StreamForked):
            await repairing.retry(world.pool, await letter_of(world, reason), by())


async def test_a_retry_takes_the_whole_sequence_in_order_before_its_time(world: World) -> None:
    world.trail.failing = {publish(A, 2).event_id}
    await world.read(records(history(A, 1, 2, 3, 4)))
    await retry_due(world)
    failed = await letter_of(world, "failed")
    # Whichever of its letters is named: the first is tried first.
    tried = await repairing.retry(world.pool, await letter_of(world, "waiting", 4), by())
    assert tried.letter_id == failed
    assert await repairing.outcome(world.pool, tried) is None
    await retry_due(world)
    assert await repairing.outcome(world.pool, tried) == "failed"
    world.trail.failing.clear()
    tried = await repairing.retry(world.pool, failed, by())
    await retry_due(world)
    assert await repairing.outcome(world.pool, tried) == "applied"
    assert (await world.letters(), await world.trails()) == ([], {A: [1, 2, 3, 4]})


async def test_the_same_command_happens_once_also_at_the_same_time(world: World) -> None:
    world.trail.failing = {publish(A, 1).event_id}
    await world.read(records(history(A, 1, 2)))
    letter, asked = await letter_of(world, "failed"), by()
    told = await asyncio.gather(*(repairing.discard(world.pool, letter, WHY, asked) for _ in range(4)))
    assert told == [True] * 4
    assert (CHANNEL, A, 1, publish(A, 1).event_id, 1) in await progress(world)
    with pytest.raises(IdempotencyKeyReused):
        await repairing.retry(world.pool, letter, By(asked.actor, asked.command_id, b"another"))
    once = by()
    first = await repairing.retry(world.pool, await letter_of(world, "waiting"), once)
    await retry_due(world)
    assert await repairing.retry(world.pool, first.letter_id, once) == first


class Halting(Trail):
    """Holds its page until told to go on."""

    def __init__(self) -> None:
        super().__init__()
        self.inside, self.go_on = asyncio.Event(), asyncio.Event()

    async def project(self, connection: Connection, events: Sequence[Consumed]) -> None:
        self.inside.set()
        await self.go_on.wait()
        await super().project(connection, events)


async def test_a_discard_that_meets_a_retry_at_work_finds_the_event_applied(world: World) -> None:
    world.trail.failing = {publish(A, 1).event_id}
    await world.read(records(history(A, 1, 2)))
    letter = await letter_of(world, "failed")
    trying = World(world.pool, trail=(halting := Halting()))
    retrying = asyncio.create_task(trying.applier.retry(CHANNEL, A))
    await halting.inside.wait()
    discarding = asyncio.create_task(repairing.discard(world.pool, letter, WHY, by()))
    while not await world.pool.fetchval(
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    ):
        await asyncio.sleep(0.005)
    halting.go_on.set()
    await retrying
    with pytest.raises(NotFound):
        await discarding
    assert (await world.trails(), await world.letters()) == ({A: [1, 2]}, [])
    assert await repairing.discards(world.pool, None, 10) == []


async def test_a_death_at_any_statement_of_a_discard_leaves_all_or_nothing(world: World) -> None:
    numbers = count(100)

    async def scenario(fuse: Fuse) -> None:
        await wipe(world.pool)
        one = stream(next(numbers))
        world.trail.failing = {publish(one, 1).event_id}
        await world.read(records(history(one, 1, 2)))
        letter, asked = await letter_of(world, "failed"), by()
        with fuse.dying():
            await repairing.discard(fuse.pool(world.pool), letter, WHY, asked)
        assert await world.letters() in ([("failed", 1), ("waiting", 2)], [("waiting", 2)])
        assert await repairing.discard(world.pool, letter, WHY, asked)
        await retry_due(world)
        assert (await world.trails(), await world.letters()) == ({one: [2]}, [])
        assert await progress(world) == [(CHANNEL, one, 2, publish(one, 2).event_id, 0)]

    assert await everywhere(scenario) > 20


async def test_the_list_shows_what_stands_at_the_head_and_how_much_waits(world: World) -> None:
    world.trail.failing = {publish(A, 2).event_id}
    junk = Raw(0, None, b"junk", [])
    await world.read(records([*history(A, 1, 2, 3, 4), junk, *history(B, 2, 3), *history(B, 5)]))
    shown = await repairing.open_letters(world.pool, None, 10)
    assert sorted((row["reason"], row["sequence"], row["behind"]) for row in shown if row["sequence"]) == [
        ("failed", 2, 2),
        ("waiting", 2, 2),
    ]
    assert [row["reason"] for row in shown if row["sequence"] is None] == [Reason.UNREADABLE]
    one_by_one, after = [], None
    while page := await repairing.open_letters(world.pool, after, 1):
        one_by_one += page
        after = (page[-1]["parked_at"], page[-1]["letter_id"])
    assert one_by_one == shown
