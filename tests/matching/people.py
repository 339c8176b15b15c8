"""People for the solver, made up from a seed."""

import random
from collections.abc import Iterable
from datetime import date, timedelta
from uuid import UUID

from upwell_matching.domain.eligibility import Measure, Rules, Standing
from upwell_matching.solving import Candidate, Problem

SINCE = date(2020, 1, 1)


def ids(first: int, count: int) -> list[UUID]:
    return [UUID(int=first + number) for number in range(count)]


def candidate(
    number: int,
    *,
    grade: int = 5,
    since: date = SINCE,
    unit: int = 1,
    line: Iterable[int] = (),
    offers: Iterable[int] = (),
    seeks: Iterable[int] = (),
    places: int = 1,
) -> Candidate:
    return Candidate(
        standing=Standing(
            person_id=UUID(int=number),
            organisation_id=UUID(int=900),
            unit_id=UUID(int=900 + unit),
            grade=grade,
            in_role_since=since,
            line=tuple(UUID(int=above) for above in line),
        ),
        offers=frozenset(UUID(int=800 + topic) for topic in offers),
        seeks=frozenset(UUID(int=800 + topic) for topic in seeks),
        places=places,
    )


def problem(
    chance: random.Random, mentors: int, mentees: int, *, topics: int = 3, managers: int = 3, units: int = 2
) -> Problem:
    """Lines name managers of a few, and now and then a member of the other side."""
    people = range(1, mentors + mentees + 1)
    bosses = [*range(501, 501 + managers), *chance.sample(people, min(2, len(people)))]

    def person(number: int, lowest: int, highest: int, most_places: int) -> Candidate:
        line = [
            boss for boss in chance.sample(bosses, chance.randint(0, min(3, len(bosses)))) if boss != number
        ]
        return candidate(
            number,
            grade=chance.randint(lowest, highest),
            since=SINCE + timedelta(days=chance.randrange(40)),
            unit=chance.randrange(units),
            line=line,
            offers=chance.sample(range(topics), chance.randint(0, min(3, topics))),
            seeks=chance.sample(range(topics), chance.randint(0, min(3, topics))),
            places=chance.randint(1, most_places),
        )

    rules = Rules(
        measure=chance.choice([*Measure]),
        gap=chance.randint(1, 4),
        independence_levels=chance.randint(0, 3),
        different_units=chance.random() < 0.3,
    )
    barred = {
        (UUID(int=chance.randint(1, mentors)), UUID(int=mentors + chance.randint(1, mentees)))
        for _ in range(chance.randrange(3))
        if mentors and mentees
    }
    return Problem(
        rules=rules,
        mentors=tuple(person(number, 1, 8, 3) for number in range(1, mentors + 1)),
        mentees=tuple(person(number, 4, 12, 2) for number in range(mentors + 1, mentors + mentees + 1)),
        barred=frozenset(barred),
        seed=chance.randrange(1 << 31),
    )
