"""The table, and what it was measured on."""

import os
import platform
import statistics
from collections.abc import Sequence
from importlib.metadata import version

import asyncpg

from tests.bench.rounds import DISTURBED, Row

_HEAD = ("path", "at once", "floor", "ours", "ratio (min–max)", "goal", "met", "CPU µs/op", "others")


async def environment(dsn: str) -> str:
    """One line on the machine and the versions that matter."""
    connection = await asyncpg.connect(dsn)
    server = await connection.fetchval("SHOW server_version")
    await connection.close()
    packages = ", ".join(f"{name} {version(name)}" for name in ("asyncpg", "aiokafka", "pydantic", "uvicorn"))
    cores = f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the start"
    return f"Python {platform.python_version()}, PostgreSQL {server}, {packages}; {cores}"


def table(rows: Sequence[Row]) -> str:
    """Markdown, padded so that it reads well in a terminal too."""
    lines = [_HEAD, *(_cells(row) for row in rows)]
    widths = [max(len(line[n]) for line in lines) for n in range(len(_HEAD))]
    shown = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |"
        for line in lines
    ]
    shown.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(shown)


def _cells(row: Row) -> tuple[str, ...]:
    disturbed = "" if row.disturbance <= DISTURBED else " noisy"
    return (
        f"{row.path} ← {row.floor_is}",
        row.concurrency,
        _number(statistics.median(row.floor), row.unit),
        _number(statistics.median(row.ours), row.unit),
        f"{row.ratio:.2f} ({min(row.ratios):.2f}–{max(row.ratios):.2f})",
        row.goal,
        "" if row.met is None else "yes" if row.met else "**no**",
        f"{row.cpu_floor['all']:,.0f} → {row.cpu_ours['all']:,.0f}",
        f"{row.disturbance:.0%}{disturbed}",
    )


def _number(value: float, unit: str) -> str:
    return f"{value:,.0f}{unit}" if value >= 100 else f"{value:.3g}{unit}"
