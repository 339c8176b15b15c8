"""`upwell trace`."""

import asyncio
from typing import Annotated, Any
from uuid import UUID

import typer

from upwell.folder import DEFAULT, DataFolder
from upwell.options import DataOption, JsonOption, console, say, say_json
from upwell.story.ordering import Step, narrowed, ordered
from upwell.story.reading import Found, Stores
from upwell.story.telling import as_json as story_as_json
from upwell.story.telling import as_trees, heading
from upwell_shared.errors import UpwellError
from upwell_shared.web.commands import command_id
from upwell_shared.web.policies import Principal

app = typer.Typer(add_completion=False)


class UnreadableId(UpwellError):
    """This is not an id: give the UUID of a command, an event, a published event or a correlation; or an
    Idempotency-Key together with --person.
    """


@app.command()
def trace(
    id_: Annotated[
        str,
        typer.Argument(
            metavar="ID",
            help="Of a correlation, as in a problem or a line of the log; of a command, an event or a published event;"
            " or an Idempotency-Key, with --person.",
        ),
    ],
    *,
    person: Annotated[UUID | None, typer.Option(help="Who sent the Idempotency-Key.")] = None,
    data: DataOption = DEFAULT,
    as_json: JsonOption = False,
) -> None:
    """Tell the story of one command across all services, from their stores alone.

    Of a correlation everything is told; of a command or an event what led to it, and all that followed.
    """
    wanted = _read(id_, person)
    state = DataFolder(data).read_state()
    found, steps, cut = asyncio.run(_story(wanted, state["services"]))
    if as_json:
        say_json(
            {
                "correlation_id": found.correlation_id,
                "command_id": found.command_id,
                "service": found.service,
                "cut": cut,
                "story": [story_as_json(step) for step in steps],
            }
        )
        return
    if found.correlation_id is None:
        say(f"{found.service} carried out command {found.command_id}: there was nothing to do")
        return
    say(heading(found.correlation_id, steps))
    for tree in as_trees(steps):
        console.print(tree)
    for service, most in cut.items():
        say(f"{service} has more than these {most:,} events of it", "yellow")


def _read(text: str, person: UUID | None) -> UUID:
    if person is not None:
        return command_id(Principal(person), text)
    try:
        return UUID(text)
    except ValueError:
        raise UnreadableId(
            "the id is no UUID; an Idempotency-Key is looked up together with --person, who sent it"
        ) from None


async def _story(wanted: UUID, services: dict[str, Any]) -> tuple[Found, list[Step], dict[str, int]]:
    async with Stores.opened(services) as stores:
        found = await stores.find(wanted)
        if found.correlation_id is None:
            return found, [], {}
        facts = await stores.read(found.correlation_id)
    steps = ordered(facts)
    if found.command_id is not None:
        steps = narrowed(steps, found.command_id)
    return found, steps, dict(facts.cut)
