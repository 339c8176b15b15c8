"""The commands of `upwell`, one module each, found and not listed: `people.py` is `upwell people`.

A module defines `app`, a `typer.Typer(add_completion=False)` with the command, or with subcommands if it has a callback; its help is the
line in the list. A command ends in one of three ways: it returns (exit code 0); it raises an UpwellError or a
ServerUnavailable, whose message `upwell` prints as one line (2); or it has checked something and found it wrong, and
raises `typer.Exit(1)`. Modules are imported when their command is asked for, so a heavy one slows nobody else down.
"""
