"""`upwell dead-letters`."""

import json
from typing import Annotated, Any
from uuid import UUID

import typer

from upwell.folder import DEFAULT, DataFolder
from upwell.operating import Operator
from upwell.options import DataOption, JsonOption, say, say_json

app = typer.Typer(no_args_is_help=True, add_completion=False)

_LETTERS = "/dead-letters"

Service = Annotated[str, typer.Argument(help="The service that could not apply it.")]
Letter = Annotated[UUID, typer.Argument(help="The letter's id, as `list` shows it.")]


@app.callback()
def _dead_letters() -> None:
    """Repair: events a service could not apply, and what waits behind them.

    Nothing is lost in here. What failed is tried again by itself, after a second at first and every ten minutes later,
    the events of one stream always in order. So put right what is wrong, and either wait or `retry`. Only what can
    never be applied is to be discarded: then it counts as seen, in every rebuild too.
    """


@app.command("list")
def list_letters(
    service: Annotated[str | None, typer.Argument(help="One service; without it, all.")] = None,
    *,
    discarded: Annotated[
        bool, typer.Option("--discarded", help="What was passed over, by whom and why, instead.")
    ] = False,
    data: DataOption = DEFAULT,
    as_json: JsonOption = False,
) -> None:
    """What stands at the head of each parked sequence, and how many events wait behind it; exit code 1 if anything."""
    operator = Operator(DataFolder(data))
    path = "/discards" if discarded else _LETTERS
    found = {name: operator.all(name, path) for name in operator.services(service)}
    if as_json:
        say_json(found)
    elif any(found.values()):
        for name, items in found.items():
            (_tell_discards if discarded else _tell_letters)(name, items)
    else:
        say("nothing was discarded" if discarded else "no dead letters")
    if any(found.values()) and not discarded:
        raise typer.Exit(1)


@app.command()
def inspect(
    service: Service, letter: Letter, data: DataOption = DEFAULT, *, as_json: JsonOption = False
) -> None:
    """One letter with the headers and the body of its record.

    What our services publish holds no names, contact data or free text; what anybody else wrote into a channel may.
    """
    found = Operator(DataFolder(data)).ask(service, "GET", f"{_LETTERS}/{letter}")
    if as_json:
        say_json(found)
        return
    for name, value in found.items():
        if name not in {"headers", "body"}:
            say(f"{name:<13} {'-' if value is None else value}")
    for name, value in found["headers"]:
        say(f"header        {name}: {value}")
    say(f"body          {json.dumps(found['body'])}")


@app.command()
def retry(
    service: Service, letter: Letter, data: DataOption = DEFAULT, *, as_json: JsonOption = False
) -> None:
    """Try the letter's whole sequence now, in order; exit code 1 when it failed again."""
    told = Operator(DataFolder(data)).ask(service, "POST", f"{_LETTERS}/{letter}/retry")
    if as_json:
        say_json(told)
    else:
        match told["outcome"]:
            case "applied":
                say("applied, and what waited behind it is on its way", "green")
            case "failed":
                say(f"{told['tried']} failed again: `upwell dead-letters inspect` says at what", "red")
            case _:
                say("not tried yet: does the service consume? `upwell status`")
    if told["outcome"] == "failed":
        raise typer.Exit(1)


@app.command()
def discard(
    service: Service,
    letter: Letter,
    *,
    reason: Annotated[
        str, typer.Option(help="Kept for good: what was wrong, or a ticket's number; nobody's name.")
    ],
    data: DataOption = DEFAULT,
    as_json: JsonOption = False,
) -> None:
    """Pass over this one event for good: it counts as seen, in every rebuild too, and cannot be had back."""
    told = Operator(DataFolder(data)).ask(
        service, "POST", f"{_LETTERS}/{letter}/discard", json={"reason": reason}
    )
    if as_json:
        say_json(told)
    else:
        say("discarded" + (", and what waited behind it is tried now" if told["released"] else ""))


def _tell_letters(service: str, letters: list[dict[str, Any]]) -> None:
    for each in letters:
        what = " ".join(filter(None, (each["reason"], each["error"])))
        say(f"{service:<10} {each['letter_id']}  {what}", "red")
        say(f"{'':<10} {_event(each)}")
        tries = f"{each['attempts']} tries since {each['parked_at'][:19]}"
        say(f"{'':<10} {tries}, {each['behind']} wait behind it")


def _tell_discards(service: str, discards: list[dict[str, Any]]) -> None:
    for each in discards:
        say(f"{service:<10} {each['letter_id']}  {each['letter_reason']}")
        say(f"{'':<10} {_event(each)}")
        say(f"{'':<10} {each['discarded_at'][:19]} by {each['actor']}: {each['reason']}")


def _event(each: dict[str, Any]) -> str:
    if each["stream_id"] is None:
        return f"a record of {each['channel']} that does not say what it is"
    return f"number {each['sequence']} of stream {each['stream_id']} in {each['channel']}, {each['type']}"
