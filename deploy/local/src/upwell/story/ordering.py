"""Orders the facts of a correlation by cause: a command, its events, what was told of them, and what that led to."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID

from upwell.story.facts import Event, Facts, Heard, Promise, Publication


@dataclass(slots=True)
class Told:
    """A published event, how far its listeners are, and what it led to there."""

    publication: Publication
    heard: list[Heard] = field(default_factory=list)
    led_to: "list[Done | Promise]" = field(default_factory=list)


@dataclass(slots=True)
class Happened:
    """An event, what was told of it, and what its own service did about it, timers above all."""

    event: Event
    told: list[Told] = field(default_factory=list)
    led_to: "list[Done | Promise]" = field(default_factory=list)


@dataclass(slots=True)
class Done:
    """A command that was carried out. `after`: how long after its cause was recorded; None for one that begins."""

    service: str
    command_id: UUID
    causation_id: UUID | None
    events: list[Happened]
    after: timedelta | None = None


Step = Done | Promise


def ordered(facts: Facts) -> list[Step]:
    """Where the story begins; everything else hangs below what led to it, in the order it was recorded in.

    What names a cause that is in none of the stores begins for itself.
    """
    done = _commands(facts)
    happened = {each.event.event_id: each for command in done for each in command.events}
    told = {each.publication.event_id: each for event in happened.values() for each in event.told}
    causes: dict[UUID, Happened | Told] = {**happened, **told}
    roots: list[Step] = []
    steps: list[Step] = [*done, *facts.promises]
    for step in steps:
        cause = None if step.causation_id is None else causes.get(step.causation_id)
        (roots if cause is None else cause.led_to).append(step)
        if cause is not None and isinstance(step, Done):
            source = cause if isinstance(cause, Happened) else happened[cause.publication.source_id]
            step.after = step.events[0].event.recorded_at - source.event.recorded_at
    return roots


def _commands(facts: Facts) -> list[Done]:
    told: dict[UUID, list[Told]] = defaultdict(list)
    heard: dict[UUID, list[Heard]] = defaultdict(list)
    for each in facts.heard:
        heard[each.event_id].append(each)
    for publication in facts.publications:
        told[publication.source_id].append(Told(publication, heard[publication.event_id]))
    by_command: dict[tuple[str, UUID], list[Event]] = defaultdict(list)
    for event in facts.events:
        by_command[event.service, event.command_id].append(event)
    found = [
        Done(
            service,
            command_id,
            events[0].causation_id,
            [Happened(event, told[event.event_id]) for event in events],
        )
        for (service, command_id), events in by_command.items()
    ]
    return sorted(found, key=lambda command: command.events[0].event.recorded_at)


def narrowed(roots: Sequence[Step], command_id: UUID) -> list[Step]:
    """Only what led to that command, and all that followed from it."""
    return [kept for root in roots if (kept := _narrowed(root, command_id)) is not None]


def _narrowed(step: Step, command_id: UUID) -> Step | None:
    if step.command_id == command_id:
        return step
    if isinstance(step, Promise):
        return None
    kept: list[Happened] = []
    for each in step.events:
        of_event = narrowed(each.led_to, command_id)
        of_told = [
            Told(told.publication, [], led_to)
            for told in each.told
            if (led_to := narrowed(told.led_to, command_id))
        ]
        if of_event or of_told:
            kept.append(Happened(each.event, of_told, of_event))
    return Done(step.service, step.command_id, step.causation_id, kept, step.after) if kept else None


def walked(steps: Sequence[Step]) -> Iterator[Step]:
    """Every step, causes before what they led to."""
    for step in steps:
        yield step
        if isinstance(step, Done):
            for event in step.events:
                yield from walked(event.led_to)
                for told in event.told:
                    yield from walked(told.led_to)
