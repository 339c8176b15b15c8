"""What follows of a pair for its members: written with it or not at all, wherever the program dies or is overtaken."""

import asyncio
from collections.abc import AsyncIterator
from datetime import date, timedelta
from typing import NamedTuple, cast
from uuid import UUID, uuid4

import asyncpg
import pytest

from tests.shared.crashes import Fuse, Interruption, everywhere
from upwell_matching.aggregates import COHORT, ENROLMENT, PROGRAMME
from upwell_matching.app import OWN, Matching
from upwell_matching.commands import accept_pair, propose_pair
from upwell_matching.domain import cohort, enrolment, programme
from upwell_matching.domain.eligibility import Measure, Rules
from upwell_matching.domain.enrolment import Enrolled, Side, SubmitEnrolment, enrolment_id
from upwell_matching.domain.standing import BeginStanding, Place, TakePlaceInOrganisation
from upwell_matching.settings import MatchingSettings
from upwell_shared.decider import DomainError
from upwell_shared.errors import ConcurrentUpdate
from upwell_shared.events import Envelope
from upwell_shared.handling import Intent
from upwell_shared.looking_up import caught_up
from upwell_shared.running import run_until
from upwell_shared.settings import Dsn
from upwell_shared.testing import FixedClock
from upwell_shared.testing.databases import Dsns
from upwell_shared.web.commands import Command

# A scenario is played once for each call to the database, twice over.
pytestmark = pytest.mark.timeout(300)

CLOCK = FixedClock()
TOPIC = UUID(int=1)


def asked() -> Envelope:
    return Envelope(command_id=uuid4(), correlation_id=uuid4())


def request(envelope: Envelope) -> Command:
    """What a route hands on of a request."""
    command = Command({"type": "http", "method": "POST", "headers": []})
    command.envelope, command.fingerprint = envelope, b"fingerprint"
    return command


class There(NamedTuple):
    """A mentor with one place, and proposals to two mentees, who have accepted."""

    cohort: UUID
    mentor: UUID
    mentees: tuple[UUID, UUID]
    pairs: tuple[UUID, UUID]


class Desk:
    """Matching on one pool, with nobody but the test to carry anything out."""

    def __init__(self, dsns: Dsns, pool: asyncpg.Pool) -> None:
        settings = MatchingSettings(database_url=Dsn(dsns.app))
        self.matching = Matching(settings, pool, clock=CLOCK)
        self.pool = pool

    async def do(self, *intents: Intent) -> None:
        await self.matching.handler.handle(*intents, envelope=asked())

    async def read_up(self) -> None:
        while not await caught_up(self.pool, *(projection.name for projection in OWN)):
            pass

    async def join(self, person_id: UUID, grade: int) -> None:
        place = Place(
            organisation_id=UUID(int=2),
            unit_id=UUID(int=3),
            grade=grade,
            manager_id=None,
            in_role_since=date(2020, 1, 1),
        )
        for command in (BeginStanding(), TakePlaceInOrganisation(place=place)):
            await self.matching.handler.send(person_id, command, asked())

    async def set_up(self) -> There:
        programme_id, cohort_id, mentor = uuid4(), uuid4(), uuid4()
        mentees = (uuid4(), uuid4())
        opening = programme.OpenProgramme(
            name="Upward",
            unit_ids=(UUID(int=3),),
            rules=Rules(measure=Measure.GRADE, gap=2),
            defaults=programme.Defaults(),
        )
        today = CLOCK.now().date()
        of_cohort = cohort.OpenCohort(
            programme_id=programme_id, name="First", starts_on=today, ends_on=today + timedelta(days=90)
        )
        await self.do(Intent(PROGRAMME, programme_id, opening))
        await self.do(Intent(COHORT, cohort_id, of_cohort))
        for person_id, role, grade in ((mentor, Side.MENTOR, 3), *((m, Side.MENTEE, 9) for m in mentees)):
            await self.join(person_id, grade)
            submitting = SubmitEnrolment(
                programme_id=programme_id,
                cohort_id=cohort_id,
                person_id=person_id,
                organisation_id=UUID(int=2),
                unit_id=UUID(int=3),
                covered=True,
                role=role,
                offers=(TOPIC,),
                seeks=(),
                capacity=1,
                topics=frozenset({TOPIC}),
            )
            await self.do(Intent(ENROLMENT, enrolment_id(cohort_id, person_id), submitting))
        pairs = (uuid4(), uuid4())
        for pair_id, mentee in zip(pairs, mentees, strict=True):
            await propose_pair(
                self.matching.means,
                pair_id,
                asked(),
                cohort_id=cohort_id,
                mentor_id=mentor,
                mentee_id=mentee,
            )
            await accept_pair(self.matching.means, request(asked()), pair_id, Side.MENTEE)
        return There(cohort_id, mentor, mentees, pairs)

    async def accept(self, pair_id: UUID, envelope: Envelope) -> None:
        """For the mentor."""
        await accept_pair(self.matching.means, request(envelope), pair_id, Side.MENTOR)

    async def kinds(self, stream_id: UUID) -> list[str]:
        rows = await self.pool.fetch(
            "SELECT type FROM events WHERE stream_id = $1 ORDER BY version", stream_id
        )
        return [row["type"] for row in rows]

    async def partners(self, there: There, person_id: UUID) -> set[UUID]:
        state = await self.matching.means.state(ENROLMENT, enrolment_id(there.cohort, person_id))
        return {*cast("Enrolled", state).partners}


@pytest.fixture
async def desk(dsns: Dsns, pool: asyncpg.Pool) -> AsyncIterator[Desk]:
    """Its read models are kept; neither timers nor to-dos are carried out."""
    desk, stop = Desk(dsns, pool), asyncio.Event()
    projectors = [
        worker for worker in desk.matching.workers(["work"]) if worker.name.startswith("projector-")
    ]
    keeping = asyncio.create_task(run_until(stop, *projectors, closing=desk.matching.closing))
    yield desk
    stop.set()
    await keeping


async def test_an_acceptance_that_dies_anywhere_makes_one_pair_and_takes_one_place_of_each(
    desk: Desk, dsns: Dsns
) -> None:
    async def scenario(fuse: Fuse) -> None:
        there, envelope = await desk.set_up(), asked()
        pair_id = there.pairs[0]
        dying = Desk(dsns, fuse.pool(desk.pool))
        with fuse.dying():
            await dying.accept(pair_id, envelope)
        await desk.accept(pair_id, envelope)
        assert await desk.kinds(pair_id) == ["PairProposed", "PairAccepted", "PairAccepted", "PairCreated"]
        for person_id in (there.mentor, there.mentees[0]):
            taken = await desk.kinds(enrolment_id(there.cohort, person_id))
            assert taken == ["EnrolmentSubmitted", "EnrolmentPlaceTaken"]

    assert await everywhere(scenario) >= 2 * 8


async def test_an_acceptance_overtaken_anywhere_by_another_exceeds_no_capacity(
    desk: Desk, dsns: Dsns
) -> None:
    async def accepted(at: Desk, pair_id: UUID) -> bool:
        try:
            await at.accept(pair_id, asked())
        except (DomainError, ConcurrentUpdate):
            return False
        return True

    async def scenario(interruption: Interruption) -> None:
        there = await desk.set_up()
        first, second = there.pairs
        overtook: list[bool] = []

        async def overtake() -> None:
            overtook.append(await accepted(desk, second))

        interruption.action = overtake
        answered = await accepted(Desk(dsns, interruption.pool(desk.pool)), first)
        created = {pair_id for pair_id in there.pairs if "PairCreated" in await desk.kinds(pair_id)}
        assert created == ({first} if answered else {second})
        assert overtook in ([], [not answered])
        assert await desk.partners(there, there.mentor) == created

    assert await everywhere(scenario, Interruption) >= 2 * 8


async def test_a_withdrawal_that_dies_anywhere_closes_everything_once(desk: Desk, dsns: Dsns) -> None:
    async def scenario(fuse: Fuse) -> None:
        there, envelope = await desk.set_up(), asked()
        pair_id, proposal_id = there.pairs
        await desk.accept(pair_id, asked())
        stream_id = enrolment_id(there.cohort, there.mentor)
        await desk.do(Intent(ENROLMENT, stream_id, enrolment.WithdrawEnrolment()))
        await desk.read_up()
        dying = Desk(dsns, fuse.pool(desk.pool))
        with fuse.dying():
            await dying.matching.carry(stream_id, enrolment.SettleWithdrawal(), envelope)
        await desk.matching.carry(stream_id, enrolment.SettleWithdrawal(), envelope)
        assert (await desk.kinds(pair_id))[-2:] == ["PairCreated", "PairEnded"]
        assert (await desk.kinds(proposal_id))[-1] == "PairProposalWithdrawn"
        assert await desk.kinds(stream_id) == [
            "EnrolmentSubmitted",
            "EnrolmentPlaceTaken",
            "EnrolmentWithdrawn",
            "EnrolmentPlaceFreed",
            "WithdrawalSettled",
        ]
        assert await desk.partners(there, there.mentees[0]) == set()

    assert await everywhere(scenario) >= 2 * 12
