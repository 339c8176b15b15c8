"""Every line of the log about one command or one event carries the correlation of its story."""

from collections.abc import Iterator
from uuid import UUID, uuid4, uuid5

import asyncpg
import pytest

from tests.shared.consuming_world import CHANNEL, World, make_tables, publish, records, stream
from tests.shared.example.app import COMMANDS, handler
from tests.shared.example.domain.booking import CancelBooking
from tests.shared.logs import Log, captured
from tests.shared.test_todos_timers import promise, todo, work_off
from tests.shared.world import NOW
from upwell_shared.consuming import Retrier
from upwell_shared.events import Envelope
from upwell_shared.handling import Outcome
from upwell_shared.testing import FixedClock
from upwell_shared.todos import TodoWorker

A, B = stream(1), stream(2)


@pytest.fixture
def sink() -> Iterator[Log]:
    with captured("example", "debug") as log:
        yield log


@pytest.fixture
async def world(pool: asyncpg.Pool, owner_pool: asyncpg.Pool) -> World:
    await make_tables(owner_pool)
    return World(pool)


def story_of(stream_id: UUID) -> str:
    return str(uuid5(stream_id, "correlation"))


async def test_an_event_that_fails_is_told_with_its_story_and_those_behind_it_are_not(
    world: World, sink: Log
) -> None:
    failing = publish(A, 1)
    world.trail.failing.add(failing.event_id)
    await world.read(records([failing, publish(B, 1), publish(A, 2)]))
    (line,) = sink.lines("event_parked")
    assert (line["correlation_id"], line["event_id"]) == (story_of(A), str(failing.event_id))
    assert (line["reason"], line["error"], line["sequence"]) == ("failed", "ValueError", 1)
    (count,) = sink.lines("events_parked")
    assert (count["failed"], count["waiting"]) == (1, 1)
    assert "correlation_id" not in count
    assert "somebody's words" not in sink.getvalue().decode()


async def test_an_event_that_fails_again_is_told_with_its_story(world: World, sink: Log) -> None:
    failing = publish(A, 1)
    world.trail.failing.add(failing.event_id)
    await world.read(records([failing, publish(A, 2)]))
    await world.pool.execute("UPDATE dead_letters SET next_try_at = now() WHERE next_try_at IS NOT NULL")
    assert await Retrier(world.applier).step()
    (line,) = sink.lines("event_failed_again")
    assert (line["correlation_id"], line["event_id"]) == (story_of(A), str(failing.event_id))
    world.trail.failing.clear()
    await world.applier.retry(CHANNEL, A)
    assert len(sink.lines("event_failed_again")) == 1


async def test_an_unreadable_record_is_told_with_its_story_if_it_says_which(world: World, sink: Log) -> None:
    named, other = records([publish(A, 1), publish(B, 1)])
    nameless = other._replace(headers=[each for each in other.headers if each[0] != "ce_correlationid"])
    await world.read([named._replace(value=b"{"), nameless._replace(value=b"{")])
    first, second = sink.lines("event_parked")
    assert (first["reason"], first["correlation_id"]) == ("unreadable", story_of(A))
    assert "correlation_id" not in second


async def test_whatever_becomes_of_a_todo_is_told_with_its_story(pool: asyncpg.Pool, sink: Log) -> None:
    clock = FixedClock(NOW)
    refused = todo(uuid4(), CancelBooking())
    await promise(pool, refused)
    await work_off(TodoWorker(pool, COMMANDS, handler(pool, clock).send, clock))
    (parked,) = sink.lines("todo_parked")
    assert parked["correlation_id"] == str(refused.correlation_id)

    broken, away = todo(uuid4(), CancelBooking()), todo(uuid4(), CancelBooking())

    async def carry(stream_id: UUID, _: object, __: Envelope) -> Outcome:
        raise ZeroDivisionError if stream_id == broken.stream_id else ConnectionRefusedError

    await promise(pool, broken, away)
    await work_off(TodoWorker(pool, COMMANDS, carry, clock))
    (failed,), (postponed,) = sink.lines("todo_failed"), sink.lines("todo_postponed")
    assert failed["correlation_id"] == str(broken.correlation_id)
    assert postponed["correlation_id"] == str(away.correlation_id)
