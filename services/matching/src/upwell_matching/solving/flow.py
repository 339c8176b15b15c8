"""The best pairs among some: a flow of least cost, and the prices that tell which of the others would pay.

People are nodes, a place is a unit of flow from a mentor to a mentee, a pair an arc of capacity 1 that costs minus its
value. The first place of each person costs minus `person` more, which is above the value of all pairs together; so
people in a pair count first, and value second. Whoever is in none is no exception: the rest flows past everybody.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from ortools.graph.python.min_cost_flow import SimpleMinCostFlow

from upwell_shared.errors import UpwellError

Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

_MOST: Final = 1 << 60
"""Costs times nodes stay below this, as the solver's own numbers must stay below 2⁶³."""


class SolverGaveUp(UpwellError):
    """The solver did not answer with an optimum, though there always is one."""


@dataclass(frozen=True, slots=True)
class Worth:
    """What a pair and a person in a pair are worth, so that people come before scores and scores before ties."""

    point: int
    person: int
    ties: int

    @staticmethod
    def of(mentor_places: Ints, mentee_places: Ints, best_score: int) -> "Worth":
        """As many ties told apart as the solver's numbers leave room for, at most 1024 and at least one."""
        pairs = int(min(mentor_places.sum(), mentee_places.sum())) + 1
        room = _MOST // (4 * (len(mentor_places) + len(mentee_places) + 3))
        ties = 1024
        while True:
            # All ties together are less than one point, all pairs together less than one person.
            point = pairs * (ties - 1) + 1
            person = pairs * (best_score * point + ties) + 1
            if person < room or ties == 1:
                return Worth(point, person, ties)
            ties //= 2


@dataclass(frozen=True, slots=True)
class Arcs:
    """Pairs by the numbers of their members, sorted by mentor, each once."""

    mentor: Ints
    mentee: Ints
    value: Ints

    def with_more(self, mentor: Ints, mentee: Ints, value: Ints) -> "Arcs":
        mentor, mentee = np.concatenate([self.mentor, mentor]), np.concatenate([self.mentee, mentee])
        value = np.concatenate([self.value, value])
        _, first = np.unique(mentor << 32 | mentee, return_index=True)
        return Arcs(mentor[first], mentee[first], value[first])


def solve(arcs: Arcs, mentor_places: Ints, mentee_places: Ints, person: int) -> Flags:
    """Which of the arcs are chosen. Raises SolverGaveUp."""
    mentors, mentees = len(mentor_places), len(mentee_places)
    source, sink = mentors + mentees, mentors + mentees + 1
    supply = int(min(mentor_places.sum(), mentee_places.sum())) + 1
    graph = SimpleMinCostFlow()
    graph.add_arcs_with_capacity_and_unit_cost(
        arcs.mentor, arcs.mentee + mentors, np.ones_like(arcs.value), -arcs.value
    )
    for places, tails, heads in (
        (mentor_places, np.full(mentors, source), np.arange(mentors)),
        (mentee_places, np.arange(mentors, source), np.full(mentees, sink)),
    ):
        one = np.ones_like(places)
        graph.add_arcs_with_capacity_and_unit_cost(tails, heads, one, -person * one)
        graph.add_arcs_with_capacity_and_unit_cost(tails, heads, places - 1, 0 * one)
    graph.add_arc_with_capacity_and_unit_cost(source, sink, supply, 0)
    graph.set_node_supply(source, supply)
    graph.set_node_supply(sink, -supply)
    status = graph.solve()
    if status != graph.OPTIMAL:
        raise SolverGaveUp(f"the solver answered {status.name}, though there always is an optimum")
    flows: Flags = graph.flows(np.arange(len(arcs.value))) > 0
    return flows


def prices(
    arcs: Arcs, chosen: Flags, mentor_places: Ints, mentee_places: Ints, person: int
) -> tuple[Ints, Ints]:
    """(of mentors, of mentees): the cost of the cheapest way from a node to the sink, given what is chosen.

    Of an optimum, so there is no way round that costs less than nothing. A pair left out would pay exactly where its value
    is more than the mentee's price less the mentor's.
    """
    mentors, mentees = len(mentor_places), len(mentee_places)
    used_mentor = np.bincount(arcs.mentor[chosen], minlength=mentors)
    used_mentee = np.bincount(arcs.mentee[chosen], minlength=mentees)
    far = np.int64(_MOST)
    # To give a place up: the first one costs a person, the others nothing. Whoever has none is worth a person.
    mentor = np.where(used_mentor > 1, 0, person).astype(np.int64)
    # To take one: the first one earns a person, the others nothing; without a free one there is no direct way.
    mentee = np.where(used_mentee == 0, -person, np.where(used_mentee < mentee_places, 0, far)).astype(
        np.int64
    )
    taken = (arcs.mentor[chosen], arcs.mentee[chosen], arcs.value[chosen])
    moving = ~chosen & (used_mentor[arcs.mentor] > 0)
    open_mentor, open_mentee, open_value = arcs.mentor[moving], arcs.mentee[moving], arcs.value[moving]
    first = np.flatnonzero(np.diff(open_mentor, prepend=-1))
    for _ in range(mentors + mentees + 2):
        before = mentor.copy()
        np.minimum.at(mentee, taken[1], taken[2] + mentor[taken[0]])
        if len(first):
            cheapest = np.minimum.reduceat(mentee[open_mentee] - open_value, first)
            rows = open_mentor[first]
            mentor[rows] = np.minimum(mentor[rows], cheapest)
        if (mentor == before).all():
            return mentor, mentee
    raise SolverGaveUp("what the solver answered is no optimum")
