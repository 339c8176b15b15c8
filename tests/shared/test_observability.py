import asyncio
import json
import logging
import subprocess
import sys
import warnings
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from enum import Enum
from uuid import UUID, uuid4

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from tests.shared.logs import Log, captured
from upwell_shared.decider import DomainError
from upwell_shared.observability import (
    Traceparent,
    begin_trace,
    bind_correlation,
    log_request,
    parse_traceparent,
    safe,
)

MARKER = "Ottoline Kingfisher <o.kingfisher@example.org>"
log = structlog.get_logger()


class BookingAlreadyClosed(DomainError):
    """The booking is closed."""


class Side(Enum):
    MENTOR = "Mentor side"


@pytest.fixture
def sink() -> Iterator[Log]:
    with captured("matching", "debug") as log:
        yield log


def fail(error: Exception) -> None:
    raise error


def test_a_line_is_an_event_with_key_values(sink: Log) -> None:
    pair = uuid4()
    log.info("pair_created", pair_id=pair, side=Side.MENTOR, after=timedelta(seconds=2), count=3, done=True)
    (line,) = sink.lines()
    assert datetime.fromisoformat(line.pop("at")).utcoffset() == timedelta(0)
    assert line == {
        "level": "info",
        "service": "matching",
        "event": "pair_created",
        "pair_id": str(pair),
        "side": "MENTOR",
        "after": 2.0,
        "count": 3,
        "done": True,
    }


def test_what_people_wrote_is_shown_as_its_type_alone(sink: Log) -> None:
    log.info("stored", text=MARKER, parts=[MARKER, 1], nested={"deep": MARKER}, raw=MARKER.encode())
    log.info(MARKER)
    stored, unnamed = sink.lines()
    assert (stored["text"], stored["parts"], stored["nested"]) == ("<str>", ["<str>", 1], {"deep": "<str>"})
    assert stored["raw"] == "<bytes>"
    assert unnamed["event"] == "<event>"


@given(st.text().filter(lambda text: not text.isascii() or " " in text or "@" in text))
def test_no_text_with_spaces_signs_or_letters_of_the_world_passes(text: str) -> None:
    assert safe(text) == "<str>"


def test_an_error_of_others_is_shown_as_type_and_place_without_its_message(sink: Log) -> None:
    try:
        try:
            fail(LookupError(MARKER))
        except LookupError as cause:
            raise ValueError(MARKER) from cause
    except ValueError:
        log.exception("import_failed")
    (line,) = sink.lines()
    assert [entry["type"] for entry in line["error"]] == ["builtins.ValueError", "builtins.LookupError"]
    assert any(":fail:" in frame for frame in line["error"][1]["frames"])
    assert MARKER not in sink.getvalue().decode()


def test_an_error_of_ours_keeps_its_message_and_a_group_its_members(sink: Log) -> None:
    group = ExceptionGroup(MARKER, [BookingAlreadyClosed(), ValueError(MARKER)])
    log.error("failed", exc_info=group)
    (line,) = sink.lines()
    assert line["error"][0]["errors"][0][0]["message"] == "The booking is closed."
    assert MARKER not in sink.getvalue().decode()


def test_lines_of_libraries_come_the_same_way_with_safe_arguments_only(sink: Log) -> None:
    logging.getLogger("aiokafka.conn").warning("Connect to %s: %s", "kafka:9092", MARKER)
    logging.getLogger("somelib").error(f"failed for {MARKER}")  # noqa: G004 what libraries do
    logging.getLogger("asyncio").error(f"Task was lost\nfuture: {MARKER}")  # noqa: G004 as above
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(capture=False)  # pytest put its own hook over that of the fixture
        logging.captureWarnings(capture=True)
        warnings.warn(MARKER, stacklevel=1)
        logging.captureWarnings(capture=False)
    lines = sink.lines()
    assert (lines[0]["text"], lines[0]["args"]) == ("Connect to %s: %s", ["kafka:9092", "<str>"])
    assert "text" not in lines[1]
    assert lines[2]["text"] == "Task was lost"
    assert lines[3]["logger"] == "py.warnings"
    assert all(":" in line["place"] for line in lines)
    assert "Kingfisher" not in sink.getvalue().decode()


def test_a_task_that_failed_unseen_is_reported_without_its_message(sink: Log) -> None:
    async def main() -> None:
        asyncio.get_running_loop().call_soon(fail, ValueError(MARKER))
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    asyncio.run(main())
    errors = [line for line in sink.lines() if line["level"] == "error"]
    assert errors[0]["error"][0]["type"] == "builtins.ValueError"
    assert "Kingfisher" not in sink.getvalue().decode()


def test_what_ends_the_process_is_told_without_its_message() -> None:
    code = (
        "from upwell_shared.observability import configure_logging\n"
        f"configure_logging('matching')\nraise ValueError({MARKER!r})"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert ended.returncode == 1
    assert json.loads(ended.stdout)["event"] == "uncaught"
    assert b"Kingfisher" not in ended.stdout + ended.stderr


async def test_a_correlation_reaches_tasks_started_under_it_and_ends_with_its_block(sink: Log) -> None:
    correlation = uuid4()

    async def later() -> None:
        log.info("later")

    with bind_correlation(correlation):
        task = asyncio.create_task(later())
        log_request("GET", "/v1/pairs/{pair_id}", 200, 0.0123)
        logging.getLogger("asyncpg").warning("slow")
    await task
    log.info("outside")
    *inside, outside = [line for line in sink.lines() if line.get("logger") != "asyncio"]
    assert {line["correlation_id"] for line in inside} == {str(correlation)}
    assert len(inside) == 3
    assert "correlation_id" not in outside
    assert (inside[0]["route"], inside[0]["ms"]) == ("/v1/pairs/{pair_id}", 12.3)


def test_lines_below_the_level_are_not_written() -> None:
    with captured("matching", "warning") as sink:
        log.info("quiet")
        log_request("GET", "/", 200, 0.0)
        logging.getLogger("uvicorn.error").info("quiet")
        log.warning("heard")
    assert [line["event"] for line in sink.lines()] == ["heard"]


def test_a_traceparent_is_read_and_written_as_w3c_says() -> None:
    text = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    assert str(parse_traceparent(text)) == text
    assert parse_traceparent(text.replace("00-", "cc-", 1) + "-more") == Traceparent(
        "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7", "01"
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
        "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
        "00-4BF92F3577B34DA6A3CE929D0E0E4736-00F067AA0BA902B7-01",
    ],
)
def test_what_is_no_traceparent_is_not_taken_for_one(text: str) -> None:
    assert parse_traceparent(text) is None


@given(st.uuids(allow_nil=False))
def test_a_trace_that_begins_here_is_valid_and_named_like_its_correlation(correlation: UUID) -> None:
    trace = begin_trace(correlation)
    assert parse_traceparent(str(trace)) == trace
    assert trace.trace_id == correlation.hex


def test_times_keep_their_offset() -> None:
    assert safe(datetime(2026, 1, 31, 9, tzinfo=UTC)) == "2026-01-31T09:00:00+00:00"
