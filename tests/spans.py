"""Spans as an SDK sees them, for tests that look at them."""

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from upwell_shared import tracing


def exported(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    """What this process traces until the test is over."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    # Not by set_tracer_provider, which a process can call but once.
    monkeypatch.setattr(tracing._ours, "tracer", provider.get_tracer("upwell"))  # noqa: SLF001
    return exporter


def id_of(of: ReadableSpan) -> str:
    """As a traceparent names it."""
    context = of.get_span_context()
    assert context is not None
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-01"


def parent_of(of: ReadableSpan) -> str | None:
    """The traceparent it is below."""
    return None if of.parent is None else f"00-{of.parent.trace_id:032x}-{of.parent.span_id:016x}-01"


def links_of(of: ReadableSpan) -> set[str]:
    """The traceparents it links to."""
    return {f"00-{each.context.trace_id:032x}-{each.context.span_id:016x}-01" for each in of.links}
