"""Who sits where: own events of rooms, in this service's own tables."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import asyncpg

from tests.shared.example.domain.room import RoomOpened, SeatFreed, SeatTaken
from upwell_shared.database import Connection
from upwell_shared.events import Recorded

name = "who_sits_where"
version = 1
tables = """
CREATE TABLE seats (room_id uuid, booking_id uuid, PRIMARY KEY (room_id, booking_id));
CREATE TABLE rooms (room_id uuid PRIMARY KEY, seats int NOT NULL);
"""


_TAKEN = """
SELECT (SELECT count(*) FROM seats s WHERE s.room_id = r.room_id) FROM rooms r WHERE r.room_id = $1
"""


async def project(connection: Connection, events: Sequence[Recorded[Any]]) -> None:
    for recorded in events:
        match recorded.event:
            case RoomOpened(seats=seats):
                await connection.execute("INSERT INTO rooms VALUES ($1, $2)", recorded.stream_id, seats)
            case SeatTaken(booking_id=booking_id):
                await connection.execute("INSERT INTO seats VALUES ($1, $2)", recorded.stream_id, booking_id)
            case SeatFreed(booking_id=booking_id):
                await connection.execute(
                    "DELETE FROM seats WHERE room_id = $1 AND booking_id = $2", recorded.stream_id, booking_id
                )


async def taken(pool: asyncpg.Pool, room_id: UUID) -> int | None:
    """How many seats are taken; None for a room that is not known here."""
    found = await pool.fetchval(_TAKEN, room_id)
    return None if found is None else int(found)
