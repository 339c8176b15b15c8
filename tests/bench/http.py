"""Row 7: a whole command over HTTP, 32 clients: validate, load, decide, append, answer."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg

from tests.bench.appends import FLOOR_TABLE
from tests.bench.rounds import AtLeast, Figures, Row, Segment, Watch, compare
from tests.bench.world import World, settled
from tests.shared.conftest import Dsns

CLIENTS = 32


async def rows(world: World) -> AsyncIterator[Row]:
    """One row: answers a second, and what the CPU went to."""
    async with world.database() as dsns:
        owner = await asyncpg.connect(dsns.owner)
        await owner.execute(FLOOR_TABLE)
        await owner.close()
        async with server("floor", dsns) as floor, server("ours", dsns) as ours:
            readings = await world.rounds.measure(
                floor=load(world, dsns, "floor", floor), ours=load(world, dsns, "ours", ours)
            )
    yield compare(
        "whole command over HTTP",
        readings["floor"],
        readings["ours"],
        floor_is="a validated POST, one INSERT through a pool of 8",
        concurrency=CLIENTS,
        goal=AtLeast(1.0),
    )


@asynccontextmanager
async def server(which: str, dsns: Dsns) -> AsyncIterator[int]:
    """A server in a process of its own; its port."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.bench.http_server", which),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env=dict(os.environ) | {"UPWELL_EXAMPLE_DATABASE_URL": dsns.app, "UPWELL_ENV": "test"},
    )
    assert process.stdout is not None
    port = int(await process.stdout.readline())
    try:
        yield port
    finally:
        process.terminate()
        await process.wait()


def load(world: World, dsns: Dsns, which: str, port: int) -> Segment:
    """Clients in a process of their own, each with one connection and one request at a time."""

    async def segment(watch: Watch) -> Figures:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.bench.http_load", which, str(port), str(CLIENTS)),
            str(world.rounds.seconds),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        if await process.stdout.readline() != b"ready\n":
            raise RuntimeError("the load generator failed, see above")
        await settled(dsns.superuser)
        with watch:
            process.stdin.write(b"go\n")
            told = json.loads(await process.stdout.readline())
        process.stdin.close()
        await process.wait()
        return {**watch.rate(told["operations"]), "p50": told["p50"], "p99": told["p99"]}

    return segment
