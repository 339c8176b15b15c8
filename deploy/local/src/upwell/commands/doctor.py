"""`upwell doctor`."""

import asyncio
from dataclasses import asdict
from typing import Annotated

import typer

from upwell.folder import DEFAULT, DataFolder
from upwell.inspecting import Check, inspect
from upwell.options import DataOption, JsonOption, say, say_json

app = typer.Typer(add_completion=False)


@app.command()
def doctor(
    data: DataOption = DEFAULT,
    *,
    port: Annotated[int, typer.Option(help="The gateway's port, looked at when nothing runs.")] = 8400,
    as_json: JsonOption = False,
) -> None:
    """Look for what keeps Upwell from running well here; exit code 1 when something is wrong."""
    if not asyncio.run(_look(DataFolder(data), port, as_json=as_json)):
        raise typer.Exit(1)


async def _look(folder: DataFolder, port: int, *, as_json: bool) -> bool:
    healthy = True
    async for check in inspect(folder, port):
        healthy = healthy and check.ok
        if as_json:
            say_json({"ok": check.ok, **asdict(check)})
        else:
            _tell(check)
    return healthy


def _tell(check: Check) -> None:
    mark, style = ("ok   ", "") if check.ok else ("WRONG", "red")
    say(f"{mark}  {check.what}: {check.found}", style)
    if not check.ok:
        say(f"       → {check.advice}", style)
