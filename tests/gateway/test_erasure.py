"""Somebody is erased: the gateway drops where they stood, and gives its receipt; its one event."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import date
from pathlib import Path
from uuid import UUID, uuid5

import asyncpg
import pytest

from tests.gateway.telling import Reader, Teller, tables
from tests.gateway.world import World
from tests.service_process import until
from upwell_gateway.aggregates import EVENTS
from upwell_gateway.forgetting import StillHeld, forgetter
from upwell_gateway.publishing import publishing
from upwell_shared.contracts import directory
from upwell_shared.contracts.erasure import PersonErasureAcknowledged
from upwell_shared.contracts.gateway import CONTRACT
from upwell_shared.contracts.shipped import faults
from upwell_shared.erasing import ErasureAcknowledged
from upwell_shared.running import run_until
from upwell_shared.testing import check_golden_files

ADA = UUID(int=7)


@asynccontextmanager
async def working(world: World) -> AsyncIterator[None]:
    """Its to-dos are carried out."""
    stop = asyncio.Event()
    task = asyncio.create_task(run_until(stop, *world.gateway.workers(["work"])))
    yield
    stop.set()
    await task


async def test_whoever_is_erased_stands_nowhere_and_the_receipt_follows(world: World) -> None:
    story = world.story
    await story.open()
    await story.propose()
    await story.create()
    ids = {"person_id": story.mentor, "organisation_id": story.acme}
    async with working(world):
        await story.tell(
            story.mentor, directory.PersonLeft(**ids, unit_id=story.sales), directory.PersonErased(**ids)
        )

        async def told() -> bool:
            return bool(await world.pool.fetchval("SELECT count(*) FROM ledger"))

        await until(told)
    (row,) = await world.pool.fetch("SELECT channel, key, type, body FROM ledger")
    assert (row["channel"], row["key"]) == ("upwell.gateway.internal.v1", uuid5(story.mentor, "erasure"))
    assert PersonErasureAcknowledged.read(row["body"]) == PersonErasureAcknowledged(
        person_id=story.mentor, service="gateway"
    )
    page = await world.see(f"people/{story.mentor}", "mentor")
    assert (page["standing"], page["unit_id"]) == ("erased", None)
    assert len(page["pairs"]) == 1  # history stays usable
    assert (await world.ask("GET", f"/v1/pages/people/{story.mentor}", "coordinator")).status_code == 404
    assert (await tables(world.pool))["todos"] == []


@pytest.mark.parametrize("internal_first", [True, False])
async def test_a_place_told_after_the_erasure_is_not_kept(
    pool: asyncpg.Pool, *, internal_first: bool
) -> None:
    teller, reader = Teller(), Reader(pool)
    place = {"person_id": ADA, "organisation_id": UUID(int=1), "unit_id": UUID(int=2)}
    joined = teller.tell(ADA, directory.PersonJoined(**place))
    moved = teller.tell(
        ADA, directory.PersonMoved(**place, grade=7, manager_id=None, in_role_since=date(2024, 1, 1))
    )
    left = teller.tell(ADA, directory.PersonLeft(**place))
    erased = teller.tell(ADA, directory.PersonErased(person_id=ADA, organisation_id=UUID(int=1)))
    await reader.take(*((moved, joined, left, erased) if internal_first else (joined, left, erased, moved)))
    assert [tuple(row) for row in await pool.fetch("SELECT standing, unit_id FROM people")] == [
        ("erased", None)
    ]
    await forgetter(pool)(ADA)


async def test_no_receipt_is_given_while_something_is_held(pool: asyncpg.Pool) -> None:
    teller, reader = Teller(), Reader(pool)
    place = {"person_id": ADA, "organisation_id": UUID(int=1), "unit_id": UUID(int=2)}
    await reader.take(
        teller.tell(
            ADA, directory.PersonMoved(**place, grade=7, manager_id=None, in_role_since=date(2024, 1, 1))
        )
    )
    with pytest.raises(StillHeld):
        await forgetter(pool)(ADA)


def test_the_receipt_is_stored_and_told_as_it_always_was() -> None:
    receipt = ErasureAcknowledged(person_id=ADA)
    check_golden_files(EVENTS, Path(__file__).parent / "golden", [receipt])
    assert list(publishing(uuid5(ADA, "erasure"), receipt, True)) == [  # noqa: FBT003 the state
        PersonErasureAcknowledged(person_id=ADA, service="gateway")
    ]
    assert faults(CONTRACT) == []
