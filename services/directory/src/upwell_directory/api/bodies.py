"""What is said of people over HTTP."""

from datetime import date
from typing import Self
from uuid import UUID

from upwell_directory.contacts import Contact
from upwell_directory.domain.person import Place, Purpose
from upwell_directory.fields import ExternalId, GradeOnLadder, Mail, Name
from upwell_directory.projections.people_by_unit import Row
from upwell_shared.web.commands import Body


class ContactDetails(Body):
    external_id: ExternalId
    """What the HR system calls this person."""
    user_name: Name
    given_name: Name
    family_name: Name
    mail: Mail | None = None

    def contact(self) -> Contact:
        return Contact(self.external_id, self.user_name, self.given_name, self.family_name, self.mail)


class PlaceToTake(Body):
    unit_id: UUID
    grade: GradeOnLadder
    manager_id: UUID | None
    in_role_since: date

    def place(self) -> Place:
        return Place(
            unit_id=self.unit_id,
            grade=self.grade,
            manager_id=self.manager_id,
            in_role_since=self.in_role_since,
        )


class PersonToJoin(PlaceToTake, ContactDetails):
    organisation_id: UUID


class LeaveToTake(Body):
    until: date | None = None


class Person(Body):
    """A person as they are known now. Of somebody erased only that is left, and where they stood."""

    person_id: UUID
    organisation_id: UUID
    standing: str
    unit_id: UUID | None
    grade: int | None
    manager_id: UUID | None
    in_role_since: date | None
    leave_until: date | None
    consents: list[Purpose]
    given_name: str | None
    family_name: str | None
    contact: Contact | None
    """For the person and for HR alone."""

    @classmethod
    def of(cls, row: Row, contact: Contact | None, *, whole: bool) -> Self:
        """`whole`: with contact data. The names of somebody erased are not shown even while they are still there."""
        known = None if row.standing == "erased" else contact
        return cls(
            person_id=row.person_id,
            organisation_id=row.organisation_id,
            standing=row.standing,
            unit_id=row.unit_id,
            grade=row.grade,
            manager_id=row.manager_id,
            in_role_since=row.in_role_since,
            leave_until=row.leave_until,
            consents=[Purpose(purpose) for purpose in row.consents],
            given_name=None if known is None else known.given_name,
            family_name=None if known is None else known.family_name,
            contact=known if whole else None,
        )
