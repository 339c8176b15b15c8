"""What is stored stays readable, and what leaves is what was promised."""

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, get_args
from uuid import UUID, uuid4

import pytest

from tests.directory.test_person import ACME, ADA, JOINED, PLACE
from tests.directory.test_person import EXAMPLES as PERSON_EXAMPLES
from upwell_directory.aggregates import EVENTS
from upwell_directory.domain.ladder import LocalGrade
from upwell_directory.domain.organisation import (
    GradesMapped,
    OrganisationEvent,
    OrganisationOpened,
    UnitClosed,
    UnitMoved,
    UnitOpened,
    UnitRenamed,
    organisation,
)
from upwell_directory.domain.person import (
    ConsentGiven,
    ConsentWithdrawn,
    ErasureAcknowledged,
    PersonErased,
    PersonLeft,
    PersonMoved,
    PersonReturned,
    PersonWentOnLeave,
    Purpose,
    person,
)
from upwell_directory.publishing import publishing
from upwell_shared.contracts import directory as told
from upwell_shared.contracts.erasure import PersonErasureAcknowledged
from upwell_shared.contracts.shipped import faults
from upwell_shared.events import Envelope
from upwell_shared.testing import check_golden_files

SALES, NORTH = UUID(int=6), UUID(int=7)
ORGANISATION_EXAMPLES = (
    OrganisationOpened(organisation_id=ACME, name="Acme"),
    UnitOpened(unit_id=SALES, parent_id=ACME, name="Sales"),
    UnitOpened(unit_id=NORTH, parent_id=ACME, name="North"),
    UnitMoved(unit_id=NORTH, parent_id=SALES),
    UnitRenamed(unit_id=SALES, name="Trade"),
    GradesMapped(grades=(LocalGrade(label="Director", grade=12),)),
    UnitClosed(unit_id=NORTH),
)
STANDING = told.PersonMoved(
    person_id=ADA,
    organisation_id=ACME,
    unit_id=PLACE.unit_id,
    grade=PLACE.grade,
    manager_id=PLACE.manager_id,
    in_role_since=PLACE.in_role_since,
)


def told_of(decider: Any, stream_id: UUID, *events: Any) -> list[Any]:
    """What is published of the last of these events."""
    state = decider.fold(events)
    return list(publishing(stream_id, events[-1], state))


def test_every_stored_event_is_written_as_it_always_was() -> None:
    check_golden_files(EVENTS, Path(__file__).parent / "golden", [*ORGANISATION_EXAMPLES, *PERSON_EXAMPLES])
    assert {type(event) for event in ORGANISATION_EXAMPLES} == set(get_args(OrganisationEvent))


def test_the_contract_may_be_released() -> None:
    assert faults(told.CONTRACT) == []


@pytest.mark.parametrize(
    ("last", "expected"),
    [
        (1, [told.UnitOpened(unit_id=ACME, organisation_id=ACME, parent_id=None)]),
        (2, [told.UnitOpened(unit_id=SALES, organisation_id=ACME, parent_id=ACME)]),
        (4, [told.UnitMoved(unit_id=NORTH, organisation_id=ACME, parent_id=SALES)]),
        (5, []),
        (6, []),
        (7, [told.UnitClosed(unit_id=NORTH, organisation_id=ACME)]),
    ],
)
def test_the_tree_is_told_without_names(last: int, expected: list[Any]) -> None:
    assert told_of(organisation, ACME, *ORGANISATION_EXAMPLES[:last]) == expected


def test_where_a_person_stands_is_told_from_the_first_day_on() -> None:
    joined = told.PersonJoined(person_id=ADA, organisation_id=ACME, unit_id=PLACE.unit_id)
    assert told_of(person, ADA, JOINED) == [joined, STANDING]
    assert told_of(person, ADA, JOINED, PersonMoved(place=PLACE)) == [STANDING]


def test_leave_leaving_and_consent_are_told() -> None:
    about: Any = {"person_id": ADA, "organisation_id": ACME}
    until = date(2026, 9, 1)
    away = PersonWentOnLeave(until=until)
    assert told_of(person, ADA, JOINED, away) == [told.PersonWentOnLeave(**about, until=until)]
    assert told_of(person, ADA, JOINED, away, PersonReturned()) == [told.PersonReturned(**about)]
    assert told_of(person, ADA, JOINED, PersonLeft()) == [told.PersonLeft(**about, unit_id=PLACE.unit_id)]
    given = ConsentGiven(purpose=Purpose.QUOTES)
    withdrawn = ConsentWithdrawn(purpose=Purpose.QUOTES)
    assert told_of(person, ADA, JOINED, given) == [told.ConsentGiven(person_id=ADA, purpose="quotes")]
    assert told_of(person, ADA, JOINED, given, withdrawn) == [
        told.ConsentWithdrawn(person_id=ADA, purpose="quotes")
    ]


def test_an_erasure_is_told_and_acknowledged_like_any_service_does() -> None:
    gone = (JOINED, PersonLeft(), PersonErased())
    assert told_of(person, ADA, *gone) == [told.PersonErased(person_id=ADA, organisation_id=ACME)]
    assert told_of(person, ADA, *gone, ErasureAcknowledged()) == [
        PersonErasureAcknowledged(person_id=ADA, service="directory")
    ]


@pytest.mark.parametrize(
    ("decider", "stream_id", "events"),
    [(organisation, ACME, ORGANISATION_EXAMPLES), (person, ADA, PERSON_EXAMPLES)],
    ids=["organisation", "person"],
)
def test_all_that_is_told_keeps_its_contract(decider: Any, stream_id: UUID, events: tuple[Any, ...]) -> None:
    envelope = Envelope(command_id=uuid4(), correlation_id=uuid4())
    for count in range(1, len(events) + 1):
        for sequence, event in enumerate(told_of(decider, stream_id, *events[:count]), 1):
            told.CONTRACT.publish(
                event,
                source_event_id=uuid4(),
                stream_id=stream_id,
                sequence=sequence,
                recorded_at=datetime.now(UTC),
                envelope=envelope,
            )
