"""Organisations and their units."""

from uuid import UUID, uuid5

import asyncpg
from fastapi import APIRouter, Response

from upwell_directory import commands
from upwell_directory.aggregates import ORGANISATION
from upwell_directory.api.access import require_within, unit_path, wait_for
from upwell_directory.domain.organisation import (
    MoveUnit,
    OpenUnit,
    RenameUnit,
    UnknownUnit,
)
from upwell_directory.fields import UnitName
from upwell_directory.policies import hr_admin, hr_admin_of_unit, overseer, overseer_of_unit
from upwell_directory.projections import unit_tree
from upwell_shared.errors import NotFound
from upwell_shared.handling import Handler, Intent
from upwell_shared.web.commands import Body, Command, IfMatch, answer, etag
from upwell_shared.web.cursors import Listing, Page, Paging
from upwell_shared.web.policies import CurrentPrincipal, requires
from upwell_shared.web.positions import After
from upwell_shared.web.routing import api_router


class UnitToOpen(Body):
    parent_id: UUID
    name: UnitName


class UnitToMove(Body):
    parent_id: UUID


class UnitToRename(Body):
    name: UnitName


class Unit(Body):
    unit_id: UUID
    organisation_id: UUID
    parent_id: UUID | None
    name: str
    closed: bool


def router(handler: Handler, pool: asyncpg.Pool) -> APIRouter:
    routes = api_router("/v1", tags=["units"])
    path = unit_path(pool)
    changes_unit = [requires(hr_admin_of_unit, path, hidden=True)]

    @routes.get("/organisations/{organisation_id}/units", dependencies=[requires(overseer)])
    async def units(
        who: CurrentPrincipal, organisation_id: UUID, paging: Paging, after: After, response: Response
    ) -> Page[Unit]:
        """Those of its units that are the caller's or below one of them, by id; closed ones too."""
        await wait_for(pool, after, response, unit_tree.name)
        listing = Listing("units", organisation=organisation_id)
        last = UUID(str(listing.decode(paging.cursor)[0])) if paging.cursor else None
        found = await unit_tree.units(pool, organisation_id, [*who.units], last, paging.limit + 1)
        shown = [_shown(unit) for unit in found[: paging.limit]]
        more = len(found) > paging.limit
        return Page(items=shown, next=listing.encode(str(shown[-1].unit_id)) if more else None)

    @routes.get("/units/{unit_id}", dependencies=[requires(overseer_of_unit, path, hidden=True)])
    async def unit(unit_id: UUID, after: After, response: Response) -> Unit:
        """Its ETag is its organisation's: whoever moves a unit has looked at the tree."""
        await wait_for(pool, after, response, unit_tree.name)
        found = await unit_tree.unit(pool, unit_id)
        if found is None:
            raise NotFound
        response.headers["ETag"] = etag(found.version)
        return _shown(found)

    @routes.post("/units", status_code=201, dependencies=[requires(hr_admin)])
    async def open_unit(who: CurrentPrincipal, command: Command, body: UnitToOpen) -> Response:
        parent = await require_within(pool, who, body.parent_id)
        if parent is None:
            raise UnknownUnit
        # Of the command, so that a retry opens no second one; given by us, so that no two units share it.
        unit_id = uuid5(command.envelope.command_id, "unit")
        opening = OpenUnit(unit_id=unit_id, parent_id=body.parent_id, name=body.name)
        return answer(
            await handler.handle(
                Intent(ORGANISATION, parent.organisation_id, opening),
                envelope=command.envelope,
                fingerprint=command.fingerprint,
                body={"unit_id": str(unit_id)},
            ),
            201,
        )

    @routes.post("/units/{unit_id}/move", dependencies=changes_unit)
    async def move_unit(
        who: CurrentPrincipal, command: Command, unit_id: UUID, body: UnitToMove, if_match: IfMatch
    ) -> Response:
        """With all that is below it; both ends must be the caller's."""
        await require_within(pool, who, body.parent_id)
        intent = Intent(
            ORGANISATION,
            await organisation_of(unit_id),
            MoveUnit(unit_id=unit_id, parent_id=body.parent_id),
            if_match,
        )
        return answer(
            await handler.handle(intent, envelope=command.envelope, fingerprint=command.fingerprint)
        )

    @routes.post("/units/{unit_id}/rename", dependencies=changes_unit)
    async def rename_unit(command: Command, unit_id: UUID, body: UnitToRename, if_match: IfMatch) -> Response:
        intent = Intent(
            ORGANISATION,
            await organisation_of(unit_id),
            RenameUnit(unit_id=unit_id, name=body.name),
            if_match,
        )
        return answer(
            await handler.handle(intent, envelope=command.envelope, fingerprint=command.fingerprint)
        )

    @routes.post("/units/{unit_id}/close", dependencies=changes_unit)
    async def close_unit(command: Command, unit_id: UUID) -> Response:
        """For good, and only when nobody and no open unit is in it."""
        organisation_id = await organisation_of(unit_id)
        intent = Intent(ORGANISATION, organisation_id, await commands.close_unit(pool, unit_id))
        return answer(
            await handler.handle(intent, envelope=command.envelope, fingerprint=command.fingerprint)
        )

    async def organisation_of(unit_id: UUID) -> UUID:
        found = await unit_tree.unit(pool, unit_id)
        if found is None:
            raise NotFound
        return found.organisation_id

    return routes


def _shown(unit: unit_tree.Unit) -> Unit:
    return Unit(
        unit_id=unit.unit_id,
        organisation_id=unit.organisation_id,
        parent_id=unit.parent_id,
        name=unit.name,
        closed=unit.closed,
    )
