"""Who may do what with programmes, cohorts, enrolments and pairs.

The programme team: coordinators and HR admins to whose units every unit of the programme belongs. All of them may do
the same; what is a member's alone is to reply to a proposal.
"""

from typing import NamedTuple
from uuid import UUID

from upwell_shared.web.policies import Principal, RequestFacts, UserRole, policy


class Reach(NamedTuple):
    """What a thing has to do with who asks.

    `theirs`: every unit of its programme is one of theirs, or below one. `open_to_them`: they stand in a unit the
    programme is for. `people`: whom it is about.
    """

    theirs: bool = False
    open_to_them: bool = False
    people: frozenset[UUID] = frozenset()


def coordinates(who: Principal) -> bool:
    """Whether somebody is on programme teams at all."""
    return not who.roles.isdisjoint({UserRole.HR_ADMIN, UserRole.COORDINATOR})


@policy
def team_member(who: Principal, _: RequestFacts) -> bool:
    """Of which programmes is asked in the route: its units stand in the body."""
    return coordinates(who)


@policy
def programme_team(who: Principal, reach: Reach) -> bool:
    return reach.theirs and coordinates(who)


@policy
def sees_programme(who: Principal, reach: Reach) -> bool:
    return reach.open_to_them or programme_team.allows(who, reach)


@policy
def oneself_or_programme_team(who: Principal, reach: Reach) -> bool:
    return who.id in reach.people or programme_team.allows(who, reach)


@policy
def member(who: Principal, reach: Reach) -> bool:
    """Nobody replies for anybody else."""
    return who.id in reach.people


@policy
def member_or_programme_team(who: Principal, reach: Reach) -> bool:
    return who.id in reach.people or programme_team.allows(who, reach)
