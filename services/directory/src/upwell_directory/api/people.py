"""People: their comings and goings, where they stand, and how they are written to."""

from datetime import date
from typing import Annotated
from uuid import UUID, uuid5

import asyncpg
from fastapi import APIRouter, Response
from pydantic import Field

from upwell_directory import commands, contacts
from upwell_directory.aggregates import PERSON
from upwell_directory.api.access import person_facts, require_within, wait_for
from upwell_directory.api.bodies import (
    ContactDetails,
    LeaveToTake,
    Person,
    PersonToJoin,
    PlaceToTake,
)
from upwell_directory.domain.person import (
    ErasePerson,
    GiveConsent,
    PersonCommand,
    Purpose,
    RecordLeaving,
    ReturnFromLeave,
    SendOnLeave,
    WithdrawConsent,
)
from upwell_directory.policies import (
    Path,
    hr_admin,
    hr_admin_of_person,
    oneself,
    oneself_or_hr_admin,
    overseer,
    reaches,
    sees_person,
)
from upwell_directory.projections import people_by_unit, unit_tree
from upwell_shared.clock import Clock
from upwell_shared.errors import NotFound
from upwell_shared.handling import Handler, Intent
from upwell_shared.web.commands import Command, IfMatch, answer, etag
from upwell_shared.web.cursors import Listing, Page, Paging
from upwell_shared.web.policies import CurrentPrincipal, Principal, UserRole, requires
from upwell_shared.web.positions import After
from upwell_shared.web.routing import api_router, without_key

_HERE = ("employed", "on_leave")


def router(handler: Handler, pool: asyncpg.Pool, clock: Clock) -> APIRouter:
    routes = api_router("/v1", tags=["people"])
    facts = person_facts(pool)
    changes_person = [requires(hr_admin_of_person, facts, hidden=True)]

    async def carry_out(command: Command, person_id: UUID, change: PersonCommand) -> Response:
        intent = Intent(PERSON, person_id, change)
        return answer(
            await handler.handle(intent, envelope=command.envelope, fingerprint=command.fingerprint)
        )

    @routes.post("/people", status_code=201, dependencies=[requires(hr_admin)])
    async def join(who: CurrentPrincipal, command: Command, body: PersonToJoin) -> Response:
        """A person joins. Names and addresses are written first, and count once the person has joined; of one who is
        refused none are written.
        """
        await require_within(pool, who, body.unit_id)
        # Of the command, so that a retry completes what a first try began.
        person_id = uuid5(command.envelope.command_id, "person")

        outcome = await commands.place(
            handler,
            pool,
            person_id,
            body.place(),
            commands.joining(person_id, body.organisation_id, body.place(), clock.now().date()),
            envelope=command.envelope,
            fingerprint=command.fingerprint,
            body={"person_id": str(person_id)},
            first=lambda placed: commands.write_names(pool, placed, body.organisation_id, body.contact()),
        )
        return answer(outcome, 201)

    @routes.get("/people", dependencies=[requires(overseer)])
    async def people(
        who: CurrentPrincipal,
        paging: Paging,
        after: After,
        response: Response,
        *,
        unit_id: UUID | None = None,
        gone: Annotated[
            bool, Field(description="Those who have left instead of those who are here.")
        ] = False,
    ) -> Page[Person]:
        """People in the caller's units and below, by id; with `unit_id` only those in and below that unit."""
        await wait_for(pool, after, response, people_by_unit.name, unit_tree.name)
        listing = Listing("people", unit=unit_id, gone=gone)
        last = UUID(str(listing.decode(paging.cursor)[0])) if paging.cursor else None
        found = await people_by_unit.people(
            pool,
            [*who.units],
            unit_id=unit_id,
            standings=("gone",) if gone else _HERE,
            after=last,
            limit=paging.limit + 1,
        )
        rows = found[: paging.limit]
        known = await contacts.these(pool, [row.person_id for row in rows])
        whole = UserRole.HR_ADMIN in who.roles
        return Page(
            items=[Person.of(row, known.get(row.person_id), whole=whole) for row in rows],
            next=listing.encode(str(rows[-1].person_id)) if len(found) > len(rows) else None,
        )

    @routes.get("/people/{person_id}", dependencies=[requires(sees_person, facts, hidden=True)])
    async def person(who: CurrentPrincipal, person_id: UUID, after: After, response: Response) -> Person:
        """Contact data are shown to the person and to HR alone."""
        await wait_for(pool, after, response, people_by_unit.name, unit_tree.name)
        found = await people_by_unit.person(pool, person_id)
        if found is None:
            raise NotFound
        row, path = found
        response.headers["ETag"] = etag(row.version)
        known = await contacts.these(pool, [person_id])
        return Person.of(row, known.get(person_id), whole=_sees_whole(who, person_id, path))

    @routes.post("/people/{person_id}/move", dependencies=changes_person)
    async def move(
        who: CurrentPrincipal, command: Command, person_id: UUID, body: PlaceToTake, if_match: IfMatch
    ) -> Response:
        """Another unit, grade, manager or role; all of it is said, and what stays is said again."""
        await require_within(pool, who, body.unit_id)
        outcome = await commands.place(
            handler,
            pool,
            person_id,
            body.place(),
            commands.moving(person_id, body.place(), clock.now().date()),
            envelope=command.envelope,
            fingerprint=command.fingerprint,
            if_match=if_match,
        )
        return answer(outcome)

    @routes.post("/people/{person_id}/leave", dependencies=changes_person)
    async def send_on_leave(command: Command, person_id: UUID, body: LeaveToTake) -> Response:
        """Until further notice, or until a day; a return is recorded in any case."""
        today: date = clock.now().date()
        return await carry_out(command, person_id, SendOnLeave(until=body.until, today=today))

    @routes.post("/people/{person_id}/return", dependencies=changes_person)
    async def return_from_leave(command: Command, person_id: UUID) -> Response:
        return await carry_out(command, person_id, ReturnFromLeave())

    @routes.post("/people/{person_id}/left", dependencies=changes_person)
    async def record_leaving(command: Command, person_id: UUID) -> Response:
        """They have left the organisation; they may join again."""
        return await carry_out(command, person_id, RecordLeaving())

    @routes.post("/people/{person_id}/erase", dependencies=changes_person)
    async def erase(command: Command, person_id: UUID) -> Response:
        """For good. Every service forgets what it holds of them; here names and addresses go within a second."""
        return await carry_out(command, person_id, ErasePerson())

    @routes.put(
        "/people/{person_id}/contact",
        status_code=204,
        dependencies=[*changes_person, without_key("the same contact data twice are the same contact data")],
    )
    async def change_contact(person_id: UUID, body: ContactDetails) -> None:
        """Names and addresses, as a whole. No event tells of it: they are read here when they are shown."""
        await contacts.change(pool, person_id, body.contact())

    @routes.post("/people/{person_id}/consents/{purpose}/give", dependencies=[requires(oneself)])
    async def give_consent(command: Command, person_id: UUID, purpose: Purpose) -> Response:
        """Nobody agrees for anybody else."""
        return await carry_out(command, person_id, GiveConsent(purpose=purpose))

    @routes.post(
        "/people/{person_id}/consents/{purpose}/withdraw",
        dependencies=[requires(oneself_or_hr_admin, facts, hidden=True)],
    )
    async def withdraw_consent(command: Command, person_id: UUID, purpose: Purpose) -> Response:
        """By the person, or by HR to whom they said so; also after they have left."""
        return await carry_out(command, person_id, WithdrawConsent(purpose=purpose))

    return routes


def _sees_whole(who: Principal, person_id: UUID, path: Path) -> bool:
    return who.id == person_id or (UserRole.HR_ADMIN in who.roles and reaches(who, path))
