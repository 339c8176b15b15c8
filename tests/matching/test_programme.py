"""Programmes and their cohorts."""

from dataclasses import replace
from datetime import date, timedelta
from typing import Any
from uuid import UUID

import pytest

from upwell_matching.domain.cohort import (
    CloseCohort,
    CohortAlreadyOpened,
    CohortClosed,
    CohortIsClosed,
    CohortIsOver,
    CohortOpened,
    EndsBeforeItStarts,
    LastsTooLong,
    OpenCohort,
    RelyOnCohort,
    UnknownCohort,
    cohort,
)
from upwell_matching.domain.eligibility import Measure, Rules
from upwell_matching.domain.programme import (
    MOST_TOPICS,
    AddTopic,
    ChangeRules,
    CloseProgramme,
    Defaults,
    OpenProgramme,
    ProgrammeAlreadyOpened,
    ProgrammeClosed,
    ProgrammeIsClosed,
    ProgrammeOpened,
    RelyOnProgramme,
    RenameTopic,
    RulesChanged,
    TooManyTopics,
    TopicAdded,
    TopicAlreadyAdded,
    TopicNameTaken,
    TopicRenamed,
    UnfitDefaults,
    UnfitName,
    UnfitRules,
    UnfitUnits,
    UnknownProgramme,
    UnknownTopic,
    programme,
)
from upwell_shared.testing import Given

SALES, TRADE, CODE, MUSIC, UPWARD = (UUID(int=n) for n in range(1, 6))
RULES, DEFAULTS = Rules(measure=Measure.GRADE, gap=2), Defaults()
OPEN = OpenProgramme(name="Upward", unit_ids=(SALES, TRADE), rules=RULES, defaults=DEFAULTS)
OPENED = ProgrammeOpened(name="Upward", unit_ids=(SALES, TRADE), rules=RULES, defaults=DEFAULTS)
CODE_ADDED = TopicAdded(topic_id=CODE, name="Code")
CLOSED = ProgrammeClosed()
PROGRAMME_EXAMPLES: tuple[Any, ...] = (
    OPENED,
    CODE_ADDED,
    TopicRenamed(topic_id=CODE, name="Coding"),
    RulesChanged(rules=replace(RULES, gap=3), defaults=replace(DEFAULTS, sessions=8)),
    CLOSED,
)

OPEN_COHORT = OpenCohort(
    programme_id=UPWARD, name="First", starts_on=date(2026, 3, 1), ends_on=date(2026, 9, 1)
)
COHORT_OPENED = CohortOpened(
    programme_id=UPWARD, name="First", starts_on=date(2026, 3, 1), ends_on=date(2026, 9, 1)
)
COHORT_EXAMPLES: tuple[Any, ...] = (COHORT_OPENED, CohortClosed())

given_programme = Given(programme)
given_cohort = Given(cohort)


def test_a_programme_opens_once() -> None:
    given_programme().when(OPEN).then(OPENED)
    given_programme(OPENED).when(OPEN).then_refused(ProgrammeAlreadyOpened)
    given_programme(OPENED, CLOSED).when(OPEN).then_refused(ProgrammeAlreadyOpened)


@pytest.mark.parametrize("name", ["", " Upward", "Upward ", "x" * 121])
def test_a_name_that_is_none_is_refused(name: str) -> None:
    given_programme().when(replace(OPEN, name=name)).then_refused(UnfitName)
    given_programme(OPENED).when(AddTopic(topic_id=CODE, name=name)).then_refused(UnfitName)
    given_cohort().when(replace(OPEN_COHORT, name=name)).then_refused(UnfitName)


@pytest.mark.parametrize(
    "unit_ids", [(), (SALES, SALES), tuple(UUID(int=n) for n in range(201))], ids=["none", "twice", "many"]
)
def test_a_programme_is_for_units_each_named_once(unit_ids: tuple[UUID, ...]) -> None:
    given_programme().when(replace(OPEN, unit_ids=unit_ids)).then_refused(UnfitUnits)


@pytest.mark.parametrize(
    "changes", [{"gap": 0}, {"gap": 36_501}, {"independence_levels": -1}, {"independence_levels": 6}], ids=str
)
def test_rules_beyond_their_bounds_are_refused(changes: dict[str, Any]) -> None:
    rules = replace(RULES, **changes)
    given_programme().when(replace(OPEN, rules=rules)).then_refused(UnfitRules)
    given_programme(OPENED).when(ChangeRules(rules=rules, defaults=DEFAULTS)).then_refused(UnfitRules)


@pytest.mark.parametrize(
    "changes",
    [
        *({"mentor_capacity": n} for n in (0, 4)),
        *({"mentee_capacity": n} for n in (0, 4)),
        *({"sessions": n} for n in (0, 61)),
        *({"days_between": n} for n in (0, 91)),
        *({"minutes": n} for n in (14, 241)),
        *({"reply_days": n} for n in (1, 61)),
        *({"reminder_days": n} for n in (0, 10)),
    ],
    ids=str,
)
def test_defaults_beyond_their_bounds_are_refused(changes: dict[str, int]) -> None:
    defaults = replace(DEFAULTS, **changes)
    given_programme().when(replace(OPEN, defaults=defaults)).then_refused(UnfitDefaults)
    given_programme(OPENED).when(ChangeRules(rules=RULES, defaults=defaults)).then_refused(UnfitDefaults)


def test_rules_change_when_they_differ() -> None:
    higher = replace(RULES, gap=5)
    change = ChangeRules(rules=higher, defaults=DEFAULTS)
    given_programme(OPENED).when(change, change).then(RulesChanged(rules=higher, defaults=DEFAULTS))


def test_topics_differ_by_name_in_whatever_letters() -> None:
    music = AddTopic(topic_id=MUSIC, name="Music")
    given_programme(OPENED, CODE_ADDED).when(music, music).then(TopicAdded(topic_id=MUSIC, name="Music"))
    given_programme(OPENED, CODE_ADDED).when(replace(music, name="CODE")).then_refused(TopicNameTaken)
    given_programme(OPENED, CODE_ADDED).when(replace(music, topic_id=CODE)).then_refused(TopicAlreadyAdded)


def test_a_topic_is_renamed_also_to_other_letters_of_its_own_name() -> None:
    renaming = RenameTopic(topic_id=CODE, name="code")
    given_programme(OPENED, CODE_ADDED).when(renaming, renaming).then(
        TopicRenamed(topic_id=CODE, name="code")
    )
    given_programme(OPENED, CODE_ADDED).when(replace(renaming, topic_id=MUSIC)).then_refused(UnknownTopic)
    both = (OPENED, CODE_ADDED, TopicAdded(topic_id=MUSIC, name="Music"))
    given_programme(*both).when(replace(renaming, name="music")).then_refused(TopicNameTaken)


def test_a_programme_has_so_many_topics_and_no_more() -> None:
    added = [TopicAdded(topic_id=UUID(int=100 + n), name=f"Topic {n}") for n in range(MOST_TOPICS)]
    given_programme(OPENED, *added).when(AddTopic(topic_id=CODE, name="Code")).then_refused(TooManyTopics)


def test_a_closed_programme_changes_no_more() -> None:
    given_programme(OPENED).when(CloseProgramme(), CloseProgramme()).then(CLOSED)
    for command in (
        ChangeRules(rules=RULES, defaults=DEFAULTS),
        AddTopic(topic_id=CODE, name="Code"),
        RenameTopic(topic_id=CODE, name="Code"),
        RelyOnProgramme(),
    ):
        given_programme(OPENED, CLOSED).when(command).then_refused(ProgrammeIsClosed)
        given_programme().when(command).then_refused(UnknownProgramme)
    given_programme().when(CloseProgramme()).then_refused(UnknownProgramme)
    given_programme(OPENED).when(RelyOnProgramme()).then()


def test_a_cohort_opens_once_and_ends_after_it_starts() -> None:
    given_cohort().when(OPEN_COHORT).then(COHORT_OPENED)
    given_cohort(COHORT_OPENED).when(OPEN_COHORT).then_refused(CohortAlreadyOpened)
    same_day = replace(OPEN_COHORT, ends_on=OPEN_COHORT.starts_on)
    given_cohort().when(same_day).then_refused(EndsBeforeItStarts)
    given_cohort().when(replace(OPEN_COHORT, ends_on=date.max)).then_refused(LastsTooLong)


def test_a_closed_cohort_is_not_relied_upon() -> None:
    given_cohort(COHORT_OPENED).when(RelyOnCohort()).then()
    given_cohort(COHORT_OPENED).when(CloseCohort(), CloseCohort()).then(CohortClosed())
    given_cohort(*COHORT_EXAMPLES).when(RelyOnCohort()).then_refused(CohortIsClosed)
    given_cohort().when(RelyOnCohort()).then_refused(UnknownCohort)
    last = COHORT_OPENED.ends_on
    given_cohort(COHORT_OPENED).when(RelyOnCohort(today=last - timedelta(days=1))).then()
    given_cohort(COHORT_OPENED).when(RelyOnCohort(today=last)).then_refused(CohortIsOver)
    given_cohort().when(CloseCohort()).then_refused(UnknownCohort)
