"""The best pairs over all that are permitted, proven: solve over some, add those that would pay, until there are none."""

from collections.abc import Iterable, Iterator
from typing import Final
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from upwell_matching.domain.enrolment import Side as Role
from upwell_matching.solving.flow import Arcs, Worth, prices, solve
from upwell_matching.solving.problem import (
    ELSEWHERE,
    GIVEN_BACK,
    REASONS,
    SOUGHT,
    BestPair,
    Candidate,
    Problem,
    Solution,
    Unmatched,
)
from upwell_matching.solving.tiles import Pairs, Tile

Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]
Some = tuple[Ints, Ints, Ints]

MOST_ARCS: Final = 2_000_000
"""So many permitted pairs are given to the solver as they are; of more it is given the most promising first."""
PROMISING: Final = 24
_PAYING: Final = 8


def best_pairs(problem: Problem, most_arcs: int = MOST_ARCS, promising: int = PROMISING) -> Solution:
    """Aims, each as far as those before it allow: most people in a pair, the highest score, the toss of the seed.

    The order in which people are given does not matter. How many pairs it begins with is a matter of time and memory
    alone. Raises SolverGaveUp.
    """
    mentors, mentees = _by_id(problem.mentors), _by_id(problem.mentees)
    if not mentors or not mentees:
        return _told(mentors, mentees, np.zeros((len(mentors) + len(mentees), len(REASONS)), np.int64), [])
    ordered = Problem(
        rules=problem.rules, mentors=mentors, mentees=mentees, barred=problem.barred, seed=problem.seed
    )
    topics = max(len(person.offers | person.seeks) for person in (*mentors, *mentees))
    highest = (SOUGHT + GIVEN_BACK) * topics + ELSEWHERE
    places = (_places(mentors), _places(mentees))
    worth = Worth.of(*places, highest)
    pairs = Pairs(ordered, worth.ties)
    counts, arcs, complete = _begin(pairs, worth, most_arcs, promising)
    while True:
        chosen = solve(arcs, *places, worth.person)
        if complete:
            break
        mentor_price, mentee_price = prices(arcs, chosen, *places, worth.person)
        known = len(arcs.value)
        more = [*_paying(pairs, worth, mentor_price, mentee_price)]
        arcs = arcs.with_more(*map(np.concatenate, zip(*more, strict=True))) if more else arcs
        # What is chosen pays too: nothing new among what pays is the proof.
        if len(arcs.value) == known:
            break
    found = [
        _pair(mentors[row], mentees[column])
        for row, column in zip(arcs.mentor[chosen].tolist(), arcs.mentee[chosen].tolist(), strict=True)
    ]
    return _told(mentors, mentees, counts, found)


def _begin(pairs: Pairs, worth: Worth, most_arcs: int, promising: int) -> tuple[Ints, Arcs, bool]:
    """Reasons counted for everybody, and the pairs to begin with: all of them, or the most promising of each mentor."""
    rows, columns = len(pairs.mentors), len(pairs.mentees)
    counts = np.zeros((rows + columns, len(REASONS)), np.int64)
    everything: list[Some] | None = []
    fewer: list[Some] = []
    seen = 0
    for tile in pairs:
        for reason, flags in enumerate((*tile.barred_by, tile.permitted)):
            counts[tile.first : tile.first + len(flags), reason] += flags.sum(axis=1)
            counts[rows:, reason] += flags.sum(axis=0)
        value = _value(tile, worth)
        fewer.append(_most(tile, value, tile.permitted, promising))
        if everything is not None:
            everything.append(_where(tile, value, tile.permitted))
            seen += len(everything[-1][0])
            if seen > most_arcs:
                everything = None
    parts = fewer if everything is None else everything
    nothing = np.zeros(0, np.int64)
    arcs = Arcs(nothing, nothing, nothing).with_more(*map(np.concatenate, zip(*parts, strict=True)))
    return counts, arcs, everything is not None


def _paying(pairs: Pairs, worth: Worth, mentor_price: Ints, mentee_price: Ints) -> Iterator[Some]:
    """Of each mentor, and of each mentee in a block, the pairs left out that would pay most."""
    for tile in pairs:
        value = _value(tile, worth)
        gain = value - mentee_price + mentor_price[tile.first : tile.first + len(value), None]
        pays = tile.permitted & (gain > 0)
        if not pays.any():
            continue
        yield _most(tile, value, pays, _PAYING, gain)


def _value(tile: Tile, worth: Worth) -> Ints:
    return tile.score * worth.point + tile.tie


def _where(tile: Tile, value: Ints, wanted: Flags) -> Some:
    row, column = np.nonzero(wanted)
    return row + tile.first, column, value[row, column]


def _most(tile: Tile, value: Ints, wanted: Flags, most: int, gain: Ints | None = None) -> Some:
    """Of the wanted pairs those with the highest gain: `most` of each row, and the one of each column."""
    gain = np.where(wanted, value if gain is None else gain, -1)
    kept = np.zeros_like(wanted)
    best = np.argpartition(gain, max(0, gain.shape[1] - most), axis=1)[:, -most:]
    np.put_along_axis(kept, best, values=True, axis=1)
    kept[gain.argmax(axis=0), np.arange(gain.shape[1])] = True
    return _where(tile, value, kept & wanted)


def _pair(mentor: Candidate, mentee: Candidate) -> BestPair:
    topics, returned = mentor.offers & mentee.seeks, mentee.offers & mentor.seeks
    elsewhere = mentor.standing.unit_id != mentee.standing.unit_id
    return BestPair(
        mentor_id=mentor.standing.person_id,
        mentee_id=mentee.standing.person_id,
        score=SOUGHT * len(topics) + GIVEN_BACK * len(returned) + ELSEWHERE * elsewhere,
        topics=tuple(sorted(topics)),
        returned=tuple(sorted(returned)),
    )


def _told(
    mentors: tuple[Candidate, ...], mentees: tuple[Candidate, ...], counts: Ints, pairs: list[BestPair]
) -> Solution:
    paired: set[UUID] = {member for pair in pairs for member in (pair.mentor_id, pair.mentee_id)}
    sides = [*((person, Role.MENTOR) for person in mentors), *((person, Role.MENTEE) for person in mentees)]
    unmatched = (
        Unmatched(
            person_id=person.standing.person_id,
            side=side,
            reasons={reason: count for reason, count in zip(REASONS, row, strict=True) if count},
        )
        for (person, side), row in zip(sides, counts.tolist(), strict=True)
        if person.standing.person_id not in paired
    )
    return Solution(
        pairs=tuple(sorted(pairs, key=lambda pair: (pair.mentor_id, pair.mentee_id))),
        unmatched=tuple(sorted(unmatched, key=lambda person: person.person_id)),
        score=sum(pair.score for pair in pairs),
    )


def _by_id(people: Iterable[Candidate]) -> tuple[Candidate, ...]:
    return tuple(sorted(people, key=lambda person: person.standing.person_id))


def _places(people: tuple[Candidate, ...]) -> Ints:
    return np.array([person.places for person in people], np.int64)
