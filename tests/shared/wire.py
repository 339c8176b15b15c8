"""The wire between a program and its database, which can be cut: a proxy on the real server."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit, urlunsplit


class Wire:
    """Hands everything through until it is cut."""

    def __init__(self, dsn: str) -> None:
        self._parts = urlsplit(dsn)
        self._port = 0
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self._last_word: bytes | None = None
        self.cuts = 0

    @property
    def dsn(self) -> str:
        """The database, by way of this wire."""
        place = f"{self._parts.username}:{self._parts.password}@127.0.0.1:{self._port}"
        return urlunsplit(self._parts._replace(netloc=place))

    def cut_at_answer(self, holding: bytes) -> None:
        """The next answer with these bytes in it is not delivered: the server is done, and its client never knows."""
        self._last_word = holding

    async def down(self) -> None:
        """All connections end and no new one is accepted."""
        assert self._server is not None
        self._server.close()
        self._server = None
        for writer in self._open:
            writer.close()

    async def up(self) -> None:
        """New connections are accepted, at the same place as before."""
        self._server = await asyncio.start_server(self._connect, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there = await asyncio.open_connection(self._parts.hostname, self._parts.port)
        except OSError:
            writer.close()
            return
        self._open |= {writer, there[1]}
        await asyncio.gather(
            self._pass(reader, there[1], writer), self._pass(there[0], writer, there[1], answers=True)
        )
        self._open -= {writer, there[1]}

    async def _pass(
        self,
        source: asyncio.StreamReader,
        target: asyncio.StreamWriter,
        other: asyncio.StreamWriter,
        *,
        answers: bool = False,
    ) -> None:
        with suppress(OSError):
            while data := await source.read(65_536):
                if answers and self._last_word is not None and self._last_word in data:
                    self._last_word = None
                    self.cuts += 1
                    break
                target.write(data)
                await target.drain()
        target.close()
        other.close()


@asynccontextmanager
async def wire(dsn: str) -> AsyncIterator[Wire]:
    """A wire to that database, whole."""
    between = Wire(dsn)
    await between.up()
    yield between
    if between._server is not None:  # noqa: SLF001
        await between.down()
