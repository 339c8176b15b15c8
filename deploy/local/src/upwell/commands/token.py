"""`upwell token`."""

from typing import Annotated
from uuid import UUID, uuid4

import typer

from upwell.folder import DEFAULT, DataFolder, NotRunning
from upwell.options import DataOption, JsonOption, say_json
from upwell_gateway.issuer import Issuer, make_keys
from upwell_shared.web.policies import UserRole

app = typer.Typer(add_completion=False)


@app.command()
def token(
    *,
    role: Annotated[list[UserRole], typer.Option(help="May be given several times.")] = [  # noqa: B006 typer's way
        UserRole.PARTICIPANT
    ],
    unit: Annotated[
        list[UUID] | None, typer.Option(help="A unit the role is limited to; may be given several times.")
    ] = None,
    person: Annotated[UUID | None, typer.Option(help="Who it stands for; without one, somebody new.")] = None,
    data: DataOption = DEFAULT,
    as_json: JsonOption = False,
) -> None:
    """Print a bearer token of the development issuer, good for twelve hours."""
    folder = DataFolder(data)
    if not folder.keys.is_dir():
        raise NotRunning(f"{folder.path} has no issuer yet: `upwell up` makes one")
    who = person or uuid4()
    text = Issuer.of(make_keys(folder.keys).private).token(who, role, unit or ())
    if as_json:
        say_json(
            {"access_token": text, "token_type": "Bearer", "person_id": who, "roles": [r.value for r in role]}
        )
    else:
        print(text)
