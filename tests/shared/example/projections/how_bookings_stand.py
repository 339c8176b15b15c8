"""How bookings stand: published events, as another service would keep them. One statement a page."""

from collections.abc import Sequence

from tests.shared.example.contract import BookingAgreed, BookingEnded, BookingOpened
from upwell_shared.contracts import Consumed
from upwell_shared.database import Connection

name = "how_bookings_stand"
version = 1
tables = """
CREATE TABLE bookings (
    booking_id uuid PRIMARY KEY, room_id uuid NOT NULL, standing text NOT NULL, changes int NOT NULL
);
"""

_STANDING = {BookingOpened: "requested", BookingAgreed: "confirmed", BookingEnded: "ended"}

_UPSERT = """
INSERT INTO bookings AS held (booking_id, room_id, standing, changes)
SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::int[])
ON CONFLICT (booking_id) DO UPDATE SET standing = excluded.standing, changes = held.changes + excluded.changes
"""


async def project(connection: Connection, events: Sequence[Consumed]) -> None:
    rows: dict[object, tuple[object, object, str, int]] = {}
    for consumed in events:
        match consumed.event:
            case BookingOpened() | BookingAgreed() | BookingEnded() as event:
                earlier = rows.get(event.booking_id)
                changes = 1 + (earlier[3] if earlier else 0)
                rows[event.booking_id] = (event.booking_id, event.room_id, _STANDING[type(event)], changes)
    if rows:
        await connection.execute(_UPSERT, *zip(*rows.values(), strict=True))
