"""The event store: streams of facts in Postgres, appended in one round trip, never changed."""

from upwell_shared.database import UnsupportedPostgres
from upwell_shared.event_store.appending import Append, Appended, StreamAppend
from upwell_shared.event_store.starting import LogicalRestore, NotPrimary, UnsafeDurability
from upwell_shared.event_store.store import Answer, EventStore, Loaded

__all__ = [
    "Answer",
    "Append",
    "Appended",
    "EventStore",
    "Loaded",
    "LogicalRestore",
    "NotPrimary",
    "StreamAppend",
    "UnsafeDurability",
    "UnsupportedPostgres",
]
