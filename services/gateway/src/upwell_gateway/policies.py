"""Who may see what. A programme belongs to those whose units cover all of its units; a pair, to its members as well."""

from typing import Final, NamedTuple
from uuid import UUID

from upwell_shared.web.policies import Principal, RequestFacts, UserRole, policy

_OVERSEERS: Final = frozenset({UserRole.COORDINATOR, UserRole.HR_ADMIN})


class Reach(NamedTuple):
    """The units of a programme, and which of them are within the caller's; no unit at all for one that is unknown."""

    unit_ids: frozenset[UUID]
    within: frozenset[UUID]


class PairFacts(NamedTuple):
    """Of a pair that is not known here all is None, and nobody is a member."""

    programme_id: UUID | None
    cohort_id: UUID | None
    mentor_id: UUID | None
    mentee_id: UUID | None
    reach: Reach


class PersonFacts(NamedTuple):
    """`within`: whether the unit they stand in is one of the caller's or below one."""

    person_id: UUID
    within: bool


NOWHERE: Final = Reach(frozenset(), frozenset())


def oversees(who: Principal) -> bool:
    """Whether somebody is a coordinator or of HR at all."""
    return not who.roles.isdisjoint(_OVERSEERS)


def is_team(who: Principal, reach: Reach) -> bool:
    """Whether somebody is of the programme's team."""
    return oversees(who) and bool(reach.unit_ids) and reach.unit_ids <= reach.within


def is_member(who: Principal, pair: PairFacts) -> bool:
    return who.id in {pair.mentor_id, pair.mentee_id}


def sees_whole(who: Principal, pair: PairFacts) -> bool:
    """Whether somebody is shown by whom and why a pair was declined or ended, and which rules it breaks: the programme's
    team, but nobody of their own pair.
    """
    return is_team(who, pair.reach) and not is_member(who, pair)


@policy
def overseer(who: Principal, _: RequestFacts) -> bool:
    """Whoever works for programmes; for which, the route restricts to those whose team they are of."""
    return oversees(who)


@policy
def overseer_or_analyst(who: Principal, _: RequestFacts) -> bool:
    return oversees(who) or UserRole.ANALYST in who.roles


@policy
def programme_team_or_analyst(who: Principal, reach: Reach) -> bool:
    return is_team(who, reach) or UserRole.ANALYST in who.roles


@policy
def member_or_programme_team(who: Principal, pair: PairFacts) -> bool:
    return is_member(who, pair) or is_team(who, pair.reach)


@policy
def oneself_or_overseer_of_unit(who: Principal, about: PersonFacts) -> bool:
    return who.id == about.person_id or (oversees(who) and about.within)
