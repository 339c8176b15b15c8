"""One trace from a request to its last effect, seen with OpenTelemetry's own SDK; and nothing of it without one."""

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from uuid import uuid4

import asyncpg
import orjson
import pytest
from httpx2 import ASGITransport, AsyncClient
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from tests.service_process import until
from tests.shared.example.__main__ import AnyToken
from tests.shared.example.app import EVENTS, Example
from tests.shared.example.settings import ExampleSettings
from tests.shared.world import NOW, all_events
from tests.spans import exported, id_of, links_of, parent_of
from upwell.servers.testing import SharedBroker
from upwell_shared.contracts.headers import load_headers
from upwell_shared.log_identity import ClusterClient
from upwell_shared.running import run_until
from upwell_shared.settings import Dsn
from upwell_shared.testing import FixedClock
from upwell_shared.testing.databases import Dsns
from upwell_shared.tracing import span

CAME = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
# A class, an id, a number, a template of a path: never a word of anybody's.
TOLD = re.compile(r"[A-Za-z0-9_.:/{} -]{1,80}")


@pytest.fixture
def exporter(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    return exported(monkeypatch)


@asynccontextmanager
async def example(
    dsns: Dsns, broker: SharedBroker, pool: asyncpg.Pool
) -> AsyncIterator[tuple[AsyncClient, Example]]:
    """The example in this process, with all its workers."""
    settings = ExampleSettings(
        database_url=Dsn(dsns.app),
        kafka_bootstrap=broker.bootstrap,
        owner=f"example{uuid4().hex[:8]}",
        consumer_session_ms=broker.session_timeout_ms,
        consumer_heartbeat_ms=broker.heartbeat_interval_ms,
        consumer_fetch_wait_ms=broker.fetch_max_wait_ms,
    )
    made = Example(settings, pool, clock=FixedClock(NOW))
    async with ClusterClient(broker.bootstrap) as cluster:
        await cluster.create(made.contract.channels)
    stop = asyncio.Event()
    running = asyncio.create_task(
        run_until(stop, *made.workers(["relay", "consume", "work"]), closing=made.closing)
    )
    headers = {"Authorization": "Bearer ada"}
    transport = ASGITransport(made.app(AnyToken()))
    try:
        async with AsyncClient(transport=transport, base_url="http://example", headers=headers) as http:
            yield http, made
    finally:
        stop.set()
        await running


async def done(http: AsyncClient, method: str, path: str, body: object = None, **headers: str) -> None:
    told = {"Idempotency-Key": str(uuid4())} | headers
    answer = await http.request(method, path, json=body, headers=told)
    assert answer.is_success, answer.text


async def booked(http: AsyncClient) -> tuple[str, str]:
    """A room, and a confirmed booking of one of its seats."""
    room, booking = str(uuid4()), str(uuid4())
    await done(http, "PUT", f"/v1/rooms/{room}", {"seats": 2})
    await done(http, "PUT", f"/v1/bookings/{booking}", {"room_id": room})
    await done(http, "POST", f"/v1/rooms/{room}/bookings/{booking}/confirm")
    return room, booking


async def freed(pool: asyncpg.Pool) -> bool:
    return bool(await pool.fetchval("SELECT count(*) FROM events WHERE type = 'SeatFreed'"))


async def test_one_trace_from_the_request_to_its_last_effect(
    dsns: Dsns, broker: SharedBroker, pool: asyncpg.Pool, exporter: InMemorySpanExporter
) -> None:
    async with example(dsns, broker, pool) as (http, _):
        _, booking = await booked(http)
        exporter.clear()
        # By names as httpx2 takes them: with underscores they would be others.
        headers = {"If-Match": '"2"', "traceparent": CAME}
        await done(http, "POST", f"/v1/bookings/{booking}/cancel", **headers)
        await until(lambda: freed(pool))
    spans = exporter.get_finished_spans()
    named = {each.name: each for each in spans}
    request, handled = named["POST /v1/bookings/{booking_id}/cancel"], named["handle CancelBooking"]
    assert (request.kind, parent_of(request)) == (SpanKind.SERVER, CAME)
    assert parent_of(handled) == id_of(request)
    todo, effect = named["to-do FreeSeat"], named["handle FreeSeat"]
    assert (todo.kind, parent_of(todo)) == (SpanKind.CONSUMER, id_of(handled))
    assert parent_of(effect) == id_of(todo)

    # What is stored and sent names the span it comes from.
    events = {type(each.event).__name__: each for each in await all_events(pool)}
    assert events["BookingCancelled"].envelope.traceparent == id_of(handled)
    assert events["SeatFreed"].envelope.traceparent == id_of(effect)
    stored = await pool.fetchval("SELECT headers FROM ledger ORDER BY tx DESC, position DESC LIMIT 1")
    assert dict(load_headers(stored))["ce_traceparent"] == id_of(handled).encode()

    # A page holds events of many traces, and links to them.
    pages = [each for each in spans if each.name == "relay page" and id_of(handled) in links_of(each)]
    taken = [each for each in spans if each.name == "consume" and id_of(handled) in links_of(each)]
    assert {each.kind for each in pages} == {SpanKind.PRODUCER}
    assert {each.kind for each in taken} == {SpanKind.CONSUMER}

    correlation = str(events["BookingCancelled"].envelope.correlation_id)
    for each in (request, handled, todo, effect):
        assert (each.attributes or {})["upwell.correlation_id"] == correlation
    for each in spans:
        assert TOLD.fullmatch(each.name), each.name
        assert all(TOLD.fullmatch(str(value)) for value in (each.attributes or {}).values()), each.attributes


async def test_a_timer_months_later_goes_on_with_the_trace_it_was_set_in(
    dsns: Dsns, broker: SharedBroker, pool: asyncpg.Pool, exporter: InMemorySpanExporter
) -> None:
    async with example(dsns, broker, pool) as (http, made):
        room, booking = str(uuid4()), str(uuid4())
        await done(http, "PUT", f"/v1/rooms/{room}", {"seats": 2})
        await done(http, "PUT", f"/v1/bookings/{booking}", {"room_id": room}, traceparent=CAME)

        async def is_set() -> bool:
            return bool(await pool.fetchval("SELECT count(*) FROM timers"))

        await until(is_set)
        await pool.execute("UPDATE timers SET due_at = $1", made.clock.now())

        async def expired() -> bool:
            return bool(await pool.fetchval("SELECT count(*) FROM todos") == 0) and not await is_set()

        await until(expired)
    named = {each.name: each for each in exporter.get_finished_spans()}
    assert parent_of(named["to-do ExpireBooking"]) == id_of(named["handle RequestBooking"])
    context = named["to-do ExpireBooking"].get_span_context()
    assert context is not None
    assert f"{context.trace_id:032x}" in CAME


async def test_a_refusal_is_told_by_its_class_alone(
    dsns: Dsns, broker: SharedBroker, pool: asyncpg.Pool, exporter: InMemorySpanExporter
) -> None:
    async with example(dsns, broker, pool) as (http, _):
        room, booking = await booked(http)
        await done(http, "POST", f"/v1/bookings/{booking}/cancel", **{"If-Match": '"2"'})
        exporter.clear()
        refused = await http.post(
            f"/v1/rooms/{room}/bookings/{booking}/confirm", headers={"Idempotency-Key": "again"}
        )
        assert refused.status_code == 409
    handled = next(each for each in exporter.get_finished_spans() if each.name == "handle ConfirmBooking")
    assert (handled.status.status_code, handled.events) == (StatusCode.ERROR, ())
    assert handled.status.description is not None
    assert handled.status.description.isidentifier()
    # The service did what it should.
    request = next(each for each in exporter.get_finished_spans() if each.kind is SpanKind.SERVER)
    assert request.status.status_code is StatusCode.UNSET
    assert (request.attributes or {})["http.response.status_code"] == 409


async def test_without_an_sdk_a_traceparent_is_passed_on_as_it_came(
    dsns: Dsns, broker: SharedBroker, pool: asyncpg.Pool
) -> None:
    async with example(dsns, broker, pool) as (http, _):
        await done(http, "PUT", f"/v1/rooms/{uuid4()}", {"seats": 2}, traceparent=CAME)
    (opened,) = await all_events(pool)
    assert opened.envelope.traceparent == CAME
    assert type(opened.event) in {*EVENTS.classes.values()}


class Unseen:
    """Links that nobody may look at."""

    def __iter__(self) -> Iterator[str]:
        raise AssertionError


def test_without_an_sdk_nothing_is_made() -> None:
    with span("first", links=Unseen()) as one, span("second", parent=CAME, id=uuid4()) as other:
        assert one is None
        assert other is None
    assert span("first") is span("second")


def test_a_span_links_to_each_trace_once_and_to_no_more_than_anybody_reads(
    exporter: InMemorySpanExporter,
) -> None:
    many = [f"00-{number:032x}-{number:016x}-01" for number in range(1, 1000)]
    with span("page", links=[None, "nonsense", CAME, CAME, *many]):
        pass
    (page,) = exporter.get_finished_spans()
    assert CAME in links_of(page)
    assert len(page.links) == len(links_of(page)) == 128


@pytest.mark.parametrize(("provider", "found"), [(None, False), ("sdk_tracer_provider", True)])
def test_an_sdk_is_found_as_opentelemetry_configures_it(provider: str | None, *, found: bool) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    if provider is not None:
        environment["OTEL_PYTHON_TRACER_PROVIDER"] = provider
    program = "from upwell_shared.tracing import begin_tracing, span\nfound = begin_tracing()\n"
    program += "with span('x') as one: print('true' if found and one is not None else 'false')"
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    assert orjson.loads(done.stdout) is found
