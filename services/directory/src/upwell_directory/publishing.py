"""Domain event → published events: the one door out."""

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from upwell_directory.domain import organisation, person
from upwell_shared.contracts import PublishedEvent
from upwell_shared.contracts import directory as told
from upwell_shared.contracts.erasure import PersonErasureAcknowledged


def publishing(stream_id: UUID, event: Any, state: Any) -> Iterable[PublishedEvent]:
    """`stream_id` is an organisation's or a person's. Names of units and grades' local names stay here."""
    match event:
        case organisation.OrganisationOpened():
            yield told.UnitOpened(unit_id=stream_id, organisation_id=stream_id, parent_id=None)
        case organisation.UnitOpened(unit_id=unit_id, parent_id=parent_id):
            yield told.UnitOpened(unit_id=unit_id, organisation_id=stream_id, parent_id=parent_id)
        case organisation.UnitMoved(unit_id=unit_id, parent_id=parent_id):
            yield told.UnitMoved(unit_id=unit_id, organisation_id=stream_id, parent_id=parent_id)
        case organisation.UnitClosed(unit_id=unit_id):
            yield told.UnitClosed(unit_id=unit_id, organisation_id=stream_id)
        case person.PersonJoined(organisation_id=organisation_id, place=place):
            yield told.PersonJoined(
                person_id=stream_id, organisation_id=organisation_id, unit_id=place.unit_id
            )
            yield _standing(stream_id, organisation_id, place)
        case person.PersonMoved(place=place):
            yield _standing(stream_id, state.organisation_id, place)
        case person.PersonWentOnLeave(until=until):
            yield told.PersonWentOnLeave(
                person_id=stream_id, organisation_id=state.organisation_id, until=until
            )
        case person.PersonReturned():
            yield told.PersonReturned(person_id=stream_id, organisation_id=state.organisation_id)
        case person.PersonLeft():
            yield told.PersonLeft(
                person_id=stream_id, organisation_id=state.organisation_id, unit_id=state.unit_id
            )
        case person.ConsentGiven(purpose=purpose):
            yield told.ConsentGiven(person_id=stream_id, purpose=purpose.value)
        case person.ConsentWithdrawn(purpose=purpose):
            yield told.ConsentWithdrawn(person_id=stream_id, purpose=purpose.value)
        case person.PersonErased():
            yield told.PersonErased(person_id=stream_id, organisation_id=state.organisation_id)
        case person.ErasureAcknowledged():
            yield PersonErasureAcknowledged(person_id=stream_id, service=told.CONTRACT.owner)


def _standing(person_id: UUID, organisation_id: UUID, place: person.Place) -> told.PersonMoved:
    return told.PersonMoved(
        person_id=person_id,
        organisation_id=organisation_id,
        unit_id=place.unit_id,
        grade=place.grade,
        manager_id=place.manager_id,
        in_role_since=place.in_role_since,
    )
