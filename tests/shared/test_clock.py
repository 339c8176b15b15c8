import multiprocessing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upwell_shared.clock import (
    BackwardClock,
    Clock,
    ClockTooFarAhead,
    SimulatedClock,
    UnreadableClock,
    UnreadableDuration,
    WallClock,
    clock_from,
    parse_duration,
)
from upwell_shared.testing.clock import FixedClock

WEEK = timedelta(days=7)


def test_every_clock_tells_aware_utc(tmp_path: Path) -> None:
    clocks: list[Clock] = [WallClock(), SimulatedClock(tmp_path / "clock"), FixedClock(datetime.now(UTC))]
    assert all(clock.now().utcoffset() == timedelta(0) for clock in clocks)


def test_a_simulated_clock_without_a_file_is_the_wall_clock(tmp_path: Path) -> None:
    clock = SimulatedClock(tmp_path / "clock")
    before = datetime.now(UTC)
    assert before <= clock.now() <= datetime.now(UTC)
    assert clock.lead == timedelta(0)


def test_an_advance_is_seen_by_every_clock_of_the_file(tmp_path: Path) -> None:
    mine, other = SimulatedClock(tmp_path / "a" / "clock"), SimulatedClock(tmp_path / "a" / "clock")
    assert other.lead == timedelta(0)
    mine.advance(WEEK)
    assert other.lead == WEEK
    other.advance(timedelta(hours=1))
    assert mine.lead == WEEK + timedelta(hours=1)
    assert mine.now() >= datetime.now(UTC) + WEEK


def test_time_never_goes_back(tmp_path: Path) -> None:
    file = tmp_path / "clock"
    clock = SimulatedClock(file)
    clock.advance(WEEK)
    with pytest.raises(BackwardClock):
        clock.advance(timedelta(seconds=-1))
    file.write_text("0\n")
    assert clock.lead == WEEK
    file.unlink()
    assert clock.lead == WEEK


def test_a_clock_file_with_something_else_in_it_is_refused(tmp_path: Path) -> None:
    (tmp_path / "clock").write_text("tomorrow")
    with pytest.raises(UnreadableClock):
        SimulatedClock(tmp_path / "clock").now()


def _advance_often(file: Path) -> None:
    clock = SimulatedClock(file)
    for _ in range(50):
        clock.advance(timedelta(seconds=1))


def test_no_advance_is_lost_when_processes_advance_at_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_advance_often, args=(tmp_path / "clock",)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    assert SimulatedClock(tmp_path / "clock").lead == timedelta(seconds=100)


def test_the_settings_choose_the_clock(tmp_path: Path) -> None:
    assert isinstance(clock_from(None), WallClock)
    assert isinstance(clock_from(tmp_path / "clock"), SimulatedClock)


@given(st.dictionaries(st.sampled_from("wdhms"), st.integers(0, 500), min_size=1))
def test_a_duration_is_the_sum_of_its_parts(parts: dict[str, int]) -> None:
    seconds = {"w": 604_800, "d": 86_400, "h": 3_600, "m": 60, "s": 1}
    text = "".join(f"{count}{unit}" for unit, count in parts.items())
    assert parse_duration(text).total_seconds() == sum(count * seconds[unit] for unit, count in parts.items())


@pytest.mark.parametrize("text", ["", "7", "d", "-1d", "1.5h", "1d 2h", "7D", "9999999999w", "\uff11d"])
def test_anything_else_is_no_duration(text: str) -> None:
    with pytest.raises(UnreadableDuration):
        parse_duration(text)


def test_a_fixed_clock_stands_until_it_is_moved_and_goes_forward_only() -> None:
    start = datetime(2026, 1, 31, 9, tzinfo=UTC)
    clock = FixedClock(start)
    assert (clock.now(), clock.now()) == (start, start)
    assert clock.forward(WEEK) == clock.now() == start + WEEK
    with pytest.raises(BackwardClock):
        clock.set(start)


def test_a_clock_that_would_go_beyond_a_century_stays_where_it_was(tmp_path: Path) -> None:
    clock = SimulatedClock(tmp_path / "clock")
    clock.advance(timedelta(days=7))
    for far in (timedelta(days=36_525), timedelta.max):
        with pytest.raises(ClockTooFarAhead):
            clock.advance(far)
    assert clock.lead == timedelta(days=7)
    assert clock.now() < datetime.now(UTC) + timedelta(days=8)
