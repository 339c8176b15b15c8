"""What several commands take, and how they speak."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

DataOption = Annotated[
    Path, typer.Option("--data", help="The folder everything is kept in.", show_default=True)
]
JsonOption = Annotated[bool, typer.Option("--json", help="JSON, for programs.")]

console = Console(soft_wrap=True, highlight=False)
"""Coloured on a terminal, plain elsewhere; never breaks a line."""


def say(text: str, style: str = "") -> None:
    """One line as it is."""
    console.print(escape(text), style=style)


def say_json(value: Any) -> None:
    """One line of JSON."""
    print(json.dumps(value, default=str), flush=True)


def data_hint(data: Path, default: Path) -> str:
    """What to add to a command so that it finds this folder: nothing for the usual one."""
    return "" if data == default else f" --data {data}"
