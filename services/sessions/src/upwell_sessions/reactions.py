"""Published event → own command: the one door in."""

from collections.abc import Iterable

from upwell_sessions.domain.cadence import (
    CloseCadence,
    ExtendCadence,
    OpenCadence,
    PauseCadence,
    Plan,
    ResumeCadence,
    cadence_id,
)
from upwell_shared import erasing
from upwell_shared.contracts import Consumed
from upwell_shared.contracts.matching import (
    PairCompleted,
    PairCreated,
    PairEnded,
    PairExtended,
    PairPaused,
    PairResumed,
)
from upwell_shared.todos import Send


def follow_the_pair(consumed: Consumed) -> Iterable[Send]:
    """Whenever a pair begins, rests, goes on, goes on for longer or ends, so does its cadence."""
    match consumed.event:
        case PairCreated() as created:
            plan = Plan(
                pair_id=created.pair_id,
                programme_id=created.programme_id,
                mentor_id=created.mentor_id,
                mentee_id=created.mentee_id,
                sessions=created.sessions,
                days_between=created.days_between,
                minutes=created.minutes,
                ends_on=created.ends_on,
            )
            yield Send(cadence_id(created.pair_id), OpenCadence(plan=plan))
        case PairPaused(pair_id=pair_id):
            yield Send(cadence_id(pair_id), PauseCadence())
        case PairResumed(pair_id=pair_id):
            yield Send(cadence_id(pair_id), ResumeCadence())
        case PairExtended(pair_id=pair_id, sessions=sessions, ends_on=ends_on):
            yield Send(cadence_id(pair_id), ExtendCadence(sessions=sessions, ends_on=ends_on))
        case PairCompleted(pair_id=pair_id) | PairEnded(pair_id=pair_id):
            yield Send(cadence_id(pair_id), CloseCadence(now=consumed.recorded_at))


def forget_the_erased(consumed: Consumed) -> Iterable[Send]:
    """Whenever a person is erased, every recap they could read is destroyed, and the receipt is given."""
    return erasing.asked(consumed)
