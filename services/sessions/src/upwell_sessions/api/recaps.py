"""Recaps: the note of a session that the two share, and nobody else reads by any path."""

from typing import Annotated
from uuid import UUID, uuid5

from fastapi import APIRouter, Depends, Response

from upwell_sessions.aggregates import CADENCE
from upwell_sessions.api.access import cadence_in_route
from upwell_sessions.api.bodies import Recap, RecapToConfirm, RecapToWrite
from upwell_sessions.domain.cadence import CadenceCommand, ConfirmRecap, NoCadence, State, WriteRecap, cadence
from upwell_sessions.policies import Known, member
from upwell_shared.decider import DomainError
from upwell_shared.event_store import EventStore
from upwell_shared.handling import Handler, Intent
from upwell_shared.privacy import Erased, TextDamaged, Texts
from upwell_shared.web.commands import Command, answer
from upwell_shared.web.policies import CurrentPrincipal, requires
from upwell_shared.web.routing import api_router, takes

FIELD = "recap"
# The longest text, every character of it written as two escapes, and what is around it.
_BODY_BYTES = 256 * 1024


def router(handler: Handler, store: EventStore, texts: Texts) -> APIRouter:
    facts = cadence_in_route(store)
    routes = api_router(
        "/v1/cadences/{pair_id}/sessions/{session_id}/recap",
        tags=["recaps"],
        dependencies=[requires(member, facts, hidden=True)],
    )

    async def carry_out(command: Command, known: Known, asked: CadenceCommand) -> Response:
        intent = Intent(CADENCE, known.stream_id, asked)
        return answer(
            await handler.handle(intent, envelope=command.envelope, fingerprint=command.fingerprint)
        )

    @routes.put("", dependencies=[takes(limit=_BODY_BYTES)], responses={410: {}})
    async def write(
        who: CurrentPrincipal,
        command: Command,
        session_id: UUID,
        known: Annotated[Known, Depends(facts)],
        body: RecapToWrite,
    ) -> Response:
        """Either member writes it, in the place of what was there; the other has to confirm it anew."""
        known.session(session_id)
        # Of the request, so that a retry writes no second text, and the same key with another text not the first one.
        text_id = uuid5(command.envelope.command_id, f"recap {command.fingerprint.hex()}")
        writing = WriteRecap(
            session_id=session_id, side=known.side(who), text_id=text_id, instead_of=body.instead_of
        )
        if _may(writing, known.state):
            await _keep(texts, text_id, who.id, known, body.text)
        return await carry_out(command, known, writing)

    @routes.get("")
    async def read(session_id: UUID, known: Annotated[Known, Depends(facts)]) -> Recap:
        """What it says now. Once either member is erased it is erased, for good."""
        recap = known.session(session_id).details.recap
        if recap is None:
            return Recap(state="none")
        found = await texts.read_many([recap.text_id])
        if recap.text_id not in found:
            raise TextDamaged(f"text {recap.text_id} is gone")
        text = found[recap.text_id]
        if isinstance(text, Erased):
            return Recap(state="erased", text_id=recap.text_id, by=recap.by, confirmed=recap.confirmed)
        return Recap(state="ok", text=text, text_id=recap.text_id, by=recap.by, confirmed=recap.confirmed)

    @routes.post("/confirm")
    async def confirm(
        who: CurrentPrincipal,
        command: Command,
        session_id: UUID,
        known: Annotated[Known, Depends(facts)],
        body: RecapToConfirm = RecapToConfirm(),  # noqa: B008 a value that never changes
    ) -> Response:
        """By the member who did not write it: this is how it was."""
        known.session(session_id)
        confirming = ConfirmRecap(session_id=session_id, side=known.side(who), text_id=body.text_id)
        return await carry_out(command, known, confirming)

    return routes


def _may(writing: WriteRecap, state: State) -> bool:
    """Whether no rule is against it. A refusal is the handler's to give, or its earlier answer."""
    try:
        cadence.decide(writing, state)
    except DomainError:
        return False
    return True


async def _keep(texts: Texts, text_id: UUID, author: UUID, known: Known, text: str) -> None:
    """Writes the text under the pair's key, before the event that names it. Raises SubjectErased."""
    if isinstance(known.state, NoCadence):
        return
    plan = known.state.plan
    await texts.write(
        text_id,
        subject=plan.pair_id,
        author=author,
        pair=plan.pair_id,
        members=(plan.mentor_id, plan.mentee_id),
        field=FIELD,
        text=text,
    )
