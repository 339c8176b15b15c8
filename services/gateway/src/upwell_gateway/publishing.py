"""Own event → published event: the one door out."""

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from upwell_shared.contracts import PublishedEvent
from upwell_shared.contracts.gateway import CONTRACT
from upwell_shared.erasing import told


def publishing(stream_id: UUID, event: Any, state: Any) -> Iterable[PublishedEvent]:  # noqa: ARG001 as of every service
    """The gateway decides nothing: all it tells is that it has forgotten somebody."""
    yield from told(CONTRACT.owner, event)
