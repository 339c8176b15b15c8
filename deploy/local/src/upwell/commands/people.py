"""`upwell people`."""

import asyncio
from pathlib import Path
from typing import Annotated, Any

import typer

from upwell.folder import DEFAULT, DataFolder
from upwell.options import DataOption, JsonOption, say, say_json
from upwell.people import NotImported, People, organisations
from upwell_gateway.issuer import Issuer, make_keys

app = typer.Typer(no_args_is_help=True, add_completion=False)


@app.callback()
def _people() -> None:
    """People of the organisations."""


@app.command("import")
def import_people(
    file: Annotated[Path, typer.Argument(help="CSV in UTF-8 with a header.")],
    *,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")
    ] = False,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Import the good rows of a file with bad ones.")
    ] = False,
    organisation: Annotated[
        list[str] | None,
        typer.Option(
            help="An organisation in the file; opened if there is none of that name. May be repeated."
        ),
    ] = None,
    data: DataOption = DEFAULT,
    as_json: JsonOption = False,
) -> None:
    """Import people as an HR team does; a file with bad rows is not imported, and each of them is named.

    Columns: external_id, given_name, family_name, user_name, mail, organisation, unit, grade, manager_external_id,
    in_role_since. The same file twice imports nobody twice.
    """
    folder = DataFolder(data)
    state = folder.read_state()
    try:
        content = file.read_bytes()
    except OSError as error:
        raise NotImported(f"{file} cannot be read: {error.strerror}") from error
    known = asyncio.run(organisations(state["services"]["directory"]["reader_url"]))
    people = People(state["gateway"], Issuer.of(make_keys(folder.keys).private), known)
    opened = {} if dry_run else people.open(organisation or [])
    report = people.send(
        content,
        dry_run=dry_run,
        skip_bad=skip_bad,
        waiting=lambda rows: None if as_json else say(f"{rows} rows to go", "dim"),
    )
    if as_json:
        say_json(report | {"organisations": {str(unit): name for unit, name in opened.items()}})
    else:
        _tell(report, {str(unit): name for unit, name in opened.items()})
    if report["bad"] and report["state"] != "done":
        raise typer.Exit(1)


def _tell(report: dict[str, Any], opened: dict[str, str]) -> None:
    for unit, name in opened.items():
        say(f"organisation {name}: {unit}")
    for row in report["bad_rows"]:
        say(f"line {row['line']}, {row['column']}: {row['detail']}", "red")
    if report["bad"] > len(report["bad_rows"]):
        say(f"and {report['bad'] - len(report['bad_rows'])} more", "red")
    counts = f"{report['rows_read']} rows: {report['create']} new, {report['move']} moved, {report['correct']} corrected, {report['unchanged']} unchanged, {report['bad']} bad"
    match report["state"]:
        case "planned":
            say(f"would import, of {counts}; {report['units_to_open']} units to open")
        case "refused":
            say(f"nothing was imported, of {counts}; correct them, or send the file with --skip-bad", "red")
        case _:
            say(f"imported, of {counts}; {report['units_to_open']} units opened", "green")
