"""Commands that need facts from elsewhere: looked up in own tables, and put on the command."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import date
from typing import Any, Final
from uuid import UUID

import asyncpg

from upwell_directory import contacts
from upwell_directory.aggregates import PERSON
from upwell_directory.contacts import Contact
from upwell_directory.domain.organisation import CloseUnit, OpenOrganisation
from upwell_directory.domain.person import (
    AcknowledgeErasure,
    JoinPerson,
    KeepPerson,
    MovePerson,
    Nobody,
    Place,
    PlaceFacts,
    UnitFacts,
    person,
)
from upwell_directory.projections import people_by_unit, unit_tree
from upwell_shared.decider import DomainError
from upwell_shared.errors import ConcurrentUpdate, StaleVersion, Unavailable
from upwell_shared.events import Envelope
from upwell_shared.handling import Handler, Intent, Outcome
from upwell_shared.looking_up import caught_up, looked_up
from upwell_shared.todos import Carry

_ATTEMPTS: Final = 3


class ExternalIdOfSomebodyGone(DomainError):
    """Somebody who has left has this external id: import them from a file, and they join again as who they were."""


Placing = Callable[[PlaceFacts], JoinPerson | MovePerson]
"""The command that puts somebody in a place, given what is known of it."""


def joining(person_id: UUID, organisation_id: UUID, place: Place, today: date) -> Placing:
    """The person begins at this place."""
    return lambda known: JoinPerson(
        person_id=person_id, organisation_id=organisation_id, place=place, known=known, today=today
    )


def moving(person_id: UUID, place: Place, today: date) -> Placing:
    """The person stands at this place from now on."""
    return lambda known: MovePerson(person_id=person_id, place=place, known=known, today=today)


async def write_names(
    pool: asyncpg.Pool, joining: JoinPerson | MovePerson, organisation_id: UUID, contact: Contact
) -> None:
    """`contacts.write_first` of somebody who may join. Raises ExternalIdOfSomebodyGone, ExternalIdTaken, UserNameTaken."""
    if not may_join(joining):
        return
    try:
        await contacts.write_first(pool, joining.person_id, organisation_id, contact)
    except contacts.ExternalIdTaken:
        whose = await contacts.by_external_id(pool, [organisation_id], [contact.external_id])
        there = await people_by_unit.these(pool, [person_id for person_id, _ in whose.values()])
        if any(row.standing == "gone" for row in there.values()):
            raise ExternalIdOfSomebodyGone from None
        raise


async def place(
    handler: Handler,
    pool: asyncpg.Pool,
    person_id: UUID,
    at: Place,
    placing: Placing,
    *,
    envelope: Envelope,
    fingerprint: bytes | None = None,
    if_match: int | None = None,
    body: Mapping[str, Any] | None = None,
    first: Callable[[JoinPerson | MovePerson], Awaitable[None]] | None = None,
) -> Outcome:
    """`Handler.handle` for a person who joins or moves; written only if nobody above has changed since looked at.

    `first` is done before, and again before another attempt. Raises what `handle` raises, and Unavailable when own
    tables run too far behind.
    """
    before: Mapping[UUID, int] | None = None
    for _ in range(_ATTEMPTS):
        known, line = await place_facts(pool, at)
        placed = placing(known)
        if first is not None:
            await first(placed)
        # Whoever would be above themselves is refused in any case, and has one intent already.
        above = {} if person_id in line else line
        try:
            return await handler.handle(
                Intent(PERSON, person_id, placed, if_match),
                *(Intent(PERSON, each, KeepPerson(), version) for each, version in above.items()),
                envelope=envelope,
                fingerprint=fingerprint,
                body=body,
            )
        except StaleVersion:
            # With the line as it was before it is the person who has changed since the caller looked.
            if not above or line == before:
                raise
            before = line
    raise ConcurrentUpdate


def may_join(joining: JoinPerson | MovePerson) -> bool:
    """Whether somebody not known yet could join so. A refusal is the handler's to give, or its earlier answer."""
    try:
        return bool(person.decide(joining, Nobody()))
    except DomainError:
        return False


async def open_organisation(pool: asyncpg.Pool, organisation_id: UUID, name: str) -> OpenOrganisation:
    """The organisation begins, with an id that is no other unit's."""
    unit = await looked_up(pool, unit_tree.name, lambda: unit_tree.unit(pool, organisation_id))
    taken = unit is not None and unit.organisation_id != organisation_id
    return OpenOrganisation(organisation_id=organisation_id, name=name, taken=taken)


async def close_unit(pool: asyncpg.Pool, unit_id: UUID) -> CloseUnit:
    """The unit closes, if nobody stands in it. Raises Unavailable."""
    await up_to_date(pool)
    return CloseUnit(unit_id=unit_id, people=await people_by_unit.headcount(pool, unit_id))


async def place_facts(pool: asyncpg.Pool, place: Place) -> tuple[PlaceFacts, Mapping[UUID, int]]:
    """What is known of that place; and everybody above it, with the versions they were seen at. Raises Unavailable."""
    await up_to_date(pool)
    unit = await unit_tree.unit(pool, place.unit_id)
    line = {} if place.manager_id is None else await people_by_unit.line(pool, place.manager_id)
    known = PlaceFacts(
        unit=_unit_facts(unit),
        line=tuple(line) if line or place.manager_id is None else None,
    )
    return known, line


async def many_place_facts(pool: asyncpg.Pool, places: Sequence[Place]) -> list[PlaceFacts]:
    """`place_facts` of each of them, at a few queries for all. Raises Unavailable."""
    await up_to_date(pool)
    units = await unit_tree.these(pool, list({place.unit_id for place in places}))
    managers = {place.manager_id for place in places if place.manager_id is not None}
    people = await people_by_unit.with_all_above(pool, list(managers))
    return [
        PlaceFacts(
            unit=_unit_facts(units.get(place.unit_id)), line=people_by_unit.line_in(people, place.manager_id)
        )
        for place in places
    ]


def _unit_facts(unit: unit_tree.Unit | None) -> UnitFacts | None:
    return None if unit is None else UnitFacts(organisation_id=unit.organisation_id, is_open=not unit.closed)


async def up_to_date(pool: asyncpg.Pool) -> None:
    """Waits until own tables hold all that was acknowledged by now. Raises Unavailable when that takes too long: what
    is decided on what they held earlier would be wrong, and would stay so.
    """
    if not await caught_up(pool, unit_tree.name, people_by_unit.name):
        raise Unavailable


def carrying_out(handler: Handler, pool: asyncpg.Pool) -> Carry:
    """How this service carries out its to-dos: an erasure is acknowledged after names and addresses are deleted."""

    async def carry(stream_id: UUID, command: object, envelope: Envelope) -> Outcome:
        if isinstance(command, AcknowledgeErasure):
            await contacts.delete(pool, stream_id)
        return await handler.send(stream_id, command, envelope)

    return carry
