"""What is due when: only what this service has promised itself at once."""

from collections.abc import Iterable
from typing import Any

from upwell_directory.domain.person import AcknowledgeErasure, ErasureAcknowledged, PersonErased
from upwell_shared.events import Recorded
from upwell_shared.timers import ClearTimer, SetTimer


def timing(recorded: Recorded[Any]) -> Iterable[SetTimer | ClearTimer]:
    """An erasure is due the moment it is decided; through a timer, so that no crash can leave it undone."""
    match recorded.event:
        case PersonErased():
            yield SetTimer("erasure", recorded.recorded_at, AcknowledgeErasure())
        case ErasureAcknowledged():
            yield ClearTimer("erasure")
