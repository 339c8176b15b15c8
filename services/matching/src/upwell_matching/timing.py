"""What is due when: replies to proposals, and what this service has promised itself at once."""

from collections.abc import Iterable
from typing import Any

from upwell_matching.domain.enrolment import EnrolmentWithdrawn, SettleWithdrawal, WithdrawalSettled
from upwell_matching.domain.pair import (
    ExpireProposal,
    PairCreated,
    PairDeclined,
    PairProposalExpired,
    PairProposalWithdrawn,
    PairProposed,
    PairReplyReminded,
    RemindPair,
)
from upwell_matching.domain.standing import (
    LeaveBegan,
    LeaveEnded,
    PairsRechecked,
    PairsRecheckedInPart,
    PlaceTaken,
    RecheckPairs,
    StandingBegan,
    StandingEnded,
    StandingErased,
)
from upwell_shared.events import Recorded
from upwell_shared.timers import ClearTimer, SetTimer


def timing(recorded: Recorded[Any]) -> Iterable[SetTimer | ClearTimer]:
    """What follows at once goes through a timer too, so that no crash can leave it undone."""
    match recorded.event:
        case PairProposed(remind_at=remind_at, reply_by=reply_by):
            yield SetTimer("reminder", remind_at, RemindPair(now=remind_at))
            yield SetTimer("expiry", reply_by, ExpireProposal(now=reply_by))
        case PairReplyReminded():
            yield ClearTimer("reminder")
        case PairCreated() | PairDeclined() | PairProposalExpired() | PairProposalWithdrawn():
            yield ClearTimer("reminder")
            yield ClearTimer("expiry")
        case EnrolmentWithdrawn():
            yield SetTimer("withdrawal", recorded.recorded_at, SettleWithdrawal())
        case WithdrawalSettled():
            yield ClearTimer("withdrawal")
        case StandingBegan(revision=revision, rechecks=True) | PlaceTaken(revision=revision, rechecks=True):
            yield SetTimer("recheck", recorded.recorded_at, RecheckPairs(revision=revision))
        case StandingEnded() | LeaveBegan() | LeaveEnded() | StandingErased() as event:
            yield SetTimer("recheck", recorded.recorded_at, RecheckPairs(revision=event.revision))
        case PairsRecheckedInPart(revision=revision, after=after):
            yield SetTimer("recheck", recorded.recorded_at, RecheckPairs(revision=revision, after=after))
        case PairsRechecked():
            yield ClearTimer("recheck")
