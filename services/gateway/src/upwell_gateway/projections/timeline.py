"""Everything that was told of a pair, in the order it was recorded: a row for each event, for the page of the pair."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from upwell_shared.contracts import Consumed, PublishedEvent
from upwell_shared.database import Connection

name = "timeline"
version = 1
tables = """
CREATE TABLE timeline (
    event_id      uuid PRIMARY KEY,
    pair_id       uuid NOT NULL,
    at            timestamptz NOT NULL,
    owner         text NOT NULL,
    sequence      int NOT NULL,
    internal      bool NOT NULL,
    type          text NOT NULL,
    session_id    uuid,
    reflection_id uuid,
    person_id     uuid,
    side          text,
    detail        text
);
-- What one moment brought on two channels is shown channel by channel: their sequences say nothing of each other.
CREATE INDEX timeline_of_pair ON timeline (pair_id, at, owner, internal DESC, sequence);
"""

_INSERT = """
INSERT INTO timeline
SELECT * FROM unnest(
    $1::uuid[], $2::uuid[], $3::timestamptz[], $4::text[], $5::int[], $6::bool[], $7::text[], $8::uuid[], $9::uuid[],
    $10::uuid[], $11::text[], $12::text[]
)
ON CONFLICT DO NOTHING
"""

_DETAILS = ("commitment", "stage", "rule", "reason")
"""The fields that say more than the type does; each of a fixed set of words."""


class _Shape(NamedTuple):
    """Which fields of an event class are shown; None for a class that is not about a pair."""

    type: str
    fields: tuple[str | None, ...]


def _shape(kind: type[PublishedEvent]) -> _Shape | None:
    known = kind.model_fields
    if "pair_id" not in known:
        return None
    detail = next((field for field in _DETAILS if field in known), None)
    shown = (
        field if field in known else None for field in ("session_id", "reflection_id", "person_id", "side")
    )
    return _Shape(kind.__name__, (*shown, detail))


_shapes: dict[type[PublishedEvent], _Shape | None] = {}


async def project(connection: Connection, events: Sequence[Consumed]) -> None:
    rows: list[tuple[Any, ...]] = []
    for consumed in events:
        event: Any = consumed.event
        kind = type(event)
        if kind not in _shapes:
            _shapes[kind] = _shape(kind)
        if (shape := _shapes[kind]) is not None:
            shown = (None if field is None else getattr(event, field) for field in shape.fields)
            place = (consumed.recorded_at, consumed.owner, consumed.sequence, consumed.audience == "internal")
            rows.append((consumed.event_id, event.pair_id, *place, shape.type, *shown))
    if rows:
        await connection.execute(_INSERT, *zip(*rows, strict=True))
