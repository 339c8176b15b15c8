"""What happened, one JSON object a line, without a word of what people wrote.

A line is an event name and key-values. Names, contact data and free text cannot get into it by accident: a value is
shown only when its type or shape says it is an id, a number, a time or a short identifier, and an error that is not
ours is shown as its type and where it was raised, because messages of drivers quote values.
"""

import logging
import re
import sys
from collections.abc import Iterator, Mapping, MutableMapping
from contextvars import ContextVar
from datetime import UTC, date, datetime, timedelta
from enum import Enum
from types import FrameType, TracebackType
from typing import Any, BinaryIO, NamedTuple
from uuid import UUID

import orjson
import structlog

from upwell_shared.decider import DomainError
from upwell_shared.errors import UpwellError

_IDENTIFIER = re.compile(r"[A-Za-z0-9_.:/{}*+-]{1,128}")
_EVENT = re.compile(r"[a-z][a-z0-9_.]{0,63}")
_ITEMS, _FRAMES, _CAUSES = 20, 20, 5
# Libraries whose lines without arguments are texts of their own; of any other only the place is shown.
_TRUSTED = frozenset({"aiokafka", "asyncio", "asyncpg", "uvicorn"})

_service = "upwell"
_threshold = logging.INFO
_sink: BinaryIO | None = None
_correlation: ContextVar[str | None] = ContextVar("correlation_id", default=None)


def configure_logging(service: str, level: str = "info", stream: BinaryIO | None = None) -> None:
    """Routes structlog, stdlib logging and uncaught errors to `stream` (stdout) as JSON lines. May be called again.

    Before the first call nothing of ours is written but what structlog does by itself.
    """
    global _service, _sink, _threshold
    _service, _sink, _threshold = (
        service,
        stream or sys.stdout.buffer,
        logging.getLevelNamesMapping()[level.upper()],
    )
    structlog.configure(
        processors=[structlog.contextvars.merge_contextvars, structlog.processors.add_log_level, _render],
        wrapper_class=structlog.make_filtering_bound_logger(_threshold),
        logger_factory=_Lines,
    )
    root = logging.getLogger()
    root.handlers[:] = [_Foreign()]
    root.setLevel(_threshold)
    for chatty in ("aiokafka", "asyncio", "httpcore2", "httpx2"):
        logging.getLogger(chatty).setLevel(
            max(_threshold, logging.WARNING) if level != "debug" else logging.DEBUG
        )
    for ours in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logging.getLogger(ours).handlers.clear()
        logging.getLogger(ours).propagate = True
    logging.captureWarnings(capture=True)
    sys.excepthook = _uncaught


def log_request(method: str, route: str, status: int, seconds: float) -> None:
    """The access line. By hand, because the way through structlog costs a quarter of a small request."""
    if _sink is not None and _threshold <= logging.INFO:
        line = _head("info") | {"event": "request", "method": method, "route": route, "status": status}
        line["ms"] = round(seconds * 1000, 2)
        _write(orjson.dumps(line))


class bind_correlation:  # noqa: N801 it reads as the verb it is: `with bind_correlation(id):`
    """Every line written inside carries this id, also in tasks started there; asking costs next to nothing.

    One variable of its own, since structlog's way of binding costs a small request a tenth of its time.
    """

    __slots__ = ("_id", "_token")

    def __init__(self, correlation_id: UUID | str) -> None:
        self._id = str(correlation_id)

    def __enter__(self) -> None:
        self._token = _correlation.set(self._id)

    def __exit__(self, *_: object) -> None:
        _correlation.reset(self._token)


class Traceparent(NamedTuple):
    """The W3C trace context of a request. Where nobody traces it is passed on as it came: a span id that nobody reports
    would cut the caller's trace in two; where somebody does, `tracing` puts spans of its own in between.
    """

    trace_id: str
    parent_id: str
    flags: str = "01"

    def __str__(self) -> str:
        return f"00-{self.trace_id}-{self.parent_id}-{self.flags}"


_TRACEPARENT = re.compile(
    r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?"
)


def parse_traceparent(text: str) -> Traceparent | None:
    """None for what is not a traceparent; a later version is read as far as version 00 goes."""
    found = _TRACEPARENT.fullmatch(text)
    if found is None or (found[1] == "00" and found[5]):
        return None
    return Traceparent(found[2], found[3], found[4])


def begin_trace(correlation_id: UUID) -> Traceparent:
    """A trace that begins here: its id is the correlation id, so that either finds the other."""
    return Traceparent(
        correlation_id.hex, correlation_id.hex[16:] if correlation_id.int & (2**64 - 1) else "1" * 16
    )


def safe(value: object) -> object:
    """`value` as a log line may show it; `<type>` for anything that could be somebody's words."""
    result: object = f"<{type(value).__name__}>"
    if value is None or isinstance(value, bool | int | float):
        result = value
    elif isinstance(value, Enum):
        result = value.name
    elif isinstance(value, UUID):
        result = str(value)
    elif isinstance(value, datetime | date):
        result = value.isoformat()
    elif isinstance(value, timedelta):
        result = value.total_seconds()
    elif isinstance(value, str):
        result = str(value) if _IDENTIFIER.fullmatch(value) else result
    elif isinstance(value, type):
        result = value.__qualname__
    elif isinstance(value, Mapping):
        result = {str(safe(key)): safe(item) for key, item in list(value.items())[:_ITEMS]}
    elif isinstance(value, list | tuple | set | frozenset):
        result = [safe(item) for item in list(value)[:_ITEMS]]
    return result


def describe_error(error: BaseException) -> list[dict[str, object]]:
    """An error and its causes, outermost first: type, frames, and the message if the error is one of ours."""
    described: list[dict[str, object]] = []
    current: BaseException | None = error
    while current is not None and len(described) < _CAUSES:
        kind = type(current)
        entry: dict[str, object] = {"type": f"{kind.__module__}.{kind.__qualname__}"}
        if isinstance(current, UpwellError | DomainError):
            entry["message"] = str(current)
        entry["frames"] = [f"{_place(frame)}:{line}" for frame, line in _walk(current.__traceback__)][
            -_FRAMES:
        ]
        if isinstance(current, BaseExceptionGroup):
            entry["errors"] = [describe_error(member) for member in current.exceptions[:_CAUSES]]
        described.append(entry)
        current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)
    return described


def _walk(traceback: TracebackType | None) -> Iterator[tuple[FrameType, int]]:
    while traceback is not None:
        yield traceback.tb_frame, traceback.tb_lineno
        traceback = traceback.tb_next


def _place(frame: FrameType) -> str:
    # Module and function, not the file: a path tells about the machine.
    return f"{frame.f_globals.get('__name__', '?')}:{frame.f_code.co_name}"


def _head(level: str) -> dict[str, object]:
    line: dict[str, object] = {"at": datetime.now(UTC), "level": level, "service": _service}
    if (correlation_id := _correlation.get()) is not None:
        line["correlation_id"] = correlation_id
    return line


def _write(line: bytes) -> None:
    if _sink is not None:
        _sink.write(line + b"\n")
        _sink.flush()


def _render(_: object, __: str, event: MutableMapping[str, Any]) -> bytes:
    name, level = event.pop("event", ""), str(event.pop("level", "info"))
    raised = event.pop("exc_info", None)
    line = _head(level) | {"event": name if _EVENT.fullmatch(str(name)) else "<event>"}
    line |= {str(safe(key)): safe(value) for key, value in event.items()}
    if raised:
        error = raised if isinstance(raised, BaseException) else sys.exc_info()[1]
        if isinstance(raised, tuple):
            error = raised[1]
        if error is not None:
            line["error"] = describe_error(error)
    return orjson.dumps(line, default=lambda value: f"<{type(value).__name__}>")


class _Lines:
    """What structlog calls with a finished line, whatever its level."""

    def __init__(self, *_: object) -> None: ...

    def msg(self, line: bytes) -> None:
        _write(line)

    debug = info = warning = error = critical = exception = fatal = log = msg


class _Foreign(logging.Handler):
    """Lines of libraries: their text as it stands in their source, and of its arguments what is safe."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = _head(record.levelname.lower()) | {"event": "library", "logger": safe(record.name)}
            text = str(record.msg).strip().partition("\n")[0][:200]
            if record.args:
                line |= {"text": text, "args": safe(record.args)}
            elif record.name.partition(".")[0] in _TRUSTED and isinstance(record.msg, str):
                line["text"] = text
            line["place"] = f"{record.module}:{record.funcName}:{record.lineno}"
            if record.exc_info and (error := record.exc_info[1]) is not None:
                line["error"] = describe_error(error)
            _write(orjson.dumps(line))
        except Exception:  # noqa: BLE001 a line that cannot be written must not stop the work it tells of
            self.handleError(record)


def _uncaught(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, traceback)
        return
    _write(orjson.dumps(_head("critical") | {"event": "uncaught", "error": describe_error(error)}))
