"""The read models of feedback: the same rows however events come in pages or mingle, and rebuilt as they were."""

import random
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from tests.feedback.telling import Tellers, pair_created
from tests.feedback.world import World
from upwell_feedback.aggregates import EVENTS
from upwell_feedback.app import OWN, SERVICE
from upwell_feedback.domain.question_set import BY_DEFAULT
from upwell_feedback.domain.reflections import (
    Answer,
    BeginReflections,
    ChangeVisibility,
    CloseReflections,
    CountSession,
    ReflectionRequested,
    ReflectionSubmitted,
    State,
    SubmitReflection,
    Unheard,
    pair_reflections,
    stream_of,
)
from upwell_feedback.domain.visibility import Visibility
from upwell_feedback.projections import reflections
from upwell_shared.contracts import PublishedEvent
from upwell_shared.contracts.directory import UnitClosed, UnitMoved, UnitOpened
from upwell_shared.contracts.matching import PairEnded, ProgrammeOpened
from upwell_shared.contracts.sessions import SessionHeld
from upwell_shared.decider import DomainError
from upwell_shared.events import Envelope, Position, Recorded
from upwell_shared.projecting import Projector
from upwell_shared.testing import rows_in_pages

PROGRAMME = UUID(int=9)
AT = datetime(2026, 3, 2, 9, tzinfo=UTC)


def history(seed: int) -> list[Recorded[Any]]:
    """What could have happened: random commands on a few pairs, those that no rule refused."""
    chance = random.Random(seed)
    pairs = [UUID(int=n) for n in range(1, 5)]
    people = {pair: (UUID(int=100 + 2 * n), UUID(int=101 + 2 * n)) for n, pair in enumerate(pairs)}
    states: dict[UUID, State] = dict.fromkeys(pairs, Unheard())
    versions = dict.fromkeys(pairs, 0)
    found: list[Recorded[Any]] = []

    def command(pair: UUID, now: datetime) -> Any:
        mentor, mentee = people[pair]
        asked = [
            event.event
            for event in found
            if isinstance(event.event, ReflectionRequested) and event.stream_id == stream_of(pair)
        ]
        wanted = chance.choice(asked).reflection_id if asked else uuid4()
        visibility = chance.choice(list(Visibility))
        question = chance.choice(["plans", "learned"])
        answer = Answer(question_id=question, text_id=uuid4(), visibility=visibility)
        author = chance.choice([mentor, mentee])
        return chance.choice(
            (
                BeginReflections(
                    pair_id=pair,
                    programme_id=PROGRAMME,
                    mentor_id=mentor,
                    mentee_id=mentee,
                    asking=BY_DEFAULT,
                    now=now,
                ),
                *(
                    CountSession(
                        programme_id=PROGRAMME, session_id=uuid4(), held_at=now, asking=BY_DEFAULT, now=now
                    )
                    for _ in range(3)
                ),
                SubmitReflection(reflection_id=wanted, author=author, answers=(answer,)),
                SubmitReflection(reflection_id=wanted, author=author, answers=(answer,)),
                ChangeVisibility(
                    reflection_id=wanted, author=author, question_id=question, visibility=visibility
                ),
                CloseReflections(programme_id=PROGRAMME, ended_at=now, asking=BY_DEFAULT, now=now),
            )
        )

    for minute in range(150):
        pair = chance.choice(pairs)
        now = AT + timedelta(minutes=minute)
        try:
            events = pair_reflections.decide(command(pair, now), states[pair])
        except DomainError:
            continue
        states[pair] = pair_reflections.fold(events, states[pair])
        for event in events:
            versions[pair] += 1
            found.append(
                Recorded(
                    stream_id=stream_of(pair),
                    version=versions[pair],
                    event=event,
                    event_id=uuid4(),
                    at=Position(1, len(found) + 1),
                    envelope=Envelope(command_id=uuid4(), correlation_id=uuid4()),
                    recorded_at=now,
                )
            )
    return found


async def test_any_cut_into_pages_gives_the_same_rows(owner_pool: asyncpg.Pool) -> None:
    async with owner_pool.acquire() as owner:
        for seed in range(6):
            events = history(seed)
            whole = await rows_in_pages(owner, reflections, events)
            singly = await rows_in_pages(owner, reflections, events, range(len(events)))
            cuts = sorted(random.Random(seed).sample(range(len(events)), 5))
            assert whole == singly == await rows_in_pages(owner, reflections, events, cuts)
            kinds = [type(recorded.event) for recorded in events]
            assert len(whole["reflections"]) == kinds.count(ReflectionRequested) > 0
            submitted = [row for row in whole["reflections"] if row[-1]]
            assert len(submitted) == kinds.count(ReflectionSubmitted) > 0


async def test_rebuilt_from_zero_they_are_what_they_were(
    world: World, pool: asyncpg.Pool, owner_pool: asyncpg.Pool
) -> None:
    pair = await world.begin()
    await world.hold(pair, uuid4(), uuid4())
    await world.submit(pair.reflection(pair.ada), {"plans": ("Some", "me")})
    await world.end(pair)
    [projection] = OWN
    tables = ("reflections", "reflecting_pairs")
    before = [sorted(map(tuple, await pool.fetch(f"TABLE {table}")), key=repr) for table in tables]
    assert len(before[0]) == 6
    await Projector(pool, EVENTS, projection).rebuild(
        owner_pool, app_role=f"{SERVICE.name}_app", reader_role=f"{SERVICE.name}_reader"
    )
    assert before == [sorted(map(tuple, await pool.fetch(f"TABLE {table}")), key=repr) for table in tables]


def all_that_is_told() -> dict[tuple[str, UUID], list[PublishedEvent]]:
    """By teller and key; within one of these the order stands."""
    acme, sales, north, pair, ada, ben = (UUID(int=n) for n in range(1, 7))
    told: dict[tuple[str, UUID], list[PublishedEvent]] = {
        ("directory", acme): [
            UnitOpened(unit_id=acme, organisation_id=acme, parent_id=None),
            UnitOpened(unit_id=sales, organisation_id=acme, parent_id=acme),
            UnitOpened(unit_id=north, organisation_id=acme, parent_id=sales),
            UnitMoved(unit_id=north, organisation_id=acme, parent_id=acme),
            UnitClosed(unit_id=sales, organisation_id=acme),
        ],
        ("matching", PROGRAMME): [ProgrammeOpened(programme_id=PROGRAMME, unit_ids=[sales, north])],
        ("matching", pair): [
            pair_created(pair, PROGRAMME, ada, ben),
            PairEnded(pair_id=pair, programme_id=PROGRAMME),
        ],
        ("sessions", pair): [
            SessionHeld(session_id=UUID(int=50 + n), pair_id=pair, programme_id=PROGRAMME) for n in range(5)
        ],
    }
    return told


@pytest.mark.parametrize("seed", range(4))
async def test_whatever_is_heard_first_all_ends_in_the_same_tables_and_requests(
    world: World, seed: int
) -> None:
    """From the consumer's page to the last request, also where the end of the pair overtakes its sessions."""
    told = all_that_is_told()
    chance = random.Random(seed)
    turns = [place for place, events in told.items() for _ in events]
    chance.shuffle(turns)
    left = {place: iter(events) for place, events in told.items()}
    tellers: Tellers = world.tellers
    for place in turns:
        await tellers.tell(place[1], next(left[place]))
        if chance.random() < 0.3:
            await world.settled()
    await world.settled()
    pair = UUID(int=4)
    own = "SELECT * FROM units WHERE organisation_id = $1 ORDER BY unit_id"
    acme, sales, north = UUID(int=1), UUID(int=2), UUID(int=3)
    assert [tuple(row) for row in await world.pool.fetch(own, acme)] == [
        (acme, acme, None, False),
        (sales, acme, acme, True),
        (north, acme, acme, False),
    ]
    units = "SELECT unit_ids FROM programmes WHERE programme_id = $1"
    assert await world.pool.fetchval(units, PROGRAMME) == [sales, north]
    rows = await world.pool.fetch(
        "SELECT stage, count(*) AS n FROM reflections WHERE pair_id = $1 GROUP BY 1", pair
    )
    assert {row["stage"]: row["n"] for row in rows} == {"start": 2, "after_session": 4, "end": 2}
    assert await world.pool.fetchval("SELECT count(*) FROM dead_letters") == 0
