"""Who may be a pair, and who may not."""

from dataclasses import replace
from datetime import date, timedelta
from uuid import UUID

import pytest

from upwell_matching.domain.eligibility import (
    INDEPENDENCE,
    INVERSION,
    Measure,
    Rules,
    Standing,
    broken,
    independence,
    inversion,
)

ADA, BEN, CLEO, DAN, EVE, ACME, SALES, NORTH = (UUID(int=n) for n in range(1, 9))
SINCE = date(2024, 1, 1)
MENTOR = Standing(person_id=ADA, organisation_id=ACME, unit_id=SALES, grade=5, in_role_since=SINCE)
MENTEE = replace(MENTOR, person_id=BEN, grade=8)
RULES = Rules(measure=Measure.GRADE, gap=2)


@pytest.mark.parametrize(("grade", "kept"), [(5, False), (6, False), (7, True), (20, True)])
def test_by_grade_the_mentor_is_below_by_the_gap_at_least(grade: int, *, kept: bool) -> None:
    assert inversion(RULES, MENTOR, replace(MENTEE, grade=grade)) is kept


@pytest.mark.parametrize(("days", "kept"), [(0, False), (179, False), (180, True), (4_000, True)])
def test_by_tenure_the_mentor_has_come_later_by_the_gap_at_least(days: int, *, kept: bool) -> None:
    rules = Rules(measure=Measure.TENURE, gap=180)
    mentor = replace(MENTOR, in_role_since=SINCE + timedelta(days=days), grade=20)
    assert inversion(rules, mentor, MENTEE) is kept


def test_nobody_is_independent_of_themselves() -> None:
    assert not independence(RULES, MENTOR, MENTOR)


@pytest.mark.parametrize("levels", range(6))
@pytest.mark.parametrize("distance", range(1, 6))
def test_neither_is_among_the_first_managers_of_the_other(levels: int, distance: int) -> None:
    rules = replace(RULES, independence_levels=levels)
    others = tuple(UUID(int=100 + n) for n in range(distance - 1))
    kept = distance > levels
    assert independence(rules, replace(MENTOR, line=(*others, BEN)), MENTEE) is kept
    assert independence(rules, MENTOR, replace(MENTEE, line=(*others, ADA))) is kept


def test_the_same_direct_manager_is_too_close_unless_lines_do_not_matter() -> None:
    both = replace(MENTOR, line=(CLEO, DAN)), replace(MENTEE, line=(CLEO, DAN))
    assert not independence(RULES, *both)
    assert independence(replace(RULES, independence_levels=0), *both)
    assert independence(RULES, both[0], replace(MENTEE, line=(EVE, CLEO)))
    assert independence(RULES, MENTOR, MENTEE)


def test_other_units_where_the_programme_asks_for_them() -> None:
    rules = replace(RULES, different_units=True)
    assert not independence(rules, MENTOR, MENTEE)
    assert independence(rules, MENTOR, replace(MENTEE, unit_id=NORTH))


def test_what_is_broken_is_named_in_one_order() -> None:
    assert broken(RULES, MENTOR, MENTEE) == ()
    assert broken(RULES, MENTOR, replace(MENTEE, line=(ADA,))) == (INDEPENDENCE,)
    assert broken(RULES, MENTOR, replace(MENTEE, grade=6)) == (INVERSION,)
    assert broken(RULES, MENTOR, replace(MENTEE, grade=6, line=(ADA,))) == (INVERSION, INDEPENDENCE)
