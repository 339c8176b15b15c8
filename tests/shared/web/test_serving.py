"""A real server on a real socket: what a client library would never send, and stopping."""

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest

from tests.shared.logs import Log
from tests.shared.web.small_app import World
from upwell_shared.settings import Dsn, ServiceSettings
from upwell_shared.web.serving import AddressTaken, serve, stop_on_signals


class Server:
    """A server that listens, and the task that ends when it has stopped."""

    def __init__(self, port: int, stop: asyncio.Event, task: "asyncio.Task[None]") -> None:
        self.port, self.stop, self.task = port, stop, task

    def client(self) -> httpx2.AsyncClient:
        headers = {"authorization": "Bearer mentor", "Idempotency-Key": "one"}
        return httpx2.AsyncClient(base_url=f"http://127.0.0.1:{self.port}", headers=headers, timeout=10)

    async def raw(self, sent: bytes) -> bytes:
        """The whole answer to these bytes, until the server closes the connection."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(sent)
        answer = b""
        with contextlib.suppress(ConnectionResetError):
            while part := await asyncio.wait_for(reader.read(65_536), 10):
                answer += part
        writer.close()
        return answer


@asynccontextmanager
async def server(
    world: World, *, finish_seconds: int = 10, drain_seconds: float = 0.0
) -> AsyncIterator[Server]:
    settings = ServiceSettings(database_url=Dsn("postgresql://nowhere/none"), drain_seconds=drain_seconds)
    stop = asyncio.Event()
    port: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(
        serve(world.app, settings, stop, listening=port.set_result, finish_seconds=finish_seconds)
    )
    try:
        yield Server(await asyncio.wait_for(port, 10), stop, task)
    finally:
        stop.set()
        world.release.set()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait_for(task, 20)


def problem_in(answer: bytes) -> Any:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"content-type: application/problem+json" in head.lower()
    return json.loads(body)


@pytest.mark.parametrize(
    "sent",
    [
        b"NONSENSE\r\n\r\n",
        b"GET /v1/me\0 HTTP/1.1\r\nhost: x\r\n\r\n",
        b"GET /v1/me HTTP/1.1\r\nhost: x\r\nx-note: a\0b\r\n\r\n",
        b"POST /v1/people HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01",
    ],
)
async def test_what_is_not_http_is_answered_with_a_problem_and_cut(world: World, sent: bytes) -> None:
    async with server(world) as running:
        problem = problem_in(await running.raw(sent))
    assert (problem["status"], problem["type"]) == (400, "urn:upwell:problem:unreadable-request")


async def test_nul_written_as_an_escape_in_the_target_is_refused(world: World) -> None:
    async with server(world) as running:
        for target in (b"/v1/%00", b"/v1/pairs?cursor=%00"):
            request = (
                b"GET "
                + target
                + b" HTTP/1.1\r\nhost: x\r\nauthorization: Bearer mentor\r\nconnection: close\r\n\r\n"
            )
            assert problem_in(await running.raw(request))["status"] == 422


async def test_a_body_of_five_megabytes_is_refused_while_it_arrives(world: World) -> None:
    async with server(world) as running, running.client() as client:
        headers = {"content-type": "application/json"}
        declared = await client.post("/v1/reflections", content=b" " * 5_000_000, headers=headers)
        assert declared.json()["type"] == "urn:upwell:problem:too-large"

        async def chunks() -> AsyncIterator[bytes]:
            for _ in range(80):
                yield b" " * 65_536

        undeclared = await client.post("/v1/reflections", content=chunks(), headers=headers)
        assert undeclared.status_code == 413
        assert (await client.get("/health/live")).status_code == 200


async def test_a_caller_who_hangs_up_half_way_leaves_no_trace_but_the_access_line(
    world: World, log: Log
) -> None:
    async with server(world) as running:
        _, writer = await asyncio.open_connection("127.0.0.1", running.port)
        writer.write(
            b"POST /v1/reflections HTTP/1.1\r\nhost: x\r\nauthorization: Bearer mentor\r\nidempotency-key: a\r\n"
            b"content-type: application/json\r\ncontent-length: 100\r\n\r\n{"
        )
        await writer.drain()
        writer.close()
        async with asyncio.timeout(10):
            while not log.lines("request"):
                await asyncio.sleep(0.01)
    assert [line["status"] for line in log.lines("request")] == [499]
    assert not log.lines("request_failed")


async def test_a_stopping_service_says_so_first_and_finishes_what_it_began(world: World) -> None:
    async with server(world, drain_seconds=30) as running, running.client() as client:
        began = asyncio.create_task(client.post("/v1/slow"))
        await world.entered.wait()
        assert (await client.get("/health/ready")).status_code == 200
        running.stop.set()
        async with asyncio.timeout(10):
            while (await client.get("/health/ready")).status_code != 503:
                await asyncio.sleep(0.01)
        assert (await client.get("/health/live")).status_code == 200
        world.release.set()
        assert (await began).status_code == 200
        running.task.cancel()  # the rest of the half minute is not worth waiting for


async def test_after_stopping_no_connection_is_accepted_and_a_request_under_way_is_answered(
    world: World,
) -> None:
    async with server(world) as running, running.client() as client:
        began = asyncio.create_task(client.post("/v1/slow"))
        await world.entered.wait()
        running.stop.set()
        async with asyncio.timeout(10):
            while True:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", running.port)
                except ConnectionRefusedError:
                    break
                writer.close()
                await asyncio.sleep(0.01)
        assert not began.done()
        world.release.set()
        assert (await began).status_code == 200
        await asyncio.wait_for(running.task, 10)


async def test_a_request_that_does_not_finish_in_time_is_cut_and_told_to_retry(world: World) -> None:
    async with server(world, finish_seconds=1) as running, running.client() as client:
        began = asyncio.create_task(client.post("/v1/slow"))
        await world.entered.wait()
        running.stop.set()
        await asyncio.wait_for(running.task, 10)
        cut = await began
        assert (cut.status_code, cut.json()["type"]) == (503, "urn:upwell:problem:unavailable")


async def test_a_port_that_is_taken_is_named(world: World) -> None:
    async with server(world) as running:
        settings = ServiceSettings(database_url=Dsn("postgresql://nowhere/none"), port=running.port)
        with pytest.raises(AddressTaken, match=str(running.port)):
            await serve(World().app, settings, asyncio.Event())


async def test_a_signal_asks_to_stop() -> None:
    stop = stop_on_signals()
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.wait_for(stop.wait(), 10)
