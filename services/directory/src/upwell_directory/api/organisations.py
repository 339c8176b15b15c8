"""Organisations: their beginning, and what they call their grades."""

from typing import Annotated, Final
from uuid import UUID

import asyncpg
from fastapi import APIRouter, Response
from pydantic import Field

from upwell_directory import commands
from upwell_directory.aggregates import ORGANISATION
from upwell_directory.api.access import wait_for
from upwell_directory.domain.ladder import LocalGrade
from upwell_directory.domain.organisation import MapGrades
from upwell_directory.fields import GradeLabel, GradeOnLadder, UnitName
from upwell_directory.policies import hr_admin_of_root
from upwell_directory.projections import unit_tree
from upwell_shared.errors import NotFound
from upwell_shared.handling import Handler, Intent
from upwell_shared.web.commands import Body, Command, IfMatch, answer, etag
from upwell_shared.web.policies import requires
from upwell_shared.web.positions import After
from upwell_shared.web.routing import api_router

_MOST_GRADES: Final = 100


class OrganisationToOpen(Body):
    name: UnitName


class Grade(Body):
    """What an organisation calls a grade, and where that stands on the ladder."""

    label: GradeLabel
    grade: GradeOnLadder


class GradesToMap(Body):
    grades: Annotated[list[Grade], Field(max_length=_MOST_GRADES)]


class Organisation(Body):
    organisation_id: UUID
    name: str
    closed: bool
    grades: list[Grade]


def router(handler: Handler, pool: asyncpg.Pool) -> APIRouter:
    routes = api_router("/v1", tags=["organisations"])

    @routes.put(
        "/organisations/{organisation_id}", status_code=201, dependencies=[requires(hr_admin_of_root)]
    )
    async def open_organisation(
        command: Command, organisation_id: UUID, body: OrganisationToOpen
    ) -> Response:
        """An organisation begins, with its root unit of the same id."""
        opening = await commands.open_organisation(pool, organisation_id, body.name)
        intent = Intent(ORGANISATION, organisation_id, opening)
        return answer(
            await handler.handle(intent, envelope=command.envelope, fingerprint=command.fingerprint), 201
        )

    @routes.put("/organisations/{organisation_id}/grades", dependencies=[requires(hr_admin_of_root)])
    async def map_grades(
        command: Command, organisation_id: UUID, body: GradesToMap, if_match: IfMatch
    ) -> Response:
        """What this organisation calls its grades, as a whole; empty: it speaks of 1 to 20 like everybody."""
        grades = tuple(LocalGrade(label=each.label, grade=each.grade) for each in body.grades)
        intent = Intent(ORGANISATION, organisation_id, MapGrades(grades=grades), if_match)
        return answer(
            await handler.handle(intent, envelope=command.envelope, fingerprint=command.fingerprint)
        )

    @routes.get("/organisations/{organisation_id}", dependencies=[requires(hr_admin_of_root, hidden=True)])
    async def organisation(organisation_id: UUID, after: After, response: Response) -> Organisation:
        await wait_for(pool, after, response, unit_tree.name)
        root = await unit_tree.unit(pool, organisation_id)
        known = await unit_tree.grades(pool, organisation_id)
        if root is None or known is None:
            raise NotFound
        version, grades = known
        response.headers["ETag"] = etag(version)
        return Organisation(
            organisation_id=organisation_id,
            name=root.name,
            closed=root.closed,
            grades=[Grade(label=label, grade=grade) for label, grade in grades.items()],
        )

    return routes
