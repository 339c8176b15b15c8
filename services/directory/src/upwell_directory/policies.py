"""Who may do what with units and people. HR admins and coordinators act on and below the units they were given."""

from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

from upwell_shared.web.policies import Principal, RequestFacts, UserRole, policy

Path = Sequence[UUID]
"""A unit and all above it; empty for one that is not known, which nobody may do anything with."""


class PersonFacts(NamedTuple):
    """Who is asked about, and the path of the unit they stand in."""

    person_id: UUID
    path: Path


def reaches(who: Principal, path: Path) -> bool:
    """Whether a unit with this path is one of theirs, or below one."""
    return not who.units.isdisjoint(path)


@policy
def hr_admin(who: Principal, _: RequestFacts) -> bool:
    """Where exactly is asked in the route: its unit stands in the body."""
    return UserRole.HR_ADMIN in who.roles


@policy
def hr_admin_of_root(who: Principal, request: RequestFacts) -> bool:
    """Of the organisation itself, which need not be there yet."""
    return UserRole.HR_ADMIN in who.roles and request.path["organisation_id"] in map(str, who.units)


@policy
def hr_admin_of_unit(who: Principal, path: Path) -> bool:
    return UserRole.HR_ADMIN in who.roles and reaches(who, path)


@policy
def hr_admin_of_person(who: Principal, about: PersonFacts) -> bool:
    return UserRole.HR_ADMIN in who.roles and reaches(who, about.path)


@policy
def overseer(who: Principal, _: RequestFacts) -> bool:
    """Whoever sees others at all; whom, the route restricts to their units."""
    return _oversees(who)


@policy
def overseer_of_unit(who: Principal, path: Path) -> bool:
    return _oversees(who) and reaches(who, path)


@policy
def sees_person(who: Principal, about: PersonFacts) -> bool:
    return who.id == about.person_id or (_oversees(who) and reaches(who, about.path))


@policy
def oneself(who: Principal, request: RequestFacts) -> bool:
    return request.path["person_id"] == str(who.id)


@policy
def oneself_or_hr_admin(who: Principal, about: PersonFacts) -> bool:
    return who.id == about.person_id or hr_admin_of_person.allows(who, about)


def _oversees(who: Principal) -> bool:
    return not who.roles.isdisjoint({UserRole.HR_ADMIN, UserRole.COORDINATOR})
