"""Pairs a block at a time: which are permitted, what each is worth, and why the others are not.

The rules are those of `domain.eligibility`, said in numpy; a test holds the two against each other.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, assert_never
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from upwell_matching.domain.eligibility import Measure, Rules
from upwell_matching.solving.problem import ELSEWHERE, GIVEN_BACK, SOUGHT, Candidate, Problem

Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

_CELLS: Final = 1 << 20
"""So many pairs at once fit the caches and little memory."""
_NOBODY: Final = -1


@dataclass(frozen=True, slots=True)
class Tile:
    """Rows of mentors from `first`, all mentees as columns. `score` counts only where `permitted`."""

    first: int
    permitted: Flags
    score: Ints
    tie: Ints
    barred_by: Sequence[Flags]
    """In the order of REASONS, without the last."""


class Side:
    """The people of one side as columns of numbers."""

    def __init__(
        self, people: Sequence[Candidate], numbers: dict[UUID, int], topics: dict[UUID, int]
    ) -> None:
        def number(id_: UUID) -> int:
            return numbers.setdefault(id_, len(numbers))

        self.people = people
        self.places = np.array([person.places for person in people], np.int64)
        self.grade = np.array([person.standing.grade for person in people], np.int64)
        self.since = np.array([person.standing.in_role_since.toordinal() for person in people], np.int64)
        self.person = np.array([number(person.standing.person_id) for person in people], np.int64)
        self.unit = np.array([number(person.standing.unit_id) for person in people], np.int64)
        levels = max((len(person.standing.line) for person in people), default=0)
        self.line = np.full((len(people), levels), _NOBODY, np.int64)
        for row, person in enumerate(people):
            above = [number(manager) for manager in person.standing.line]
            self.line[row, : len(above)] = above
        self.offers = _flags((person.offers for person in people), len(people), topics)
        self.seeks = _flags((person.seeks for person in people), len(people), topics)

    def __len__(self) -> int:
        return len(self.people)


def _flags(wished: Iterator[frozenset[UUID]], rows: int, topics: dict[UUID, int]) -> NDArray[np.float32]:
    # Numbers with a point, since only these are multiplied fast; counts of topics are exact in them.
    found = np.zeros((rows, max(1, len(topics))), np.float32)
    for row, wishes in enumerate(wished):
        found[row, [topics[topic] for topic in wishes]] = 1
    return found


class Pairs:
    """All pairs of a problem, by the numbers of mentor and mentee in the order they are given in."""

    def __init__(self, problem: Problem, ties: int) -> None:
        """`ties`: equal scores are told apart by a number below this, which follows from the seed."""
        self.rules = problem.rules
        self.ties = ties
        wished = sorted(
            {
                topic
                for person in (*problem.mentors, *problem.mentees)
                for topic in person.offers | person.seeks
            }
        )
        topics = {topic: number for number, topic in enumerate(wished)}
        numbers: dict[UUID, int] = {}
        self.mentors = Side(problem.mentors, numbers, topics)
        self.mentees = Side(problem.mentees, numbers, topics)
        rows = {person.standing.person_id: row for row, person in enumerate(problem.mentors)}
        columns = {person.standing.person_id: column for column, person in enumerate(problem.mentees)}
        barred = sorted(
            (rows[mentor], columns[mentee])
            for mentor, mentee in problem.barred
            if mentor in rows and mentee in columns
        )
        self._barred = np.array(barred, np.int64).reshape(-1, 2)
        chance = np.random.default_rng(problem.seed)
        self._row_chance = chance.integers(1 << 62, size=len(rows), dtype=np.uint64) | np.uint64(1)
        self._column_chance = chance.integers(1 << 62, size=len(columns), dtype=np.uint64) | np.uint64(1)
        self.height = max(1, _CELLS // max(1, len(columns)))

    def __iter__(self) -> Iterator[Tile]:
        for first in range(0, len(self.mentors), self.height):
            yield self._tile(slice(first, min(first + self.height, len(self.mentors))))

    def _tile(self, rows: slice) -> Tile:
        mentors, mentees = self.mentors, self.mentees
        sought = mentors.offers[rows] @ mentees.seeks.T
        returned = mentors.seeks[rows] @ mentees.offers.T
        elsewhere = mentors.unit[rows, None] != mentees.unit
        score = (SOUGHT * sought + GIVEN_BACK * returned).astype(np.int64) + ELSEWHERE * elsewhere
        asked = np.zeros(score.shape, np.bool_)
        begin, end = np.searchsorted(self._barred[:, 0], (rows.start, rows.stop))
        asked[self._barred[begin:end, 0] - rows.start, self._barred[begin:end, 1]] = True
        open_ = np.ones(score.shape, np.bool_)
        barred_by: list[Flags] = []
        for bars in (
            ~inverted(self.rules, mentors, mentees, rows),
            ~independent(self.rules, mentors, mentees, rows),
            asked,
            sought == 0,
        ):
            barred_by.append(bars & open_)
            open_ &= ~bars
        return Tile(rows.start, open_, score, self._tie(rows), barred_by)

    def _tie(self, rows: slice) -> Ints:
        """A number below `ties` for each pair, by the seed; the high bits of a product of random odd numbers."""
        mixed = self._row_chance[rows, None] * self._column_chance
        mixed ^= mixed >> np.uint64(32)
        return (mixed % np.uint64(self.ties)).astype(np.int64)


def inverted(rules: Rules, mentors: Side, mentees: Side, rows: slice) -> Flags:
    """`eligibility.inversion` for every pair of a block."""
    found: Flags
    match rules.measure:
        case Measure.GRADE:
            found = mentors.grade[rows, None] + rules.gap <= mentees.grade
        case Measure.TENURE:
            found = mentors.since[rows, None] - mentees.since >= rules.gap
        case _:
            assert_never(rules.measure)
    return found


def independent(rules: Rules, mentors: Side, mentees: Side, rows: slice) -> Flags:
    """`eligibility.independence` for every pair of a block."""
    found: Flags = mentors.person[rows, None] != mentees.person
    if rules.different_units:
        found &= mentors.unit[rows, None] != mentees.unit
    above_mentor, above_mentee = (side.line[:, : rules.independence_levels] for side in (mentors, mentees))
    for level in range(above_mentee.shape[1]):
        found &= mentors.person[rows, None] != above_mentee[:, level]
    for level in range(above_mentor.shape[1]):
        found &= above_mentor[rows, level, None] != mentees.person
    if above_mentor.shape[1] and above_mentee.shape[1]:
        nearest: Any = above_mentor[rows, 0, None]
        found &= (nearest == _NOBODY) | (nearest != above_mentee[:, 0])
    return found
