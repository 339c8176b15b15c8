"""How every service forgets a person: cleared first, then acknowledged; once, whatever dies in between."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4, uuid5

import asyncpg
import pytest

from upwell_shared.clock import Clock
from upwell_shared.contracts import Consumed, Contract, PublishedEvent
from upwell_shared.contracts.directory import PersonErased, PersonLeft
from upwell_shared.contracts.erasure import PersonErasureAcknowledged
from upwell_shared.erasing import (
    RECEIPT,
    AcknowledgeErasure,
    ErasureAcknowledged,
    ErasureCommand,
    ErasureEvent,
    asked,
    carrying_out,
    receipt,
    told,
)
from upwell_shared.event_store import EventStore
from upwell_shared.events import Envelope, EventCodec
from upwell_shared.handling import Handler
from upwell_shared.testing import FixedClock, Given
from upwell_shared.todos import Send, Todo, TodoWorker, insert, todo_id

given = Given(receipt)

ADA, ACME = UUID(int=1), UUID(int=2)
STREAM = uuid5(ADA, "erasure")
COMMANDS = EventCodec(ErasureCommand)
KEEPER = Contract("keeper", PersonErasureAcknowledged)


def consumed(event: PublishedEvent) -> Consumed:
    return Consumed(
        event_id=uuid4(),
        type=type(event).__name__,
        owner="directory",
        stream_id=ADA,
        sequence=1,
        recorded_at=datetime(2026, 3, 2, tzinfo=UTC),
        correlation_id=uuid4(),
        causation_id=None,
        traceparent=None,
        log_id=None,
        audience="public",
        event=event,
    )


def test_a_receipt_is_given_once() -> None:
    given().when(AcknowledgeErasure(person_id=ADA)).then(ErasureAcknowledged(person_id=ADA))
    given(ErasureAcknowledged(person_id=ADA)).when(AcknowledgeErasure(person_id=ADA)).then()


def test_an_erasure_asks_for_a_receipt_and_nothing_else_does() -> None:
    erased = consumed(PersonErased(person_id=ADA, organisation_id=ACME))
    assert [*asked(erased)] == [Send(STREAM, AcknowledgeErasure(person_id=ADA))]
    assert [*asked(consumed(PersonLeft(person_id=ADA, organisation_id=ACME, unit_id=ACME)))] == []


def test_a_receipt_tells_whose_it_is_and_nothing_else_is_one() -> None:
    expected = PersonErasureAcknowledged(person_id=ADA, service="keeper")
    assert [*told("keeper", ErasureAcknowledged(person_id=ADA))] == [expected]
    assert [*told("keeper", AcknowledgeErasure(person_id=ADA))] == []


class Keeper:
    """A service that holds something of people, and may die before, while or after it clears that."""

    def __init__(self, pool: asyncpg.Pool, clock: Clock) -> None:
        self.pool = pool
        self.cleared: list[UUID] = []
        self.fails: list[Exception] = []

        def publishing(stream_id: UUID, event: Any, state: Any) -> Sequence[PublishedEvent]:
            return [*told("keeper", event)]

        store = EventStore(pool, EventCodec(ErasureEvent))
        self.handler = Handler(store, clock, KEEPER, publishing, [RECEIPT])
        self.worker = TodoWorker(pool, COMMANDS, carrying_out(self.handler, self.forget), clock)

    async def forget(self, person_id: UUID) -> None:
        self.cleared.append(person_id)
        if self.fails:
            raise self.fails.pop()

    async def hear(self) -> None:
        """PersonErased, as a consumer leaves it."""
        encoded = COMMANDS.encode(AcknowledgeErasure(person_id=ADA))
        cause = uuid4()
        async with self.pool.acquire() as connection, connection.transaction():
            todo = Todo(
                todo_id(cause, "forget_the_person", STREAM, encoded.type),
                STREAM,
                encoded.type,
                encoded.schema_version,
                encoded.data,
                uuid4(),
                cause,
                None,
            )
            await insert(connection, [todo])

    async def work(self) -> None:
        """Until nothing is left that may be tried."""
        while await self.pool.fetchval("SELECT count(*) FROM todos WHERE parked_because IS NULL"):
            await self.pool.execute("UPDATE todos SET next_try_at = '-infinity'")
            await self.worker.step()

    async def receipts(self) -> int:
        return int(await self.pool.fetchval("SELECT count(*) FROM ledger WHERE key = $1", STREAM))


@pytest.fixture
def keeper(pool: asyncpg.Pool) -> Keeper:
    return Keeper(pool, FixedClock())


async def test_what_is_held_is_cleared_and_then_acknowledged(keeper: Keeper) -> None:
    await keeper.hear()
    await keeper.work()
    assert (keeper.cleared, await keeper.receipts()) == ([ADA], 1)


async def test_while_it_cannot_be_cleared_there_is_no_receipt(keeper: Keeper) -> None:
    keeper.fails = [ConnectionRefusedError(), ConnectionRefusedError()]
    await keeper.hear()
    await keeper.worker.step()
    assert await keeper.receipts() == 0
    await keeper.work()
    assert (keeper.cleared, await keeper.receipts()) == ([ADA] * 3, 1)


async def test_what_cannot_be_cleared_for_good_waits_for_a_person_and_gives_no_receipt(
    keeper: Keeper,
) -> None:
    keeper.fails = [ValueError("a bug")]
    await keeper.hear()
    await keeper.work()
    assert await keeper.receipts() == 0
    assert await keeper.pool.fetchval("SELECT parked_because FROM todos") == "ValueError"


async def test_who_dies_between_clearing_and_receipt_clears_again_and_gives_one(keeper: Keeper) -> None:
    await keeper.forget(ADA)
    await keeper.hear()
    await keeper.work()
    assert (keeper.cleared, await keeper.receipts()) == ([ADA, ADA], 1)


async def test_an_erasure_told_twice_gives_one_receipt(keeper: Keeper) -> None:
    await keeper.hear()
    await keeper.work()
    await keeper.hear()
    await keeper.work()
    assert await keeper.receipts() == 1


async def test_another_command_clears_nothing(keeper: Keeper) -> None:
    class Other:
        pass

    carry = carrying_out(keeper.handler, keeper.forget)
    with pytest.raises(KeyError):
        await carry(STREAM, Other(), Envelope(command_id=uuid4(), correlation_id=uuid4()))
    assert keeper.cleared == []
