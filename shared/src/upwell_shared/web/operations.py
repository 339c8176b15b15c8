"""What operators do, the same in every service: `Service.run` adds these routes to whatever application it serves."""

import base64
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

import asyncpg
import orjson
from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from upwell_shared.consuming import repairing
from upwell_shared.consuming.repairing import By
from upwell_shared.web.commands import Body, Command
from upwell_shared.web.cursors import Listing, Page, Paging
from upwell_shared.web.policies import Principal, RequestFacts, UserRole, policy, requires
from upwell_shared.web.positions import wait_until
from upwell_shared.web.routing import api_router

_SHOWN_BYTES = 64 * 1024
_OUTCOME_SECONDS = 5.0


@policy
def operator(who: Principal, _: RequestFacts) -> bool:
    """The role ops, alone: no other role sees or touches what keeps the services running."""
    return UserRole.OPS in who.roles


class Letter(BaseModel):
    """A record that is not applied, and what waits behind it in its stream."""

    letter_id: UUID
    consumer: str
    channel: str
    stream_id: UUID | None
    sequence: int | None
    event_id: UUID | None
    type: str | None
    reason: Literal["failed", "unreadable", "fork", "waiting"]
    error: str | None = Field(description="The class of what was raised, never its message.")
    location: str | None
    attempts: int
    parked_at: datetime
    next_try_at: datetime | None
    behind: int = 0


class LetterWhole(Letter):
    """With its record as it came. Bodies of published events hold no names, contact data or free text by contract;
    that of a record no service of ours has written may hold anything.
    """

    log_id: UUID
    partition: int
    record_offset: int
    key: str | None
    headers: list[tuple[str, str | None]]
    body: Any = Field(description="The JSON it is; null where it is none, or very long.")
    body_base64: str | None = Field(description="The first 64 KiB, where `body` cannot show them.")
    body_bytes: int


class Discarded(BaseModel):
    letter_id: UUID
    consumer: str
    channel: str
    letter_reason: str
    stream_id: UUID | None
    sequence: int | None
    event_id: UUID | None
    type: str | None
    reason: str
    actor: str
    discarded_at: datetime


class Why(Body):
    reason: str = Field(
        min_length=3,
        max_length=500,
        description="Kept for good, so write what was wrong or a ticket's number, and nobody's name.",
    )


class Retried(BaseModel):
    tried: UUID
    outcome: Literal["applied", "failed", "under_way"]


class Passed(BaseModel):
    letter_id: UUID
    released: bool = Field(description="Whether a letter waited behind it, which is tried now.")


def operations_router(pool: asyncpg.Pool) -> APIRouter:
    """`/v1/operations` of the service whose database this is."""
    routes = api_router("/v1/operations", tags=["operations"], dependencies=[requires(operator)])

    @routes.get("/dead-letters")
    async def open_letters(paging: Paging) -> Page[Letter]:
        """What stands at the head of each parked sequence, the oldest first."""
        listing = Listing("dead-letters")
        rows = await repairing.open_letters(pool, _after(listing, paging.cursor), paging.limit + 1)
        return Page(
            items=[Letter(**row) for row in rows[: paging.limit]],
            next=_next(listing, rows, paging.limit, "parked_at"),
        )

    @routes.get("/discards")
    async def discards(paging: Paging) -> Page[Discarded]:
        """What was passed over, by whom and why, the oldest first."""
        listing = Listing("discards")
        rows = await repairing.discards(pool, _after(listing, paging.cursor), paging.limit + 1)
        return Page(
            items=[Discarded(**row) for row in rows[: paging.limit]],
            next=_next(listing, rows, paging.limit, "discarded_at"),
        )

    @routes.get("/dead-letters/{letter_id}")
    async def letter(letter_id: UUID) -> LetterWhole:
        """One of them with its headers and its body."""
        row = await repairing.letter(pool, letter_id)
        return LetterWhole(**{**row, **_record(row)})

    @routes.post("/dead-letters/{letter_id}/retry", responses={202: {"model": Retried}})
    async def retry(command: Command, letter_id: UUID, response: Response) -> Retried:
        """Has the sequence it belongs to tried now, from its first event on; 202 while that is still under way."""
        tried = await repairing.retry(pool, letter_id, _by(command))
        await wait_until(lambda: _known(tried), _OUTCOME_SECONDS)
        outcome = await repairing.outcome(pool, tried)
        if outcome is None:
            response.status_code = 202
        return Retried(tried=tried.letter_id, outcome=outcome or "under_way")

    async def _known(tried: repairing.Retry) -> bool:
        return await repairing.outcome(pool, tried) is not None

    @routes.post("/dead-letters/{letter_id}/discard")
    async def discard(command: Command, letter_id: UUID, why: Why) -> Passed:
        """Passes over one event for good. It counts as seen, in every rebuild too; what waited behind it is tried."""
        released = await repairing.discard(pool, letter_id, why.reason, _by(command))
        return Passed(letter_id=letter_id, released=released)

    return routes


def _by(command: Command) -> By:
    envelope = command.envelope
    return By(str(command.principal.id), envelope.command_id, command.fingerprint)


def _after(listing: Listing, cursor: str | None) -> tuple[datetime, UUID] | None:
    if cursor is None:
        return None
    moment, row_id = listing.decode(cursor)
    return datetime.fromisoformat(str(moment)), UUID(str(row_id))


def _next(listing: Listing, rows: Sequence[asyncpg.Record], limit: int, time: str) -> str | None:
    if len(rows) <= limit:
        return None
    last = rows[limit - 1]
    return listing.encode(last[time].isoformat(), str(last["letter_id"]))


def _record(row: asyncpg.Record) -> Mapping[str, Any]:
    body: bytes | None = row["body"]
    length, parsed, shown = len(body or b""), None, None
    if body is not None:
        with suppress(orjson.JSONDecodeError):
            parsed = orjson.loads(body) if length <= _SHOWN_BYTES else None
        if parsed is None:
            shown = base64.b64encode(body[:_SHOWN_BYTES]).decode()
    headers = [(name, _text(value)) for name, value in repairing.headers_of(row)]
    return {
        "key": _text(row["key"]),
        "headers": headers,
        "body": parsed,
        "body_base64": shown,
        "body_bytes": length,
    }


def _text(value: bytes | None) -> str | None:
    return None if value is None else value[:_SHOWN_BYTES].decode("utf-8", "backslashreplace")
