"""Services behind the gateway, as small servers on real sockets that answer what a test tells them to."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import orjson

from upwell.servers.processes import free_port


@dataclass
class Asked:
    """A request as it came over the wire."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Answer:
    status: int = 200
    body: bytes = b"{}"
    headers: Mapping[str, str] = field(default_factory=lambda: {"content-type": "application/json"})


Answering = Callable[[Asked], Awaitable[Answer]]


async def _fine(_: Asked) -> Answer:
    return Answer()


class Owner:
    """Listens on a port of its own; remembers what it was asked."""

    def __init__(self) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.asked: list[Asked] = []
        self.answering: Answering = _fine
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self.connections = 0

    def says(self, *answers: Answer) -> None:
        """These answers, one after the other, and then the last one for ever."""
        left = list(answers)

        async def answering(_: Asked) -> Answer:
            return left.pop(0) if len(left) > 1 else left[0]

        self.answering = answering

    def knows(self, **pages: object) -> None:
        """JSON by path, `_` standing for `/`; 404 for any other."""

        async def answering(asked: Asked) -> Answer:
            path = asked.target.partition("?")[0].removeprefix("/v1/")
            if path not in pages:
                return Answer(404, b'{"type":"urn:upwell:problem:not-found"}')
            return Answer(body=orjson.dumps(pages[path]))

        self.answering = answering

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)

    async def stop(self) -> None:
        """Refuses connections from now on, and cuts those there are."""
        if self._server is not None:
            self._server.close()
            for writer in list(self._open):
                writer.close()
            await self._server.wait_closed()
            self._server = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        self.connections += 1
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                line, *rest = head.decode("latin-1").split("\r\n")
                method, target, _ = line.split(" ")
                headers = {
                    name.lower(): value.strip()
                    for name, _, value in (each.partition(":") for each in rest)
                    if name
                }
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                asked = Asked(method, target, headers, body)
                self.asked.append(asked)
                answer = await self.answering(asked)
                told = {**answer.headers, "content-length": str(len(answer.body))}
                lines = "".join(f"{name}: {value}\r\n" for name, value in told.items())
                writer.write(f"HTTP/1.1 {answer.status} Said\r\n{lines}\r\n".encode() + answer.body)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self._open.discard(writer)
            writer.close()


@asynccontextmanager
async def owner() -> AsyncIterator[Owner]:
    made = Owner()
    await made.start()
    try:
        yield made
    finally:
        await made.stop()
