"""Commands that need facts from elsewhere: looked up in own streams and read models, and put on the command.

A stream that is read here cannot lag behind; where what it says must hold still, the decision relies on it.
"""

from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import Any
from uuid import UUID

import asyncpg

from upwell_matching.aggregates import COHORT, ENROLMENT, MATCH_RUN, MATCH_RUN_SLOT, PAIR, PROGRAMME
from upwell_matching.carrying_out import Means, on_pair
from upwell_matching.domain.cohort import (
    ClosedCohort,
    Cohort,
    NoCohort,
    OpenCohort,
    RelyOnCohort,
    UnknownCohort,
)
from upwell_matching.domain.eligibility import Standing
from upwell_matching.domain.enrolment import (
    ChangeEnrolment,
    NotEnrolled,
    Side,
    SubmitEnrolment,
    UnknownEnrolment,
    enrolment_id,
)
from upwell_matching.domain.match_run import StartMatchRun, slot_id
from upwell_matching.domain.match_run_slot import TakeMatchRunSlot
from upwell_matching.domain.pair import AcceptPair, NoPair, Plan, Proposal, ProposePair, Terms, UnknownPair
from upwell_matching.domain.programme import (
    ClosedProgramme,
    NoProgramme,
    Programme,
    RelyOnProgramme,
    UnknownProgramme,
)
from upwell_matching.domain.standing import PersonOnLeave, UnknownPerson
from upwell_matching.projections import pairs
from upwell_matching.standing import Held, PairFacts, deciding_on, facts_for, keeping, present
from upwell_shared import units
from upwell_shared.decider import DomainError
from upwell_shared.events import Envelope
from upwell_shared.handling import Intent, Outcome
from upwell_shared.looking_up import caught_up
from upwell_shared.web.commands import Command
from upwell_shared.web.positions import wait_until


async def once(means: Means, command: Command, work: Callable[[], Awaitable[Outcome]]) -> Outcome:
    """`work`; or where it is refused for a fact of today what this very command was answered before."""
    try:
        return await work()
    except DomainError:
        earlier = await means.handler.repeated(command.envelope, command.fingerprint)
        if earlier is None:
            raise
        return earlier


async def open_cohort(
    means: Means, command: Command, cohort_id: UUID, opening: OpenCohort, body: Mapping[str, Any]
) -> Outcome:
    """The cohort opens while its programme is open. Raises what `Handler.handle` raises."""
    return await means.handler.handle(
        Intent(COHORT, cohort_id, opening),
        Intent(PROGRAMME, opening.programme_id, RelyOnProgramme()),
        envelope=command.envelope,
        fingerprint=command.fingerprint,
        body=body,
    )


async def submit_enrolment(
    means: Means,
    command: Command,
    *,
    cohort_id: UUID,
    person_id: UUID,
    role: Side,
    offers: tuple[UUID, ...],
    seeks: tuple[UUID, ...],
    capacity: int | None,
) -> Outcome:
    """The person enrols while the cohort is open. Raises UnknownCohort, UnknownPerson, and what `handle` raises."""
    cohort = await _cohort(means, cohort_id)
    programme = await _programme(means, cohort.programme_id)
    defaults = programme.defaults
    usual = defaults.mentor_capacity if role is Side.MENTOR else defaults.mentee_capacity
    stream_id = enrolment_id(cohort_id, person_id)

    async def submit(found: tuple[Standing, Held]) -> Outcome:
        person, held = found
        submitting = SubmitEnrolment(
            programme_id=cohort.programme_id,
            cohort_id=cohort_id,
            person_id=person_id,
            organisation_id=person.organisation_id,
            unit_id=person.unit_id,
            covered=await covers(means.pool, programme.unit_ids, person.unit_id),
            role=role,
            offers=offers,
            seeks=seeks,
            capacity=usual if capacity is None else capacity,
            topics=frozenset(programme.topics),
        )
        return await means.handler.handle(
            Intent(ENROLMENT, stream_id, submitting),
            Intent(COHORT, cohort_id, RelyOnCohort()),
            *keeping(held),
            envelope=command.envelope,
            fingerprint=command.fingerprint,
            body={"enrolment_id": str(stream_id)},
        )

    return await deciding_on(means.pool, lambda: present(means.pool, person_id), submit)


async def change_enrolment(
    means: Means,
    command: Command,
    stream_id: UUID,
    *,
    offers: tuple[UUID, ...],
    seeks: tuple[UUID, ...],
    capacity: int,
    if_match: int,
) -> Outcome:
    """Raises UnknownEnrolment, and what `Handler.handle` raises."""
    state = await means.state(ENROLMENT, stream_id)
    if isinstance(state, NotEnrolled):
        raise UnknownEnrolment
    programme = await _programme(means, state.programme_id)
    changing = ChangeEnrolment(
        offers=offers, seeks=seeks, capacity=capacity, topics=frozenset(programme.topics)
    )
    return await means.handler.handle(
        Intent(ENROLMENT, stream_id, changing, if_match),
        envelope=command.envelope,
        fingerprint=command.fingerprint,
    )


async def propose_pair(
    means: Means,
    pair_id: UUID,
    envelope: Envelope,
    *,
    cohort_id: UUID,
    mentor_id: UUID,
    mentee_id: UUID,
    match_run_id: UUID | None = None,
    fingerprint: bytes | None = None,
    body: Mapping[str, Any] | None = None,
) -> Outcome:
    """Proposes under the rules the programme has now. Safe to call again with the same envelope.

    Raises UnknownCohort, UnknownPerson, PersonOnLeave, StandingChanged, and what `Handler.handle` raises.
    """
    cohort = await _cohort(means, cohort_id)
    programme = await _programme(means, cohort.programme_id)
    defaults = programme.defaults
    terms = Terms(
        programme_id=cohort.programme_id,
        cohort_id=cohort_id,
        mentor_id=mentor_id,
        mentee_id=mentee_id,
        rules=programme.rules,
    )
    plan = Plan(
        sessions=defaults.sessions,
        days_between=defaults.days_between,
        minutes=defaults.minutes,
        ends_on=cohort.ends_on,
    )
    if match_run_id is None:
        # What was proposed a moment ago counts. Of two proposed at the very same moment only one can be accepted.
        await caught_up(means.pool, pairs.name)
    asked = await pairs.open_between(means.pool, cohort_id, mentor_id, mentee_id)

    async def propose(facts: PairFacts) -> Outcome:
        now = means.clock.now()
        proposing = ProposePair(
            asked=bool(asked - {pair_id}),
            terms=terms,
            plan=plan,
            match_run_id=match_run_id,
            mentor=facts.mentor,
            mentee=facts.mentee,
            reply_by=now + timedelta(days=defaults.reply_days),
            remind_at=now + timedelta(days=defaults.reminder_days),
            now=now,
        )
        return await on_pair(
            means,
            pair_id,
            proposing,
            envelope,
            beside=[Intent(COHORT, cohort_id, RelyOnCohort()), *keeping(facts.held)],
            fingerprint=fingerprint,
            body=body,
        )

    return await deciding_on(
        means.pool, lambda: facts_for(means.pool, terms.rules, mentor_id, mentee_id), propose
    )


async def start_match_run(
    means: Means, command: Command, match_run_id: UUID, cohort_id: UUID, seed: int
) -> Outcome:
    """Starts under the rules the programme has now. Raises UnknownCohort, and what `Handler.handle` raises."""
    cohort = await _cohort(means, cohort_id)
    programme = await _programme(means, cohort.programme_id)
    starting = StartMatchRun(
        programme_id=cohort.programme_id, cohort_id=cohort_id, rules=programme.rules, seed=seed
    )
    return await means.handler.handle(
        Intent(MATCH_RUN, match_run_id, starting),
        Intent(MATCH_RUN_SLOT, slot_id(cohort_id), TakeMatchRunSlot(match_run_id=match_run_id)),
        Intent(COHORT, cohort_id, RelyOnCohort(today=means.clock.now().date())),
        envelope=command.envelope,
        fingerprint=command.fingerprint,
        body={"match_run_id": str(match_run_id)},
    )


async def accept_pair(means: Means, command: Command, pair_id: UUID, side: Side) -> Outcome:
    """Accepts for one side, while both stand where that was looked up. Raises UnknownPair, StandingChanged, and what
    `Handler.handle` raises.
    """
    state = await means.state(PAIR, pair_id)
    if isinstance(state, NoPair):
        raise UnknownPair
    terms: Terms = state.terms

    async def facts() -> PairFacts | None:
        """None also where the answer does not depend on it."""
        if not isinstance(state, Proposal):
            return None
        try:
            return await facts_for(means.pool, terms.rules, terms.mentor_id, terms.mentee_id)
        except (UnknownPerson, PersonOnLeave):
            return None

    async def accept(known: PairFacts | None) -> Outcome:
        accepting = AcceptPair(
            side=side,
            mentor=None if known is None else known.mentor,
            mentee=None if known is None else known.mentee,
            now=means.clock.now(),
        )
        return await on_pair(
            means,
            pair_id,
            accepting,
            command.envelope,
            beside=() if known is None else keeping(known.held),
            fingerprint=command.fingerprint,
        )

    return await deciding_on(means.pool, facts, accept)


async def covers(pool: asyncpg.Pool, unit_ids: tuple[UUID, ...], unit_id: UUID) -> bool:
    """Whether a unit is one of these or below one. Waits a moment for what has not been heard of yet."""
    found: set[UUID] = set()

    async def known() -> bool:
        nonlocal found
        found, whole = await units.above(pool, unit_id)
        return whole or not found.isdisjoint(unit_ids)

    await wait_until(known, timeout=1.0)
    return not found.isdisjoint(unit_ids)


async def _cohort(means: Means, cohort_id: UUID) -> Cohort:
    """As it was last, if it is closed: that it is, the decision says. Raises UnknownCohort."""
    match await means.state(COHORT, cohort_id):
        case Cohort() as cohort:
            return cohort
        case ClosedCohort(last=cohort):
            return cohort
        case NoCohort():
            raise UnknownCohort
        case other:
            raise AssertionError(other)


async def _programme(means: Means, programme_id: UUID) -> Programme:
    """As it was last, if it is closed. Raises UnknownProgramme."""
    match await means.state(PROGRAMME, programme_id):
        case Programme() as programme:
            return programme
        case ClosedProgramme(last=programme):
            return programme
        case NoProgramme():
            raise UnknownProgramme
        case other:
            raise AssertionError(other)
