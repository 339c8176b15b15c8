"""What may be asked of a pair."""

from dataclasses import dataclass
from datetime import date, datetime
from uuid import UUID

from upwell_matching.domain.eligibility import Standing
from upwell_matching.domain.enrolment import Side
from upwell_matching.domain.pair.facts import (
    Actor,
    DeclineReason,
    EndReason,
    Plan,
    Terms,
    WithdrawalReason,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProposePair:
    """`mentor` and `mentee` are where the two stand at this moment. `asked`: the two are asked already, or are a pair."""

    asked: bool
    terms: Terms
    plan: Plan
    match_run_id: UUID | None
    mentor: Standing
    mentee: Standing
    reply_by: datetime
    remind_at: datetime
    now: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptPair:
    """`mentor` and `mentee` are where the two stand at this moment; None for one who is not here, or on leave."""

    side: Side
    mentor: Standing | None
    mentee: Standing | None
    now: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class DeclinePair:
    side: Side
    reason: DeclineReason


@dataclass(frozen=True, slots=True, kw_only=True)
class RemindPair:
    now: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpireProposal:
    now: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class WithdrawProposal:
    reason: WithdrawalReason


@dataclass(frozen=True, slots=True, kw_only=True)
class PausePair:
    by: Actor


@dataclass(frozen=True, slots=True, kw_only=True)
class ResumePair:
    by: Actor


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtendPair:
    sessions: int
    ends_on: date


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletePair:
    by: Actor


@dataclass(frozen=True, slots=True, kw_only=True)
class EndPair:
    by: Actor
    reason: EndReason
    no_fault: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RecheckPair:
    """What the directory's facts say of the two at this moment: rules they break, whether one is gone or on leave.

    Whatever was found before, the same facts lead to the same pair; so it may be sent again at any time.
    """

    broken: tuple[str, ...]
    gone: bool
    on_leave: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class LeavePair:
    """A member has withdrawn their enrolment: a proposal is taken back, an open pair ends, and a closed one stays."""

    person_id: UUID


OpenPairCommand = PausePair | ResumePair | ExtendPair | CompletePair | EndPair
PairCommand = (
    ProposePair
    | AcceptPair
    | DeclinePair
    | RemindPair
    | ExpireProposal
    | WithdrawProposal
    | OpenPairCommand
    | RecheckPair
    | LeavePair
)
