"""Where a person stands: in whatever order the directory's two channels tell of it."""

from dataclasses import replace
from datetime import date
from typing import Any, get_args
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upwell_matching.domain.standing import (
    BeginLeave,
    BeginStanding,
    EndLeave,
    EndStanding,
    Erased,
    EraseStanding,
    KeepStanding,
    Known,
    LeaveBegan,
    LeaveEnded,
    PairsRechecked,
    PairsRecheckedInPart,
    Place,
    PlaceTaken,
    RecheckPairs,
    StandingBegan,
    StandingChanged,
    StandingEnded,
    StandingErased,
    StandingEvent,
    StandingExpected,
    TakePlaceInOrganisation,
    standing,
)
from upwell_shared.testing import Given

ACME, SALES, NORTH, BEN, PAIR = (UUID(int=n) for n in range(1, 6))
PLACE = Place(organisation_id=ACME, unit_id=SALES, grade=5, manager_id=BEN, in_role_since=date(2024, 1, 1))
HIGHER = replace(PLACE, grade=8, unit_id=NORTH)
TAKE = TakePlaceInOrganisation(place=PLACE)
HERE = (StandingBegan(revision=1, rechecks=False), PlaceTaken(place=PLACE, revision=2, rechecks=False))

given_standing = Given(standing)


def test_who_joins_is_here_and_stands_somewhere_and_nothing_is_rechecked_for_that() -> None:
    joined = given_standing().when(BeginStanding(), TAKE)
    joined.then(*HERE)
    assert joined.state == Known(revision=2, present=True, place=PLACE)
    given_standing().when(TAKE, BeginStanding()).then(
        PlaceTaken(place=PLACE, revision=1, rechecks=False), StandingBegan(revision=2, rechecks=False)
    )


def test_what_is_told_twice_is_one_change() -> None:
    given_standing(*HERE).when(BeginStanding(), TAKE, EndLeave()).then()
    given_standing(*HERE).when(BeginLeave(), BeginLeave(), EndLeave(), EndLeave()).then(
        LeaveBegan(revision=3), LeaveEnded(revision=4)
    )
    given_standing(*HERE).when(EndStanding(), EndStanding()).then(StandingEnded(revision=3))


def test_every_later_change_is_rechecked() -> None:
    given_standing(*HERE).when(TakePlaceInOrganisation(place=HIGHER), EndStanding(), BeginStanding()).then(
        PlaceTaken(place=HIGHER, revision=3, rechecks=True),
        StandingEnded(revision=4),
        StandingBegan(revision=5, rechecks=True),
    )


def test_nothing_is_heard_of_the_erased() -> None:
    erased = given_standing(*HERE).when(
        EraseStanding(), EraseStanding(), TAKE, BeginStanding(), EndStanding(), BeginLeave(), EndLeave()
    )
    erased.then(StandingErased(revision=3))
    assert erased.state == Erased(revision=3, due=3, rechecked=0)
    given_standing().when(EraseStanding(), TAKE).then(StandingErased(revision=1))


def test_a_decision_holds_only_for_the_revision_it_was_made_on() -> None:
    given_standing(*HERE).when(KeepStanding(revision=2)).then()
    given_standing(*HERE).when(KeepStanding(revision=1)).then_refused(StandingChanged)
    given_standing(*HERE).when(EraseStanding(), KeepStanding(revision=2)).then_refused(StandingChanged)
    given_standing().when(KeepStanding(revision=1)).then_refused(StandingChanged)


def test_who_is_relied_on_before_they_are_heard_of_is_expected_and_their_first_place_rechecked() -> None:
    given_standing().when(KeepStanding(revision=0), KeepStanding(revision=0), TAKE).then(
        StandingExpected(), PlaceTaken(place=PLACE, revision=1, rechecks=True)
    )
    given_standing().when(BeginStanding(), KeepStanding(revision=1), KeepStanding(revision=1), TAKE).then(
        StandingBegan(revision=1, rechecks=False),
        StandingExpected(),
        PlaceTaken(place=PLACE, revision=2, rechecks=True),
    )


def test_a_recheck_is_acknowledged_once_in_parts_and_then_whole() -> None:
    away = (*HERE, LeaveBegan(revision=3))
    part = RecheckPairs(revision=3, upto=PAIR)
    whole = RecheckPairs(revision=3, after=PAIR)
    given_standing(*away).when(part, whole, whole, part).then(
        PairsRecheckedInPart(revision=3, after=PAIR), PairsRechecked(revision=3)
    )


def test_a_recheck_that_a_later_change_has_overtaken_says_nothing() -> None:
    back = (*HERE, LeaveBegan(revision=3), LeaveEnded(revision=4))
    given_standing(*back).when(RecheckPairs(revision=3)).then()
    given_standing(*back).when(RecheckPairs(revision=4)).then(PairsRechecked(revision=4))
    given_standing().when(RecheckPairs(revision=1)).then()
    gone = (*HERE, StandingEnded(revision=3), StandingErased(revision=4))
    given_standing(*gone).when(RecheckPairs(revision=4)).then(PairsRechecked(revision=4))


def test_a_first_coming_does_not_overtake_a_recheck_that_is_due() -> None:
    """The internal channel was ahead: leave and a second place are known before the person has joined."""
    early = given_standing().when(TAKE, TakePlaceInOrganisation(place=HIGHER))
    assert early.state.due == 2
    came = early.when(BeginStanding())
    assert came.state.due == came.state.revision == 3


PUBLIC = [
    [BeginStanding()],
    [BeginStanding(), EndStanding()],
    [BeginStanding(), EndStanding(), BeginStanding()],
    [BeginStanding(), EndStanding(), EraseStanding()],
    [BeginStanding(), EraseStanding()],
]
internal = st.lists(
    st.sampled_from([TAKE, TakePlaceInOrganisation(place=HIGHER), BeginLeave(), EndLeave()]), max_size=6
)


@given(st.sampled_from(PUBLIC), internal, st.randoms(use_true_random=False))
def test_any_interleaving_of_the_channels_ends_in_the_same_standing(
    public: list[Any], told: list[Any], chance: Any
) -> None:
    def ends(order: list[Any]) -> Any:
        return shown(given_standing().when(*order).state)

    turns = [True] * len(public) + [False] * len(told)
    chance.shuffle(turns)
    left, right = iter(public), iter(told)
    mixed = [next(left) if turn else next(right) for turn in turns]
    assert ends(mixed) == ends([*public, *told]) == ends([*told, *public])


def shown(state: Any) -> Any:
    """All that a pair can depend on."""
    return "erased" if isinstance(state, Erased) else (state.present, state.place, state.on_leave)


commands = st.one_of(
    st.sampled_from(
        [
            BeginStanding(),
            EndStanding(),
            TAKE,
            TakePlaceInOrganisation(place=HIGHER),
            BeginLeave(),
            EndLeave(),
            EraseStanding(),
        ]
    ),
    st.builds(KeepStanding, revision=st.integers(0, 6)),
    st.builds(RecheckPairs, revision=st.integers(0, 6)),
)


@given(st.lists(commands, max_size=14))
def test_revisions_count_changes_and_no_change_after_a_decision_goes_unchecked(asked: list[Any]) -> None:
    state, last, relied = standing.initial, 0, False
    for command in asked:
        before = state
        try:
            events = standing.decide(command, state)
        except StandingChanged:
            continue
        state = standing.fold(events, state)
        relied = relied or isinstance(command, KeepStanding)
        for event in events:
            if not isinstance(event, StandingExpected | PairsRechecked | PairsRecheckedInPart):
                last += 1
                assert event.revision == last == state.revision
        if relied and isinstance(command, TakePlaceInOrganisation) and state != before:
            assert state.due == state.revision


EXAMPLES = (
    *HERE,
    StandingExpected(),
    StandingEnded(revision=3),
    LeaveBegan(revision=3),
    LeaveEnded(revision=3),
    StandingErased(revision=3),
    PairsRechecked(revision=3),
    PairsRecheckedInPart(revision=3, after=PAIR),
)


@given(st.lists(st.sampled_from(EXAMPLES), max_size=12))
def test_every_history_folds_even_one_that_cannot_be(events: list[Any]) -> None:
    assert isinstance(standing.fold(events), Known | Erased)


def test_there_is_an_example_of_every_event() -> None:
    assert {type(event) for event in EXAMPLES} == set(get_args(StandingEvent))


@pytest.mark.parametrize("present", [True, False])
def test_a_leave_outlasts_a_leaving_until_it_is_said_to_be_over(*, present: bool) -> None:
    story = given_standing(*HERE).when(BeginLeave(), EndStanding(), *([BeginStanding()] if present else []))
    assert isinstance(story.state, Known)
    assert story.state.on_leave
    assert story.state.present is present
    assert not story.when(EndLeave()).state.on_leave  # type: ignore[union-attr] # known, as above
