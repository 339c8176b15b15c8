"""`upwell events`."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from upwell.folder import DEFAULT, DataFolder
from upwell.options import DataOption, JsonOption, say, say_json
from upwell.tailing import Shown, Tail, channels_named
from upwell_shared.clock import clock_from

app = typer.Typer(no_args_is_help=True, add_completion=False)


@app.callback()
def _events() -> None:
    """What the services tell each other, and subscribers."""


@app.command()
def tail(
    *,
    channel: Annotated[
        list[str] | None,
        typer.Option(help="For example upwell.matching.v1; may be given several times. Without one, all."),
    ] = None,
    from_start: Annotated[bool, typer.Option(help="From the first event there ever was.")] = False,
    data: DataOption = DEFAULT,
    as_json: JsonOption = False,
) -> None:
    """Print published events as they come, until Ctrl-C."""
    channels = channels_named(channel or [])
    state = DataFolder(data).read_state()
    clock = clock_from(Path(state["clock"]) if state["clock"] else None)
    reading = Tail(state["kafka_bootstrap"], channels, since=None if from_start else clock.now())
    asyncio.run(_print(reading, as_json=as_json))


async def _print(reading: Tail, *, as_json: bool) -> None:
    async for event in reading.events():
        if as_json:
            say_json(event.as_json())
        else:
            say(_line(event))


def _line(event: Shown) -> str:
    body = " ".join(f"{name}={value}" for name, value in event.body.items())
    return f"{event.time}  {event.type}  {event.key}  #{event.sequence}  {body}"
