"""`python -m tests.bench [--only ROW] [--rounds N] [--seconds S] [--json FILE]`: the table of ratios to floors."""

import argparse
import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import structlog
import uvloop

from tests.bench import appends, commands, consuming, http, rebuilding, relaying, visible
from tests.bench.report import environment, table
from tests.bench.rounds import Rounds, Row
from tests.bench.world import World, world

ROWS: dict[str, Callable[[World], AsyncIterator[Row]]] = {
    "append": appends.rows,
    "command": commands.rows,
    "relay": relaying.rows,
    "consumer": consuming.rows,
    "visible": visible.rows,
    "rebuild": rebuilding.rows,
    "http": http.rows,
}


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--only", metavar="ROW", choices=ROWS, action="append", help=" | ".join(ROWS))
    parser.add_argument(
        "--rounds", type=int, default=3, help="of every variant, after one that is not counted"
    )
    parser.add_argument("--seconds", type=float, default=2.0, help="of each segment that goes by time")
    parser.add_argument(
        "--patience", type=float, default=10.0, help="seconds to wait for others to calm down"
    )
    parser.add_argument("--json", type=Path, help="where every figure goes")
    parser.add_argument("--folder", type=Path, help="where PostgreSQL keeps its data meanwhile: a real disk")
    return parser.parse_args()


async def main(chosen: argparse.Namespace) -> None:
    done: list[Row] = []
    # What goes on inside is not for this report; what goes wrong there is.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    rounds = Rounds(chosen.rounds, chosen.seconds, chosen.patience, lambda line: print(line, flush=True))
    async with world(rounds, chosen.folder) as here:
        around = await environment(here.superuser)
        print(around, flush=True)
        for name in chosen.only or ROWS:
            print(f"{name}:", flush=True)
            done += [row async for row in ROWS[name](here)]
    print(table(done))
    if chosen.json:
        report = {"environment": around, "rows": [row.as_json() for row in done]}
        chosen.json.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(options()))
