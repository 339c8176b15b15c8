"""What happens to a pair, and how it stands after it: events → states → evolve."""

from dataclasses import dataclass, replace
from datetime import date, datetime
from enum import StrEnum
from typing import Literal, assert_never
from uuid import UUID

from upwell_matching.domain.eligibility import Rules
from upwell_matching.domain.enrolment import Side

Rule = Literal["inversion", "independence"]
"""What a pair must keep for as long as it is open, see `eligibility`."""


class Actor(StrEnum):
    """Who did it; `upwell` follows a fact of the directory."""

    MENTOR = "mentor"
    MENTEE = "mentee"
    COORDINATOR = "coordinator"
    UPWELL = "upwell"


class DeclineReason(StrEnum):
    NO_TIME = "no_time"
    NOT_A_FIT = "not_a_fit"
    TOO_CLOSE = "too_close"
    OTHER = "other"


class WithdrawalReason(StrEnum):
    RULE_BROKEN = "rule_broken"
    LEFT = "left"
    ON_LEAVE = "on_leave"
    ENROLMENT_WITHDRAWN = "enrolment_withdrawn"
    BY_COORDINATOR = "by_coordinator"


class EndReason(StrEnum):
    GOALS_REACHED = "goals_reached"
    NO_TIME = "no_time"
    NOT_A_FIT = "not_a_fit"
    LEFT = "left"
    RULE_BROKEN = "rule_broken"
    COHORT_CLOSED = "cohort_closed"
    OTHER = "other"


class Cause(StrEnum):
    """Why a pair rests: somebody asked for it, a member is on leave, or both."""

    ASKED = "asked"
    LEAVE = "leave"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """So many sessions, one every `days_between` days, of `minutes` each, until `ends_on`."""

    sessions: int
    days_between: int
    minutes: int
    ends_on: date


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """Who is asked, for which cohort, under which rules: those a pair was proposed under hold for as long as it does."""

    programme_id: UUID
    cohort_id: UUID
    mentor_id: UUID
    mentee_id: UUID
    rules: Rules


@dataclass(frozen=True, slots=True, kw_only=True)
class Whereabouts:
    """Where a member stood when the pair was created."""

    organisation_id: UUID
    unit_id: UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class PairProposed:
    """`match_run_id` is None for one proposed by hand."""

    terms: Terms
    plan: Plan
    match_run_id: UUID | None
    reply_by: datetime
    remind_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class PairAccepted:
    side: Side


@dataclass(frozen=True, slots=True, kw_only=True)
class PairCreated:
    """Both have accepted."""

    mentor: Whereabouts
    mentee: Whereabouts


@dataclass(frozen=True, slots=True, kw_only=True)
class PairDeclined:
    side: Side
    reason: DeclineReason


@dataclass(frozen=True, slots=True, kw_only=True)
class PairReplyReminded:
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class PairProposalExpired:
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class PairProposalWithdrawn:
    reason: WithdrawalReason


@dataclass(frozen=True, slots=True, kw_only=True)
class PairPaused:
    cause: Cause
    by: Actor


@dataclass(frozen=True, slots=True, kw_only=True)
class PauseCauseAdded:
    """The pair rests already, and now for this as well."""

    cause: Cause
    by: Actor


@dataclass(frozen=True, slots=True, kw_only=True)
class PauseCauseRemoved:
    """The pair rests no longer for this, and still for the other."""

    cause: Cause
    by: Actor


@dataclass(frozen=True, slots=True, kw_only=True)
class PairResumed:
    by: Actor


@dataclass(frozen=True, slots=True, kw_only=True)
class PairExtended:
    """The whole number of sessions from now on, and the new last day."""

    sessions: int
    ends_on: date


@dataclass(frozen=True, slots=True, kw_only=True)
class PairCompleted:
    by: Actor


@dataclass(frozen=True, slots=True, kw_only=True)
class PairEnded:
    by: Actor
    reason: EndReason
    no_fault: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class PairRuleBreached:
    rule: Rule


@dataclass(frozen=True, slots=True, kw_only=True)
class PairRuleRestored:
    rule: Rule


PairEvent = (
    PairProposed
    | PairAccepted
    | PairCreated
    | PairDeclined
    | PairReplyReminded
    | PairProposalExpired
    | PairProposalWithdrawn
    | PairPaused
    | PauseCauseAdded
    | PauseCauseRemoved
    | PairResumed
    | PairExtended
    | PairCompleted
    | PairEnded
    | PairRuleBreached
    | PairRuleRestored
)


@dataclass(frozen=True, slots=True)
class NoPair:
    pass


@dataclass(frozen=True, slots=True)
class Proposal:
    """Waits for those who are not among `accepted`."""

    terms: Terms
    plan: Plan
    reply_by: datetime
    remind_at: datetime
    accepted: frozenset[Side] = frozenset()
    reminded: bool = False


@dataclass(frozen=True, slots=True)
class Active:
    """`breached` are names of rules a fact of the directory has put it in breach of."""

    terms: Terms
    plan: Plan
    breached: frozenset[Rule] = frozenset()


@dataclass(frozen=True, slots=True)
class Paused:
    """Rests for at least one cause."""

    terms: Terms
    plan: Plan
    breached: frozenset[Rule]
    causes: frozenset[Cause]


@dataclass(frozen=True, slots=True)
class ClosedProposal:
    """Declined by one side, expired, or withdrawn."""

    terms: Terms
    declined_by: Side | None = None


@dataclass(frozen=True, slots=True)
class ClosedPair:
    terms: Terms
    completed: bool


Open = Active | Paused
State = NoPair | Proposal | Open | ClosedProposal | ClosedPair


def evolve(state: State, event: PairEvent) -> State:
    if isinstance(event, PairProposed):
        return Proposal(event.terms, event.plan, event.reply_by, event.remind_at)
    if isinstance(state, NoPair | ClosedProposal | ClosedPair):
        return state
    if isinstance(state, Proposal):
        return _after_proposal(state, event)
    return _after_open(state, event)


def _after_proposal(state: Proposal, event: PairEvent) -> State:
    match event:
        case PairAccepted(side=side):
            return replace(state, accepted=state.accepted | {side})
        case PairCreated():
            return Active(state.terms, state.plan)
        case PairDeclined(side=side):
            return ClosedProposal(state.terms, side)
        case PairReplyReminded():
            return replace(state, reminded=True)
        case PairProposalExpired() | PairProposalWithdrawn():
            return ClosedProposal(state.terms)
        case (
            PairProposed()
            | PairPaused()
            | PauseCauseAdded()
            | PauseCauseRemoved()
            | PairResumed()
            | PairExtended()
            | PairCompleted()
            | PairEnded()
            | PairRuleBreached()
            | PairRuleRestored()
        ):
            return state
        case _:
            assert_never(event)


def _after_open(state: Open, event: PairEvent) -> State:
    terms, plan, breached = state.terms, state.plan, state.breached
    causes = state.causes if isinstance(state, Paused) else frozenset[Cause]()
    match event:
        case PairPaused(cause=cause) | PauseCauseAdded(cause=cause):
            return Paused(terms, plan, breached, causes | {cause})
        case PauseCauseRemoved(cause=cause):
            return Paused(terms, plan, breached, causes - {cause})
        case PairResumed():
            return Active(terms, plan, breached)
        case PairExtended():
            return replace(state, plan=replace(plan, sessions=event.sessions, ends_on=event.ends_on))
        case PairCompleted():
            return ClosedPair(terms, completed=True)
        case PairEnded():
            return ClosedPair(terms, completed=False)
        case PairRuleBreached(rule=rule):
            return replace(state, breached=breached | {rule})
        case PairRuleRestored(rule=rule):
            return replace(state, breached=breached - {rule})
        case (
            PairProposed()
            | PairAccepted()
            | PairCreated()
            | PairDeclined()
            | PairReplyReminded()
            | PairProposalExpired()
            | PairProposalWithdrawn()
        ):
            return state
        case _:
            assert_never(event)
