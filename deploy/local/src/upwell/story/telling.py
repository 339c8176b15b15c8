"""A story as lines for people, and as JSON for programs."""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from rich.text import Text
from rich.tree import Tree

from upwell.story.facts import Heard, Promise, Taking
from upwell.story.ordering import Done, Happened, Step, Told, walked


def heading(correlation_id: UUID, steps: Sequence[Step]) -> str:
    """What it comes to."""
    every = list(walked(steps))
    done = [step for step in every if isinstance(step, Done)]
    events = sum(len(step.events) for step in done)
    open_ = len(every) - len(done)
    services = sorted({step.service for step in every})
    return (
        f"correlation {correlation_id}: {len(done)} commands, {events} events in {', '.join(services)}"
        + (f"; {open_} promised" if open_ else "")
        + ". Times are the services' clock, UTC."
    )


def as_trees(steps: Sequence[Step]) -> Iterator[Tree]:
    """A tree for each beginning."""
    for step in steps:
        tree = Tree(Text(_line(step), "bold" if isinstance(step, Done) else "yellow"))
        _below(tree, step)
        yield tree


def _below(tree: Tree, step: Step) -> None:
    if isinstance(step, Promise):
        return
    for each in step.events:
        branch = tree.add(Text(_event(each)))
        for told in each.told:
            _add_told(branch, told)
        _add_steps(branch, each.led_to)


def _add_told(branch: Tree, told: Told) -> None:
    each = told.publication
    relayed = "" if each.relayed else ", the relay has not come to it yet"
    line = f"told: {each.type} #{each.sequence} in {each.channel}, {each.event_id}{relayed}"
    below = branch.add(Text(line, "cyan" if each.relayed else "yellow"))
    if told.heard:
        wrong = any(heard.taking is not Taking.TAKEN for heard in told.heard)
        below.add(Text("; ".join(_heard(heard) for heard in told.heard), "yellow" if wrong else "green"))
    _add_steps(below, told.led_to)


def _add_steps(branch: Tree, steps: Sequence[Step]) -> None:
    for step in steps:
        below = branch.add(Text(_line(step), "bold" if isinstance(step, Done) else "yellow"))
        _below(below, step)


def _line(step: Step) -> str:
    if isinstance(step, Done):
        began = _time(step.events[0].event.recorded_at)
        after = "" if step.after is None else f" (+{_span(step.after)})"
        return f"{step.service}: command {step.command_id} at {began}{after}"
    told = {
        "timer": f"is due at {'' if step.due_at is None else _time(step.due_at)}",
        "parked": f"is parked: {step.parked_because}",
        "postponed": f"is postponed after {step.attempts} attempts",
        "open": "is to be carried out",
    }[step.state]
    return f"{step.service}: {step.type} {told}, command {step.command_id}, stream {step.stream_id}"


def _event(happened: Happened) -> str:
    event = happened.event
    behind = f", not read yet by {', '.join(event.behind)}" if event.behind else ""
    return f"{event.type} {event.event_id}, stream {event.stream_id} version {event.version}{behind}"


def _heard(heard: Heard) -> str:
    if heard.taking is Taking.PARKED:
        return f"{heard.service}: parked after {heard.attempts} attempts, {heard.error}"
    return f"{heard.service}: {heard.taking.value}"


def _time(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S}.{moment.microsecond // 1000:03}"


def _span(span: timedelta) -> str:
    """`0.012 s`, `3.5 s`, `2 days, 0:00:03`."""
    seconds = span.total_seconds()
    return f"{seconds:.3f} s" if seconds < 60 else str(timedelta(seconds=round(seconds)))


def as_json(step: Step) -> dict[str, Any]:
    """Nested as it was caused; times in ISO 8601, ids as text."""
    if isinstance(step, Promise):
        return {
            "service": step.service,
            "promised": step.type,
            "state": step.state,
            "command_id": str(step.command_id),
            "stream_id": str(step.stream_id),
            "since": _iso(step.since),
            "due_at": _iso(step.due_at),
            "attempts": step.attempts,
            "parked_because": step.parked_because,
        }
    return {
        "service": step.service,
        "command_id": str(step.command_id),
        "at": _iso(step.events[0].event.recorded_at),
        "after_seconds": None if step.after is None else step.after.total_seconds(),
        "events": [_event_as_json(each) for each in step.events],
    }


def _event_as_json(happened: Happened) -> dict[str, Any]:
    event = happened.event
    return {
        "type": event.type,
        "event_id": str(event.event_id),
        "stream_id": str(event.stream_id),
        "version": event.version,
        "recorded_at": _iso(event.recorded_at),
        "not_read_by": list(event.behind),
        "told": [_told_as_json(told) for told in happened.told],
        "led_to": [as_json(step) for step in happened.led_to],
    }


def _told_as_json(told: Told) -> dict[str, Any]:
    each = told.publication
    return {
        "type": each.type,
        "event_id": str(each.event_id),
        "channel": each.channel,
        "sequence": each.sequence,
        "relayed": each.relayed,
        "heard": {
            heard.service: {"state": heard.taking.value, "error": heard.error, "attempts": heard.attempts}
            for heard in told.heard
        },
        "led_to": [as_json(step) for step in told.led_to],
    }


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()
