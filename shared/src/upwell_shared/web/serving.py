"""Serving an application until it is told to stop, and stopping without breaking a promise under way."""

import asyncio
import contextlib
import signal
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, TypeVar

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from upwell_shared.settings import ServiceSettings

T = TypeVar("T")

_FINISH_SECONDS = 10
_UNREADABLE = b'{"type":"urn:upwell:problem:unreadable-request","title":"Unreadable request","status":400,"detail":"This is not HTTP/1.1."}'


def run(main: Coroutine[Any, Any, T]) -> T:
    """`asyncio.run` on uvloop where there is one."""
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(main)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    try:
        import uvloop  # noqa: PLC0415 absent where it cannot be built
    except ImportError:
        return asyncio.new_event_loop
    return uvloop.new_event_loop


def stop_on_signals() -> asyncio.Event:
    """Set by the first SIGTERM or SIGINT; a second one ends the process as it would without us."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def begin_to_stop() -> None:
        stop.set()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, begin_to_stop)
    return stop


async def serve(
    app: FastAPI,
    settings: ServiceSettings,
    stop: asyncio.Event,
    *,
    listening: Callable[[int], None] = lambda _: None,
    finish_seconds: int = _FINISH_SECONDS,
) -> None:
    """Serves until `stop` is set; `listening` is told the port once it is bound.

    Then, in this order: readiness turns 503; after `settings.drain_seconds` no connection is accepted any more;
    requests under way get `finish_seconds`; what is left is cut. Raises SystemExit when the port is taken.
    """
    server = _Server(
        uvicorn.Config(
            app,
            host=settings.host,
            port=settings.port,
            http=_Protocol,
            ws="none",
            loop="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=finish_seconds,
        )
    )
    serving = asyncio.create_task(server.serve())
    stopping = asyncio.create_task(stop.wait())
    server.on_start = lambda: listening(server.servers[0].sockets[0].getsockname()[1])
    try:
        await asyncio.wait((serving, stopping), return_when=asyncio.FIRST_COMPLETED)
        if not serving.done():
            app.state.draining = True
            await asyncio.wait((serving,), timeout=settings.drain_seconds)
            server.should_exit = True
        await serving
    finally:
        stopping.cancel()
        serving.cancel()


class _Server(uvicorn.Server):
    """Leaves signals to the composition root: more than HTTP has to stop with them."""

    on_start: Callable[[], None]

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets)
        if self.started:
            self.on_start()


class _Protocol(HttpToolsProtocol):
    """Answers even what is not HTTP with a problem."""

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 the parser's message would tell about it
        head = (
            b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/problem+json\r\nconnection: close\r\n"
            b"content-length: " + str(len(_UNREADABLE)).encode() + b"\r\n\r\n"
        )
        self.transport.write(head + _UNREADABLE)
        self.transport.close()
