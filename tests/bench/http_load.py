"""The load of row 7: `python -m tests.bench.http_load floor|ours PORT CLIENTS SECONDS`, as cheap as Python can.

Says "ready", waits for a line, works, and says how many answers came and how long they took.
"""

import asyncio
import json
import statistics
import sys
import time
from typing import cast
from uuid import uuid4

import uvloop

from tests.bench.machine import called

_BODY = b'{"room_id":"00000000-0000-0000-0000-00000000000a"}'
_REQUESTS = {
    "floor": (b"POST /bookings/", b""),
    "ours": (b"PUT /v1/bookings/", b"authorization: Bearer somebody\r\nidempotency-key: "),
}


class Client(asyncio.Protocol):
    """One connection, one request at a time."""

    def __init__(self, which: str) -> None:
        self.delays: list[float] = []
        self.failed = 0
        self.until = 0.0
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._which = which
        self._received = b""
        self._sent_at = 0.0
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def send(self) -> None:
        """The next command, one that was never sent before."""
        begin, further = _REQUESTS[self._which]
        own = str(uuid4()).encode()
        key = further and further + own + b"\r\n"
        self._sent_at = time.perf_counter()
        self._transport.write(
            b"%s%s HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\n%scontent-length: %d\r\n\r\n%s"
            % (begin, own, key, len(_BODY), _BODY)
        )

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, found, body = self._received.partition(b"\r\n\r\n")
        if not found:
            return
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        if len(body) < length:
            return
        self._received = b""
        self.delays.append(time.perf_counter() - self._sent_at)
        self.failed += not head.startswith(b"HTTP/1.1 201")
        if time.perf_counter() < self.until:
            self.send()
        elif not self.done.done():
            self.done.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(exc or ConnectionError("the server closed the connection"))


async def main(which: str, port: int, count: int, seconds: float) -> None:
    called("load")
    loop = asyncio.get_running_loop()
    clients = [
        (await loop.create_connection(lambda: Client(which), "127.0.0.1", port))[1] for _ in range(count)
    ]
    print("ready", flush=True)
    await loop.run_in_executor(None, sys.stdin.readline)
    until = time.perf_counter() + seconds
    for client in clients:
        client.until = until
        client.send()
    await asyncio.gather(*(client.done for client in clients))
    if failed := sum(client.failed for client in clients):
        raise SystemExit(f"{failed} requests were not answered with 201")
    delays = [delay * 1000 for client in clients for delay in client.delays]
    cuts = statistics.quantiles(delays, n=100)
    print(json.dumps({"operations": len(delays), "p50": cuts[49], "p99": cuts[98]}), flush=True)


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])))
