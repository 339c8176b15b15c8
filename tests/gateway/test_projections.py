"""The law of the gateway's read models: whatever order the channels come in, the tables end the same."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from datetime import date, timedelta
from typing import Any
from uuid import UUID, uuid5

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.gateway.telling import NOON, Reader, Teller, tables, wipe
from upwell_gateway.app import PROJECTIONS
from upwell_shared.contracts import Publication, PublishedEvent, directory, feedback, matching, sessions
from upwell_shared.database import create_pool
from upwell_shared.testing.databases import Dsns

EXAMPLES = settings(
    max_examples=50,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
PUBLIC, INTERNAL = "public", "internal"
PROGRAMME, COHORT, ACME, SALES = (UUID(int=n) for n in range(1, 5))
SIDES: st.SearchStrategy[matching.Side] = st.sampled_from(("mentor", "mentee"))

Lane = list[Publication]
"""What one channel tells of one stream: the only order there is."""


def pair_of(number: int) -> UUID:
    return uuid5(PROGRAMME, f"pair {number}")


def person_of(number: int) -> UUID:
    return uuid5(PROGRAMME, f"person {number}")


@st.composite
def programme(draw: st.DrawFn) -> tuple[UUID, list[PublishedEvent]]:
    events: list[PublishedEvent] = [
        matching.ProgrammeOpened(
            programme_id=PROGRAMME, unit_ids=draw(st.sampled_from([[ACME], [ACME, SALES]]))
        )
    ]
    closed = [matching.ProgrammeClosed(programme_id=PROGRAMME)] * draw(st.integers(0, 1))
    return PROGRAMME, [*events, *closed]


@st.composite
def cohort(draw: st.DrawFn) -> tuple[UUID, list[PublishedEvent]]:
    about: dict[str, Any] = {"cohort_id": COHORT, "programme_id": PROGRAMME}
    opened = matching.CohortOpened(**about, starts_on=date(2030, 1, 1), ends_on=date(2030, 7, 1))
    return COHORT, [opened, *[matching.CohortClosed(**about)] * draw(st.integers(0, 1))]


@st.composite
def enrolment(draw: st.DrawFn) -> tuple[UUID, list[PublishedEvent]]:
    person = person_of(draw(st.integers(1, 3)))
    id_ = uuid5(COHORT, str(person))
    about: dict[str, Any] = {
        "enrolment_id": id_,
        "programme_id": PROGRAMME,
        "cohort_id": COHORT,
        "person_id": person,
    }
    place = {"organisation_id": ACME, "unit_id": SALES}
    events: list[PublishedEvent] = []
    for _ in range(draw(st.integers(1, 2))):
        events.append(matching.EnrolmentSubmitted(**about, **place, role=draw(SIDES)))
        events += [matching.EnrolmentWithdrawn(**about)] * draw(st.integers(0, 1))
    return id_, events


@st.composite
def person(draw: st.DrawFn) -> tuple[UUID, list[PublishedEvent]]:
    id_ = person_of(draw(st.integers(1, 3)))
    about: dict[str, Any] = {"person_id": id_, "organisation_id": ACME}
    units = st.sampled_from([ACME, SALES])
    events: list[PublishedEvent] = []
    for _ in range(draw(st.integers(1, 2))):
        unit = draw(units)
        events.append(directory.PersonJoined(**about, unit_id=unit))
        events += [
            directory.PersonMoved(
                **about, unit_id=place, grade=7, manager_id=None, in_role_since=date(2024, 1, 1)
            )
            for place in (unit, *draw(st.lists(units, max_size=2)))
        ]
        events.append(directory.PersonLeft(**about, unit_id=unit))
    ending = draw(st.sampled_from(["here", "gone", "erased"]))
    if ending == "here":
        events.pop()
    return id_, [*events, *([directory.PersonErased(**about)] if ending == "erased" else [])]


@st.composite
def unit_tree(draw: st.DrawFn) -> tuple[UUID, list[PublishedEvent]]:
    about = {"organisation_id": ACME}
    north = UUID(int=9)
    events: list[PublishedEvent] = [
        directory.UnitOpened(unit_id=ACME, **about, parent_id=None),
        directory.UnitOpened(unit_id=SALES, **about, parent_id=ACME),
        directory.UnitOpened(unit_id=north, **about, parent_id=ACME),
        *[directory.UnitMoved(unit_id=north, **about, parent_id=SALES)] * draw(st.integers(0, 1)),
        *[directory.UnitClosed(unit_id=north, **about)] * draw(st.integers(0, 1)),
    ]
    return ACME, events


@st.composite
def pair(draw: st.DrawFn) -> tuple[UUID, list[PublishedEvent]]:
    id_ = pair_of(draw(st.integers(1, 2)))
    about: dict[str, Any] = {"pair_id": id_, "programme_id": PROGRAMME}
    members = {"mentor_id": person_of(1), "mentee_id": person_of(2)}
    proposed = matching.PairProposed(**about, **members, cohort_id=COHORT, reply_by=NOON + timedelta(days=10))
    created = matching.PairCreated(
        **about,
        **members,
        cohort_id=COHORT,
        mentor_unit_id=SALES,
        mentor_organisation_id=ACME,
        mentee_unit_id=SALES,
        mentee_organisation_id=ACME,
        sessions=6,
        days_between=14,
        minutes=60,
        ends_on=date(2030, 7, 1),
    )
    rules = st.sampled_from(["inversion", "independence"])
    replies = st.one_of(
        st.builds(matching.PairAccepted, **_fixed(about), side=SIDES),
        st.builds(matching.PairReplyReminded, **_fixed(about)),
    )
    nothing_came_of_it = st.one_of(
        st.builds(matching.PairDeclined, **_fixed(about), side=SIDES, reason=st.just("no_time")),
        st.builds(matching.PairProposalExpired, **_fixed(about)),
        st.builds(matching.PairProposalWithdrawn, **_fixed(about), reason=st.just("left")),
    )
    life = st.one_of(
        st.builds(matching.PairPaused, **_fixed(about)),
        st.builds(matching.PairResumed, **_fixed(about)),
        st.builds(
            matching.PairExtended,
            **_fixed(about),
            sessions=st.integers(7, 9),
            ends_on=st.just(date(2030, 9, 1)),
        ),
        st.builds(matching.PairRuleBreached, **_fixed(about), rule=rules),
        st.builds(matching.PairRuleRestored, **_fixed(about), rule=rules),
    )
    ended: list[PublishedEvent] = [
        matching.PairEnded(**about),
        matching.PairEndExplained(**about, by="mentee", reason="other", no_fault=True),
    ]
    if draw(st.booleans()):
        return id_, [proposed, *draw(st.lists(replies, max_size=2)), draw(nothing_came_of_it)]
    endings: list[list[PublishedEvent]] = [[], [matching.PairCompleted(**about)], ended]
    ending = draw(st.sampled_from(endings))
    return id_, [
        proposed,
        *draw(st.lists(replies, max_size=3)),
        created,
        *draw(st.lists(life, max_size=5)),
        *ending,
    ]


@st.composite
def cadence(draw: st.DrawFn) -> tuple[UUID, list[PublishedEvent]]:
    pair_id = pair_of(draw(st.integers(1, 2)))
    about: dict[str, Any] = {"pair_id": pair_id, "programme_id": PROGRAMME}
    id_ = uuid5(pair_id, "cadence")
    events: list[PublishedEvent] = [
        sessions.CadenceOpened(cadence_id=id_, **about, sessions=6, days_between=14, minutes=60)
    ]
    for number in range(1, draw(st.integers(1, 3)) + 1):
        session: dict[str, Any] = {"session_id": uuid5(pair_id, f"session {number}"), **about}
        when: dict[str, Any] = {"starts_at": NOON + timedelta(days=number), "minutes": 60}
        ledger = st.builds(
            sessions.CommitmentRecorded,
            **_fixed(session),
            side=SIDES,
            commitment=st.sampled_from(["booked", "moved", "said_held", "said_missed"]),
        )
        events.append(sessions.SessionScheduled(**session, number=number, **when))
        events += draw(st.lists(ledger, max_size=3))
        events += [sessions.SessionRescheduled(**session, **when | {"minutes": 45})] * draw(st.integers(0, 1))
        for kind in draw(
            st.sampled_from(
                [
                    (),
                    (sessions.SessionCancelled,),
                    (sessions.SessionHeld,),
                    (sessions.SessionDisputed,),
                    (sessions.SessionDisputed, sessions.SessionHeld),
                    (sessions.SessionUnconfirmed, sessions.SessionDisputed, sessions.SessionMissed),
                    (sessions.SessionUnconfirmed,),
                ]
            )
        ):
            events.append(kind(**session))
    return id_, events


@st.composite
def reflections(draw: st.DrawFn) -> tuple[UUID, list[PublishedEvent]]:
    pair_id = pair_of(draw(st.integers(1, 2)))
    events: list[PublishedEvent] = []
    for number in range(draw(st.integers(1, 3))):
        about: dict[str, Any] = {
            "reflection_id": uuid5(pair_id, f"reflection {number}"),
            "pair_id": pair_id,
            "programme_id": PROGRAMME,
            "person_id": person_of(1 + number % 2),
            "stage": "start",
        }
        events.append(feedback.ReflectionRequested(**about, due_on=date(2030, 1, 15)))
        events += [feedback.ReflectionSubmitted(**about)] * draw(st.integers(0, 1))
    return uuid5(pair_id, "reflections"), events


def _fixed(values: dict[str, Any]) -> dict[str, Any]:
    return {name: st.just(value) for name, value in values.items()}


@st.composite
def lanes(draw: st.DrawFn) -> list[Lane]:
    """The histories of all owners, each channel of each stream apart."""
    one_each = (programme(), cohort(), unit_tree())
    several = st.one_of(enrolment(), person(), person(), pair(), pair(), cadence(), cadence(), reflections())
    streams = [*(draw(one) for one in one_each), *draw(st.lists(several, min_size=2, max_size=8))]
    teller, found = Teller(), defaultdict[tuple[str, UUID], Lane](list)
    for stream_id, events in dict(streams).items():  # of one stream there is one history
        for event in events:
            publication = teller.tell(stream_id, event)
            found[publication.channel, stream_id].append(publication)
    return list(found.values())


@st.composite
def interleavings(draw: st.DrawFn, told: Sequence[Lane]) -> list[Publication]:
    """All events in an order that keeps each lane's own, with copies of earlier ones anywhere behind them."""
    turns = draw(st.permutations([n for n, lane in enumerate(told) for _ in lane]))
    left: list[Iterator[Publication]] = [iter(lane) for lane in told]
    log = [next(left[n]) for n in turns]
    for at, back in draw(st.lists(st.tuples(st.integers(1, len(log)), st.integers(1, 4)), max_size=3)):
        log[at:at] = log[max(0, at - back) : at]
    return log


@pytest.fixture
def law(dsns: Dsns) -> Iterator["Law"]:
    law = Law(dsns)
    yield law
    law.close()


class Law:
    """Reads histories on one database and one event loop, each on empty tables."""

    def __init__(self, dsns: Dsns) -> None:
        self._loop = asyncio.new_event_loop()
        self.pool: asyncpg.Pool = self.run(create_pool(dsns.app, application_name="law"))

    def run(self, work: Any) -> Any:
        return self._loop.run_until_complete(work)

    def close(self) -> None:
        self.run(self.pool.close())
        self._loop.close()

    def tables_after(self, log: Sequence[Publication]) -> dict[str, Any]:
        async def read() -> dict[str, Any]:
            await wipe(self.pool)
            await Reader(self.pool).take(*log)
            assert await self.pool.fetchval("SELECT count(*) FROM dead_letters") == 0
            return await tables(self.pool)

        found: dict[str, Any] = self.run(read())
        return found


@EXAMPLES
@given(data=st.data(), told=lanes())
def test_any_interleaving_of_all_owners_and_channels_ends_in_equal_tables(
    law: Law, data: st.DataObject, told: list[Lane]
) -> None:
    straight = law.tables_after([publication for lane in told for publication in lane])
    assert law.tables_after(data.draw(interleavings(told))) == straight


@EXAMPLES
@given(told=lanes())
def test_one_channel_wholly_before_another_ends_in_equal_tables(law: Law, told: list[Lane]) -> None:
    def by(key: Callable[[Publication], Any]) -> list[Publication]:
        return sorted((publication for lane in told for publication in lane), key=key)

    one = law.tables_after(by(lambda publication: publication.channel))
    other = law.tables_after(by(lambda publication: [-ord(letter) for letter in publication.channel]))
    assert one == other


def test_the_law_reads_every_table_of_every_projection(law: Law) -> None:
    names = set(law.tables_after([]))
    assert (
        len(names) == len(PROJECTIONS) + 3 + 1
    )  # pairs have an inside, sessions disputes and commitments; to-dos


async def test_nothing_that_tells_where_somebody_stood_is_kept_but_the_place_of_people(
    pool: asyncpg.Pool,
) -> None:
    columns = await pool.fetch(
        "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema LIKE 'projection%'"
    )
    assert {table for table, column in columns if "unit" in column} == {"people", "units", "programmes"}
    kinds = await pool.fetch(
        "SELECT DISTINCT data_type FROM information_schema.columns WHERE table_schema LIKE 'projection%'"
    )
    assert "jsonb" not in {kind for (kind,) in kinds}
