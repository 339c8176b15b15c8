"""`upwell status`."""

import asyncio
from dataclasses import asdict
from datetime import timedelta
from typing import Any

import asyncpg
import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table

from upwell.control import ask
from upwell.folder import DEFAULT, DataFolder
from upwell.measuring import Figures, measurer_of
from upwell.options import DataOption, JsonOption, console, say, say_json

app = typer.Typer(add_completion=False)


@app.command()
def status(data: DataOption = DEFAULT, *, as_json: JsonOption = False) -> None:
    """What runs, what is still under way between the services, and what waits for a person."""
    folder = DataFolder(data)
    state = folder.read_state()
    told = ask(folder, do="status")
    figures, missing = asyncio.run(_figures(state))
    if as_json:
        channels = _channels(figures)
        say_json(
            {
                "gateway": state["gateway"],
                "kafka_bootstrap": state["kafka_bootstrap"],
                **told,
                "services": None if figures is None else {n: asdict(f) for n, f in figures.services.items()},
                "channels": channels,
                "figures_missing": missing,
            }
        )
        return
    say(f"gateway {state['gateway']}, broker {state['kafka']} on {state['kafka_bootstrap']}")
    say(_clock(told["clock"]))
    console.print(_parts(told["parts"]))
    if figures is None:
        say(f"figures are not to be had: {missing}", "red")
        return
    console.print(_services(figures))
    console.print(_table_of_channels(_channels(figures)))


async def _figures(state: dict[str, Any]) -> tuple[Figures | None, str | None]:
    try:
        return await measurer_of(state).measure(), None
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        return None, f"a database does not answer ({type(error).__name__})"


def _channels(figures: Figures | None) -> dict[str, int]:
    services = () if figures is None else figures.services.values()
    return {channel: count for each in services for channel, count in sorted(each.told.items())}


def _clock(clock: dict[str, Any]) -> str:
    if not clock["simulated"]:
        return f"clock {clock['now'][:19]} UTC, the wall clock"
    return f"clock {clock['now'][:19]} UTC, simulated, {timedelta(seconds=clock['lead_seconds'])} ahead"


def _parts(parts: list[dict[str, Any]]) -> Table:
    table = _table("part", "state", "ready", "pid", "port", "restarts")
    for part in parts:
        style = "" if part["ready"] else "red"
        row = [part["name"], part["state"], "yes" if part["ready"] else "no"]
        table.add_row(
            *row, *(str(part[name] or "-") for name in ("pid", "port")), str(part["restarts"]), style=style
        )
    return table


def _services(figures: Figures) -> Table:
    table = _table("service", "events", "untold", "lag", "behind", "to-dos", "due", "parked", "letters")
    for name, each in figures.services.items():
        lag = ", ".join(f"{owner} {rows}" for owner, rows in each.lag.items() if rows) or "0"
        numbers = (each.behind, each.todos, each.due, each.parked, each.letters)
        style = "red" if each.parked or each.letters else ""
        table.add_row(name, str(each.events), str(each.untold), lag, *map(str, numbers), style=style)
    return table


def _table_of_channels(channels: dict[str, int]) -> Table:
    table = _table("channel", "events")
    for channel, count in channels.items():
        table.add_row(channel, str(count))
    return table


def _table(*columns: str) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number > 2 else "left")
    return table
