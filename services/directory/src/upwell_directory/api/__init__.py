"""HTTP of the directory: parse → command or query → response."""

import asyncpg
from fastapi import APIRouter

from upwell_directory.api import imports, names, organisations, people, units
from upwell_shared.clock import Clock
from upwell_shared.handling import Handler


def routers(handler: Handler, pool: asyncpg.Pool, clock: Clock) -> list[APIRouter]:
    """Every route of the service."""
    return [
        organisations.router(handler, pool),
        units.router(handler, pool),
        people.router(handler, pool, clock),
        names.router(pool),
        imports.router(handler, pool, clock),
    ]
