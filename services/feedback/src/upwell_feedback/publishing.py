"""Domain event → published events: the one door out. That somebody was asked and has answered, never what."""

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from upwell_feedback.domain import reflections
from upwell_shared import erasing
from upwell_shared.contracts import PublishedEvent
from upwell_shared.contracts import feedback as told


def publishing(stream_id: UUID, event: Any, state: Any) -> Iterable[PublishedEvent]:  # noqa: ARG001 the signature is the chassis's
    match event, state:
        case reflections.ReflectionRequested() as asked, reflections.Running() | reflections.Over():
            yield told.ReflectionRequested(
                reflection_id=asked.reflection_id,
                pair_id=state.pair.pair_id,
                programme_id=state.pair.programme_id,
                person_id=asked.person_id,
                stage=asked.stage.value,
                due_on=asked.due_on,
            )
        case reflections.ReflectionSubmitted(), reflections.Running() | reflections.Over():
            request = state.reflections[event.reflection_id].request
            yield told.ReflectionSubmitted(
                reflection_id=event.reflection_id,
                pair_id=state.pair.pair_id,
                programme_id=state.pair.programme_id,
                person_id=request.person_id,
                stage=request.stage.value,
            )
        case _:
            yield from erasing.told(told.CONTRACT.owner, event)
