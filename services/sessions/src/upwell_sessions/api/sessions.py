"""Sessions: booked, moved and cancelled by either member, confirmed by both."""

from dataclasses import replace
from typing import Annotated
from uuid import UUID, uuid5

from fastapi import APIRouter, Depends, Response

from upwell_sessions.aggregates import CADENCE
from upwell_sessions.api.access import cadence_in_route, known_cadence
from upwell_sessions.api.bodies import TimeToTake, WordToSay
from upwell_sessions.domain.cadence import (
    BookSession,
    CadenceCommand,
    CancelSession,
    ConfirmSession,
    MoveSession,
)
from upwell_sessions.policies import Known, member
from upwell_shared.clock import Clock
from upwell_shared.event_store import EventStore
from upwell_shared.handling import Handler, Intent
from upwell_shared.web.commands import Command, IfMatch, answer
from upwell_shared.web.policies import CurrentPrincipal, requires
from upwell_shared.web.routing import api_router


def router(handler: Handler, store: EventStore, clock: Clock) -> APIRouter:
    facts = cadence_in_route(store)
    routes = api_router(
        "/v1/cadences/{pair_id}/sessions",
        tags=["sessions"],
        dependencies=[requires(member, facts, hidden=True)],
    )

    async def carry_out(
        command: Command, known: Known, session_id: UUID, asked: CadenceCommand, if_match: int | None = None
    ) -> Response:
        known.session(session_id)
        intent = Intent(CADENCE, known.stream_id, asked, if_match)
        return answer(
            await handler.handle(intent, envelope=command.envelope, fingerprint=command.fingerprint)
        )

    @routes.post("", status_code=201)
    async def book(
        who: CurrentPrincipal,
        command: Command,
        pair_id: UUID,
        known: Annotated[Known, Depends(facts)],
        body: TimeToTake,
    ) -> Response:
        """Either member books the next session; it counts from then on, and both see it."""
        # Of the command, so that a retry books no second one.
        session_id = uuid5(command.envelope.command_id, "session")
        booking = BookSession(
            session_id=session_id,
            side=known.side(who),
            starts_at=body.starts_at,
            minutes=body.minutes,
            now=clock.now(),
        )
        outcome = await handler.handle(
            Intent(CADENCE, known.stream_id, booking),
            envelope=command.envelope,
            fingerprint=command.fingerprint,
        )
        # The other side may have booked at the same moment: only now is it known which number this is.
        booked = (await known_cadence(store, pair_id)).session(session_id)
        told = {"session_id": str(session_id), "number": booked.details.number}
        return answer(replace(outcome, body=told), 201)

    @routes.post("/{session_id}/move")
    async def move(
        who: CurrentPrincipal,
        command: Command,
        session_id: UUID,
        known: Annotated[Known, Depends(facts)],
        *,
        body: TimeToTake,
        if_match: IfMatch,
    ) -> Response:
        """Before it has begun, by either member."""
        moving = MoveSession(
            session_id=session_id,
            side=known.side(who),
            starts_at=body.starts_at,
            minutes=body.minutes,
            now=clock.now(),
        )
        return await carry_out(command, known, session_id, moving, if_match)

    @routes.post("/{session_id}/cancel")
    async def cancel(
        who: CurrentPrincipal, command: Command, session_id: UUID, known: Annotated[Known, Depends(facts)]
    ) -> Response:
        """Before it has begun, by either member; another may be booked in its place."""
        cancelling = CancelSession(session_id=session_id, side=known.side(who), now=clock.now())
        return await carry_out(command, known, session_id, cancelling)

    @routes.post("/{session_id}/confirm")
    async def confirm(
        who: CurrentPrincipal,
        command: Command,
        session_id: UUID,
        known: Annotated[Known, Depends(facts)],
        body: WordToSay,
    ) -> Response:
        """What became of it, each member for their own side. It is settled when both say the same."""
        confirming = ConfirmSession(
            session_id=session_id, side=known.side(who), word=body.word(), now=clock.now()
        )
        return await carry_out(command, known, session_id, confirming)

    return routes
