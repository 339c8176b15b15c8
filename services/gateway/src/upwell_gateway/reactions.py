"""Published event → own command: the one door in."""

from collections.abc import Iterable

from upwell_shared import erasing
from upwell_shared.contracts import Consumed
from upwell_shared.todos import Send


def acknowledge_erasure(consumed: Consumed) -> Iterable[Send]:
    """Whenever a person is erased, the gateway forgets and says so."""
    yield from erasing.asked(consumed)
