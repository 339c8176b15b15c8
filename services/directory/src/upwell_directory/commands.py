"""Commands that need facts from elsewhere: looked up in own tables, and put on the command."""

from uuid import UUID

import asyncpg

from upwell_directory import contacts
from upwell_directory.domain.organisation import CloseUnit, OpenOrganisation
from upwell_directory.domain.person import (
    AcknowledgeErasure,
    JoinPerson,
    MovePerson,
    Nobody,
    Place,
    PlaceFacts,
    UnitFacts,
    person,
)
from upwell_directory.projections import people_by_unit, unit_tree
from upwell_shared.decider import DomainError
from upwell_shared.events import Envelope
from upwell_shared.handling import Handler, Outcome
from upwell_shared.looking_up import looked_up
from upwell_shared.todos import Carry


async def join_person(pool: asyncpg.Pool, person_id: UUID, organisation_id: UUID, place: Place) -> JoinPerson:
    """The person begins at this place."""
    known = await place_facts(pool, place)
    return JoinPerson(person_id=person_id, organisation_id=organisation_id, place=place, known=known)


def may_join(joining: JoinPerson) -> bool:
    """Whether somebody not known yet could join so. A refusal is the handler's to give, or its earlier answer."""
    try:
        return bool(person.decide(joining, Nobody()))
    except DomainError:
        return False


async def move_person(pool: asyncpg.Pool, person_id: UUID, place: Place) -> MovePerson:
    """The person stands at this place from now on."""
    return MovePerson(person_id=person_id, place=place, known=await place_facts(pool, place))


async def open_organisation(pool: asyncpg.Pool, organisation_id: UUID, name: str) -> OpenOrganisation:
    """The organisation begins, with an id that is no other unit's."""
    unit = await looked_up(pool, unit_tree.name, lambda: unit_tree.unit(pool, organisation_id))
    taken = unit is not None and unit.organisation_id != organisation_id
    return OpenOrganisation(organisation_id=organisation_id, name=name, taken=taken)


async def close_unit(pool: asyncpg.Pool, unit_id: UUID) -> CloseUnit:
    """The unit closes, if nobody stands in it."""
    people = await looked_up(
        pool, people_by_unit.name, lambda: people_by_unit.headcount(pool, unit_id), good=lambda n: n == 0
    )
    return CloseUnit(unit_id=unit_id, people=people)


async def place_facts(pool: asyncpg.Pool, place: Place) -> PlaceFacts:
    """What own tables know of that place."""
    unit = await looked_up(pool, unit_tree.name, lambda: unit_tree.unit(pool, place.unit_id))
    line: tuple[UUID, ...] = ()
    manager_id = place.manager_id
    if manager_id is not None:
        line = await looked_up(
            pool, people_by_unit.name, lambda: people_by_unit.line(pool, manager_id), good=bool
        )
    return PlaceFacts(
        unit=None
        if unit is None
        else UnitFacts(organisation_id=unit.organisation_id, is_open=not unit.closed),
        line=line if line or manager_id is None else None,
    )


def carrying_out(handler: Handler, pool: asyncpg.Pool) -> Carry:
    """How this service carries out its to-dos: an erasure is acknowledged after names and addresses are deleted."""

    async def carry(stream_id: UUID, command: object, envelope: Envelope) -> Outcome:
        if isinstance(command, AcknowledgeErasure):
            await contacts.delete(pool, stream_id)
        return await handler.send(stream_id, command, envelope)

    return carry
