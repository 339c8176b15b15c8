"""Published event → own command: the one door in. The directory tells, on two channels, where people stand."""

from collections.abc import Iterable

from upwell_matching.domain.standing import (
    BeginLeave,
    BeginStanding,
    EndLeave,
    EndStanding,
    EraseStanding,
    Place,
    TakePlaceInOrganisation,
)
from upwell_shared import erasing
from upwell_shared.contracts import Consumed
from upwell_shared.contracts.directory import (
    PersonErased,
    PersonJoined,
    PersonLeft,
    PersonMoved,
    PersonReturned,
    PersonWentOnLeave,
)
from upwell_shared.todos import Send


def follow_presence(consumed: Consumed) -> Iterable[Send]:
    """Whenever a person joins, leaves or is erased, their standing says so."""
    match consumed.event:
        case PersonJoined(person_id=person_id):
            yield Send(person_id, BeginStanding())
        case PersonLeft(person_id=person_id):
            yield Send(person_id, EndStanding())
        case PersonErased(person_id=person_id):
            yield Send(person_id, EraseStanding())
        case _:
            pass


def follow_place(consumed: Consumed) -> Iterable[Send]:
    """Whenever a person stands elsewhere, so does their standing."""
    if isinstance(consumed.event, PersonMoved):
        event = consumed.event
        place = Place(
            organisation_id=event.organisation_id,
            unit_id=event.unit_id,
            grade=event.grade,
            manager_id=event.manager_id,
            in_role_since=event.in_role_since,
        )
        yield Send(event.person_id, TakePlaceInOrganisation(place=place))


def follow_leave(consumed: Consumed) -> Iterable[Send]:
    """Whenever a person is on leave or back from it, their standing says so. Until when does not matter."""
    match consumed.event:
        case PersonWentOnLeave(person_id=person_id):
            yield Send(person_id, BeginLeave())
        case PersonReturned(person_id=person_id):
            yield Send(person_id, EndLeave())
        case _:
            pass


def acknowledge_erasure(consumed: Consumed) -> Iterable[Send]:
    """Whenever a person is erased, the receipt is given once nothing is held of them."""
    yield from erasing.asked(consumed)
