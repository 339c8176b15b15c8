"""Either server of row 7, on a free port that it prints: `python -m tests.bench.http_server floor|ours`.

The floor is a plain FastAPI application: no token, no idempotency key, no limits, no access line, no problem details.
"""

import asyncio
import logging
import sys
from uuid import UUID, uuid4

import asyncpg
from fastapi import FastAPI, Response
from uuid_utils.compat import uuid7

from tests.bench.appends import FLOOR_INSERT
from tests.bench.machine import called
from tests.shared.example.aggregates import EVENTS
from tests.shared.example.api import BookingToRequest
from tests.shared.example.app import Example, open_pool
from tests.shared.example.domain.booking import TIME_TO_CONFIRM, BookingRequested
from tests.shared.example.settings import ExampleSettings
from upwell_shared.clock import WallClock
from upwell_shared.observability import configure_logging
from upwell_shared.settings import load_settings
from upwell_shared.web.policies import Principal
from upwell_shared.web.serving import run, serve, stop_on_signals

_SOMEBODY = Principal(UUID(int=1))


class Known:
    """Knows everybody at once: what a token costs to check is not this row's question."""

    async def authenticate(self, token: str) -> Principal:
        del token
        return _SOMEBODY


def bare(pool: asyncpg.Pool) -> FastAPI:
    app, clock = FastAPI(), WallClock()

    @app.post("/bookings/{booking_id}")
    async def request_booking(booking_id: UUID, body: BookingToRequest) -> Response:
        now = clock.now()
        event = EVENTS.encode(BookingRequested(room_id=body.room_id, expires_at=now + TIME_TO_CONFIRM))
        source = (uuid4(), uuid4(), None, None, None, now)
        await pool.execute(FLOOR_INSERT, booking_id, 1, uuid7(), *event, *source)
        return Response(b"{}", 201, media_type="application/json")

    return app


async def main(which: str) -> None:
    called(f"server {which}")
    settings = load_settings(ExampleSettings)
    pool = await open_pool(settings)
    app = bare(pool) if which == "floor" else Example(settings, pool).app(Known())
    told = sys.stdout
    # The access line is written, to nowhere: a terminal's or a pipe's reader is not what is measured.
    with open("/dev/null", "w") as nowhere:  # noqa: ASYNC230, PTH123
        sys.stdout = nowhere
        configure_logging("example", settings.log_level)
        await serve(
            app, settings, stop_on_signals(), listening=lambda port: print(port, file=told, flush=True)
        )
    sys.stdout = told
    await asyncio.sleep(0)
    logging.shutdown()


if __name__ == "__main__":
    run(main(sys.argv[1]))
