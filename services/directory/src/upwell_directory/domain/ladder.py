"""The one ladder of grades. An organisation that has names of its own for them says which is which."""

from collections.abc import Sequence
from dataclasses import dataclass

from upwell_shared.decider import DomainError

LOWEST = 1
HIGHEST = 20


class OffTheLadder(DomainError):
    """A grade is a whole number from 1 to 20."""


class GradeMappedTwice(DomainError):
    """One of these grades is given two places on the ladder: leave one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalGrade:
    """What an organisation calls a grade, and where that stands on the ladder."""

    label: str
    grade: int


def require_on_ladder(grade: int) -> None:
    """Raises OffTheLadder."""
    if not LOWEST <= grade <= HIGHEST:
        raise OffTheLadder


def require_mapping(grades: Sequence[LocalGrade]) -> None:
    """Raises OffTheLadder, or GradeMappedTwice for a label that comes again, in whatever letters."""
    for local in grades:
        require_on_ladder(local.grade)
    if len({local.label.casefold() for local in grades}) < len(grades):
        raise GradeMappedTwice
