"""The best pairs: against every possibility where these can be counted, and explained."""

import random
from collections import Counter
from dataclasses import replace
from functools import cache
from itertools import product
from typing import Any
from uuid import UUID

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.matching.people import candidate, problem
from upwell_matching.domain.eligibility import (
    INDEPENDENCE,
    INVERSION,
    Measure,
    Rules,
    broken,
    independence,
    inversion,
)
from upwell_matching.solving import Candidate, Problem, Solution, best_pairs
from upwell_matching.solving.problem import EARLIER, PLACES, TOPICS
from upwell_matching.solving.tiles import Pairs, independent, inverted

CASES, MOST_PAIRS = 2_400, 12
RULES = Rules(measure=Measure.GRADE, gap=1)


def reason(asked: Problem, mentor: Candidate, mentee: Candidate) -> str:
    """Why these two are no pair; PLACES where they could be. Said as the rules say it, pair by pair."""
    against = broken(asked.rules, mentor.standing, mentee.standing)
    if against:
        return against[0]
    if (mentor.standing.person_id, mentee.standing.person_id) in asked.barred:
        return EARLIER
    return PLACES if mentor.offers & mentee.seeks else TOPICS


def points(mentor: Candidate, mentee: Candidate) -> int:
    elsewhere = mentor.standing.unit_id != mentee.standing.unit_id
    return 3 * len(mentor.offers & mentee.seeks) + 2 * len(mentee.offers & mentor.seeks) + elsewhere


def permitted(asked: Problem) -> list[tuple[int, int]]:
    both = product(range(len(asked.mentors)), range(len(asked.mentees)))
    return [(i, j) for i, j in both if reason(asked, asked.mentors[i], asked.mentees[j]) == PLACES]


@cache
def subsets(size: int) -> Any:
    return np.array([*product((0, 1), repeat=size)], np.int64).reshape(2**size, size)


def most(asked: Problem, pairs: list[tuple[int, int]]) -> tuple[int, int]:
    """(people in a pair, score) of the best of all choices of pairs that leave nobody more than their places."""
    members = np.zeros((len(pairs), len(asked.mentors) + len(asked.mentees)), np.int64)
    for row, (i, j) in enumerate(pairs):
        members[row, [i, len(asked.mentors) + j]] = 1
    places = np.array([person.places for person in (*asked.mentors, *asked.mentees)])
    taken = subsets(len(pairs)) @ members
    fit = (taken <= places).all(axis=1)
    people = (taken[fit] > 0).sum(axis=1)
    score = subsets(len(pairs))[fit] @ np.array(
        [points(asked.mentors[i], asked.mentees[j]) for i, j in pairs], np.int64
    )
    return max(zip(people.tolist(), score.tolist(), strict=True))


def require_fit(asked: Problem, solution: Solution) -> None:
    """No rule broken, nobody in more pairs than they have places, every point and topic as the pair has it."""
    people = {person.standing.person_id: person for person in (*asked.mentors, *asked.mentees)}
    chosen = [(pair.mentor_id, pair.mentee_id) for pair in solution.pairs]
    assert len({*chosen}) == len(chosen)
    for pair in solution.pairs:
        mentor, mentee = people[pair.mentor_id], people[pair.mentee_id]
        assert reason(asked, mentor, mentee) == PLACES
        assert pair.score == points(mentor, mentee)
        assert {*pair.topics} == mentor.offers & mentee.seeks
        assert {*pair.returned} == mentee.offers & mentor.seeks
    for person_id, count in Counter(member for pair in chosen for member in pair).items():
        assert count <= people[person_id].places
    paired = {member for pair in chosen for member in pair}
    assert {person.person_id for person in solution.unmatched} == people.keys() - paired
    assert solution.score == sum(pair.score for pair in solution.pairs)


def aims(solution: Solution) -> tuple[int, int]:
    return len(
        {member for pair in solution.pairs for member in (pair.mentor_id, pair.mentee_id)}
    ), solution.score


@pytest.mark.parametrize("block", range(8))
def test_nothing_counted_out_by_hand_is_better(block: int) -> None:
    counted = 0
    chance = random.Random(block)
    while counted < CASES // 8:
        asked = problem(chance, chance.randint(1, 5), chance.randint(1, 5))
        pairs = permitted(asked)
        if len(pairs) > MOST_PAIRS:
            continue
        counted += 1
        solution = best_pairs(asked)
        require_fit(asked, solution)
        assert aims(solution) == most(asked, pairs), asked
        # From a few pairs on, by what would pay, to the same end.
        assert aims(best_pairs(asked, most_arcs=0, promising=1)) == aims(solution), asked


def test_of_many_people_the_promising_pairs_and_those_that_pay_lead_to_the_optimum() -> None:
    for seed in range(6):
        asked = problem(random.Random(seed), 90, 110, topics=12, managers=20, units=6)
        whole, grown = best_pairs(asked), best_pairs(asked, most_arcs=0, promising=2)
        require_fit(asked, grown)
        assert aims(whole) == aims(grown)


@given(st.integers(0, 1 << 40), st.integers(1, 9), st.integers(1, 9))
def test_the_fast_form_says_what_the_rules_say(seed: int, mentors: int, mentees: int) -> None:
    asked = problem(random.Random(seed), mentors, mentees)
    pairs, rows = Pairs(asked, 1), slice(0, mentors)
    for said, fast in ((inversion, inverted), (independence, independent)):
        slow = [[said(asked.rules, a.standing, b.standing) for b in asked.mentees] for a in asked.mentors]
        assert fast(asked.rules, pairs.mentors, pairs.mentees, rows).tolist() == slow
    (tile,) = pairs
    assert tile.permitted.tolist() == [
        [reason(asked, a, b) == PLACES for b in asked.mentees] for a in asked.mentors
    ]
    assert tile.score.tolist() == [[points(a, b) for b in asked.mentees] for a in asked.mentors]


def test_whoever_is_in_no_pair_is_told_how_many_were_barred_by_what() -> None:
    for seed in range(60):
        asked = problem(random.Random(seed), 6, 7)
        for person in best_pairs(asked).unmatched:
            others = (
                reason(asked, a, b)
                for a, b in product(asked.mentors, asked.mentees)
                if person.person_id in {a.standing.person_id, b.standing.person_id}
            )
            assert person.reasons == Counter(others)


def test_the_same_problem_has_the_same_solution_in_whatever_order_it_is_told() -> None:
    asked = problem(random.Random(7), 40, 50, topics=2)
    again = replace(asked, mentors=asked.mentors[::-1], mentees=asked.mentees[::-1])
    assert best_pairs(asked) == best_pairs(asked) == best_pairs(again)


def test_another_seed_tosses_equals_otherwise_and_loses_nothing() -> None:
    alike = problem(random.Random(3), 20, 20, topics=1)
    solutions = [best_pairs(replace(alike, seed=seed)) for seed in range(6)]
    assert len({solution.pairs for solution in solutions}) > 1
    assert len({aims(solution) for solution in solutions}) == 1


def test_one_more_person_in_a_pair_is_worth_any_score() -> None:
    """The popular mentor takes the worse of two, since the other has somebody else too."""
    star = candidate(1, grade=1, offers=range(20), places=1)
    other = candidate(2, grade=1, offers=[19])
    rich, poor = candidate(3, grade=9, seeks=range(20)), candidate(4, grade=9, seeks=[0])
    asked = Problem(rules=RULES, mentors=(star, other), mentees=(rich, poor), barred=frozenset(), seed=1)
    assert [(pair.mentor_id.int, pair.mentee_id.int, pair.score) for pair in best_pairs(asked).pairs] == [
        (1, 4, 3),
        (2, 3, 3),
    ]


def test_a_second_place_is_worth_its_score_and_no_person() -> None:
    mentor = candidate(1, grade=1, offers=[0, 1], places=2)
    mentees = (candidate(2, grade=9, seeks=[0]), candidate(3, grade=9, seeks=[0, 1]))
    asked = Problem(rules=RULES, mentors=(mentor,), mentees=mentees, barred=frozenset(), seed=1)
    assert len(best_pairs(asked).pairs) == 2


def test_reasons_are_named_one_by_one() -> None:
    mentee = candidate(10, grade=9, line=[501], seeks=[1])
    mentors = (
        candidate(1, grade=9, offers=[1]),
        candidate(2, grade=1, line=[501], offers=[1]),
        candidate(3, grade=1, offers=[1]),
        candidate(4, grade=1, offers=[2]),
    )
    barred = frozenset({(UUID(int=3), UUID(int=10))})
    asked = Problem(rules=RULES, mentors=mentors, mentees=(mentee,), barred=barred, seed=1)
    solution = best_pairs(asked)
    assert solution.pairs == ()
    assert [(person.person_id.int, person.reasons) for person in solution.unmatched] == [
        (1, {INVERSION: 1}),
        (2, {INDEPENDENCE: 1}),
        (3, {EARLIER: 1}),
        (4, {TOPICS: 1}),
        (10, {INVERSION: 1, INDEPENDENCE: 1, EARLIER: 1, TOPICS: 1}),
    ]


def test_without_anybody_on_one_side_there_is_nothing_to_solve() -> None:
    asked = problem(random.Random(1), 0, 3)
    solution = best_pairs(asked)
    assert solution.pairs == ()
    assert len(solution.unmatched) == 3
    assert best_pairs(problem(random.Random(1), 0, 0)).unmatched == ()


def test_two_thousand_people_are_paired() -> None:
    asked = problem(random.Random(5), 900, 1_100, topics=40, managers=150, units=40)
    require_fit(asked, best_pairs(asked))
