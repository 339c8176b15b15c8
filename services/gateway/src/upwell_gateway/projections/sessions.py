"""What became of sessions, and the commitment ledger: what each side did about them."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

from upwell_gateway.projections.folding import Folding
from upwell_shared.contracts import Consumed, PublishedEvent
from upwell_shared.contracts import sessions as told
from upwell_shared.database import Connection

name = "sessions"
version = 1
tables = """
CREATE TABLE sessions (
    session_id   uuid PRIMARY KEY,
    pair_id      uuid NOT NULL,
    programme_id uuid NOT NULL,
    number       int NOT NULL,
    starts_at    timestamptz NOT NULL,
    minutes      int NOT NULL,
    state        text NOT NULL CHECK (state IN ('scheduled', 'held', 'missed', 'cancelled', 'unconfirmed')),
    since        timestamptz NOT NULL
);
CREATE INDEX sessions_of_pair ON sessions (pair_id, number);
CREATE INDEX sessions_of_programme ON sessions (programme_id, state);

-- Fed by the internal channel, as is what follows; both may be here before the session is.
CREATE TABLE disputes (
    session_id   uuid PRIMARY KEY,
    programme_id uuid NOT NULL,
    disputed_at  timestamptz NOT NULL
);
CREATE INDEX disputes_of_programme ON disputes (programme_id);

CREATE TABLE commitments (
    session_id   uuid NOT NULL,
    side         text NOT NULL,
    commitment   text NOT NULL,
    pair_id      uuid NOT NULL,
    programme_id uuid NOT NULL,
    times        int NOT NULL,
    PRIMARY KEY (session_id, side, commitment)
);
CREATE INDEX commitments_of_pair ON commitments (pair_id);
CREATE INDEX commitments_of_programme ON commitments (programme_id);
"""

_ENDS: Final[dict[type[PublishedEvent], str]] = {
    told.SessionHeld: "held",
    told.SessionMissed: "missed",
    told.SessionCancelled: "cancelled",
    told.SessionUnconfirmed: "unconfirmed",
}
_PUBLIC: Final[frozenset[type[PublishedEvent]]] = frozenset(
    {told.SessionScheduled, told.SessionRescheduled, *_ENDS}
)


class _Session(NamedTuple):
    session_id: UUID
    pair_id: UUID
    programme_id: UUID
    number: int
    starts_at: datetime
    minutes: int
    state: str
    since: datetime


class _Dispute(NamedTuple):
    session_id: UUID
    programme_id: UUID
    disputed_at: datetime


def _session(row: _Session | None, consumed: Consumed) -> _Session | None:
    match consumed.event:
        case told.SessionScheduled() as event:
            ids = (event.session_id, event.pair_id, event.programme_id)
            plan = (event.number, event.starts_at, event.minutes)
            return _Session(*ids, *plan, "scheduled", consumed.recorded_at)
        case told.SessionRescheduled(starts_at=starts_at, minutes=minutes):
            return row and row._replace(starts_at=starts_at, minutes=minutes)
        case _:
            state = _ENDS[type(consumed.event)]
            return row and row._replace(state=state, since=consumed.recorded_at)


def _dispute(_: _Dispute | None, consumed: Consumed) -> _Dispute:
    event: Any = consumed.event
    return _Dispute(event.session_id, event.programme_id, consumed.recorded_at)


_SESSIONS = Folding(
    row=_Session,
    of=_PUBLIC,
    key="session_id",
    evolve=_session,
    held="SELECT * FROM sessions WHERE session_id = ANY ($1::uuid[])",
    write="""
INSERT INTO sessions
SELECT * FROM unnest(
    $1::uuid[], $2::uuid[], $3::uuid[], $4::int[], $5::timestamptz[], $6::int[], $7::text[], $8::timestamptz[]
)
ON CONFLICT (session_id) DO UPDATE SET
    starts_at = excluded.starts_at, minutes = excluded.minutes, state = excluded.state, since = excluded.since
""",
)

_DISPUTES = Folding(
    row=_Dispute,
    of=frozenset({told.SessionDisputed}),
    key="session_id",
    evolve=_dispute,
    held="SELECT * FROM disputes WHERE session_id = ANY ($1::uuid[])",
    write="""
INSERT INTO disputes SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::timestamptz[])
ON CONFLICT (session_id) DO UPDATE SET disputed_at = excluded.disputed_at
""",
)

_COMMIT = """
INSERT INTO commitments AS held (session_id, side, commitment, pair_id, programme_id, times)
SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::uuid[], $5::uuid[], $6::int[])
ON CONFLICT (session_id, side, commitment) DO UPDATE SET times = held.times + excluded.times
"""


async def project(connection: Connection, events: Sequence[Consumed]) -> None:
    await _SESSIONS.take(connection, events)
    await _DISPUTES.take(connection, events)
    lines = Counter(
        (event.session_id, event.side, event.commitment, event.pair_id, event.programme_id)
        for consumed in events
        if type(event := consumed.event) is told.CommitmentRecorded
    )
    if lines:
        rows = [(*line, times) for line, times in lines.items()]
        await connection.execute(_COMMIT, *zip(*rows, strict=True))
