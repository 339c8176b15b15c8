"""Every metric of the chassis, each read by a dashboard, an alert or a test; `/metrics` shows this registry.

Labels name things of ours (a consumer, a command class, a worker), never anything a caller sent.
"""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

REGISTRY = CollectorRegistry()

_FAST = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)

COMMAND_SECONDS = Histogram(
    "upwell_command_seconds",
    "From a command's arrival at its handler to its answer, refusals included.",
    ["command"],
    buckets=_FAST,
    registry=REGISTRY,
)
APPEND_CONFLICTS = Counter(
    "upwell_append_conflicts",
    "Appends that met another version of a stream and were decided again.",
    registry=REGISTRY,
)

RELAY_OLDEST_UNPUBLISHED_SECONDS = Gauge(
    "upwell_relay_oldest_unpublished_seconds",
    "Age of the oldest event the broker has not acknowledged; 0 when all are.",
    registry=REGISTRY,
)
RELAY_PAGE_SECONDS = Histogram(
    "upwell_relay_page_seconds",
    "From reading a page of the ledger to the cursor moved past it.",
    buckets=_FAST,
    registry=REGISTRY,
)
RELAY_PRODUCERS = Counter(
    "upwell_relay_producers",
    "Producers made: one at each start, and one after each that could not be trusted any more.",
    registry=REGISTRY,
)

CONSUMER_APPLIED = Counter(
    "upwell_consumer_applied", "Events whose effects were committed.", ["consumer"], registry=REGISTRY
)
CONSUMER_DUPLICATES = Counter(
    "upwell_consumer_duplicates", "Events seen before, and dropped.", ["consumer"], registry=REGISTRY
)
CONSUMER_PARKED = Counter(
    "upwell_consumer_parked",
    "Events put into the dead letters, by reason.",
    ["consumer", "reason"],
    registry=REGISTRY,
)
CONSUMER_UNKNOWN = Counter(
    "upwell_consumer_unknown",
    "Events of a type this release does not know, passed over.",
    ["consumer"],
    registry=REGISTRY,
)
CONSUMER_LAG_SECONDS = Gauge(
    "upwell_consumer_lag_seconds",
    "Age of the last event applied when it was applied; 0 once a channel is read to its end.",
    ["consumer"],
    registry=REGISTRY,
)

# Set by `standing` when somebody asks, from the database: every process that serves HTTP tells the same.
PROJECTION_LAG_SECONDS = Gauge(
    "upwell_projection_lag_seconds",
    "Age of the oldest event an own read model has not read; 0 when it has read all.",
    ["projection"],
    registry=REGISTRY,
)
REBUILD_RATIO = Gauge(
    "upwell_projection_rebuild_ratio",
    "How far the generation that is being filled is, of 1; only while there is one.",
    ["projection"],
    registry=REGISTRY,
)
DEAD_LETTERS = Gauge("upwell_dead_letters", "Open dead letters.", registry=REGISTRY)
DEAD_LETTERS_OLDEST_SECONDS = Gauge(
    "upwell_dead_letters_oldest_seconds",
    "Since when the oldest open dead letter lies there; 0 without one.",
    registry=REGISTRY,
)
OLDEST_WRITER_SECONDS = Gauge(
    "upwell_oldest_writer_seconds",
    "How long the oldest writing transaction of the cluster has been seen to hold up tail readers; 0 when none does.",
    registry=REGISTRY,
)

WORKER_PROGRESS_TIME = Gauge(
    "upwell_worker_progress_timestamp_seconds",
    "When a worker last finished a step without an error, in seconds since 1970.",
    ["worker"],
    registry=REGISTRY,
)
