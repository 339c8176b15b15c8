"""`upwell reconcile`."""

import asyncio
from dataclasses import asdict
from typing import Annotated

import typer

from upwell.demo.performing import acknowledgements_of
from upwell.folder import DEFAULT, DataFolder
from upwell.options import DataOption, JsonOption, say, say_json
from upwell.reconciling.comparing import Findings, reconcile

app = typer.Typer(add_completion=False)

_SHOWN = 5


@app.command("reconcile")
def reconcile_(
    data: DataOption = DEFAULT,
    *,
    patience: Annotated[
        float, typer.Option(min=0, help="Seconds to wait for what is still on its way.")
    ] = 60.0,
    as_json: JsonOption = False,
) -> None:
    """Compare stores, log, and the gateway's rows; exit 1 and name the first difference where there is one."""
    folder = DataFolder(data)
    state = folder.read_state()
    databases = {name: service["reader_url"] for name, service in state["services"].items()}
    findings = asyncio.run(
        reconcile(
            databases,
            state["kafka_bootstrap"],
            acknowledgements_of(folder.path),
            patience_seconds=patience,
        )
    )
    if as_json:
        say_json({"equal": findings.equal, **asdict(findings)})
    else:
        tell(findings)
    if not findings.equal:
        raise typer.Exit(1)


def tell(findings: Findings) -> None:
    """What was compared, and what differs."""
    for name, counts in findings.services.items():
        say(f"{name:<10} " + ", ".join(f"{count:,} {what}" for what, count in counts.items()))
    say(f"{'log':<10} {findings.records:,} records from offset 0, {findings.repeated:,} more that came again")
    rows = ", ".join(f"{count:,} {what}" for what, count in findings.gateway_rows.items())
    say(f"{'gateway':<10} {rows}")
    if findings.acknowledged:
        say(f"{'driver':<10} {findings.acknowledged:,} commands acknowledged, each looked for in its store")
    if findings.equal:
        say("equal: every fact is stored once, told once, and shown as the log has it", "bold green")
        return
    for difference in findings.differences[:_SHOWN]:
        say(f"differs: {difference}", "red")
    if (more := len(findings.differences) - _SHOWN) > 0:
        say(f"… and {more:,} more", "red")
