"""`upwell republish`."""

import asyncio
from typing import Annotated, Any

import asyncpg
import typer

from upwell.folder import DEFAULT, DataFolder
from upwell.operating import ServiceSilent
from upwell.options import DataOption, JsonOption, say, say_json
from upwell.services import UnknownPart
from upwell_shared.contracts.shipped import shipped
from upwell_shared.database import create_pool
from upwell_shared.republishing import Republished
from upwell_shared.republishing import republish as fill

app = typer.Typer(add_completion=False)


@app.command()
def republish(
    owner: Annotated[str, typer.Argument(help="The service whose published events these are.")],
    name: Annotated[str, typer.Argument(help="The subscriber: small letters, digits and hyphens.")],
    data: DataOption = DEFAULT,
    *,
    as_json: JsonOption = False,
) -> None:
    """Repair: write all that OWNER ever published for subscribers once more, for one of them.

    It goes into the channel upwell.OWNER.replay.NAME, in order, and replaces an earlier replay of that name; what
    others read is not touched. Read to its end the subscriber goes on in upwell.OWNER.v1, and drops by `ce_sequence`
    what comes twice. Cut short, it is simply done again.
    """
    state = DataFolder(data).read_state()
    told = None if as_json else lambda count: say(f"{count:,} records", "dim")
    done = asyncio.run(_republish(state, owner, name, told or (lambda _: None)))
    if as_json:
        say_json({"channel": done.channel, "log_id": done.log_id, "records": done.records})
    else:
        say(f"{done.channel} holds {done.records:,} records, each with ce_logid {done.log_id}", "green")


async def _republish(state: dict[str, Any], owner: str, name: str, told: Any) -> Republished:
    contracts = {contract.owner: contract for contract in shipped() if contract.owner in state["services"]}
    if owner not in contracts:
        raise UnknownPart(f"there is no service {owner}; there are {', '.join(contracts)}")
    url = state["services"][owner]["reader_url"]
    try:
        pool = await create_pool(url, application_name="republish", size=3)
    except (OSError, asyncpg.PostgresError) as error:
        raise ServiceSilent(f"the database of {owner} does not answer: see `upwell status`") from error
    try:
        return await fill(pool, contracts[owner], name, state["kafka_bootstrap"], told)
    finally:
        await pool.close()
