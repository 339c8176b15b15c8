"""Measuring variants side by side: every one in every round, disturbed segments again, and what came of them as rows."""

import asyncio
import gc
import statistics
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from tests.bench.machine import Look, Usage

Figures = Mapping[str, float]
"""What one segment measured; `operations` is how many, for CPU per operation."""

Segment = Callable[["Watch"], Awaitable[Figures]]
"""One measurement of one variant: it makes ready what it needs, then measures while its watch runs."""


class Watch:
    """Times a segment and accounts for the machine meanwhile: `with watch: ...`, once."""

    usage: Usage
    seconds: float

    def __enter__(self) -> None:
        gc.collect()
        gc.freeze()
        self._look = Look()
        self._began = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self.seconds = time.perf_counter() - self._began
        self.usage = Look().since(self._look)
        gc.unfreeze()

    def rate(self, operations: int) -> Figures:
        """So many operations in the time it ran."""
        return {"rate": operations / self.seconds, "operations": operations}


DISTURBED = 0.05
"""A segment is disturbed when others used more than this part of all cores during it."""
_REPEATS = 2


class Goal(Protocol):
    """What a row wants."""

    def met(self, ratio: float, ours: float) -> bool: ...


@dataclass(frozen=True, slots=True)
class AtLeast:
    """Ours over floor, and where it is given ours itself, is at least this."""

    ratio: float
    absolute: float = 0.0

    def met(self, ratio: float, ours: float) -> bool:
        return ratio >= self.ratio and ours >= self.absolute

    def __str__(self) -> str:
        return f"≥ {self.ratio:g}" + (f", ≥ {self.absolute:,.0f}" if self.absolute else "")


@dataclass(frozen=True, slots=True)
class AtMost:
    """Ours over floor is at most this: of times."""

    ratio: float

    def met(self, ratio: float, ours: float) -> bool:
        del ours
        return ratio <= self.ratio

    def __str__(self) -> str:
        return f"≤ {self.ratio:g}"


@dataclass(frozen=True, slots=True)
class Reading:
    """One segment. `repeats`: how often it was measured before because of others' work; the calmest one is kept."""

    figures: Figures
    usage: Usage
    repeats: int

    def cpu(self, program: str = "") -> float:
        """CPU µs an operation, of one program or of all of ours."""
        programs = self.usage.programs
        seconds = programs.get(program, 0.0) if program else sum(programs.values())
        return seconds / self.figures["operations"] * 1e6


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the table, with everything it was computed from."""

    path: str
    concurrency: str
    unit: str
    floor_is: str
    floor: list[float]
    ours: list[float]
    ratios: list[float]
    goal: str
    met: bool | None
    cpu_floor: dict[str, float]
    cpu_ours: dict[str, float]
    disturbance: float

    @property
    def ratio(self) -> float:
        """Ours over floor, the median of the rounds."""
        return statistics.median(self.ratios)

    def as_json(self) -> dict[str, Any]:
        """Everything, medians included."""
        return asdict(self) | {"ratio": self.ratio}


@dataclass(frozen=True, slots=True)
class Rounds:
    """How measuring is done. `patience`: how many seconds a calm moment is waited for after a disturbed segment."""

    rounds: int
    seconds: float
    patience: float
    say: Callable[[str], None]

    async def measure(self, **variants: Segment) -> dict[str, list[Reading]]:
        """Every variant in every round, in turning order, after a first one that is not counted."""
        readings: dict[str, list[Reading]] = {name: [] for name in variants}
        for name, segment in variants.items():
            self.say(f"  {name} warms up")
            await segment(Watch())
        for number in range(self.rounds):
            order = list(variants) if number % 2 == 0 else list(reversed(variants))
            for name in order:
                reading = await self._calm(variants[name])
                readings[name].append(reading)
                shown = " ".join(f"{figure}={value:,.4g}" for figure, value in reading.figures.items())
                self.say(
                    f"  round {number + 1} {name}: {shown} cpu={reading.cpu():,.0f} us/op"
                    f" others={reading.usage.disturbance:.0%}" + " (again)" * reading.repeats
                )
        return readings

    async def _calm(self, segment: Segment) -> Reading:
        """The segment, measured again a few times while it is disturbed; of all tries the calmest."""
        tries: list[tuple[Usage, Figures]] = []
        while len(tries) <= _REPEATS:
            watch = Watch()
            figures = await segment(watch)
            tries.append((watch.usage, figures))
            if watch.usage.disturbance <= DISTURBED:
                break
            await self._until_calm()
        usage, figures = min(tries, key=lambda each: each[0].disturbance)
        return Reading(figures, usage, len(tries) - 1)

    async def _until_calm(self) -> None:
        deadline = time.monotonic() + self.patience
        while time.monotonic() < deadline:
            before = Look()
            await asyncio.sleep(1.0)
            if Look().since(before).disturbance <= DISTURBED:
                return


def compare(
    path: str,
    floor: Sequence[Reading],
    ours: Sequence[Reading],
    *,
    floor_is: str,
    figure: str = "rate",
    unit: str = "/s",
    concurrency: int | str = "",
    goal: Goal | None = None,
) -> Row:
    """The row of two variants of one measurement, by one of their figures."""
    low, high = ([reading.figures[figure] for reading in readings] for readings in (floor, ours))
    ratios = [ours / floor for floor, ours in zip(low, high, strict=True)]
    return Row(
        path=path,
        concurrency=str(concurrency),
        unit=unit,
        floor_is=floor_is,
        floor=low,
        ours=high,
        ratios=ratios,
        goal="" if goal is None else str(goal),
        met=None if goal is None else goal.met(statistics.median(ratios), statistics.median(high)),
        cpu_floor=_cpu(floor),
        cpu_ours=_cpu(ours),
        disturbance=max(reading.usage.disturbance for reading in (*floor, *ours)),
    )


def _cpu(readings: Sequence[Reading]) -> dict[str, float]:
    """CPU µs an operation by program, medians; `all` is the sum."""
    programs = {name for reading in readings for name in reading.usage.programs}
    return {
        name or "all": round(statistics.median(reading.cpu(name) for reading in readings), 1)
        for name in ("", *sorted(programs))
    }
