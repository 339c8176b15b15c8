"""Who may see and do what in a cadence: its two members, and nobody else in whatever role."""

from typing import NamedTuple
from uuid import UUID

from upwell_sessions.domain.cadence import NoCadence, Session, Side, State
from upwell_shared.errors import NotFound
from upwell_shared.web.policies import Principal, policy


class Known(NamedTuple):
    """A pair's cadence as its own stream has it now; it may be none."""

    stream_id: UUID
    version: int
    state: State

    def side_of(self, person_id: UUID) -> Side | None:
        """Which of the two somebody is; None for anybody else."""
        if isinstance(self.state, NoCadence):
            return None
        if person_id == self.state.plan.mentor_id:
            return Side.MENTOR
        return Side.MENTEE if person_id == self.state.plan.mentee_id else None

    def side(self, who: Principal) -> Side:
        """As `side_of`. Raises NotFound for anybody else."""
        side = self.side_of(who.id)
        if side is None:
            raise NotFound
        return side

    def session(self, session_id: UUID) -> Session:
        """Raises NotFound where the pair has no such session."""
        found = None if isinstance(self.state, NoCadence) else self.state.sessions.get(session_id)
        if found is None:
            raise NotFound
        return found


@policy
def member(who: Principal, known: Known) -> bool:
    return known.side_of(who.id) is not None
