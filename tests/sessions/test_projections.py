"""The read models of sessions: the same rows however the events come in pages, rebuilt as they were, and what folds to."""

import random
from collections import Counter
from contextlib import suppress
from datetime import date, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from tests.sessions.test_cadence import NOW, PLAN
from tests.sessions.world import World
from upwell_sessions.aggregates import EVENTS
from upwell_sessions.app import PROJECTIONS, SERVICE
from upwell_sessions.domain import cadence as rules
from upwell_sessions.domain.cadence import Side, Word, cadence, cadence_id
from upwell_sessions.projections import commitments, sessions_by_pair
from upwell_shared.decider import DomainError
from upwell_shared.erasing import ErasureAcknowledged
from upwell_shared.events import Envelope, Position, Recorded
from upwell_shared.projecting import Projector, has_read, head
from upwell_shared.testing import rows_in_pages
from upwell_shared.web.positions import wait_until

PAIRS = [UUID(int=n) for n in range(1, 4)]


def history(seed: int) -> tuple[list[Recorded[Any]], dict[UUID, Any]]:
    """What could have happened, and where it led: random commands on a few cadences, those that no rule refused."""
    chance = random.Random(seed)
    states: dict[UUID, Any] = {cadence_id(pair): cadence.initial for pair in PAIRS}
    versions, found, texts = dict.fromkeys(states, 0), list[Recorded[Any]](), iter(range(10_000, 20_000))

    def record(stream_id: UUID, event: Any, version: int) -> None:
        found.append(
            Recorded(
                stream_id=stream_id,
                version=version,
                event=event,
                event_id=uuid4(),
                at=Position(1, len(found) + 1),
                envelope=Envelope(command_id=uuid4(), correlation_id=uuid4()),
                recorded_at=NOW + timedelta(minutes=len(found)),
            )
        )

    def command(pair: UUID, now: datetime) -> Any:
        side = chance.choice([*Side])
        session = UUID(int=pair.int * 100 + chance.randrange(6))
        soon = now + timedelta(hours=chance.randrange(1, 200))
        both: Any = {"session_id": session, "side": side}
        return chance.choice(
            (
                rules.OpenCadence(plan=rules.Plan(**(fields(PLAN) | {"pair_id": pair, "sessions": 4}))),
                chance.choice((rules.PauseCadence(), rules.ResumeCadence())),
                rules.ResumeCadence(),
                rules.ExtendCadence(sessions=chance.randrange(4, 6), ends_on=date(2027, 1, 1)),
                rules.BookSession(**both, starts_at=soon, minutes=None, now=now),
                rules.BookSession(**both, starts_at=soon, minutes=None, now=now),
                rules.MoveSession(**both, starts_at=soon, minutes=30, now=now),
                chance.choice(
                    (rules.CancelSession(**both, now=now), rules.RecordSilence(session_id=session, now=now))
                ),
                rules.ConfirmSession(**both, word=chance.choice([*Word]), now=now),
                rules.ConfirmSession(**both, word=Word.HELD, now=now),
                rules.WriteRecap(**both, text_id=UUID(int=next(texts)), instead_of=None),
                rules.ConfirmRecap(**both, text_id=None),
                rules.CloseCadence(now=now) if len(found) > 150 else rules.ResumeCadence(),
            )
        )

    for step in range(500):
        pair = chance.choice(PAIRS)
        stream_id = cadence_id(pair)
        events: list[Any] = []
        with suppress(DomainError):
            events = cadence.decide(command(pair, NOW + timedelta(hours=step)), states[stream_id])
        states[stream_id] = cadence.fold(events, states[stream_id])
        for event in events:
            versions[stream_id] += 1
            record(stream_id, event, versions[stream_id])
    record(uuid4(), ErasureAcknowledged(person_id=uuid4()), 1)
    return found, states


def fields(plan: rules.Plan) -> dict[str, Any]:
    return {name: getattr(plan, name) for name in plan.__dataclass_fields__}


def test_the_histories_hold_what_can_happen() -> None:
    kinds = Counter(type(recorded.event) for seed in range(6) for recorded in history(seed)[0])
    assert set(kinds) == set(EVENTS.classes.values())


@pytest.mark.parametrize("projection", PROJECTIONS, ids=lambda projection: projection.name)
async def test_any_cut_into_pages_gives_the_same_rows(projection: Any, owner_pool: asyncpg.Pool) -> None:
    async with owner_pool.acquire() as owner:
        for seed in range(6):
            events, _ = history(seed)
            whole = await rows_in_pages(owner, projection, events)
            singly = await rows_in_pages(owner, projection, events, range(len(events)))
            cuts = sorted(random.Random(seed).sample(range(len(events)), 5))
            assert whole == singly == await rows_in_pages(owner, projection, events, cuts)
            assert any(whole.values())


async def test_the_rows_are_what_the_facts_fold_to(owner_pool: asyncpg.Pool) -> None:
    async with owner_pool.acquire() as owner:
        for seed in range(6):
            events, states = history(seed)
            rows = await rows_in_pages(owner, sessions_by_pair, events)
            last = {recorded.stream_id: recorded.version for recorded in events}
            expected_cadences, expected_sessions = set(), set()
            for stream_id, state in states.items():
                if isinstance(state, rules.NoCadence):
                    continue
                plan = state.plan
                expected_cadences.add(
                    (
                        stream_id,
                        plan.pair_id,
                        type(state).__name__.lower(),
                        plan.sessions,
                        plan.ends_on,
                        last[stream_id],
                    )
                )
                for session_id, session in state.sessions.items():
                    details, recap = session.details, session.details.recap
                    expected_sessions.add(
                        (
                            session_id,
                            stream_id,
                            details.number,
                            details.starts_at,
                            details.minutes,
                            type(session).__name__.lower(),
                            details.words.mentor,
                            details.words.mentee,
                            None if recap is None else recap.by,
                            recap is not None and recap.confirmed,
                        )
                    )
            assert {*rows["sessions"]} == expected_sessions
            assert {(r[0], r[1], r[5], r[6], r[9], r[10]) for r in rows["cadences"]} == expected_cadences


async def test_the_ledger_has_a_line_for_everything_a_side_did(owner_pool: asyncpg.Pool) -> None:
    async with owner_pool.acquire() as owner:
        events, _ = history(1)
        lines = (await rows_in_pages(owner, commitments, events))["commitments"]
    counted = Counter(commitment for *_, commitment, _ in lines)
    kinds = Counter(type(recorded.event) for recorded in events)
    assert counted["booked"] == kinds[rules.SessionBooked]
    assert counted["moved"] == kinds[rules.SessionMoved]
    assert counted["missed"] == kinds[rules.SideMissed]
    assert counted["said_held"] + counted["said_missed"] == kinds[rules.SessionConfirmed]
    by_a_side = [r for r in events if isinstance(r.event, rules.SessionCancelled) and r.event.by is not None]
    assert counted["cancelled"] == len(by_a_side)


async def test_rebuilt_from_zero_they_are_what_they_were(
    world: World, pool: asyncpg.Pool, owner_pool: asyncpg.Pool
) -> None:
    pair = await world.pair()
    session, _ = await world.book(pair), await world.book(pair, days=2, who="ben")
    world.clock.forward(timedelta(hours=1))
    await world.done("POST", f"{session}/confirm", {"held": True})
    await world.done("PUT", f"{session}/recap", {"text": "x"})
    newest = await head(pool)
    for projection in PROJECTIONS:
        name = projection.name
        tables = {"sessions_by_pair": ("cadences", "sessions")}.get(name, (name,))
        assert await wait_until(lambda name=name: has_read(pool, name, newest))  # type: ignore[misc]
        before = [sorted(map(tuple, await pool.fetch(f"TABLE {table}")), key=repr) for table in tables]
        assert all(before)
        await Projector(pool, EVENTS, projection).rebuild(
            owner_pool, app_role=f"{SERVICE.name}_app", reader_role=f"{SERVICE.name}_reader"
        )
        assert before == [
            sorted(map(tuple, await pool.fetch(f"TABLE {table}")), key=repr) for table in tables
        ]
