"""Who may be a pair: the rules of a programme, over where two people stand. Age is never one of them."""

from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum
from typing import Final, assert_never
from uuid import UUID

INVERSION: Final = "inversion"
INDEPENDENCE: Final = "independence"
RULES: Final = (INVERSION, INDEPENDENCE)
"""Every rule by its name, in the order in which they are told."""

MOST_LEVELS: Final = 5
"""So far up a line of managers a programme may look, and no further."""


class Measure(StrEnum):
    """By what a mentor is junior: a programme names one."""

    GRADE = "grade"
    TENURE = "tenure"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What a programme asks of every pair.

    `gap` is by how much the mentor is junior, at least: so many grades, or so many days in the role. Neither member is
    among the first `independence_levels` managers of the other; with 0 reporting lines do not matter.
    """

    measure: Measure
    gap: int
    independence_levels: int = 2
    different_units: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Where a person stands; `line` is their managers, nearest first, MOST_LEVELS of them or as many as there are."""

    person_id: UUID
    organisation_id: UUID
    unit_id: UUID
    grade: int
    in_role_since: date
    line: tuple[UUID, ...] = ()


def inversion(rules: Rules, mentor: Standing, mentee: Standing) -> bool:
    """Whether the mentor is junior to the mentee, by the programme's measure and by the gap."""
    match rules.measure:
        case Measure.GRADE:
            return mentor.grade + rules.gap <= mentee.grade
        case Measure.TENURE:
            return mentor.in_role_since - mentee.in_role_since >= timedelta(days=rules.gap)
        case _:
            assert_never(rules.measure)


def independence(rules: Rules, mentor: Standing, mentee: Standing) -> bool:
    """Whether neither has a say over the other, nor the same manager over both; nobody is independent of themselves."""
    if mentor.person_id == mentee.person_id:
        return False
    if rules.different_units and mentor.unit_id == mentee.unit_id:
        return False
    above_mentor = mentor.line[: rules.independence_levels]
    above_mentee = mentee.line[: rules.independence_levels]
    if mentor.person_id in above_mentee or mentee.person_id in above_mentor:
        return False
    return not above_mentor[:1] or above_mentor[:1] != above_mentee[:1]


def broken(rules: Rules, mentor: Standing, mentee: Standing) -> tuple[str, ...]:
    """Names of the rules these two would break as a pair; empty for a pair that may be."""
    kept = {INVERSION: inversion(rules, mentor, mentee), INDEPENDENCE: independence(rules, mentor, mentee)}
    return tuple(rule for rule in RULES if not kept[rule])
