"""`upwell demo`."""

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars

from upwell.commands.reconcile import tell as tell_findings
from upwell.commands.up import Kafka
from upwell.demo.cast import Cast, made_up, schools
from upwell.demo.ending import Outcome, look, next_steps, page
from upwell.demo.performing import Performance, acknowledgements_of, perform
from upwell.demo.play import Tell
from upwell.folder import DEFAULT, FolderUnusable
from upwell.keeping import Died, Happening, Restarted
from upwell.options import DataOption, JsonOption, console, data_hint, say, say_json
from upwell.reconciling.comparing import Findings, reconcile
from upwell.stack import Progress, Stack
from upwell_shared.errors import UpwellError

app = typer.Typer(add_completion=False)


class NotADemo(UpwellError):
    """This data folder holds something else than a demo: take another one with --data."""


@app.command()
def demo(
    *,
    data: DataOption = DEFAULT,
    kafka: Annotated[
        Kafka, typer.Option(help="The broker: one from a wheel, or Apache Kafka (Java and Maven).")
    ] = Kafka.EMBEDDED,
    port: Annotated[int, typer.Option(min=0, max=65_535, help="The gateway's port; 0: a free one.")] = 8400,
    people: Annotated[
        int | None,
        typer.Option(min=10, max=20_000, help="A made-up organisation of so many, instead of two schools."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Another number, another story.")] = 1,
    once: Annotated[bool, typer.Option("--once", help="Play, reconcile, and end.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Play a whole programme over HTTP, show what came of it, and stay up. Played once, it is shown again at once."""
    cast = schools() if people is None else made_up(people, seed)
    equal = asyncio.run(_run(data, kafka, port, cast, seed, once=once, as_json=as_json))
    if not equal:
        raise typer.Exit(1)


async def _run(
    data: Path, kafka: Kafka, port: int, cast: Cast, seed: int, *, once: bool, as_json: bool
) -> bool:
    teller = _Teller(as_json=as_json)
    played, number = _take(data, cast)
    cast = cast.again(number)
    stack = Stack(
        data,
        kafka=kafka.value,
        port=port,
        simulated_clock=True,
        happened=teller.happened,
        progress=teller.progress,
    )
    loop = asyncio.get_running_loop()
    playing = asyncio.current_task()
    assert playing is not None  # noqa: S101 asyncio.run made one
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, playing.cancel)
    try:
        async with stack:
            teller.ready(stack)
            if played is None:
                with teller.stages() as tell:
                    played, _ = await perform(stack, cast, seed, tell)
            outcome = await look(stack, played)
            findings = None
            if once:
                findings = await reconcile(
                    {spec.name: stack.databases(spec.name).reader_url for spec in stack.services},
                    stack.kafka_bootstrap,
                    acknowledgements_of(stack.folder.path),
                )
            teller.outcome(stack, outcome, findings, data)
            if findings is None:
                await stack.asked_to_end.wait()
            return findings is None or findings.equal
    except asyncio.CancelledError:
        teller.ending()
        return True


def _take(data: Path, cast: Cast) -> tuple[Performance | None, int]:
    """The performance that lies in the folder, and the number of the one to come.

    One that was cut short, or of another cast, stays as it is: the next is played beside it. Raises NotADemo where the
    folder holds something else, and FolderUnusable.
    """
    played = Performance.of(data)
    begun = data / "demo.begun"
    number = len(begun.read_text().splitlines()) if begun.exists() else 0
    if played is not None and (played.programme, played.people) == (cast.programme, len(cast.members)):
        return played, number
    try:
        if data.exists() and any(data.iterdir()) and not begun.exists():
            raise NotADemo(f"{data} holds something else than a demo: take another folder with --data")
        data.mkdir(parents=True, exist_ok=True)
        with begun.open("a") as file:
            file.write(f"{cast.programme}\n")
    except OSError as error:
        raise FolderUnusable(f"{data} cannot be used for data: {error.strerror}") from error
    return None, number + 1


class _Teller:
    """Tells of the demo, to a person or to a program."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json

    def progress(self, step: Progress) -> None:
        if not self._as_json:
            say(f"{step.what:<11} {step.detail:<34} {step.seconds:5.1f} s", "dim")

    def happened(self, what: Happening) -> None:
        if self._as_json:
            return
        match what:
            case Died(part, pid, delay):
                say(f"{part} (process {pid}) ended by itself; started again in {delay:g} s", "yellow")
            case Restarted(part, pid, restarts):
                say(f"{part} runs again as process {pid} (restart {restarts})", "green")
            case _:
                say(f"{what.part} does not start: {what.reason}", "red")

    def ending(self) -> None:
        if not self._as_json:
            say("ended", "dim")

    def ready(self, stack: Stack) -> None:
        if not self._as_json:
            say(f"Upwell is ready after {stack.seconds:.1f} s at {stack.gateway}", "bold green")

    @contextmanager
    def stages(self) -> Iterator[Tell]:
        """What the play tells of itself: a moving line on a terminal, a line for each stage elsewhere."""
        if self._as_json or not console.is_terminal:
            told: set[str] = set()

            def line(what: str, _: int, of: int) -> None:
                if what not in told and not self._as_json:
                    told.add(what)
                    say(f"  {what} ({of})")

            yield line
            return
        columns = (
            TextColumn("  {task.description:<32}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        with Bars(*columns, console=console, transient=True) as bars:
            task = bars.add_task("the curtain rises", total=None)

            def move(what: str, done: int, of: int) -> None:
                bars.update(task, description=what, completed=done, total=of)

            yield move

    def outcome(self, stack: Stack, outcome: Outcome, findings: Findings | None, data: Path) -> None:
        if self._as_json:
            told = outcome.as_dict() | {"ready_seconds": round(stack.seconds, 1)}
            if findings is not None:
                told["reconciled"] = {"equal": findings.equal, **asdict(findings)}
            say_json(told)
            return
        console.print(page(outcome))
        say("")
        for what, line in next_steps(outcome, data_hint(data, DEFAULT)):
            say(what, "bold")
            say(f"  {line}")
        say("")
        if findings is None:
            say("It stays up: Ctrl-C ends it. Played once, it is there again at the next start.", "dim")
        else:
            tell_findings(findings)
