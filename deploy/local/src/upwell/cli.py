"""`upwell`: Upwell on one machine."""

import sys
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

import typer
import typer.core

from upwell import commands
from upwell.servers import ServerUnavailable
from upwell_shared.errors import UpwellError


class _Commands(typer.core.TyperGroup):
    """Finds a command by the name of its module, and imports that one alone."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002 the signature is typer's
        return sorted(module.name.replace("_", "-") for module in iter_modules(commands.__path__))

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in self.list_commands(ctx):
            return None
        module = import_module(f"{commands.__name__}.{cmd_name.replace('-', '_')}")
        command = typer.main.get_command(module.app)
        command.name = cmd_name
        return command


app = typer.Typer(
    cls=_Commands, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__
)


@app.callback()
def _upwell() -> None:
    """Upwell on one machine: everything started, watched and asked by one command."""


def main(arguments: list[str] | None = None) -> None:
    """Carries out one command and ends the process: 0 done, 1 checked and found wrong, 2 not possible so."""
    try:
        app(arguments)
    except (UpwellError, ServerUnavailable) as error:
        sys.stderr.write(f"upwell: {error}\n")
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None


if __name__ == "__main__":
    main()
