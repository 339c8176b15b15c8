"""Who may do what with question sets and reflections.

The team of a programme are the coordinators and HR admins whose units hold every unit of it. About answers one function
decides, `domain.visibility.may_read`; the policies here say who may know that a reflection was asked for at all.
"""

from typing import NamedTuple
from uuid import UUID

from upwell_feedback.domain.visibility import Reader
from upwell_feedback.projections.reflections import Row
from upwell_shared.web.policies import Principal, RequestFacts, UserRole, policy

_TEAM_ROLES = frozenset({UserRole.COORDINATOR, UserRole.HR_ADMIN})


class ProgrammeFacts(NamedTuple):
    """The units of a programme, none for one that is not known; and those that are the caller's or below theirs."""

    unit_ids: frozenset[UUID] = frozenset()
    reached: frozenset[UUID] = frozenset()


class ReflectionFacts(NamedTuple):
    """A request for a reflection, None for one that is not known, and who the caller is to it."""

    row: Row | None
    reader: Reader


def may_oversee(who: Principal) -> bool:
    """Whether somebody can be in the team of any programme."""
    return not who.roles.isdisjoint(_TEAM_ROLES)


@policy
def overseer(who: Principal, _: RequestFacts) -> bool:
    """Of which programme is asked in the route: it stands in the body."""
    return may_oversee(who)


@policy
def programme_team(who: Principal, programme: ProgrammeFacts) -> bool:
    return may_oversee(who) and bool(programme.unit_ids) and programme.unit_ids <= programme.reached


@policy
def sees_reflection(_: Principal, about: ReflectionFacts) -> bool:
    """The two members of the pair, and the team of its programme."""
    return about.row is not None and about.reader is not Reader.OUTSIDER


@policy
def author(_: Principal, about: ReflectionFacts) -> bool:
    """Who was asked."""
    return about.row is not None and about.reader is Reader.AUTHOR
