"""A person's wish to take part, and the places they have."""

from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from upwell_matching.domain.enrolment import (
    AlreadyEnrolled,
    AlreadyPaired,
    CapacityBelowPairs,
    CapacityReached,
    ChangeEnrolment,
    EnrolmentChanged,
    EnrolmentIsWithdrawn,
    EnrolmentPlaceFreed,
    EnrolmentPlaceTaken,
    EnrolmentSubmitted,
    EnrolmentWithdrawn,
    FreePlace,
    NothingOfferedOrSought,
    NotOfTheProgramme,
    RelyOnPlace,
    SettleWithdrawal,
    Side,
    SubmitEnrolment,
    TakePlace,
    TopicOfAnotherProgramme,
    UnfitCapacity,
    UnknownEnrolment,
    WithdrawalSettled,
    WithdrawalUnderWay,
    WithdrawEnrolment,
    enrolment,
    enrolment_id,
)
from upwell_shared.testing import Given

ADA, BEN, CLEO, ACME, SALES, UPWARD, FIRST, CODE, MUSIC, CHESS, PAIR, OTHER = (
    UUID(int=n) for n in range(1, 13)
)
SUBMIT = SubmitEnrolment(
    programme_id=UPWARD,
    cohort_id=FIRST,
    person_id=ADA,
    organisation_id=ACME,
    unit_id=SALES,
    covered=True,
    role=Side.MENTOR,
    offers=(CODE,),
    seeks=(),
    capacity=1,
    topics=frozenset({CODE, MUSIC}),
)
SUBMITTED = EnrolmentSubmitted(
    programme_id=UPWARD,
    cohort_id=FIRST,
    person_id=ADA,
    organisation_id=ACME,
    unit_id=SALES,
    role=Side.MENTOR,
    offers=(CODE,),
    seeks=(),
    capacity=1,
)
TAKE = TakePlace(role=Side.MENTOR, pair_id=PAIR, partner_id=BEN)
TAKEN = EnrolmentPlaceTaken(pair_id=PAIR, partner_id=BEN)
FREED = EnrolmentPlaceFreed(pair_id=PAIR)
CHANGE = ChangeEnrolment(offers=(), seeks=(MUSIC,), capacity=2, topics=frozenset({CODE, MUSIC}))
CHANGED = EnrolmentChanged(offers=(), seeks=(MUSIC,), capacity=2)
WITHDRAWN, SETTLED = EnrolmentWithdrawn(), WithdrawalSettled()
ENROLMENT_EXAMPLES: tuple[Any, ...] = (SUBMITTED, CHANGED, TAKEN, WITHDRAWN, FREED, SETTLED)

given_enrolment = Given(enrolment)


def test_the_same_person_and_cohort_are_the_same_stream() -> None:
    assert enrolment_id(FIRST, ADA) == enrolment_id(FIRST, ADA)
    assert len({enrolment_id(FIRST, ADA), enrolment_id(FIRST, BEN), enrolment_id(OTHER, ADA)}) == 3


def test_a_person_enrols_once_in_whatever_role() -> None:
    given_enrolment().when(SUBMIT).then(SUBMITTED)
    given_enrolment(SUBMITTED).when(SUBMIT).then_refused(AlreadyEnrolled)
    given_enrolment(SUBMITTED).when(replace(SUBMIT, role=Side.MENTEE)).then_refused(AlreadyEnrolled)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"covered": False}, NotOfTheProgramme),
        ({"offers": ()}, NothingOfferedOrSought),
        ({"offers": (CODE, CODE)}, NothingOfferedOrSought),
        ({"seeks": (MUSIC, MUSIC)}, NothingOfferedOrSought),
        ({"seeks": (CHESS,)}, TopicOfAnotherProgramme),
        ({"capacity": 0}, UnfitCapacity),
        ({"capacity": 4}, UnfitCapacity),
    ],
    ids=str,
)
def test_an_enrolment_that_does_not_fit_is_refused(changes: dict[str, Any], error: Any) -> None:
    given_enrolment().when(replace(SUBMIT, **changes)).then_refused(error)


def test_the_same_topic_may_be_offered_and_sought() -> None:
    given_enrolment().when(replace(SUBMIT, seeks=(CODE,))).then(replace(SUBMITTED, seeks=(CODE,)))


def test_wishes_change_and_places_stay_enough_for_the_pairs_there_are() -> None:
    given_enrolment(SUBMITTED).when(CHANGE, CHANGE).then(CHANGED)
    second = EnrolmentPlaceTaken(pair_id=OTHER, partner_id=CLEO)
    both = (SUBMITTED, CHANGED, TAKEN, second)
    given_enrolment(*both).when(replace(CHANGE, capacity=1)).then_refused(CapacityBelowPairs)
    given_enrolment(*both, FREED).when(replace(CHANGE, capacity=1)).then(replace(CHANGED, capacity=1))
    given_enrolment(SUBMITTED).when(replace(CHANGE, seeks=(CHESS,))).then_refused(TopicOfAnotherProgramme)
    given_enrolment(SUBMITTED).when(replace(CHANGE, seeks=())).then_refused(NothingOfferedOrSought)
    given_enrolment().when(CHANGE).then_refused(UnknownEnrolment)
    given_enrolment(SUBMITTED, WITHDRAWN).when(CHANGE).then_refused(EnrolmentIsWithdrawn)


def test_a_place_is_taken_once_a_pair_and_never_beyond_capacity() -> None:
    given_enrolment(SUBMITTED).when(TAKE, TAKE).then(TAKEN)
    third = TakePlace(role=Side.MENTOR, pair_id=OTHER, partner_id=CLEO)
    given_enrolment(SUBMITTED, TAKEN).when(third).then_refused(CapacityReached)
    given_enrolment(SUBMITTED, CHANGED, TAKEN).when(third).then(
        EnrolmentPlaceTaken(pair_id=OTHER, partner_id=CLEO)
    )
    given_enrolment(SUBMITTED, CHANGED, TAKEN).when(replace(third, partner_id=BEN)).then_refused(
        AlreadyPaired
    )
    given_enrolment(SUBMITTED).when(replace(TAKE, role=Side.MENTEE)).then_refused(UnknownEnrolment)
    given_enrolment().when(TAKE).then_refused(UnknownEnrolment)
    given_enrolment(SUBMITTED, WITHDRAWN).when(TAKE).then_refused(EnrolmentIsWithdrawn)


def test_a_place_is_relied_upon_while_it_is_free() -> None:
    relying = RelyOnPlace(role=Side.MENTOR, partner_id=CLEO)
    given_enrolment(SUBMITTED).when(relying).then()
    given_enrolment(SUBMITTED, TAKEN).when(relying).then_refused(CapacityReached)
    given_enrolment(SUBMITTED, CHANGED, TAKEN).when(replace(relying, partner_id=BEN)).then_refused(
        AlreadyPaired
    )
    given_enrolment(SUBMITTED).when(replace(relying, role=Side.MENTEE)).then_refused(UnknownEnrolment)
    given_enrolment(SUBMITTED, WITHDRAWN).when(relying).then_refused(EnrolmentIsWithdrawn)


def test_a_place_is_freed_once() -> None:
    free = FreePlace(pair_id=PAIR)
    given_enrolment(SUBMITTED, TAKEN).when(free, free).then(FREED)
    given_enrolment(SUBMITTED, TAKEN, WITHDRAWN).when(free).then(FREED)
    given_enrolment(SUBMITTED).when(free).then()
    given_enrolment().when(free).then()


def test_whoever_has_withdrawn_enrols_anew_once_everything_is_closed() -> None:
    given_enrolment(SUBMITTED).when(WithdrawEnrolment(), WithdrawEnrolment()).then(WITHDRAWN)
    given_enrolment().when(WithdrawEnrolment()).then_refused(UnknownEnrolment)
    given_enrolment(SUBMITTED, WITHDRAWN).when(SUBMIT).then_refused(WithdrawalUnderWay)
    given_enrolment(SUBMITTED, WITHDRAWN, SETTLED).when(SUBMIT).then(SUBMITTED)


def test_a_withdrawal_is_settled_when_no_pair_is_left() -> None:
    settle = SettleWithdrawal()
    given_enrolment(SUBMITTED, WITHDRAWN).when(settle, settle).then(SETTLED)
    given_enrolment(SUBMITTED, TAKEN, WITHDRAWN).when(settle).then_refused(WithdrawalUnderWay)
    given_enrolment(SUBMITTED, TAKEN, WITHDRAWN, FREED).when(settle).then(SETTLED)
    given_enrolment(SUBMITTED).when(settle).then()
    given_enrolment().when(settle).then()
