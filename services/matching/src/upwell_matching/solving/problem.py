"""What is asked of the solver, and what it answers."""

from dataclasses import dataclass
from typing import Final
from uuid import UUID

from upwell_matching.domain.eligibility import INDEPENDENCE, INVERSION, Rules, Standing
from upwell_matching.domain.enrolment import Side

EARLIER: Final = "earlier"
TOPICS: Final = "topics"
PLACES: Final = "places"
REASONS: Final = (INVERSION, INDEPENDENCE, EARLIER, TOPICS, PLACES)
"""Why somebody is in no pair with a given person of the other side, the first that holds: a rule they would break; they
were a pair, or asked, before; nothing the mentor offers is sought; and last, all would be well and others were better.
"""

SOUGHT, GIVEN_BACK, ELSEWHERE = 3, 2, 1
"""Points: of each topic the mentor offers and the mentee seeks, of each the other way round, and of another unit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """Somebody who can be in `places` more pairs."""

    standing: Standing
    offers: frozenset[UUID]
    seeks: frozenset[UUID]
    places: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Nobody is on both sides. `barred` are (mentor, mentee) that were asked before."""

    rules: Rules
    mentors: tuple[Candidate, ...]
    mentees: tuple[Candidate, ...]
    barred: frozenset[tuple[UUID, UUID]]
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BestPair:
    """`topics` are those the mentee learns of, `returned` those the mentor does."""

    mentor_id: UUID
    mentee_id: UUID
    score: int
    topics: tuple[UUID, ...]
    returned: tuple[UUID, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Unmatched:
    """Somebody in no pair; `reasons` counts the people of the other side by each of REASONS."""

    person_id: UUID
    side: Side
    reasons: dict[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Solution:
    """Pairs by mentor and mentee, the unmatched by person; `score` is that of all pairs together."""

    pairs: tuple[BestPair, ...]
    unmatched: tuple[Unmatched, ...]
    score: int
