"""Spans of OpenTelemetry, for those who bring an SDK; without one, asking costs a comparison.

Only the API is used. Who wants spans installs an SDK with an exporter and starts a service under it, as in
`opentelemetry-instrument python -m upwell_matching all`. Requests, commands and to-dos are spans below one another, by
the `traceparent` that events carry; a page of the relay or of a consumer holds events of many traces, and links to them.
A span says names of classes and ids, and of an error its class: what people wrote is in none.
"""

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Final, Literal
from uuid import UUID

from opentelemetry import trace
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    NoOpTracerProvider,
    ProxyTracerProvider,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    Tracer,
)

from upwell_shared.observability import Traceparent, parse_traceparent

Kind = Literal["internal", "server", "producer", "consumer"]

_KINDS: Final[dict[Kind, SpanKind]] = {
    "internal": SpanKind.INTERNAL,
    "server": SpanKind.SERVER,
    "producer": SpanKind.PRODUCER,
    "consumer": SpanKind.CONSUMER,
}
# A span that links to more is shown by nobody.
_MOST_LINKS: Final = 128

_OFF: Final[AbstractContextManager[None]] = nullcontext()


class _Tracing:
    """Of this process."""

    tracer: Tracer | None = None


_ours: Final = _Tracing()


def begin_tracing() -> bool:
    """Looks whether there is an SDK, and uses it from now on; to be called at a process's start. True if there is."""
    provider = trace.get_tracer_provider()
    # Asked once: to ask each time, or to make spans that nobody sees, would cost a small request a tenth of its time.
    absent = isinstance(provider, ProxyTracerProvider | NoOpTracerProvider)
    _ours.tracer = None if absent else provider.get_tracer("upwell")
    return not absent


def span(
    name: str,
    *,
    kind: Kind = "internal",
    parent: str | Traceparent | None = None,
    links: Iterable[str | None] = (),
    **attributes: str | int | UUID | None,
) -> AbstractContextManager[Span | None]:
    """A span around the block; None is given where nobody traces.

    `parent` is a traceparent, as text or as read; without one the span goes below the present one, if there is one. `links` are
    traceparents too, and are not looked at where nobody traces. Attributes are told as `upwell.<name>`.
    """
    if _ours.tracer is None:
        return _OFF
    return _begun(_ours.tracer, name, kind=kind, parent=parent, links=links, attributes=attributes)


def traceparent(of: Span) -> Traceparent:
    """What is passed on, so that what follows is below this span."""
    context = of.get_span_context()
    return Traceparent(f"{context.trace_id:032x}", f"{context.span_id:016x}", f"{context.trace_flags:02x}")


@contextmanager
def _begun(
    tracer: Tracer,
    name: str,
    *,
    kind: Kind,
    parent: str | Traceparent | None,
    links: Iterable[str | None],
    attributes: dict[str, str | int | UUID | None],
) -> Iterator[Span]:
    came = _context_of(parent)
    told = {
        f"upwell.{key}": each if isinstance(each, str | int) else str(each)
        for key, each in attributes.items()
        if each is not None
    }
    with tracer.start_as_current_span(
        name,
        context=None if came is None else trace.set_span_in_context(NonRecordingSpan(came)),
        kind=_KINDS[kind],
        attributes=told,
        links=list(_links(links)),
        # The SDK would write down the error's message, which may hold what a person wrote.
        record_exception=False,
        set_status_on_exception=False,
    ) as begun:
        try:
            yield begun
        except BaseException as error:
            begun.set_status(Status(StatusCode.ERROR, type(error).__name__))
            raise


def _links(traceparents: Iterable[str | None]) -> Iterator[Link]:
    seen: set[str] = set()
    for each in traceparents:
        if each is None or each in seen or (context := _context_of(each)) is None:
            continue
        seen.add(each)
        yield Link(context)
        if len(seen) == _MOST_LINKS:
            return


def _context_of(told: str | Traceparent | None) -> SpanContext | None:
    read = parse_traceparent(told) if isinstance(told, str) else told
    if read is None:
        return None
    return SpanContext(
        trace_id=int(read.trace_id, 16),
        span_id=int(read.parent_id, 16),
        is_remote=True,
        trace_flags=TraceFlags(int(read.flags, 16)),
    )
