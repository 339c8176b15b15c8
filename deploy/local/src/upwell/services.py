"""The services Upwell consists of: the one list of them on this machine."""

from dataclasses import dataclass
from typing import Final

from upwell_shared.errors import UpwellError


class UnknownPart(UpwellError):
    """There is no such part."""


@dataclass(frozen=True, slots=True)
class ServiceSpec:
    """One service, as far as whoever runs it must know it."""

    name: str
    hears: tuple[str, ...] = ()
    """The owners whose channels it reads; a test compares it with what the service does."""
    keeps_texts: bool = False
    """Whether it has a second database, for the keys of its texts."""
    last: bool = False
    """Whether it is started when all others are ready, and stopped before them."""

    @property
    def module(self) -> str:
        """What `python -m` runs."""
        return f"upwell_{self.name}"

    def variable(self, setting: str) -> str:
        """The environment variable of one of its settings: `UPWELL_MATCHING_PORT`."""
        return f"UPWELL_{self.name}_{setting}".upper()


GATEWAY: Final = "gateway"

SERVICES: Final = (
    ServiceSpec("directory"),
    ServiceSpec("matching", hears=("directory",)),
    ServiceSpec("sessions", hears=("directory", "matching"), keeps_texts=True),
    ServiceSpec("feedback", hears=("directory", "matching", "sessions"), keeps_texts=True),
    ServiceSpec(GATEWAY, hears=("directory", "matching", "sessions", "feedback"), last=True),
)
