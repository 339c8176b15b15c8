"""What may happen between two who meet."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any, get_args
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from upwell_sessions.domain.cadence import (
    AllSessionsBooked,
    AlreadySettled,
    BookSession,
    CadenceClosed,
    CadenceCommand,
    CadenceEvent,
    CadenceExtended,
    CadenceIsClosed,
    CadenceIsPaused,
    CadenceOpened,
    CadencePaused,
    CadenceResumed,
    Cancelled,
    CancelSession,
    CloseCadence,
    Closed,
    ConfirmRecap,
    ConfirmSession,
    Disputed,
    ExtendCadence,
    ForgetReplacedRecaps,
    Held,
    Missed,
    MoveSession,
    NoCadence,
    NoRecap,
    Open,
    OpenCadence,
    OverlappingSession,
    OwnRecap,
    PauseCadence,
    Paused,
    Plan,
    RecapChanged,
    RecapConfirmed,
    RecapWritten,
    RecordSilence,
    ResumeCadence,
    Scheduled,
    SessionAfterTheEnd,
    SessionBooked,
    SessionCancelled,
    SessionConfirmed,
    SessionDisputed,
    SessionHasBegun,
    SessionHeld,
    SessionInThePast,
    SessionIsCancelled,
    SessionMissed,
    SessionMoved,
    SessionTooFarAhead,
    SessionUnconfirmed,
    Side,
    SideMissed,
    TooEarlyToConfirm,
    Unconfirmed,
    UnfitLength,
    UnknownCadence,
    UnknownSession,
    Word,
    WriteRecap,
    cadence,
)
from upwell_shared.decider import DomainError
from upwell_shared.testing import Given

PAIR, PROGRAMME, ADA, BEN, ONE, TWO, THREE, TEXT, OTHER_TEXT = (UUID(int=n) for n in range(1, 10))
MENTOR, MENTEE = Side.MENTOR, Side.MENTEE
NOW = datetime(2026, 3, 2, 9, tzinfo=UTC)
NOON = NOW + timedelta(hours=3)
OVER = NOON + timedelta(minutes=45)
WEEK = timedelta(days=7)
INSTANT = timedelta(microseconds=1)
PLAN = Plan(
    pair_id=PAIR,
    programme_id=PROGRAMME,
    mentor_id=ADA,
    mentee_id=BEN,
    sessions=2,
    days_between=14,
    minutes=45,
    ends_on=date(2026, 9, 1),
)
OPENED = CadenceOpened(plan=PLAN)
LONG = CadenceOpened(plan=replace(PLAN, ends_on=date(2027, 9, 1)))
BOOK = BookSession(session_id=ONE, side=MENTOR, starts_at=NOON, minutes=None, now=NOW)
BOOKED = SessionBooked(session_id=ONE, number=1, starts_at=NOON, minutes=45, by=MENTOR)
MOVE = MoveSession(session_id=ONE, side=MENTEE, starts_at=NOON + WEEK, minutes=None, now=NOW)
CANCEL = CancelSession(session_id=ONE, side=MENTEE, now=NOW)
SILENCE = RecordSilence(session_id=ONE, now=OVER + WEEK)
WRITE = WriteRecap(session_id=ONE, side=MENTOR, text_id=TEXT, instead_of=None)
AGREE = ConfirmRecap(session_id=ONE, side=MENTEE, text_id=TEXT)
CANCELLED = SessionCancelled(session_id=ONE, by=MENTEE)

given_cadence = Given(cadence)


def says(side: Side, word: Word, now: datetime = NOON) -> ConfirmSession:
    return ConfirmSession(session_id=ONE, side=side, word=word, now=now)


def said(side: Side, word: Word) -> SessionConfirmed:
    return SessionConfirmed(session_id=ONE, side=side, word=word)


EVERY_COMMAND: tuple[Any, ...] = (
    OpenCadence(plan=PLAN),
    PauseCadence(),
    ResumeCadence(),
    ExtendCadence(sessions=9, ends_on=date(2027, 1, 1)),
    CloseCadence(now=NOW),
    BOOK,
    MOVE,
    CANCEL,
    says(MENTOR, Word.HELD),
    SILENCE,
    WRITE,
    AGREE,
    ForgetReplacedRecaps(),
)


def test_there_is_a_command_of_every_kind() -> None:
    assert {type(command) for command in EVERY_COMMAND} == set(get_args(CadenceCommand))


@pytest.mark.parametrize("command", EVERY_COMMAND, ids=lambda command: type(command).__name__)
def test_nothing_happens_without_a_pair_but_its_beginning(command: Any) -> None:
    story = given_cadence().when(command)
    if isinstance(command, OpenCadence):
        story.then(OPENED)
    else:
        story.then_refused(UnknownCadence)


@pytest.mark.parametrize(
    "command", [MOVE, CANCEL, says(MENTOR, Word.HELD), SILENCE, WRITE, AGREE], ids=lambda c: type(c).__name__
)
def test_nothing_happens_to_a_session_nobody_booked(command: Any) -> None:
    given_cadence(OPENED).when(command).then_refused(UnknownSession)


def test_a_cadence_opens_once() -> None:
    given_cadence(OPENED).when(OpenCadence(plan=replace(PLAN, sessions=9))).then()
    given_cadence(OPENED, CadenceClosed()).when(OpenCadence(plan=PLAN)).then()


def test_a_pair_rests_and_goes_on() -> None:
    given_cadence(OPENED).when(PauseCadence(), PauseCadence(), ResumeCadence(), ResumeCadence()).then(
        CadencePaused(), CadenceResumed()
    )


def test_a_pair_that_rests_books_nothing_and_keeps_moves_and_cancels_what_is_booked() -> None:
    rests = given_cadence(OPENED, BOOKED, CadencePaused())
    rests.when(replace(BOOK, session_id=TWO, starts_at=NOON + WEEK)).then_refused(CadenceIsPaused)
    rests.when(MOVE).then(SessionMoved(session_id=ONE, starts_at=NOON + WEEK, minutes=45, by=MENTEE))
    rests.when(CANCEL).then(CANCELLED)
    rests.when(says(MENTOR, Word.HELD)).then(said(MENTOR, Word.HELD))
    rests.when(SILENCE).then(SessionUnconfirmed(session_id=ONE))
    rests.when(CloseCadence(now=NOW)).then(SessionCancelled(session_id=ONE, by=None), CadenceClosed())


def test_a_pair_goes_on_for_longer_also_while_it_rests() -> None:
    longer = ExtendCadence(sessions=9, ends_on=date(2027, 1, 1))
    extended = CadenceExtended(sessions=9, ends_on=date(2027, 1, 1))
    given_cadence(OPENED).when(longer, longer).then(extended)
    story = given_cadence(OPENED, CadencePaused()).when(longer)
    story.then(extended)
    assert isinstance(story.state, Paused)
    assert story.state.plan == replace(PLAN, sessions=9, ends_on=date(2027, 1, 1))


def test_with_the_pair_what_is_to_come_is_cancelled_by_neither_and_what_has_begun_stays() -> None:
    later = SessionBooked(session_id=TWO, number=2, starts_at=NOON + WEEK, minutes=30, by=MENTEE)
    given_cadence(OPENED, BOOKED, later).when(CloseCadence(now=NOON), CloseCadence(now=NOON)).then(
        SessionCancelled(session_id=TWO, by=None), CadenceClosed()
    )
    given_cadence(OPENED, BOOKED, CANCELLED).when(CloseCadence(now=NOW)).then(CadenceClosed())


def test_what_is_closed_books_and_moves_nothing_and_still_settles_what_was() -> None:
    closed = given_cadence(OPENED, BOOKED, CadenceClosed())
    closed.when(replace(BOOK, session_id=TWO)).then_refused(CadenceIsClosed)
    closed.when(MOVE).then_refused(CadenceIsClosed)
    for command in (PauseCadence(), ResumeCadence(), EVERY_COMMAND[3]):
        closed.when(command).then()
    closed.when(says(MENTOR, Word.HELD), says(MENTEE, Word.HELD)).then(
        said(MENTOR, Word.HELD), said(MENTEE, Word.HELD), SessionHeld(session_id=ONE)
    )
    closed.when(SILENCE).then(SessionUnconfirmed(session_id=ONE))
    closed.when(WRITE, AGREE).then(
        RecapWritten(session_id=ONE, text_id=TEXT, by=MENTOR), RecapConfirmed(session_id=ONE, side=MENTEE)
    )


def test_a_session_is_booked_once_by_either_side_for_as_long_as_planned_or_said() -> None:
    given_cadence(OPENED).when(BOOK, BOOK).then(BOOKED)
    given_cadence(OPENED).when(replace(BOOK, side=MENTEE, minutes=60)).then(
        replace(BOOKED, by=MENTEE, minutes=60)
    )


def test_a_booking_repeated_after_the_end_is_nothing_to_do() -> None:
    given_cadence(OPENED, BOOKED, CANCELLED, CadenceClosed()).when(BOOK).then()


@pytest.mark.parametrize(
    ("changes", "refusal"),
    [
        ({"starts_at": NOW}, SessionInThePast),
        ({"starts_at": NOW - WEEK}, SessionInThePast),
        ({"starts_at": datetime.min.replace(tzinfo=timezone(timedelta(hours=14)))}, SessionInThePast),
        ({"starts_at": NOW + timedelta(days=365) + INSTANT}, SessionTooFarAhead),
        ({"starts_at": datetime.max.replace(tzinfo=timezone(timedelta(hours=-14)))}, SessionTooFarAhead),
        ({"minutes": 4}, UnfitLength),
        ({"minutes": 481}, UnfitLength),
        ({"minutes": -45}, UnfitLength),
    ],
)
@pytest.mark.parametrize("command", [BOOK, MOVE], ids=["book", "move"])
def test_a_session_begins_in_the_coming_year_and_takes_a_while(
    command: Any, changes: dict[str, Any], refusal: type[DomainError]
) -> None:
    facts = (OPENED,) if isinstance(command, BookSession) else (OPENED, BOOKED)
    given_cadence(*facts).when(replace(command, **changes)).then_refused(refusal)


def test_the_edges_of_what_may_be_booked_are_inside() -> None:
    for changes in (
        {"starts_at": NOW + INSTANT},
        {"starts_at": NOW + timedelta(days=365)},
        {"minutes": 5},
        {"minutes": 480},
    ):
        given_cadence(LONG).when(replace(BOOK, **changes)).then(replace(BOOKED, **changes))


@pytest.mark.parametrize("zone", [UTC, timezone(timedelta(hours=14)), timezone(timedelta(hours=-12))])
@pytest.mark.parametrize("command", [BOOK, MOVE], ids=["book", "move"])
def test_a_session_begins_by_the_last_day_of_the_pair_which_may_be_made_a_later_one(
    command: Any, zone: timezone
) -> None:
    facts = (OPENED,) if isinstance(command, BookSession) else (OPENED, BOOKED)
    midnight = datetime(2026, 9, 2, tzinfo=UTC)
    last, after = ((midnight - INSTANT).astimezone(zone), midnight.astimezone(zone))
    [event] = given_cadence(*facts).when(replace(command, starts_at=last)).events
    assert isinstance(event, SessionBooked | SessionMoved)
    assert event.starts_at == midnight - INSTANT
    given_cadence(*facts).when(replace(command, starts_at=after)).then_refused(SessionAfterTheEnd)
    extended = given_cadence(*facts, CadenceExtended(sessions=2, ends_on=date(2026, 9, 2)))
    [event] = extended.when(replace(command, starts_at=after)).events
    assert isinstance(event, SessionBooked | SessionMoved)
    assert event.starts_at == midnight


@pytest.mark.parametrize("earlier", [-45, -44, 0, 44, 45])
def test_two_sessions_of_a_pair_do_not_overlap_and_may_touch(earlier: int) -> None:
    starts_at = NOON + timedelta(minutes=earlier)
    story = given_cadence(OPENED, BOOKED).when(replace(BOOK, session_id=TWO, starts_at=starts_at))
    if abs(earlier) == 45:
        story.then(SessionBooked(session_id=TWO, number=2, starts_at=starts_at, minutes=45, by=MENTOR))
    else:
        story.then_refused(OverlappingSession)


def test_a_long_session_overlaps_a_short_one_inside_it() -> None:
    given_cadence(OPENED, BOOKED).when(
        replace(BOOK, session_id=TWO, starts_at=NOON - timedelta(hours=1), minutes=480)
    ).then_refused(OverlappingSession)


def test_a_session_moves_within_its_own_time_and_not_into_another_ones() -> None:
    second = SessionBooked(session_id=TWO, number=2, starts_at=NOON + WEEK, minutes=45, by=MENTEE)
    both = given_cadence(OPENED, BOOKED, second)
    both.when(replace(MOVE, starts_at=NOON + timedelta(minutes=10))).then(
        SessionMoved(session_id=ONE, starts_at=NOON + timedelta(minutes=10), minutes=45, by=MENTEE)
    )
    both.when(MOVE).then_refused(OverlappingSession)
    both.when(replace(MOVE, starts_at=NOON)).then()
    both.when(replace(MOVE, starts_at=NOON, minutes=60)).then(
        SessionMoved(session_id=ONE, starts_at=NOON, minutes=60, by=MENTEE)
    )


def test_missed_and_cancelled_sessions_give_back_their_place_and_the_others_keep_it() -> None:
    again = replace(BOOK, session_id=THREE, starts_at=NOON + timedelta(days=30))
    second = SessionBooked(session_id=TWO, number=2, starts_at=NOON + WEEK, minutes=45, by=MENTEE)
    rebooked = SessionBooked(session_id=THREE, number=3, starts_at=again.starts_at, minutes=45, by=MENTOR)
    for end, free in (
        (SessionCancelled(session_id=ONE, by=None), True),
        (SessionMissed(session_id=ONE), True),
        (SessionHeld(session_id=ONE), False),
        (SessionDisputed(session_id=ONE), False),
        (SessionUnconfirmed(session_id=ONE), False),
    ):
        story = given_cadence(OPENED, BOOKED, second, end).when(again)
        if free:
            story.then(rebooked)
        else:
            story.then_refused(AllSessionsBooked)
    given_cadence(OPENED, BOOKED, second, CadenceExtended(sessions=3, ends_on=PLAN.ends_on)).when(again).then(
        rebooked
    )


def test_a_time_is_kept_in_utc_whatever_zone_it_was_said_in() -> None:
    """The clocks of Berlin go forward on 29 March 2026 and back on 25 October 2026."""
    berlin = ZoneInfo("Europe/Berlin")
    before = datetime(2026, 3, 29, 1, 30, tzinfo=berlin)
    after = datetime(2026, 3, 29, 3, 0, tzinfo=berlin)
    first = replace(BOOKED, starts_at=datetime(2026, 3, 29, 0, 30, tzinfo=UTC), minutes=30)
    story = given_cadence(LONG).when(replace(BOOK, starts_at=before, minutes=30))
    story.then(first)
    assert isinstance(story.state, Open)
    assert story.state.sessions[ONE].details.starts_at.tzinfo is UTC
    # An hour and a half by the wall, half an hour in truth: these touch, and with a minute more they overlap.
    second = replace(BOOK, session_id=TWO, starts_at=after)
    given_cadence(LONG, first).when(second).then(
        SessionBooked(
            session_id=TWO, number=2, starts_at=datetime(2026, 3, 29, 1, tzinfo=UTC), minutes=45, by=MENTOR
        )
    )
    given_cadence(LONG, replace(first, minutes=31)).when(second).then_refused(OverlappingSession)
    # One that begins in the evening before the clocks go back, and lasts longer than the wall says.
    night = datetime(2026, 10, 25, 1, 30, tzinfo=berlin)
    late = replace(BOOKED, session_id=TWO, starts_at=datetime(2026, 10, 25, 1, tzinfo=UTC))
    given_cadence(LONG, late).when(replace(BOOK, starts_at=night, minutes=90)).then(
        replace(BOOKED, number=2, starts_at=datetime(2026, 10, 24, 23, 30, tzinfo=UTC), minutes=90)
    )
    given_cadence(LONG, late).when(replace(BOOK, starts_at=night, minutes=91)).then_refused(
        OverlappingSession
    )
    autumn = datetime(2026, 10, 25, 2, 30, tzinfo=berlin)
    twice = given_cadence(LONG).when(
        replace(BOOK, starts_at=autumn.replace(fold=0), minutes=60),
        replace(BOOK, session_id=TWO, starts_at=autumn.replace(fold=1), minutes=60),
    )
    assert [event.starts_at.hour for event in twice.events if isinstance(event, SessionBooked)] == [0, 1]


def test_the_same_time_said_in_another_zone_is_no_move() -> None:
    elsewhere = NOON.astimezone(timezone(timedelta(hours=-7)))
    given_cadence(OPENED, BOOKED).when(replace(MOVE, starts_at=elsewhere)).then()


@pytest.mark.parametrize("command", [MOVE, CANCEL], ids=["move", "cancel"])
def test_what_has_begun_is_neither_moved_nor_cancelled(command: Any) -> None:
    given_cadence(OPENED, BOOKED).when(replace(command, now=NOON)).then_refused(SessionHasBegun)
    for end in (SessionHeld, SessionMissed, SessionDisputed, SessionUnconfirmed):
        given_cadence(OPENED, BOOKED, end(session_id=ONE)).when(command).then_refused(SessionHasBegun)
    # One side has spoken of it: by a clock that was ahead of this one it has begun.
    given_cadence(OPENED, BOOKED, said(MENTOR, Word.HELD)).when(command).then_refused(SessionHasBegun)


def test_until_the_last_instant_it_is_moved_and_cancelled() -> None:
    last = NOON - INSTANT
    given_cadence(OPENED, BOOKED).when(replace(CANCEL, now=last), replace(CANCEL, now=last)).then(CANCELLED)
    given_cadence(OPENED, BOOKED).when(replace(MOVE, now=last)).then(
        SessionMoved(session_id=ONE, starts_at=NOON + WEEK, minutes=45, by=MENTEE)
    )
    given_cadence(OPENED, BOOKED, CANCELLED).when(MOVE).then_refused(SessionIsCancelled)
    # Cancelled already, also when its time has come.
    given_cadence(OPENED, BOOKED, CANCELLED).when(replace(CANCEL, now=OVER)).then()


def test_a_session_is_confirmed_from_its_beginning_on() -> None:
    booked = given_cadence(OPENED, BOOKED)
    booked.when(says(MENTOR, Word.HELD, NOON - INSTANT)).then_refused(TooEarlyToConfirm)
    booked.when(says(MENTOR, Word.HELD, NOON)).then(said(MENTOR, Word.HELD))
    given_cadence(OPENED, BOOKED, CANCELLED).when(says(MENTOR, Word.HELD)).then_refused(SessionIsCancelled)


def test_one_word_settles_nothing_and_said_twice_is_said_once() -> None:
    story = given_cadence(OPENED, BOOKED).when(says(MENTEE, Word.HELD), says(MENTEE, Word.HELD))
    story.then(said(MENTEE, Word.HELD))
    assert isinstance(story.state, Open)
    assert isinstance(story.state.sessions[ONE], Scheduled)


@pytest.mark.parametrize("first", Side)
@pytest.mark.parametrize("of_mentor", Word)
@pytest.mark.parametrize("of_mentee", Word)
def test_what_follows_from_two_words_in_either_order(first: Side, of_mentor: Word, of_mentee: Word) -> None:
    words = {MENTOR: of_mentor, MENTEE: of_mentee}
    second = MENTEE if first is MENTOR else MENTOR
    story = given_cadence(OPENED, BOOKED).when(says(first, words[first]), says(second, words[second]))
    if words[MENTOR] is words[MENTEE] is Word.HELD:
        follows: list[CadenceEvent] = [SessionHeld(session_id=ONE)]
    elif Word.HELD in words.values():
        follows = [SessionDisputed(session_id=ONE)]
    else:
        blamed = {
            MENTOR: {Word.MISSED_BY_MENTOR, Word.MISSED_BY_BOTH},
            MENTEE: {Word.MISSED_BY_MENTEE, Word.MISSED_BY_BOTH},
        }
        follows = [SessionMissed(session_id=ONE)]
        follows += [
            SideMissed(session_id=ONE, side=side)
            for side in (MENTOR, MENTEE)
            if of_mentor in blamed[side] and of_mentee in blamed[side]
        ]
    story.then(said(first, words[first]), said(second, words[second]), *follows)


@pytest.mark.parametrize("both", [Word.HELD, Word.MISSED])
def test_what_both_have_said_is_settled(both: Word) -> None:
    ending = SessionHeld(session_id=ONE) if both is Word.HELD else SessionMissed(session_id=ONE)
    story = given_cadence(OPENED, BOOKED, said(MENTOR, both), said(MENTEE, both), ending)
    for side in Side:
        story.when(says(side, both)).then()
        for other in set(Word) - {both}:
            story.when(says(side, other)).then_refused(AlreadySettled)


def test_a_dispute_is_told_once_and_ends_when_they_agree() -> None:
    disputed = given_cadence(
        OPENED,
        BOOKED,
        said(MENTOR, Word.HELD),
        said(MENTEE, Word.MISSED),
        SessionDisputed(session_id=ONE),
    )
    disputed.when(says(MENTEE, Word.MISSED_BY_MENTOR)).then(said(MENTEE, Word.MISSED_BY_MENTOR))
    disputed.when(SILENCE).then()
    disputed.when(says(MENTEE, Word.HELD)).then(said(MENTEE, Word.HELD), SessionHeld(session_id=ONE))
    disputed.when(says(MENTOR, Word.MISSED_BY_BOTH)).then(
        said(MENTOR, Word.MISSED_BY_BOTH), SessionMissed(session_id=ONE)
    )


def test_silence_is_recorded_a_week_after_the_end_and_not_before() -> None:
    booked = given_cadence(OPENED, BOOKED)
    booked.when(replace(SILENCE, now=OVER + WEEK - INSTANT)).then()
    booked.when(SILENCE, SILENCE).then(SessionUnconfirmed(session_id=ONE))
    booked.when(says(MENTOR, Word.HELD), SILENCE).then(
        said(MENTOR, Word.HELD), SessionUnconfirmed(session_id=ONE)
    )
    booked.when(MOVE, SILENCE).then(
        SessionMoved(session_id=ONE, starts_at=NOON + WEEK, minutes=45, by=MENTEE)
    )
    for end in (SessionHeld, SessionMissed, SessionDisputed):
        given_cadence(OPENED, BOOKED, end(session_id=ONE)).when(SILENCE).then()
    given_cadence(OPENED, BOOKED, CANCELLED).when(SILENCE).then()


def test_what_is_unconfirmed_may_still_be_settled_or_disputed() -> None:
    facts = (OPENED, BOOKED, said(MENTOR, Word.HELD), SessionUnconfirmed(session_id=ONE))
    late = OVER + timedelta(days=100)
    given_cadence(*facts).when(says(MENTEE, Word.HELD, late)).then(
        said(MENTEE, Word.HELD), SessionHeld(session_id=ONE)
    )
    given_cadence(*facts).when(says(MENTEE, Word.MISSED, late)).then(
        said(MENTEE, Word.MISSED), SessionDisputed(session_id=ONE)
    )


def test_a_recap_is_written_by_either_and_confirmed_by_the_other() -> None:
    written = RecapWritten(session_id=ONE, text_id=TEXT, by=MENTOR)
    agreed = RecapConfirmed(session_id=ONE, side=MENTEE)
    given_cadence(OPENED, BOOKED).when(WRITE, WRITE, AGREE, AGREE).then(written, agreed)
    noted = given_cadence(OPENED, BOOKED, written)
    noted.when(replace(AGREE, side=MENTOR)).then_refused(OwnRecap)
    noted.when(replace(AGREE, text_id=OTHER_TEXT)).then_refused(RecapChanged)
    noted.when(replace(AGREE, text_id=None)).then(agreed)
    given_cadence(OPENED, BOOKED).when(AGREE).then_refused(NoRecap)
    given_cadence(OPENED, BOOKED, CANCELLED).when(WRITE).then_refused(SessionIsCancelled)


def test_a_new_text_is_to_be_confirmed_anew_and_replaces_only_what_was_read() -> None:
    written = RecapWritten(session_id=ONE, text_id=TEXT, by=MENTOR)
    confirmed = given_cadence(OPENED, BOOKED, written, RecapConfirmed(session_id=ONE, side=MENTEE))
    rewrite = replace(WRITE, side=MENTEE, text_id=OTHER_TEXT, instead_of=TEXT)
    rewritten = RecapWritten(session_id=ONE, text_id=OTHER_TEXT, by=MENTEE)
    confirmed.when(rewrite).then(rewritten)
    again = given_cadence(OPENED, BOOKED, written, RecapConfirmed(session_id=ONE, side=MENTEE), rewritten)
    again.when(replace(AGREE, text_id=None)).then_refused(OwnRecap)
    again.when(replace(AGREE, side=MENTOR, text_id=OTHER_TEXT)).then(
        RecapConfirmed(session_id=ONE, side=MENTOR)
    )
    again.when(replace(WRITE, text_id=THREE, instead_of=TEXT)).then_refused(RecapChanged)
    given_cadence(OPENED, BOOKED).when(replace(WRITE, instead_of=TEXT)).then_refused(RecapChanged)


EXAMPLES: tuple[Any, ...] = (
    OPENED,
    CadencePaused(),
    CadenceResumed(),
    CadenceExtended(sessions=9, ends_on=date(2027, 1, 1)),
    BOOKED,
    SessionMoved(session_id=ONE, starts_at=NOON + WEEK, minutes=60, by=MENTEE),
    said(MENTOR, Word.MISSED_BY_BOTH),
    SessionDisputed(session_id=ONE),
    SessionUnconfirmed(session_id=ONE),
    SessionHeld(session_id=ONE),
    SessionMissed(session_id=ONE),
    SideMissed(session_id=ONE, side=MENTOR),
    RecapWritten(session_id=ONE, text_id=TEXT, by=MENTOR),
    RecapConfirmed(session_id=ONE, side=MENTEE),
    CANCELLED,
    CadenceClosed(),
)


@given(st.lists(st.sampled_from(EXAMPLES), max_size=12))
def test_every_history_folds_even_one_that_cannot_be(events: list[Any]) -> None:
    assert isinstance(cadence.fold(events), NoCadence | Open | Paused | Closed)


def test_there_is_an_example_of_every_event() -> None:
    assert {type(event) for event in EXAMPLES} == set(get_args(CadenceEvent))


ids, sides = st.sampled_from([ONE, TWO, THREE]), st.sampled_from(Side)
times = st.integers(0, 40).map(lambda halves: NOW + timedelta(minutes=30 * halves))
lengths = st.sampled_from([None, 4, 30, 90])
texts = st.sampled_from([None, TEXT, OTHER_TEXT])
commands = st.one_of(
    st.sampled_from([OpenCadence(plan=PLAN), PauseCadence(), ResumeCadence(), ResumeCadence()]),
    st.builds(ExtendCadence, sessions=st.integers(2, 3), ends_on=st.just(PLAN.ends_on)),
    st.builds(BookSession, session_id=ids, side=sides, starts_at=times, minutes=lengths, now=times),
    st.builds(BookSession, session_id=ids, side=sides, starts_at=times, minutes=st.none(), now=st.just(NOW)),
    st.builds(MoveSession, session_id=ids, side=sides, starts_at=times, minutes=lengths, now=times),
    st.builds(CancelSession, session_id=ids, side=sides, now=times),
    st.builds(ConfirmSession, session_id=ids, side=sides, word=st.sampled_from(Word), now=times),
    st.builds(ConfirmSession, session_id=ids, side=sides, word=st.just(Word.HELD), now=st.just(OVER + WEEK)),
    st.builds(RecordSilence, session_id=ids, now=st.sampled_from([NOW, NOW + 2 * WEEK])),
    st.builds(WriteRecap, session_id=ids, side=sides, text_id=texts.filter(bool), instead_of=texts),
    st.builds(ConfirmRecap, session_id=ids, side=sides, text_id=texts),
    st.builds(CloseCadence, now=times),
)


class AnyCommandsOnACadence(RuleBasedStateMachine):
    """Whatever is asked in whatever order, by clocks that go back and forth: a rule says no, or the facts make sense."""

    def __init__(self) -> None:
        super().__init__()
        self.history: list[Any] = [OPENED]
        self.state: Any = cadence.fold(self.history)

    @rule(command=commands)
    def ask(self, command: Any) -> None:
        try:
            events = cadence.decide(command, self.state)
        except DomainError:
            return
        before, self.state = self.state, cadence.fold(events, self.state)
        self.history += events
        # Done again at once, no command does anything more.
        try:
            assert cadence.decide(command, self.state) == [] or isinstance(command, WriteRecap)
        except DomainError:
            assert events == [] or isinstance(command, WriteRecap)
        if isinstance(before, Closed):
            assert isinstance(self.state, Closed)

    @invariant()
    def the_state_is_what_the_facts_fold_to(self) -> None:
        assert cadence.fold(self.history) == self.state

    @invariant()
    def held_and_missed_are_what_both_say_and_a_dispute_is_what_they_do_not(self) -> None:
        for session in self.state.sessions.values():
            words = session.details.words
            said_held = [word is Word.HELD for word in (words.mentor, words.mentee) if word is not None]
            match session:
                case Held():
                    assert said_held == [True, True]
                case Missed():
                    assert said_held == [False, False]
                case Disputed():
                    assert sorted(said_held) == [False, True]
                case Scheduled() | Unconfirmed():
                    assert len(said_held) < 2
                case Cancelled():
                    assert said_held == []

    @invariant()
    def what_takes_place_takes_its_own_time_in_utc(self) -> None:
        standing = [
            session.details
            for session in self.state.sessions.values()
            if not isinstance(session, Cancelled | Missed)
        ]
        for one in standing:
            assert one.starts_at.tzinfo is UTC
            assert [one] == [other for other in standing if other.overlaps(one.starts_at, one.minutes)]

    @invariant()
    def numbers_count_the_bookings_and_the_plan_is_kept(self) -> None:
        assert [session.details.number for session in self.state.sessions.values()] == [
            *range(1, len(self.state.sessions) + 1)
        ]
        standing = [s for s in self.state.sessions.values() if not isinstance(s, Cancelled | Missed)]
        planned = [PLAN.sessions, *(e.sessions for e in self.history if isinstance(e, CadenceExtended))]
        assert len(standing) <= max(planned)

    @invariant()
    def a_session_is_settled_once_and_for_all(self) -> None:
        for session_id in self.state.sessions:
            kinds = [type(e) for e in self.history if getattr(e, "session_id", None) == session_id]
            ends = [kind for kind in kinds if kind in {SessionHeld, SessionMissed, SessionCancelled}]
            assert len(ends) <= 1
            if ends:
                after = kinds[kinds.index(ends[0]) + 1 :]
                assert set(after) <= {SideMissed, RecapWritten, RecapConfirmed}
            assert kinds.count(SessionUnconfirmed) <= 1
            assert kinds.count(SessionDisputed) <= 1

    @invariant()
    def a_side_missed_only_what_both_lay_to_it(self) -> None:
        for event in self.history:
            if isinstance(event, SideMissed):
                words = self.state.sessions[event.session_id].details.words
                assert event.side in words.mentor.blames & words.mentee.blames

    @invariant()
    def nobody_confirms_a_recap_of_their_own(self) -> None:
        wrote: dict[UUID, Side] = {}
        for event in self.history:
            if isinstance(event, RecapWritten):
                wrote[event.session_id] = event.by
            elif isinstance(event, RecapConfirmed):
                assert wrote[event.session_id] is not event.side

    @invariant()
    def the_end_leaves_nothing_booked_that_has_not_begun(self) -> None:
        if isinstance(self.state, Closed):
            kinds = [type(event) for event in self.history]
            assert kinds.count(CadenceClosed) == 1
            after = kinds[kinds.index(CadenceClosed) + 1 :]
            assert not {SessionBooked, SessionMoved, CadencePaused, CadenceExtended} & set(after)


TestAnyCommandsOnACadence = AnyCommandsOnACadence.TestCase
