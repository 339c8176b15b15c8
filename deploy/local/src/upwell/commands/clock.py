"""`upwell clock`."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from upwell.folder import DEFAULT, DataFolder
from upwell.options import DataOption, JsonOption, say, say_json
from upwell.stack import WallClockOnly
from upwell_shared.clock import SimulatedClock, parse_duration

app = typer.Typer(no_args_is_help=True, add_completion=False)


@app.callback()
def _clock() -> None:
    """Show the time of facts, or move it forward."""


@app.command()
def show(data: DataOption = DEFAULT, *, as_json: JsonOption = False) -> None:
    """What time it is for the services, and how far that is ahead."""
    _show(_clock_of(data), as_json=as_json)


@app.command()
def advance(
    by: Annotated[str, typer.Argument(help="How far: 7d, 90m, 1d12h.")],
    data: DataOption = DEFAULT,
    *,
    as_json: JsonOption = False,
) -> None:
    """Move the simulated clock of all services forward."""
    step = parse_duration(by)
    clock = _clock_of(data)
    if clock is None:
        raise WallClockOnly
    clock.advance(step)
    _show(clock, as_json=as_json)


def _clock_of(data: Path) -> SimulatedClock | None:
    file = DataFolder(data).read_state()["clock"]
    return None if file is None else SimulatedClock(Path(file))


def _show(clock: SimulatedClock | None, *, as_json: bool) -> None:
    now = datetime.now(UTC) if clock is None else clock.now()
    told: dict[str, Any] = {
        "now": now.isoformat(),
        "simulated": clock is not None,
        "lead_seconds": None if clock is None else clock.lead.total_seconds(),
    }
    if as_json:
        say_json(told)
    else:
        ahead = "the wall clock" if clock is None else f"simulated, {clock.lead} ahead"
        say(f"{now:%Y-%m-%d %H:%M:%S} UTC, {ahead}")
