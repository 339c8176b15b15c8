"""`upwell`: Upwell on one machine."""

import sys
from importlib import import_module
from pkgutil import iter_modules
from typing import Any, NoReturn

import typer
import typer.core

from upwell import commands
from upwell.servers import ServerUnavailable
from upwell_shared.errors import UpwellError
from upwell_shared.observability import configure_logging


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


app = typer.Typer(cls=_Commands, add_completion=False, pretty_exceptions_enable=False)


@app.callback()
def _upwell() -> None:
    """Upwell on one machine: everything started, watched and asked by one command."""


def main(arguments: list[str] | None = None) -> None:
    """Carries out one command and ends the process: 0 done, 1 checked and found wrong, 2 not possible so."""
    # What a broker that is starting or away does to a client is told by whoever asked it, in their own words.
    configure_logging("upwell", "critical", sys.stderr.buffer)
    asked = sys.argv[1:] if arguments is None else arguments
    try:
        code = app(asked or ["--help"], prog_name="upwell", standalone_mode=False)
    except typer.TyperException as error:
        # Without arguments a group has shown its help, and says nothing more.
        message = getattr(error, "format_message", error.__str__)()
        _end(f"{message.rstrip('.')}; see `upwell {_known(asked)}--help`" if message else "")
    except (UpwellError, ServerUnavailable) as error:
        _end(str(error))
    except (KeyboardInterrupt, typer.Abort):
        raise SystemExit(130) from None
    raise SystemExit(code if isinstance(code, int) else 0)


def _known(asked: list[str]) -> str:
    names = {module.name.replace("_", "-") for module in iter_modules(commands.__path__)}
    return f"{asked[0]} " if asked and asked[0] in names else ""


def _end(message: str) -> NoReturn:
    if message:
        sys.stderr.write(f"upwell: {message}\n")
    raise SystemExit(2) from None


if __name__ == "__main__":
    main()
