"""One programme with one pair, as its owners would tell of it."""

from datetime import date, datetime, timedelta
from uuid import UUID, uuid4, uuid5

from tests.gateway.telling import NOON, Reader, Teller
from upwell_shared.contracts import PublishedEvent, directory, feedback, matching, sessions


class Story:
    """Everything is told at once, in the order of the calls."""

    def __init__(self, reader: Reader) -> None:
        self.reader = reader
        self.teller = Teller()
        self.acme, self.sales, self.elsewhere = uuid4(), uuid4(), uuid4()
        self.programme, self.cohort = uuid4(), uuid4()
        self.pair, self.mentor, self.mentee = uuid4(), uuid4(), uuid4()

    @property
    def cadence(self) -> UUID:
        return uuid5(self.pair, "cadence")

    @property
    def about(self) -> dict[str, UUID]:
        """The ids every event of the pair carries."""
        return {"pair_id": self.pair, "programme_id": self.programme}

    async def tell(self, stream_id: UUID, *events: PublishedEvent, at: datetime | None = None) -> None:
        await self.reader.take(*(self.teller.tell(stream_id, event, at) for event in events))

    async def open(self) -> None:
        """Acme with Sales in it, a programme for Sales with a cohort, two people of Sales who enrolled."""
        acme = {"organisation_id": self.acme}
        await self.tell(
            self.acme,
            directory.UnitOpened(unit_id=self.acme, **acme, parent_id=None),
            directory.UnitOpened(unit_id=self.sales, **acme, parent_id=self.acme),
        )
        for person in (self.mentor, self.mentee):
            await self.join(person)
        await self.tell(
            self.programme, matching.ProgrammeOpened(programme_id=self.programme, unit_ids=[self.sales])
        )
        await self.tell(
            self.cohort,
            matching.CohortOpened(
                cohort_id=self.cohort,
                programme_id=self.programme,
                starts_on=date(2030, 1, 1),
                ends_on=date(2030, 7, 1),
            ),
        )
        await self.enrol(self.mentor, "mentor")
        await self.enrol(self.mentee, "mentee")

    async def join(self, person: UUID, unit: UUID | None = None) -> None:
        place = {"person_id": person, "organisation_id": self.acme, "unit_id": unit or self.sales}
        await self.tell(
            person,
            directory.PersonJoined(**place),
            directory.PersonMoved(**place, grade=7, manager_id=None, in_role_since=date(2024, 1, 1)),
        )

    async def enrol(self, person: UUID, role: matching.Side) -> UUID:
        enrolment = uuid5(self.cohort, str(person))
        await self.tell(
            enrolment,
            matching.EnrolmentSubmitted(
                enrolment_id=enrolment,
                programme_id=self.programme,
                cohort_id=self.cohort,
                person_id=person,
                organisation_id=self.acme,
                unit_id=self.sales,
                role=role,
            ),
        )
        return enrolment

    async def propose(self) -> None:
        await self.tell(
            self.pair,
            matching.PairProposed(
                **self.about,
                cohort_id=self.cohort,
                mentor_id=self.mentor,
                mentee_id=self.mentee,
                reply_by=NOON + timedelta(days=10),
            ),
        )

    async def create(self) -> None:
        """Both accept; the cadence opens, and both are asked to reflect."""
        await self.tell(
            self.pair,
            matching.PairAccepted(**self.about, side="mentor"),
            matching.PairAccepted(**self.about, side="mentee"),
            matching.PairCreated(
                **self.about,
                cohort_id=self.cohort,
                mentor_id=self.mentor,
                mentor_unit_id=self.sales,
                mentor_organisation_id=self.acme,
                mentee_id=self.mentee,
                mentee_unit_id=self.sales,
                mentee_organisation_id=self.acme,
                sessions=6,
                days_between=14,
                minutes=60,
                ends_on=date(2030, 7, 1),
            ),
        )
        await self.tell(
            self.cadence,
            sessions.CadenceOpened(
                cadence_id=self.cadence, **self.about, sessions=6, days_between=14, minutes=60
            ),
        )
        for person in (self.mentor, self.mentee):
            await self.ask(person, "start")

    async def ask(self, person: UUID, stage: feedback.Stage) -> UUID:
        reflection = uuid5(self.pair, f"{person} {stage}")
        await self.tell(
            uuid5(self.pair, "reflections"),
            feedback.ReflectionRequested(
                reflection_id=reflection,
                **self.about,
                person_id=person,
                stage=stage,
                due_on=date(2030, 1, 15),
            ),
        )
        return reflection

    async def submit(self, person: UUID, stage: feedback.Stage) -> None:
        await self.tell(
            uuid5(self.pair, "reflections"),
            feedback.ReflectionSubmitted(
                reflection_id=uuid5(self.pair, f"{person} {stage}"),
                **self.about,
                person_id=person,
                stage=stage,
            ),
        )

    async def book(self, number: int, side: matching.Side = "mentor") -> UUID:
        session = uuid5(self.pair, f"session {number}")
        await self.tell(
            self.cadence,
            sessions.SessionScheduled(
                session_id=session,
                **self.about,
                number=number,
                starts_at=NOON + timedelta(days=number),
                minutes=60,
            ),
        )
        await self.commit(session, side, "booked")
        return session

    async def commit(self, session: UUID, side: matching.Side, commitment: sessions.Commitment) -> None:
        await self.tell(
            self.cadence,
            sessions.CommitmentRecorded(session_id=session, **self.about, side=side, commitment=commitment),
        )

    async def settle(
        self,
        session: UUID,
        kind: type[
            sessions.SessionHeld
            | sessions.SessionMissed
            | sessions.SessionCancelled
            | sessions.SessionUnconfirmed
            | sessions.SessionDisputed
        ],
        at: datetime | None = None,
    ) -> None:
        await self.tell(self.cadence, kind(session_id=session, **self.about), at=at)
