"""What may happen to a pair: refusals → decide."""

from collections.abc import Iterator
from datetime import timedelta
from typing import assert_never
from uuid import UUID

from upwell_matching.domain.eligibility import INDEPENDENCE, INVERSION, Standing, broken
from upwell_matching.domain.pair.commands import (
    AcceptPair,
    CompletePair,
    DeclinePair,
    EndPair,
    ExpireProposal,
    ExtendPair,
    LeavePair,
    OpenPairCommand,
    PairCommand,
    PausePair,
    ProposePair,
    RecheckPair,
    RemindPair,
    ResumePair,
    WithdrawProposal,
)
from upwell_matching.domain.pair.facts import (
    Active,
    Actor,
    Cause,
    ClosedPair,
    ClosedProposal,
    EndReason,
    NoPair,
    Open,
    PairAccepted,
    PairCompleted,
    PairCreated,
    PairDeclined,
    PairEnded,
    PairEvent,
    PairExtended,
    PairPaused,
    PairProposalExpired,
    PairProposalWithdrawn,
    PairProposed,
    PairReplyReminded,
    PairResumed,
    PairRuleBreached,
    PairRuleRestored,
    PauseCauseAdded,
    PauseCauseRemoved,
    Paused,
    Proposal,
    Rule,
    State,
    Terms,
    Whereabouts,
    WithdrawalReason,
    evolve,
)
from upwell_matching.domain.programme import MOST_SESSIONS
from upwell_shared.decider import Decider, DomainError

MOST_AT_A_TIME = timedelta(days=366)


class UnknownPair(DomainError):
    """There is no such pair."""


class AlreadyProposed(DomainError):
    """These two are asked already, or are a pair."""


class ProposalClosed(DomainError):
    """This proposal is closed."""


class NotAPairYet(DomainError):
    """Not both have accepted: this is still a proposal."""


class AcceptedByBoth(DomainError):
    """Both have accepted, and this is a pair: end it instead."""


class PairClosed(DomainError):
    """This pair is complete or has ended."""


class NotInverted(DomainError):
    """The mentor is not junior to the mentee by the programme's measure and gap."""


class NotIndependent(DomainError):
    """One of the two is among the other's managers, both have the same one, or the programme asks for other units."""


class PlanIsOver(DomainError):
    """The last day of this cohort has passed: propose pairs in another one."""


class ShorterThanBefore(DomainError):
    """A pair is extended to at least as many sessions and as late a day as before, and to at most 60 sessions."""


class ExtendedTooFar(DomainError):
    """A pair is extended by at most a year at a time."""


class MemberAway(DomainError):
    """One of the two does not work here at present, or is on leave."""


class MemberOnLeave(DomainError):
    """A member is on leave: the pair goes on by itself when they are back."""


def decide(command: PairCommand, state: State) -> list[PairEvent]:
    if isinstance(command, ProposePair):
        return _propose(command, state)
    if isinstance(state, NoPair):
        raise UnknownPair
    match command:
        case AcceptPair():
            return _accept(command, state)
        case DeclinePair():
            return _decline(command, state)
        case RemindPair(now=now):
            waits = isinstance(state, Proposal) and not state.reminded and state.remind_at <= now
            return [PairReplyReminded()] if waits else []
        case ExpireProposal(now=now):
            lapsed = isinstance(state, Proposal) and state.reply_by <= now
            return [PairProposalExpired()] if lapsed else []
        case WithdrawProposal(reason=reason):
            if isinstance(state, Active | Paused):
                raise AcceptedByBoth
            return [PairProposalWithdrawn(reason=reason)] if isinstance(state, Proposal) else []
        case RecheckPair():
            return _recheck(command, state)
        case LeavePair(person_id=person_id):
            return _leave(person_id, state)
        case PausePair() | ResumePair() | ExtendPair() | CompletePair() | EndPair():
            return _in_open_pair(command, state)
        case _:
            assert_never(command)


def _propose(command: ProposePair, state: State) -> list[PairEvent]:
    if not isinstance(state, NoPair):
        if state.terms != command.terms:
            raise AlreadyProposed
        return []
    if command.asked:
        raise AlreadyProposed
    if command.plan.ends_on <= command.now.date():
        raise PlanIsOver
    _require_rules(command.terms, command.mentor, command.mentee)
    proposed = PairProposed(
        terms=command.terms,
        plan=command.plan,
        match_run_id=command.match_run_id,
        reply_by=command.reply_by,
        remind_at=command.remind_at,
    )
    return [proposed]


def _accept(command: AcceptPair, state: Proposal | Open | ClosedProposal | ClosedPair) -> list[PairEvent]:
    match state:
        case ClosedProposal():
            raise ProposalClosed
        case ClosedPair():
            raise PairClosed
        case Active() | Paused():
            return []
        case Proposal():
            if command.side in state.accepted:
                return []
            # The clock closes it, not the ticker, which may be late.
            if state.reply_by <= command.now:
                raise ProposalClosed
            if command.mentor is None or command.mentee is None:
                raise MemberAway
            _require_rules(state.terms, command.mentor, command.mentee)
            accepted = PairAccepted(side=command.side)
            if not state.accepted:
                return [accepted]
            return [accepted, PairCreated(mentor=_where(command.mentor), mentee=_where(command.mentee))]
        case _:
            assert_never(state)


def _decline(command: DeclinePair, state: Proposal | Open | ClosedProposal | ClosedPair) -> list[PairEvent]:
    match state:
        case ClosedProposal(declined_by=declined_by):
            if declined_by is not command.side:
                raise ProposalClosed
            return []
        case ClosedPair():
            raise PairClosed
        case Active() | Paused():
            raise AcceptedByBoth
        case Proposal():
            return [PairDeclined(side=command.side, reason=command.reason)]
        case _:
            assert_never(state)


def _in_open_pair(
    command: OpenPairCommand, state: Proposal | Open | ClosedProposal | ClosedPair
) -> list[PairEvent]:
    match state:
        case Proposal():
            raise NotAPairYet
        case ClosedProposal():
            raise ProposalClosed
        case ClosedPair(completed=completed):
            if completed and isinstance(command, CompletePair):
                return []
            raise PairClosed
        case Active() | Paused():
            pass
        case _:
            assert_never(state)
    match command:
        case PausePair(by=by):
            return _rest(state, Cause.ASKED, by)
        case ResumePair(by=by):
            if isinstance(state, Paused) and Cause.ASKED not in state.causes:
                raise MemberOnLeave
            return _rest_no_longer(state, Cause.ASKED, by)
        case ExtendPair():
            return _extend(command, state)
        case CompletePair(by=by):
            return [PairCompleted(by=by)]
        case EndPair():
            return [PairEnded(by=command.by, reason=command.reason, no_fault=command.no_fault)]
        case _:
            assert_never(command)


def _extend(command: ExtendPair, state: Open) -> list[PairEvent]:
    plan = state.plan
    if not plan.sessions <= command.sessions <= MOST_SESSIONS or command.ends_on < plan.ends_on:
        raise ShorterThanBefore
    if command.ends_on - plan.ends_on > MOST_AT_A_TIME:
        raise ExtendedTooFar
    if (command.sessions, command.ends_on) == (plan.sessions, plan.ends_on):
        return []
    return [PairExtended(sessions=command.sessions, ends_on=command.ends_on)]


def _recheck(command: RecheckPair, state: Proposal | Open | ClosedProposal | ClosedPair) -> list[PairEvent]:
    match state:
        case ClosedProposal() | ClosedPair():
            return []
        case Proposal():
            if command.gone:
                return [PairProposalWithdrawn(reason=WithdrawalReason.LEFT)]
            if command.broken:
                return [PairProposalWithdrawn(reason=WithdrawalReason.RULE_BROKEN)]
            if command.on_leave:
                return [PairProposalWithdrawn(reason=WithdrawalReason.ON_LEAVE)]
            return []
        case Active() | Paused():
            if command.gone:
                return [PairEnded(by=Actor.UPWELL, reason=EndReason.LEFT, no_fault=True)]
            rests = _rest if command.on_leave else _rest_no_longer
            return [*_rules_now({*command.broken}, state), *rests(state, Cause.LEAVE, Actor.UPWELL)]
        case _:
            assert_never(state)


def _rules_now(broken_now: set[str], state: Open) -> Iterator[PairEvent]:
    """The pair stays open: a coordinator decides what follows from a breach."""
    every: tuple[Rule, ...] = (INVERSION, INDEPENDENCE)
    for rule in every:
        if rule in broken_now and rule not in state.breached:
            yield PairRuleBreached(rule=rule)
        if rule in state.breached and rule not in broken_now:
            yield PairRuleRestored(rule=rule)


def _leave(person_id: UUID, state: Proposal | Open | ClosedProposal | ClosedPair) -> list[PairEvent]:
    match state:
        case ClosedProposal() | ClosedPair():
            return []
        case Proposal():
            return [PairProposalWithdrawn(reason=WithdrawalReason.ENROLMENT_WITHDRAWN)]
        case Active() | Paused():
            by = Actor.MENTOR if person_id == state.terms.mentor_id else Actor.MENTEE
            return [PairEnded(by=by, reason=EndReason.OTHER, no_fault=True)]
        case _:
            assert_never(state)


def _rest(state: Open, cause: Cause, by: Actor) -> list[PairEvent]:
    match state:
        case Active():
            return [PairPaused(cause=cause, by=by)]
        case Paused(causes=causes):
            return [] if cause in causes else [PauseCauseAdded(cause=cause, by=by)]
        case _:
            assert_never(state)


def _rest_no_longer(state: Open, cause: Cause, by: Actor) -> list[PairEvent]:
    """Goes on once no cause is left."""
    if not isinstance(state, Paused) or cause not in state.causes:
        return []
    last = state.causes == {cause}
    return [PairResumed(by=by)] if last else [PauseCauseRemoved(cause=cause, by=by)]


def _require_rules(terms: Terms, mentor: Standing, mentee: Standing) -> None:
    against = broken(terms.rules, mentor, mentee)
    if against:
        raise NotInverted if INVERSION in against else NotIndependent


def _where(standing: Standing) -> Whereabouts:
    return Whereabouts(organisation_id=standing.organisation_id, unit_id=standing.unit_id)


pair: Decider[PairCommand, State, PairEvent] = Decider(NoPair(), decide, evolve)
