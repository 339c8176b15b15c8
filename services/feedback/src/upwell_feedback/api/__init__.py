"""HTTP of feedback: parse → command or query → response."""

from fastapi import APIRouter

from upwell_feedback.api import question_sets, reflections
from upwell_shared.event_store import EventStore
from upwell_shared.handling import Handler
from upwell_shared.privacy import Texts


def routers(handler: Handler, store: EventStore, texts: Texts) -> list[APIRouter]:
    """Every route of the service."""
    return [question_sets.router(handler, store), reflections.router(handler, store, texts)]
