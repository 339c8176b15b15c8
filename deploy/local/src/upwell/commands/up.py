"""`upwell up`."""

import asyncio
import signal
from collections.abc import Callable
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from upwell.folder import DEFAULT
from upwell.following import Follower
from upwell.keeping import Died, Happening, Restarted, StillDown
from upwell.options import DataOption, JsonOption, data_hint, say, say_json
from upwell.stack import Progress, Stack

app = typer.Typer(add_completion=False)

T = TypeVar("T")


class Kafka(StrEnum):
    EMBEDDED = "embedded"
    APACHE = "apache"


@app.command()
def up(
    *,
    data: DataOption = DEFAULT,
    kafka: Annotated[
        Kafka, typer.Option(help="The broker: one from a wheel, or Apache Kafka (Java and Maven).")
    ] = Kafka.EMBEDDED,
    port: Annotated[
        int, typer.Option(min=0, max=65_535, help="The gateway's port; 0 takes a free one.")
    ] = 8400,
    simulated_clock: Annotated[
        bool,
        typer.Option(
            "--simulated-clock/--wall-clock", help="Whether `upwell clock advance` may move the time."
        ),
    ] = True,
    follow: Annotated[
        bool, typer.Option("--follow", "-v", help="Show the logs of all parts as they are written.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Start everything, keep it running, and end it on Ctrl-C.

    UPWELL_KAFKA_BOOTSTRAP and UPWELL_<SERVICE>_DATABASE_URL name a broker and databases to be used instead of
    embedded ones.
    """
    teller = _Json() if as_json else _Plain(data)
    asyncio.run(_run(data, kafka, port, simulated_clock=simulated_clock, follow=follow, teller=teller))


class _Plain:
    """Tells a person."""

    def __init__(self, data: Path) -> None:
        self._hint = data_hint(data, DEFAULT)

    def progress(self, step: Progress) -> None:
        say(f"{step.what:<11} {step.detail:<34} {step.seconds:5.1f} s", "dim")

    def happened(self, what: Happening) -> None:
        match what:
            case Died(part, pid, delay):
                say(f"{part} (process {pid}) ended by itself; started again in {delay:g} s", "yellow")
            case Restarted(part, pid, restarts):
                say(f"{part} runs again as process {pid} (restart {restarts})", "green")
            case StillDown(part, reason, delay):
                say(f"{part} does not start: {reason}; tried again in {delay:g} s", "red")

    def ready(self, stack: Stack) -> None:
        lead = stack.lead
        clock = (
            "wall clock" if lead is None else f"simulated, {lead} ahead; upwell clock advance 7d{self._hint}"
        )
        lines = {
            "gateway": f"{stack.gateway}   (its routes: {stack.gateway}/v1/docs)",
            "log in": f"upwell token --role hr_admin --unit UNIT{self._hint}, or POST {stack.gateway}/v1/login",
            "clock": clock,
            "status": f"upwell status{self._hint}",
            "logs": f"{stack.folder.logs}",
            "end": f"Ctrl-C, or upwell stop{self._hint}",
        }
        say(f"Upwell is ready after {stack.seconds:.1f} s", "bold green")
        for name, text in lines.items():
            say(f"  {name:<8} {text}")

    def ending(self) -> None:
        say("ending; once more cuts it short", "dim")

    def line(self, part: str, line: str) -> None:
        say(f"{part:<10} | {line}", "dim")


class _Json:
    """Tells a program, a line each."""

    def progress(self, step: Progress) -> None:
        say_json({"event": "progress", "what": step.what, "detail": step.detail, "seconds": step.seconds})

    def happened(self, what: Happening) -> None:
        fields: dict[str, Any] = {name: getattr(what, name) for name in what.__slots__}
        say_json({"event": type(what).__name__.lower(), **fields})

    def ready(self, stack: Stack) -> None:
        say_json(
            {
                "event": "ready",
                "seconds": stack.seconds,
                "gateway": stack.gateway,
                "kafka_bootstrap": stack.kafka_bootstrap,
                "logs": str(stack.folder.logs),
            }
        )

    def ending(self) -> None:
        say_json({"event": "ending"})

    def line(self, part: str, line: str) -> None:
        say_json({"event": "line", "part": part, "line": line})


def _whoever_listens(tell: Callable[[T], None]) -> Callable[[T], None]:
    """What is told of must go on when there is nobody to tell any more: a closed terminal, a pipe cut."""

    def safely(what: T) -> None:
        with suppress(OSError):
            tell(what)

    return safely


async def _run(
    data: Path, kafka: Kafka, port: int, *, simulated_clock: bool, follow: bool, teller: _Plain | _Json
) -> None:
    stack = Stack(
        data,
        kafka=kafka.value,
        port=port,
        simulated_clock=simulated_clock,
        happened=_whoever_listens(teller.happened),
        progress=_whoever_listens(teller.progress),
    )
    asked = stack.asked_to_end
    loop = asyncio.get_running_loop()

    def end() -> None:
        teller.ending()
        asked.set()
        # The next signal ends this process as it would without us, and its children with it.
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, end)
    ending = asyncio.create_task(asked.wait())
    starting = asyncio.create_task(stack.start())
    followers = [asyncio.create_task(Follower(stack.logs, teller.line).follow())] if follow else []
    try:
        await asyncio.wait((starting, ending), return_when=asyncio.FIRST_COMPLETED)
        if ending.done():
            starting.cancel()
            await asyncio.wait((starting,))
            return
        await starting
        teller.ready(stack)
        await ending
    finally:
        for task in (ending, *followers):
            task.cancel()
        await stack.stop()
