"""`upwell restart`."""

from typing import Annotated

import typer

from upwell.control import ask
from upwell.folder import DEFAULT, DataFolder
from upwell.options import DataOption, JsonOption, say, say_json

app = typer.Typer(add_completion=False)


@app.command()
def restart(
    part: Annotated[str, typer.Argument(help="postgres, broker or a service.")],
    data: DataOption = DEFAULT,
    *,
    as_json: JsonOption = False,
) -> None:
    """Stop one part in good order and start it again."""
    answer = ask(DataFolder(data), do="restart", part=part)
    if as_json:
        say_json(answer)
    else:
        say(f"{part} runs as process {answer['pid']}")
