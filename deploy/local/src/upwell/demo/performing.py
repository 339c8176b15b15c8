"""A performance from beginning to end on a running stack, and what is kept of it in the data folder."""

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self
from uuid import UUID

import orjson

from upwell.demo.acknowledgements import AcknowledgementLog
from upwell.demo.cast import Cast
from upwell.demo.client import Gateway
from upwell.demo.play import Play, Tell
from upwell.stack import Stack
from upwell_shared.clock import SimulatedClock


@dataclass(frozen=True, slots=True)
class Performance:
    """What is remembered of a play that went to its end. Holds ids and figures, no names and no texts."""

    programme: str
    people: int
    programme_id: UUID
    cohort_id: UUID
    coordinator_id: UUID
    organisations: list[UUID]
    pairs: list[UUID]
    played_seconds: float
    acknowledged: int
    sent_again: int
    visible_after: list[float]

    def write(self, folder: Path) -> None:
        """Beside the data it tells of."""
        new = folder / "demo.json.new"
        new.write_bytes(orjson.dumps(asdict(self), option=orjson.OPT_INDENT_2))
        new.replace(_file(folder))

    @classmethod
    def of(cls, folder: Path) -> Self | None:
        """The one played on this data folder to its end; None when there is none."""
        if not _file(folder).exists():
            return None
        told: dict[str, Any] = orjson.loads(_file(folder).read_bytes())
        for name in ("programme_id", "cohort_id", "coordinator_id"):
            told[name] = UUID(told[name])
        for name in ("organisations", "pairs"):
            told[name] = [UUID(text) for text in told[name]]
        return cls(**told)


def acknowledgements_of(folder: Path) -> Path:
    """Where the play notes what was acknowledged to it."""
    return folder / "acknowledged.jsonl"


async def perform(stack: Stack, cast: Cast, seed: int, tell: Tell) -> tuple[Performance, list[str]]:
    """Plays the cast on a stack with a simulated clock; answers also every text that was written on the way.

    The texts are given to the caller alone and kept nowhere: they are what a scan for leaks looks for.
    """
    clock = stack.clock
    if not isinstance(clock, SimulatedClock):
        raise TypeError("the demo needs the simulated clock")
    began = time.monotonic()
    with AcknowledgementLog(acknowledgements_of(stack.folder.path)) as acknowledgements:
        gateway = Gateway(stack.gateway, acknowledgements)
        try:
            played = await Play(cast, gateway, clock, seed, tell).perform()
        finally:
            await gateway.close()
    await stack.settled()
    performance = Performance(
        programme=cast.programme,
        people=len(cast.members),
        programme_id=played.programme_id,
        cohort_id=played.cohort_id,
        coordinator_id=played.coordinator_id,
        organisations=played.organisations,
        pairs=played.pairs,
        played_seconds=time.monotonic() - began,
        acknowledged=acknowledgements.count,
        sent_again=gateway.sent_again,
        visible_after=sorted(played.visible_after),
    )
    performance.write(stack.folder.path)
    return performance, played.words


def _file(folder: Path) -> Path:
    return folder / "demo.json"
