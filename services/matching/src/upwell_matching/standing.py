"""Where people stand, looked up for a decision; and how a decision is bound to what was looked up.

Whoever decides on standings appends `keeping(...)` beside: an acceptance and a move are then written one after the
other, and the second sees the first. See `rechecking.py` for the other half.
"""

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Final, TypeVar
from uuid import UUID

import asyncpg

from upwell_matching.aggregates import STANDING
from upwell_matching.domain.eligibility import Rules, Standing, broken
from upwell_matching.domain.standing import (
    KeepStanding,
    PersonOnLeave,
    StandingChanged,
    UnknownPerson,
)
from upwell_matching.projections import standings
from upwell_matching.projections.standings import Row
from upwell_shared.handling import Intent
from upwell_shared.looking_up import caught_up, looked_up

Held = tuple[tuple[UUID, int], ...]
"""People whose standing a decision rests on, each at a revision."""

T = TypeVar("T")
R = TypeVar("R")

_ATTEMPTS: Final = 3


@dataclass(frozen=True, slots=True)
class PairFacts:
    """Two people who are here, as they stand; `held` names all whose change could make it another answer."""

    mentor: Standing
    mentee: Standing
    held: Held

    def broken(self, rules: Rules) -> tuple[str, ...]:
        return broken(rules, self.mentor, self.mentee)


async def facts_for(pool: asyncpg.Pool, rules: Rules, mentor_id: UUID, mentee_id: UUID) -> PairFacts:
    """Both standings, for a decision that the two may be a pair. Raises UnknownPerson, PersonOnLeave."""
    lines = await looked_up(
        pool,
        standings.name,
        lambda: standings.with_lines(pool, (mentor_id, mentee_id), rules.independence_levels),
        good=lambda found: all(standing_of(line) is not None for line in found.values()),
    )
    mentor, mentee = standing_of(lines[mentor_id]), standing_of(lines[mentee_id])
    if mentor is None or mentee is None:
        raise UnknownPerson
    if any(lines[person_id][0].on_leave for person_id in (mentor_id, mentee_id)):
        raise PersonOnLeave
    return PairFacts(mentor, mentee, held(rules, lines.values()))


async def present(pool: asyncpg.Pool, person_id: UUID) -> tuple[Standing, Held]:
    """Somebody who is here, as they stand, and at which revision; their line is not looked at. Raises UnknownPerson."""
    lines = await looked_up(
        pool,
        standings.name,
        lambda: standings.with_lines(pool, (person_id,), 0),
        good=lambda found: standing_of(found[person_id]) is not None,
    )
    found = standing_of(lines[person_id])
    if found is None:
        raise UnknownPerson
    return found, ((person_id, lines[person_id][0].revision),)


def standing_of(line: list[Row]) -> Standing | None:
    """The first of a line as it stands; None unless they are here and it is known where."""
    first, *managers = line
    if not first.present:
        return None
    if (
        first.organisation_id is None
        or first.unit_id is None
        or first.grade is None
        or first.in_role_since is None
    ):
        return None
    return Standing(
        person_id=first.person_id,
        organisation_id=first.organisation_id,
        unit_id=first.unit_id,
        grade=first.grade,
        in_role_since=first.in_role_since,
        line=tuple(manager.person_id for manager in managers),
    )


def held(rules: Rules, lines: Iterable[list[Row]]) -> Held:
    """Those whose change could change what the rules say: both, and their managers but for the highest looked at, whose
    own manager no rule asks for.
    """
    looked_at = max(1, rules.independence_levels)
    return tuple(sorted({(row.person_id, row.revision) for line in lines for row in line[:looked_at]}))


def keeping(held: Held) -> list[Intent]:
    """What is appended beside a decision, so that it is refused with StandingChanged once one of these has changed."""
    return [Intent(STANDING, person_id, KeepStanding(revision=revision)) for person_id, revision in held]


async def deciding_on(
    pool: asyncpg.Pool, look_up: Callable[[], Awaitable[T]], carry_out: Callable[[T], Awaitable[R]]
) -> R:
    """`carry_out` of what `look_up` finds; where a standing has changed in between, both once more.

    Raises StandingChanged when that happens three times in a row.
    """
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            return await carry_out(await look_up())
        except StandingChanged:
            if attempt == _ATTEMPTS:
                raise
            await caught_up(pool, standings.name)
    raise AssertionError("the last attempt returns or raises")
