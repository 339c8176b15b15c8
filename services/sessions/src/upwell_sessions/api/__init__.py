"""HTTP of sessions: parse → command or query → response."""

from fastapi import APIRouter

from upwell_sessions.api import cadences, recaps, sessions
from upwell_shared.clock import Clock
from upwell_shared.event_store import EventStore
from upwell_shared.handling import Handler
from upwell_shared.privacy import Texts


def routers(handler: Handler, store: EventStore, texts: Texts, clock: Clock) -> list[APIRouter]:
    """Every route of the service."""
    return [
        cadences.router(store, clock),
        sessions.router(handler, store, clock),
        recaps.router(handler, store, texts),
    ]
