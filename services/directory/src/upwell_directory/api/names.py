"""Names by ids, many at a time: what a page shows beside what it has from elsewhere."""

from typing import Annotated, Literal
from uuid import UUID

import asyncpg
from fastapi import APIRouter
from pydantic import Field

from upwell_directory import contacts
from upwell_directory.projections import people_by_unit
from upwell_shared.web.commands import Body
from upwell_shared.web.cursors import MOST_ROWS
from upwell_shared.web.policies import authenticated, requires
from upwell_shared.web.routing import api_router, without_key


class People(Body):
    ids: Annotated[list[UUID], Field(max_length=MOST_ROWS)]


class Name(Body):
    person_id: UUID
    state: Literal["ok", "unknown", "erased"]
    given_name: str | None = None
    family_name: str | None = None


class Names(Body):
    """One for each id asked for, in that order."""

    names: list[Name]


def router(pool: asyncpg.Pool) -> APIRouter:
    routes = api_router("/v1", tags=["people"])

    @routes.post(
        "/names",
        dependencies=[requires(authenticated), without_key("it reads; the ids would not fit an address")],
    )
    async def names(body: People) -> Names:
        """Names of up to 200 people, for anybody who knows their ids."""
        rows = await people_by_unit.these(pool, body.ids)
        known = await contacts.these(pool, body.ids)
        return Names(names=[_name(id_, rows.get(id_), known.get(id_)) for id_ in body.ids])

    return routes


def _name(person_id: UUID, row: people_by_unit.Row | None, contact: contacts.Contact | None) -> Name:
    if row is not None and row.standing == "erased":
        return Name(person_id=person_id, state="erased")
    if row is None or contact is None:
        return Name(person_id=person_id, state="unknown")
    return Name(
        person_id=person_id, state="ok", given_name=contact.given_name, family_name=contact.family_name
    )
