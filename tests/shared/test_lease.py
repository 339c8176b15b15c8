"""Leases: one holder at a time, epochs that rise, holders that know when they are stale."""

import asyncio
import time

import asyncpg
import pytest

from upwell_shared.lease import Lease, Term


async def acquired(lease: Lease) -> Term:
    term = await lease.acquire()
    assert term is not None
    return term


async def expire(pool: asyncpg.Pool) -> None:
    """As if the time of every lease had run out, by the database's clock."""
    await pool.execute("UPDATE leases SET expires_at = clock_timestamp() - interval '1 second'")


async def test_only_one_of_many_that_ask_at_once_gets_it(pool: asyncpg.Pool) -> None:
    leases = [Lease(pool, "work", ttl=60) for _ in range(16)]
    terms = await asyncio.gather(*(lease.acquire() for lease in leases))
    assert sum(term is not None for term in terms) == 1


async def test_leases_of_other_names_are_independent(pool: asyncpg.Pool) -> None:
    assert (await acquired(Lease(pool, "one", ttl=60))).valid
    assert (await acquired(Lease(pool, "two", ttl=60))).valid


async def test_the_epoch_rises_with_each_change_of_holder_by_expiry_and_by_release(
    pool: asyncpg.Pool,
) -> None:
    first, second, third = (Lease(pool, "work", ttl=60) for _ in range(3))
    one = await acquired(first)
    assert await second.acquire() is None
    await expire(pool)
    two = await acquired(second)
    await second.release(two)
    three = await acquired(third)
    assert one.epoch < two.epoch < three.epoch


async def test_a_holder_whose_answer_was_lost_gets_it_again_with_a_higher_epoch(pool: asyncpg.Pool) -> None:
    lease = Lease(pool, "work", ttl=60)
    lost = await acquired(lease)
    assert (await acquired(lease)).epoch > lost.epoch


async def test_renewing_keeps_epoch_and_lease(pool: asyncpg.Pool) -> None:
    lease, other = Lease(pool, "work", ttl=60), Lease(pool, "work", ttl=60)
    term = await acquired(lease)
    before = term.deadline
    assert await lease.renew(term)
    assert term.deadline > before
    assert await other.acquire() is None


async def test_an_expired_term_that_nobody_took_can_be_renewed(pool: asyncpg.Pool) -> None:
    lease = Lease(pool, "work", ttl=60)
    term = await acquired(lease)
    await expire(pool)
    assert await lease.renew(term)
    assert await Lease(pool, "work", ttl=60).acquire() is None


async def test_a_former_holder_can_neither_renew_nor_release_the_present_ones_term(
    pool: asyncpg.Pool,
) -> None:
    former, present = Lease(pool, "work", ttl=60), Lease(pool, "work", ttl=60)
    old = await acquired(former)
    await expire(pool)
    new = await acquired(present)
    assert not await former.renew(old)
    assert not old.valid
    await former.release(old)
    assert await former.acquire() is None
    assert await present.renew(new)


async def test_a_holder_that_was_paused_past_its_expiry_knows_it_without_asking(
    pool: asyncpg.Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    term = await acquired(Lease(pool, "work", ttl=60))
    assert term.valid
    later = time.monotonic() + 60.001
    monkeypatch.setattr(time, "monotonic", lambda: later)
    assert not term.valid


async def test_our_count_of_a_term_ends_before_the_databases(pool: asyncpg.Pool) -> None:
    before = time.monotonic()
    term = await acquired(Lease(pool, "work", ttl=60))
    left = await pool.fetchval(
        "SELECT extract(epoch FROM expires_at - clock_timestamp())::float8 FROM leases"
    )
    assert term.deadline <= time.monotonic() + left
    assert term.deadline >= before + 60
