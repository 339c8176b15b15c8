"""The outermost layer: one pure ASGI middleware around everything a request can run into."""

import asyncio
import time
from typing import Self
from uuid import UUID

import structlog
from opentelemetry.trace import Span, StatusCode
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uuid_utils import uuid7

from upwell_shared import tracing
from upwell_shared.errors import Malformed, Unavailable, Violation
from upwell_shared.observability import bind_correlation, log_request, parse_traceparent
from upwell_shared.retrying import is_transient
from upwell_shared.web.problems import internal_error, problem_of

log = structlog.get_logger()

# Probes and scrapes come every few seconds, and tell something only when they fail.
_QUIET = frozenset({"/health/live", "/health/ready", "/metrics"})
_GUARDS = ((b"x-content-type-options", b"nosniff"),)
_NO_STORE = (b"cache-control", b"no-store")


class Edge:
    """Correlation, refusal of NUL, the time limit, the last resort for errors, and the access line.

    The limit counts until the response begins: a long download may take its time.
    """

    def __init__(self, app: ASGIApp, seconds: float) -> None:
        self._app = app
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        clean = _read_head(scope)
        correlation_id: str = scope["upwell.correlation_id"]
        status = 0

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = message["headers"]
                headers += (*_GUARDS, (b"upwell-correlation-id", correlation_id.encode()))
                if not any(name == b"cache-control" for name, _ in headers):
                    headers.append(_NO_STORE)
                limit.lift()
            await send(message)

        with (
            bind_correlation(correlation_id),
            tracing.span(
                scope["method"],
                kind="server",
                parent=scope["upwell.trace"],
                correlation_id=correlation_id,
            ) as span,
        ):
            if span is not None:
                scope["upwell.trace"] = tracing.traceparent(span)
            try:
                with _Limit(self._seconds) as limit:
                    if clean:
                        await self._app(scope, receive, sending)
                    else:
                        nul = Violation("request", "path, query or header", "must not hold the character NUL")
                        await problem_of(scope, Malformed(nul))(scope, receive, sending)
            except ClientDisconnect:
                status = 499  # nobody is left to answer
            except asyncio.CancelledError:
                if status or not scope["app"].state.draining:
                    raise
                # The time to finish is over. Whether a command was carried out is not known here: a retry finds out.
                await problem_of(scope, Unavailable())(scope, receive, sending)
            except Exception as error:
                if status:
                    log.exception("response_broken", route=_route_of(scope))
                    raise  # the server cuts the connection, so that the caller knows
                response = _last_resort(scope, error, timed_out=isinstance(error, _TimedOut))
                await response(scope, receive, sending)
            finally:
                if span is not None:
                    _tell(span, scope, status)
                if status >= 400 or scope["path"] not in _QUIET:
                    log_request(scope["method"], _route_of(scope), status, time.perf_counter() - began)


def _tell(span: Span, scope: Scope, status: int) -> None:
    span.update_name(f"{scope['method']} {_route_of(scope)}")
    span.set_attribute("http.response.status_code", status)
    if status >= 500:
        span.set_status(StatusCode.ERROR)


class _TimedOut(Exception):
    """A request took longer than it may."""


class _Limit:
    """`asyncio.timeout` without what a request does not need of it: a tenth of a small request's time."""

    __slots__ = ("_expired", "_seconds", "_task", "_timer")

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._expired = False

    def __enter__(self) -> Self:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 a coroutine of a server runs in a task
        self._task = task
        self._timer = asyncio.get_running_loop().call_later(self._seconds, self._expire)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        self._timer.cancel()
        # Another cancellation on top of ours is somebody else's wish, and stands.
        if self._expired and self._task.uncancel() == 0 and kind is asyncio.CancelledError:
            raise _TimedOut from error

    def lift(self) -> None:
        """From here on it may take as long as it takes."""
        self._timer.cancel()

    def _expire(self) -> None:
        self._expired = True
        self._task.cancel()


def _read_head(scope: Scope) -> bool:
    """Puts headers, correlation and trace into the scope; whether path, query and headers are free of NUL."""
    # Of a repeated header the first counts, as everywhere else.
    headers: dict[bytes, bytes] = dict(reversed(scope["headers"]))
    told, traced = headers.get(b"upwell-correlation-id"), headers.get(b"traceparent")
    trace = None if traced is None else parse_traceparent(traced.decode("latin-1"))
    correlation_id = None if told is None else _uuid(told)
    if correlation_id is None:
        correlation_id = str(uuid7() if trace is None else UUID(trace.trace_id))
    scope["upwell.headers"] = headers
    scope["upwell.correlation_id"] = correlation_id
    scope["upwell.trace"] = trace
    query: bytes = scope["query_string"]
    in_query = b"%00" in query or b"\x00" in query
    return (
        not in_query
        and "\x00" not in scope["path"]
        and b"\x00" not in b"".join([value for _, value in scope["headers"]])
    )


def _uuid(value: bytes) -> str | None:
    try:
        return str(UUID(value.decode("ascii")))
    except ValueError:
        return None


def _route_of(scope: Scope) -> str:
    # The template, never the path: a path holds ids at best and what somebody typed at worst.
    return getattr(scope.get("route"), "path_format", "unmatched")


def _last_resort(scope: Scope, error: Exception, *, timed_out: bool) -> Response:
    if timed_out:
        log.warning("request_timed_out", route=_route_of(scope))
    elif is_transient(error):
        log.warning("request_met_an_outage", route=_route_of(scope), exc_info=error)
    else:
        log.error("request_failed", route=_route_of(scope), exc_info=error)
        return internal_error(scope)
    return problem_of(scope, Unavailable())
