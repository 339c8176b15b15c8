"""Published events: what a service tells the others and its subscribers, and how it travels.

A published event is a class of its own, never a stored one. A `Contract` is a value that names its owner and
lists its events; writing goes through `Contract.publish`, reading through `decode`. The contracts Upwell ships
are the modules of this package that define `CONTRACT`.
"""

from upwell_shared.contracts.cloudevents import (
    Consumed,
    Received,
    Unknown,
    Unreadable,
    decode,
    record_headers,
)
from upwell_shared.contracts.model import (
    Audience,
    ChannelSpec,
    Contract,
    Publication,
    PublishedEvent,
    PublishedPart,
    UnpublishableEvent,
    split_channel,
)
from upwell_shared.contracts.partitioning import PARTITIONS, murmur2, partition_of

__all__ = [
    "PARTITIONS",
    "Audience",
    "ChannelSpec",
    "Consumed",
    "Contract",
    "Publication",
    "PublishedEvent",
    "PublishedPart",
    "Received",
    "Unknown",
    "UnpublishableEvent",
    "Unreadable",
    "decode",
    "murmur2",
    "partition_of",
    "record_headers",
    "split_channel",
]
