"""`upwell stop`."""

from typing import Annotated

import typer

from upwell.control import ask
from upwell.folder import DEFAULT, DataFolder
from upwell.options import DataOption, JsonOption, say, say_json

app = typer.Typer(add_completion=False)


@app.command()
def stop(
    part: Annotated[
        str | None, typer.Argument(help="postgres, broker or a service; without one, all of it ends.")
    ] = None,
    data: DataOption = DEFAULT,
    *,
    as_json: JsonOption = False,
) -> None:
    """Stop one part in good order; it stays stopped until `upwell start`. Without a part: end everything."""
    answer = ask(DataFolder(data), do="stop", **({} if part is None else {"part": part}))
    if as_json:
        say_json(answer)
    else:
        say("Upwell is ending" if part is None else f"{part} is stopped")
