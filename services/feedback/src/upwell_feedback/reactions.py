"""Published event → own command: the one door in.

The time and the question set in force are put on a command when it is carried out, see `commands.py`.
"""

from collections.abc import Iterable

from upwell_feedback.domain.question_set import BY_DEFAULT
from upwell_feedback.domain.reflections import BeginReflections, CloseReflections, CountSession, stream_of
from upwell_shared import erasing
from upwell_shared.contracts import Consumed
from upwell_shared.contracts.matching import PairCompleted, PairCreated, PairEnded
from upwell_shared.contracts.sessions import SessionHeld
from upwell_shared.todos import Send


def ask_at_the_start(consumed: Consumed) -> Iterable[Send]:
    """Whenever a pair came into being, both are asked what they expect."""
    if isinstance(event := consumed.event, PairCreated):
        begin = BeginReflections(
            pair_id=event.pair_id,
            programme_id=event.programme_id,
            mentor_id=event.mentor_id,
            mentee_id=event.mentee_id,
            asking=BY_DEFAULT,
            now=consumed.recorded_at,
        )
        yield Send(stream_of(event.pair_id), begin)


def count_the_session(consumed: Consumed) -> Iterable[Send]:
    """Whenever a session was held, it counts towards the next pulse."""
    if isinstance(event := consumed.event, SessionHeld):
        count = CountSession(
            programme_id=event.programme_id,
            session_id=event.session_id,
            held_at=consumed.recorded_at,
            asking=BY_DEFAULT,
            now=consumed.recorded_at,
        )
        yield Send(stream_of(event.pair_id), count)


def ask_at_the_end(consumed: Consumed) -> Iterable[Send]:
    """Whenever a pair is complete or has ended, both are asked once more, in the same words either way."""
    if isinstance(event := consumed.event, PairCompleted | PairEnded):
        close = CloseReflections(
            programme_id=event.programme_id,
            ended_at=consumed.recorded_at,
            asking=BY_DEFAULT,
            now=consumed.recorded_at,
        )
        yield Send(stream_of(event.pair_id), close)


def forget_the_person(consumed: Consumed) -> Iterable[Send]:
    """Whenever a person is erased, what they wrote is forgotten, and a receipt given."""
    return erasing.asked(consumed)
