"""What is forgotten when a to-do is carried out: the texts of an erased person, and recaps that were replaced."""

from uuid import UUID

import asyncpg

from upwell_sessions.domain.cadence import ForgetReplacedRecaps, RecapWritten
from upwell_shared import erasing
from upwell_shared.event_store import EventStore
from upwell_shared.events import Envelope
from upwell_shared.handling import Handler, Outcome
from upwell_shared.privacy import Texts
from upwell_shared.todos import Carry

# The row stays, so that a repeated request does not write the text again.
_CLEAR = "UPDATE texts SET nonce = '', ciphertext = '' WHERE text_id = ANY ($1) AND ciphertext <> ''"


def carrying_out(handler: Handler, store: EventStore, pool: asyncpg.Pool, texts: Texts) -> Carry:
    """How this service carries out its to-dos. A crash between clearing and sending has it cleared once more."""
    send = erasing.carrying_out(handler, texts.erase)

    async def carry(stream_id: UUID, command: object, envelope: Envelope) -> Outcome:
        if isinstance(command, ForgetReplacedRecaps):
            await pool.execute(_CLEAR, await _replaced(store, stream_id))
        return await send(stream_id, command, envelope)

    return carry


async def _replaced(store: EventStore, cadence_id: UUID) -> list[UUID]:
    """The texts of all recaps in a cadence but the present ones; a text once replaced is never the present one again."""
    events = (await store.load(cadence_id))[cadence_id].events
    written = [event for event in events if isinstance(event, RecapWritten)]
    present = {event.session_id: event.text_id for event in written}
    return [event.text_id for event in written if event.text_id != present[event.session_id]]
