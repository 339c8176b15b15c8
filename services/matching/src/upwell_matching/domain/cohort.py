"""A cohort: one intake of a programme, and the days its pairs run between."""

from dataclasses import dataclass
from datetime import date, timedelta
from typing import assert_never
from uuid import UUID

from upwell_matching.domain.programme import require_name
from upwell_shared.decider import Decider, DomainError

LONGEST = timedelta(days=5 * 366)


@dataclass(frozen=True, slots=True, kw_only=True)
class CohortOpened:
    programme_id: UUID
    name: str
    starts_on: date
    ends_on: date


@dataclass(frozen=True, slots=True, kw_only=True)
class CohortClosed:
    pass


CohortEvent = CohortOpened | CohortClosed


@dataclass(frozen=True, slots=True)
class NoCohort:
    pass


@dataclass(frozen=True, slots=True)
class Cohort:
    """An open one."""

    programme_id: UUID
    ends_on: date


@dataclass(frozen=True, slots=True)
class ClosedCohort:
    last: Cohort

    @property
    def programme_id(self) -> UUID:
        return self.last.programme_id


State = NoCohort | Cohort | ClosedCohort


def evolve(state: State, event: CohortEvent) -> State:
    match event:
        case CohortOpened():
            return Cohort(event.programme_id, event.ends_on)
        case CohortClosed():
            return ClosedCohort(state) if isinstance(state, Cohort) else state
        case _:
            assert_never(event)


class UnknownCohort(DomainError):
    """There is no such cohort."""


class CohortAlreadyOpened(DomainError):
    """This cohort is there already."""


class CohortIsClosed(DomainError):
    """This cohort is closed: it takes no more enrolments and proposes no more pairs."""


class CohortIsOver(DomainError):
    """The last day of this cohort has passed: open another one."""


class EndsBeforeItStarts(DomainError):
    """A cohort ends on a later day than it starts."""


class LastsTooLong(DomainError):
    """A cohort lasts at most five years."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenCohort:
    programme_id: UUID
    name: str
    starts_on: date
    ends_on: date


@dataclass(frozen=True, slots=True, kw_only=True)
class CloseCohort:
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class RelyOnCohort:
    """What is done beside this holds only while the cohort is open, and, where a day is given, has not come to its last
    day: nothing happens, or a refusal.
    """

    today: date | None = None


CohortCommand = OpenCohort | CloseCohort | RelyOnCohort


def decide(command: CohortCommand, state: State) -> list[CohortEvent]:
    match command:
        case OpenCohort():
            return _open(command, state)
        case CloseCohort():
            if isinstance(state, NoCohort):
                raise UnknownCohort
            return [CohortClosed()] if isinstance(state, Cohort) else []
        case RelyOnCohort():
            if isinstance(state, NoCohort):
                raise UnknownCohort
            if isinstance(state, ClosedCohort):
                raise CohortIsClosed
            if command.today is not None and state.ends_on <= command.today:
                raise CohortIsOver
            return []
        case _:
            assert_never(command)


def _open(command: OpenCohort, state: State) -> list[CohortEvent]:
    if not isinstance(state, NoCohort):
        raise CohortAlreadyOpened
    require_name(command.name)
    if command.ends_on <= command.starts_on:
        raise EndsBeforeItStarts
    if command.ends_on - command.starts_on > LONGEST:
        raise LastsTooLong
    opened = CohortOpened(
        programme_id=command.programme_id,
        name=command.name,
        starts_on=command.starts_on,
        ends_on=command.ends_on,
    )
    return [opened]


cohort: Decider[CohortCommand, State, CohortEvent] = Decider(NoCohort(), decide, evolve)
