"""What the machine did during a segment: how much CPU each of our programs used, and how much everybody else did."""

import os
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

CORES = os.cpu_count() or 1
_TICKS = os.sysconf("SC_CLK_TCK")
_PROC = Path("/proc")
_KTHREADD = 2

_PROGRAMS = {"tansu": "broker"}


@dataclass(frozen=True, slots=True)
class Usage:
    """CPU seconds between two looks. `programs`: of this process and everything below it, by program."""

    elapsed: float
    programs: dict[str, float]
    outside: float
    """Seconds that processes outside the tree used, or that the machine below this one took away."""

    @property
    def disturbance(self) -> float:
        """The part of all cores that was not ours to use, 0 to 1."""
        return min(1.0, self.outside / (self.elapsed * CORES))


def called(name: str) -> None:
    """Names this process, so that its CPU is told apart."""
    (_PROC / "self/comm").write_text(name)


class Look:
    """The counters at one moment."""

    def __init__(self) -> None:
        self.at = time.monotonic()
        self.busy, self.stolen = _machine()
        self.ours: defaultdict[str, float] = defaultdict(float)
        self.kernel = 0.0
        processes = dict(_processes())
        tree = _below(os.getpid(), {pid: parent for pid, (parent, *_) in processes.items()})
        for pid, (parent, name, own, reaped) in processes.items():
            if pid in tree:
                program = "bench" if pid == os.getpid() else _PROGRAMS.get(name, name)
                self.ours[program] += own
                self.ours["ended" if pid == os.getpid() else program] += reaped
            elif _KTHREADD in (pid, parent):
                self.kernel += own

    def since(self, earlier: "Look") -> Usage:
        """What was used from the `earlier` look to this one."""
        programs = {name: self.ours[name] - earlier.ours[name] for name in self.ours}
        ours = sum(programs.values()) + self.kernel - earlier.kernel
        return Usage(
            elapsed=self.at - earlier.at,
            programs=programs,
            outside=max(0.0, self.busy - earlier.busy - ours) + self.stolen - earlier.stolen,
        )


def _machine() -> tuple[float, float]:
    """CPU seconds of all processes since the machine started, and seconds stolen from it."""
    user, nice, system, _, _, _, _, steal, *_ = (
        int(field) for field in (_PROC / "stat").read_text().splitlines()[0].split()[1:]
    )
    return (user + nice + system) / _TICKS, steal / _TICKS


def _processes() -> list[tuple[int, tuple[int, str, float, float]]]:
    """pid: (parent, program, CPU seconds of its own, of its ended and reaped children)."""
    found = []
    for entry in _PROC.iterdir():
        if not entry.name.isdigit():
            continue
        try:
            stat = (entry / "stat").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        # The name may hold blanks and brackets of its own.
        head, _, rest = stat.rpartition(")")
        fields = rest.split()
        times = [int(field) / _TICKS for field in fields[11:15]]
        name = head.partition("(")[2]
        found.append((int(entry.name), (int(fields[1]), name, sum(times[:2]), sum(times[2:]))))
    return found


def _below(root: int, parents: dict[int, int]) -> set[int]:
    inside, outside = {root}, {0, 1}
    for start in parents:
        path = []
        pid = start
        while pid not in inside and pid not in outside:
            path.append(pid)
            pid = parents.get(pid, 0)
        (inside if pid in inside else outside).update(path)
    return inside
