"""Rules over the directory's facts, kept: after every change of a standing all open pairs it concerns are looked at again.

A pair is accepted, or found to keep its rules, only together with `keeping(...)`: so it is either written before a
change, and then seen here, or decided on what the change has made of it. Safe to call again at any time.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final
from uuid import UUID, uuid5

from upwell_matching.carrying_out import Means, on_pair
from upwell_matching.domain.eligibility import MOST_LEVELS, Rules, broken
from upwell_matching.domain.enrolment import WithdrawEnrolment
from upwell_matching.domain.pair import Cause, RecheckPair
from upwell_matching.domain.standing import RecheckPairs, StandingChanged
from upwell_matching.projections import enrolments, pairs, standings
from upwell_matching.standing import Held, deciding_on, held, keeping, standing_of
from upwell_shared.errors import Unavailable
from upwell_shared.events import Envelope
from upwell_shared.handling import Outcome
from upwell_shared.looking_up import caught_up
from upwell_shared.todos import Carry

_CHUNK: Final = 200
"""So many pairs are looked at for one to-do; the rest are the next one's."""
_AT_ONCE: Final = 8


@dataclass(frozen=True, slots=True)
class Finding:
    """What the facts say of a pair at this moment, and on whose standing that rests."""

    command: RecheckPair
    held: Held
    settled: bool
    """None of them waits for a recheck of their own."""
    unaware: bool
    """One of them is not known to stand anywhere, and is to be told that this was relied on."""

    def changes(self, row: pairs.Row) -> bool:
        """Whether a pair that stands so would stand otherwise after it."""
        told = self.command
        if row.state == pairs.PROPOSED:
            return told.gone or told.on_leave or bool(told.broken)
        rests = Cause.LEAVE.value in row.rests_for
        return told.gone or told.on_leave is not rests or {*told.broken} != {*row.breached}


def carrying_out(means: Means, others: Carry) -> Carry:
    """How rechecks are carried out; all other to-dos are `others`'."""

    async def carry(stream_id: UUID, command: object, envelope: Envelope) -> Outcome:
        if isinstance(command, RecheckPairs):
            return await recheck(means, stream_id, command, envelope)
        return await others(stream_id, command, envelope)

    return carry


async def recheck(means: Means, person_id: UUID, command: RecheckPairs, envelope: Envelope) -> Outcome:
    """Looks at a part of the pairs that a change of this person's standing concerns, and says how far it got.

    These are their own and those of everybody whose line of managers goes through them. Of whoever has left, the
    enrolments are withdrawn at the end. Raises Unavailable while own read models run behind.
    """
    if not await caught_up(means.pool, standings.name, pairs.name, enrolments.name):
        raise Unavailable
    (row,) = (await standings.with_lines(means.pool, (person_id,), 0))[person_id]
    if row.due != command.revision:
        return await means.handler.send(person_id, command, envelope)
    # The highest manager that is looked at counts as who they are, wherever they stand.
    people = await standings.with_reports(means.pool, person_id, MOST_LEVELS - 1)
    found = await pairs.open_of(means.pool, [*people], after=command.after, limit=_CHUNK + 1)
    part = found[:_CHUNK]
    await recheck_these(means, part, envelope)
    if len(found) > len(part):
        return await means.handler.send(person_id, replace(command, upto=part[-1].pair_id), envelope)
    if not row.present:
        await withdraw_all(means, person_id, envelope)
    return await means.handler.send(person_id, command, envelope)


async def recheck_these(means: Means, rows: Sequence[pairs.Row], envelope: Envelope) -> None:
    """Tells each of these pairs what the facts say of it, where that changes anything. Raises Unavailable, also in a
    group.
    """
    found = await findings(means, rows)
    concerned = [row for row, finding in found if finding.unaware or finding.changes(row)]
    slots = asyncio.Semaphore(_AT_ONCE)

    async def one(row: pairs.Row) -> None:
        async with slots:
            await recheck_one(means, row, envelope)

    async with asyncio.TaskGroup() as group:
        for row in concerned:
            group.create_task(one(row))


async def recheck_one(means: Means, row: pairs.Row, envelope: Envelope) -> None:
    """Tells a pair what the facts say of it now. Raises Unavailable when they keep changing."""
    part = _part_of(envelope, f"recheck {row.pair_id}")

    async def look_up() -> Finding:
        ((_, found),) = await findings(means, [row])
        return found

    async def carry_out(found: Finding) -> Outcome:
        return await on_pair(means, row.pair_id, found.command, part, beside=keeping(found.held))

    try:
        await deciding_on(means.pool, look_up, carry_out)
    except StandingChanged:
        raise Unavailable from None


async def findings(means: Means, rows: Sequence[pairs.Row]) -> list[tuple[pairs.Row, Finding]]:
    """What the facts of one moment say of each of these pairs."""
    members = {member for row in rows for member in (row.mentor_id, row.mentee_id)}
    lines = await standings.with_lines(means.pool, members)
    return [(row, _finding(row.rules, lines[row.mentor_id], lines[row.mentee_id])) for row in rows]


def _finding(rules: Rules, mentor_line: list[standings.Row], mentee_line: list[standings.Row]) -> Finding:
    levels = rules.independence_levels
    lines = [mentor_line[: levels + 1], mentee_line[: levels + 1]]
    mentor, mentee = standing_of(lines[0]), standing_of(lines[1])
    command = RecheckPair(
        broken=() if mentor is None or mentee is None else broken(rules, mentor, mentee),
        gone=not (mentor_line[0].present and mentee_line[0].present),
        on_leave=mentor_line[0].on_leave or mentee_line[0].on_leave,
    )
    holding = held(rules, lines)
    ids = {person_id for person_id, _ in holding}
    return Finding(
        command,
        holding,
        settled=all(row.rechecked == row.due for line in lines for row in line),
        unaware=any(row.unaware for line in lines for row in line if row.person_id in ids),
    )


async def withdraw_all(means: Means, person_id: UUID, envelope: Envelope) -> None:
    """Withdraws the enrolments of somebody who has left. Safe to call again."""
    for enrolment_id in await enrolments.open_of(means.pool, person_id):
        part = _part_of(envelope, f"withdraw {enrolment_id}")
        await means.handler.send(enrolment_id, WithdrawEnrolment(), part)


def _part_of(envelope: Envelope, name: str) -> Envelope:
    """Of the same cause always the same, so that what was done before a crash is not done again."""
    return Envelope(
        command_id=uuid5(envelope.command_id, name),
        correlation_id=envelope.correlation_id,
        causation_id=envelope.causation_id,
        traceparent=envelope.traceparent,
    )
