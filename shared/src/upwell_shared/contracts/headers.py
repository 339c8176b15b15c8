"""CloudEvents 1.0 attributes of a published event as Kafka headers in binary mode: names and writing.

https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/kafka-protocol-binding.md, 3.2.
`sequence`, `partitionkey`, `traceparent`, `correlationid` and `causationid` are documented extensions; `logid` is
our own and added when a record is sent, since the same ledger row may be sent to another log later.
"""

import re
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

import orjson

from upwell_shared.events import Envelope

SPEC_VERSION: Final = "ce_specversion"
ID: Final = "ce_id"
TYPE: Final = "ce_type"
SOURCE: Final = "ce_source"
SUBJECT: Final = "ce_subject"
TIME: Final = "ce_time"
PARTITION_KEY: Final = "ce_partitionkey"
SEQUENCE: Final = "ce_sequence"
CORRELATION_ID: Final = "ce_correlationid"
CAUSATION_ID: Final = "ce_causationid"
TRACEPARENT: Final = "ce_traceparent"
DATA_SCHEMA: Final = "ce_dataschema"
LOG_ID: Final = "ce_logid"
CONTENT_TYPE: Final = "content-type"

READ: Final = frozenset(
    {SPEC_VERSION, ID, TYPE, SOURCE, SUBJECT, TIME, PARTITION_KEY, SEQUENCE}
    | {CORRELATION_ID, CAUSATION_ID, TRACEPARENT, DATA_SCHEMA, LOG_ID, CONTENT_TYPE}
)
"""The only headers a reader looks at."""

JSON: Final = "application/json"
W3C_TRACEPARENT: Final = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")


def dump_headers(
    *,
    event_id: UUID,
    type_name: str,
    source: str,
    stream_id: UUID,
    recorded_at: datetime,
    sequence: int,
    envelope: Envelope,
    dataschema: str,
) -> bytes:
    """All headers but `ce_logid` as the ledger keeps them: JSON `[[name, value], ...]`.

    Raises ValueError when `recorded_at` has no offset.
    """
    stream = str(stream_id)
    headers = [
        (SPEC_VERSION, "1.0"),
        (ID, str(event_id)),
        (TYPE, type_name),
        (SOURCE, source),
        (SUBJECT, stream),
        (TIME, _rfc3339(recorded_at)),
        (PARTITION_KEY, stream),
        # The extension asks for a string that sorts as it counts.
        (SEQUENCE, f"{sequence:010}"),
        (CORRELATION_ID, str(envelope.correlation_id)),
    ]
    if envelope.causation_id is not None:
        headers.append((CAUSATION_ID, str(envelope.causation_id)))
    # It comes from a caller's HTTP header: anything but the standard's form could be text.
    if envelope.traceparent is not None and W3C_TRACEPARENT.fullmatch(envelope.traceparent):
        headers.append((TRACEPARENT, envelope.traceparent))
    headers += [(DATA_SCHEMA, dataschema), (CONTENT_TYPE, JSON)]
    return orjson.dumps(headers)


def load_headers(stored: bytes) -> list[tuple[str, bytes]]:
    """Headers of a ledger row in the form Kafka clients take."""
    return [(name, value.encode()) for name, value in orjson.loads(stored)]


def traceparent_of(stored: bytes) -> str | None:
    """The trace a ledger row belongs to."""
    return next((value for name, value in orjson.loads(stored) if name == TRACEPARENT), None)


def _rfc3339(moment: datetime) -> str:
    if moment.tzinfo is None:
        raise ValueError("a time needs its offset from UTC")
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
