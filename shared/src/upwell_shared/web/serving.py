"""Serving an application until it is told to stop, and stopping without breaking a promise under way."""

import asyncio
import contextlib
import signal
import socket
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, TypeVar

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from upwell_shared.errors import UpwellError
from upwell_shared.settings import ServiceSettings

T = TypeVar("T")

_FINISH_SECONDS = 10
_CUT_SECONDS = 1.0
_UNREADABLE = b'{"type":"urn:upwell:problem:unreadable-request","title":"Unreadable request","status":400,"detail":"This is not HTTP/1.1."}'


class AddressTaken(UpwellError):
    """Another process listens where this one should."""


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
    requests under way get `finish_seconds`; what is left is answered 503 and cut. Raises AddressTaken.
    Cancelled, it stops at once.
    """
    address = _bind(settings.host, settings.port)
    server = _Server(
        uvicorn.Config(
            app,
            http=_Protocol,
            ws="none",
            loop="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=finish_seconds,
        ),
        lambda: listening(address.getsockname()[1]),
    )
    serving = asyncio.create_task(server.serve([address]))
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait((serving, stopping), return_when=asyncio.FIRST_COMPLETED)
        app.state.draining = True
        if not serving.done():
            await asyncio.wait((serving,), timeout=settings.drain_seconds)
    except asyncio.CancelledError:
        server.force_exit = True
        raise
    finally:
        stopping.cancel()
        server.should_exit = True
        await serving


def _bind(host: str, port: int) -> socket.socket:
    # By hand, because uvicorn would end the whole process from inside a task.
    try:
        return socket.create_server(
            (host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=2048
        )
    except OSError as error:
        raise AddressTaken(
            f"Cannot listen on {host} port {port}: it is taken, or not of this machine."
        ) from error


class _Server(uvicorn.Server):
    """Leaves signals to the composition root: more than HTTP has to stop with them."""

    def __init__(self, config: uvicorn.Config, on_start: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_start = on_start

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_start()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await super().shutdown(sockets)
        # Requests that were cut still have to say so, before what they use is closed.
        if tasks := set(self.server_state.tasks):
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks, timeout=_CUT_SECONDS)


class _Protocol(HttpToolsProtocol):
    """Answers even what is not HTTP with a problem."""

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 the parser's message would tell about it
        head = (
            b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/problem+json\r\nconnection: close\r\n"
            b"content-length: " + str(len(_UNREADABLE)).encode() + b"\r\n\r\n"
        )
        self.transport.write(head + _UNREADABLE)
        self.transport.close()
