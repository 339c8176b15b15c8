"""The library `eventsourcing` doing what row 2 does, as its documentation says: an application, threads, its recorder.

    python -m tests.bench.peer DSN get_and_save|save SECONDS THREADS STREAMS EVENTS_A_STREAM WITHOUT_LOCK

Says "ready", waits for a line, works, and says how many operations that were.
"""

import json
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID, uuid4

from eventsourcing.application import Application
from eventsourcing.domain import Aggregate, event

from tests.bench.machine import called


class Room(Aggregate):  # type: ignore[misc]  # the library is in the bench's environment only
    """The room of the example."""

    def __init__(self, seats: int) -> None:
        self.seats = seats
        self.taken_by: set[UUID] = set()

    @event("SeatTaken")  # type: ignore[untyped-decorator]  # as above
    def take_seat(self, booking_id: UUID) -> None:
        """Refuses when it is full."""
        if len(self.taken_by) >= self.seats:
            raise ValueError("full")
        self.taken_by.add(booking_id)


def application(dsn: str, threads: int, *, without_lock: bool) -> Application:
    place = urlsplit(dsn)
    return Application(
        env={
            "PERSISTENCE_MODULE": "eventsourcing.postgres",
            "POSTGRES_DBNAME": place.path[1:],
            "POSTGRES_HOST": str(place.hostname),
            "POSTGRES_PORT": str(place.port),
            "POSTGRES_USER": str(place.username),
            "POSTGRES_PASSWORD": str(place.password),
            "POSTGRES_POOL_SIZE": str(threads),
            "POSTGRES_ENABLE_DB_FUNCTIONS": "y" if without_lock else "n",
            "POSTGRES_SCHEMA": "peer_without_lock" if without_lock else "peer",
        }
    )


def full_rooms(app: Any, count: int, events: int) -> list[UUID]:
    rooms = []
    for _ in range(count):
        room = Room(seats=1000)
        for _ in range(events - 1):
            room.take_seat(booking_id=uuid4())
        app.save(room)
        rooms.append(room.id)
    return rooms


def main(arguments: list[str]) -> None:
    called("peer")
    dsn, what, seconds, threads, streams, events, without_lock = arguments
    app = application(dsn, int(threads), without_lock=without_lock == "1")
    rooms = full_rooms(app, int(streams), int(events)) if what == "get_and_save" else []

    def get_and_save(number: int, done: int) -> None:
        own = rooms[number :: int(threads)]
        room: Any = app.repository.get(own[done % len(own)])
        room.take_seat(booking_id=uuid4())
        app.save(room)

    def save(number: int, done: int) -> None:
        del number, done
        app.save(Room(seats=1))

    operation: Callable[[int, int], None] = get_and_save if what == "get_and_save" else save

    def worker(number: int) -> int:
        done = 0
        while time.monotonic() < until:
            operation(number, done)
            done += 1
        return done

    print("ready", flush=True)
    sys.stdin.readline()
    until = time.monotonic() + float(seconds)
    with ThreadPoolExecutor(int(threads)) as pool:
        operations = sum(pool.map(worker, range(int(threads))))
    print(json.dumps({"operations": operations}), flush=True)
    app.close()


if __name__ == "__main__":
    main(sys.argv[1:])
