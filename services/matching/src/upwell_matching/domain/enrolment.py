"""An enrolment: a person's wish to take part in one cohort, in one role. Its stream is of cohort and person, so that
nobody is enrolled twice; and it counts the pairs they are in, so that nobody is in more of them than they have places.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import assert_never
from uuid import UUID, uuid5

from upwell_matching.domain.programme import MOST_PLACES, MOST_TOPICS
from upwell_shared.decider import Decider, DomainError


def enrolment_id(cohort_id: UUID, person_id: UUID) -> UUID:
    """The one stream of this person's enrolment in this cohort."""
    return uuid5(cohort_id, str(person_id))


class Side(StrEnum):
    """The mentor is the junior of the two."""

    MENTOR = "mentor"
    MENTEE = "mentee"


@dataclass(frozen=True, slots=True, kw_only=True)
class EnrolmentSubmitted:
    """`organisation_id` and `unit_id` are where the person stood then. For the first time, or again after a withdrawal."""

    programme_id: UUID
    cohort_id: UUID
    person_id: UUID
    organisation_id: UUID
    unit_id: UUID
    role: Side
    offers: tuple[UUID, ...]
    seeks: tuple[UUID, ...]
    capacity: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EnrolmentChanged:
    offers: tuple[UUID, ...]
    seeks: tuple[UUID, ...]
    capacity: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EnrolmentWithdrawn:
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class WithdrawalSettled:
    """Every proposal and pair of the withdrawn enrolment is closed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EnrolmentPlaceTaken:
    """By a pair that both have accepted."""

    pair_id: UUID
    partner_id: UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class EnrolmentPlaceFreed:
    """The pair is complete, or has ended."""

    pair_id: UUID


EnrolmentEvent = (
    EnrolmentSubmitted
    | EnrolmentChanged
    | EnrolmentWithdrawn
    | WithdrawalSettled
    | EnrolmentPlaceTaken
    | EnrolmentPlaceFreed
)


@dataclass(frozen=True, slots=True)
class NotEnrolled:
    pass


@dataclass(frozen=True, slots=True)
class Enrolled:
    """`partners` are by the id of the pair."""

    programme_id: UUID
    cohort_id: UUID
    person_id: UUID
    role: Side
    offers: tuple[UUID, ...]
    seeks: tuple[UUID, ...]
    capacity: int
    partners: Mapping[UUID, UUID]


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """`settled` once nothing is open any more that came of it."""

    programme_id: UUID
    cohort_id: UUID
    person_id: UUID
    partners: Mapping[UUID, UUID]
    settled: bool = False


State = NotEnrolled | Enrolled | Withdrawn


def evolve(state: State, event: EnrolmentEvent) -> State:
    if isinstance(event, EnrolmentSubmitted):
        return Enrolled(
            event.programme_id,
            event.cohort_id,
            event.person_id,
            event.role,
            event.offers,
            event.seeks,
            event.capacity,
            {},
        )
    if isinstance(state, NotEnrolled):
        return state
    match event:
        case EnrolmentChanged():
            if not isinstance(state, Enrolled):
                return state
            return replace(state, offers=event.offers, seeks=event.seeks, capacity=event.capacity)
        case EnrolmentWithdrawn():
            return Withdrawn(state.programme_id, state.cohort_id, state.person_id, state.partners)
        case WithdrawalSettled():
            return replace(state, settled=True) if isinstance(state, Withdrawn) else state
        case EnrolmentPlaceTaken(pair_id=pair_id, partner_id=partner_id):
            return replace(state, partners={**state.partners, pair_id: partner_id})
        case EnrolmentPlaceFreed(pair_id=pair_id):
            return replace(state, partners={k: v for k, v in state.partners.items() if k != pair_id})
        case _:
            assert_never(event)


class AlreadyEnrolled(DomainError):
    """This person is enrolled in this cohort already: change that enrolment, or withdraw it first."""


class UnknownEnrolment(DomainError):
    """This person is not enrolled in this cohort in that role."""


class EnrolmentIsWithdrawn(DomainError):
    """This enrolment is withdrawn: submit it anew."""


class WithdrawalUnderWay(DomainError):
    """What came of the withdrawn enrolment is still being closed: try again in a moment."""


class NothingOfferedOrSought(DomainError):
    """An enrolment names at least one topic, offered or sought, and each topic once in either list."""


class TopicOfAnotherProgramme(DomainError):
    """One of these topics is not a topic of the programme."""


class UnfitCapacity(DomainError):
    """A person has 1 to 3 places."""


class CapacityBelowPairs(DomainError):
    """This person is in more pairs than that: end a pair first, or leave more places."""


class NotOfTheProgramme(DomainError):
    """This person stands in none of the units the programme is for."""


class CapacityReached(DomainError):
    """One of the two has no place left for another pair."""


class AlreadyPaired(DomainError):
    """These two are a pair already."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmitEnrolment:
    """`covered`: the person stands in a unit of the programme. `topics` are those of the programme."""

    programme_id: UUID
    cohort_id: UUID
    person_id: UUID
    organisation_id: UUID
    unit_id: UUID
    covered: bool
    role: Side
    offers: tuple[UUID, ...]
    seeks: tuple[UUID, ...]
    capacity: int
    topics: frozenset[UUID]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeEnrolment:
    offers: tuple[UUID, ...]
    seeks: tuple[UUID, ...]
    capacity: int
    topics: frozenset[UUID]


@dataclass(frozen=True, slots=True, kw_only=True)
class WithdrawEnrolment:
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class SettleWithdrawal:
    """Sent once every proposal and pair of a withdrawn enrolment is closed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RelyOnPlace:
    """What is done beside this holds only while a place is free for that partner: nothing happens, or a refusal."""

    role: Side
    partner_id: UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class TakePlace:
    role: Side
    pair_id: UUID
    partner_id: UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class FreePlace:
    pair_id: UUID


EnrolmentCommand = (
    SubmitEnrolment
    | ChangeEnrolment
    | WithdrawEnrolment
    | SettleWithdrawal
    | RelyOnPlace
    | TakePlace
    | FreePlace
)


def decide(command: EnrolmentCommand, state: State) -> list[EnrolmentEvent]:
    match command:
        case SubmitEnrolment():
            return _submit(command, state)
        case ChangeEnrolment():
            return _change(command, state)
        case WithdrawEnrolment():
            if isinstance(state, NotEnrolled):
                raise UnknownEnrolment
            return [EnrolmentWithdrawn()] if isinstance(state, Enrolled) else []
        case SettleWithdrawal():
            if not isinstance(state, Withdrawn) or state.settled:
                return []
            if state.partners:
                raise WithdrawalUnderWay
            return [WithdrawalSettled()]
        case RelyOnPlace():
            _require_place(command.role, command.partner_id, state)
            return []
        case TakePlace(pair_id=pair_id, partner_id=partner_id):
            if not isinstance(state, NotEnrolled) and pair_id in state.partners:
                return []
            _require_place(command.role, partner_id, state)
            return [EnrolmentPlaceTaken(pair_id=pair_id, partner_id=partner_id)]
        case FreePlace(pair_id=pair_id):
            taken = not isinstance(state, NotEnrolled) and pair_id in state.partners
            return [EnrolmentPlaceFreed(pair_id=pair_id)] if taken else []
        case _:
            assert_never(command)


def _submit(command: SubmitEnrolment, state: State) -> list[EnrolmentEvent]:
    match state:
        case Enrolled():
            raise AlreadyEnrolled
        case Withdrawn(settled=False):
            raise WithdrawalUnderWay
        case NotEnrolled() | Withdrawn():
            pass
        case _:
            assert_never(state)
    if not command.covered:
        raise NotOfTheProgramme
    _require_wishes(command)
    submitted = EnrolmentSubmitted(
        programme_id=command.programme_id,
        cohort_id=command.cohort_id,
        person_id=command.person_id,
        organisation_id=command.organisation_id,
        unit_id=command.unit_id,
        role=command.role,
        offers=command.offers,
        seeks=command.seeks,
        capacity=command.capacity,
    )
    return [submitted]


def _change(command: ChangeEnrolment, state: State) -> list[EnrolmentEvent]:
    enrolled = _enrolled(state)
    _require_wishes(command)
    if command.capacity < len(enrolled.partners):
        raise CapacityBelowPairs
    if (command.offers, command.seeks, command.capacity) == (
        enrolled.offers,
        enrolled.seeks,
        enrolled.capacity,
    ):
        return []
    return [EnrolmentChanged(offers=command.offers, seeks=command.seeks, capacity=command.capacity)]


def _enrolled(state: State) -> Enrolled:
    match state:
        case NotEnrolled():
            raise UnknownEnrolment
        case Withdrawn():
            raise EnrolmentIsWithdrawn
        case Enrolled():
            return state
        case _:
            assert_never(state)


def _require_place(role: Side, partner_id: UUID, state: State) -> None:
    enrolled = _enrolled(state)
    if enrolled.role is not role:
        raise UnknownEnrolment
    if partner_id in enrolled.partners.values():
        raise AlreadyPaired
    if len(enrolled.partners) >= enrolled.capacity:
        raise CapacityReached


def _require_wishes(command: SubmitEnrolment | ChangeEnrolment) -> None:
    for topics in (command.offers, command.seeks):
        if len({*topics}) < len(topics) or len(topics) > MOST_TOPICS:
            raise NothingOfferedOrSought
    if not command.offers and not command.seeks:
        raise NothingOfferedOrSought
    if not {*command.offers, *command.seeks} <= command.topics:
        raise TopicOfAnotherProgramme
    if not 1 <= command.capacity <= MOST_PLACES:
        raise UnfitCapacity


enrolment: Decider[EnrolmentCommand, State, EnrolmentEvent] = Decider(NotEnrolled(), decide, evolve)
