"""Commands that need facts from elsewhere: looked up here, and put on the command."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple
from uuid import UUID, uuid5

from upwell_feedback.aggregates import PAIR_REFLECTIONS, QUESTION_SET
from upwell_feedback.domain.question_set import (
    DEFAULT,
    DEFAULT_ID,
    QuestionSet,
    asking_with,
    question_set,
    set_of,
)
from upwell_feedback.domain.reflections import (
    Answer,
    RequestingCommand,
    SubmitReflection,
    Unheard,
    asked_by,
    pair_reflections,
)
from upwell_feedback.domain.reflections import State as Reflections
from upwell_feedback.domain.visibility import Visibility
from upwell_shared import erasing
from upwell_shared.decider import DomainError
from upwell_shared.event_store import EventStore
from upwell_shared.events import Envelope
from upwell_shared.handling import Handler, Intent, Outcome
from upwell_shared.privacy import Texts
from upwell_shared.todos import Carry

ANSWER = "answer"
"""The field of texts that are answers."""


class AnswerGiven(NamedTuple):
    """An answer as its author sends it."""

    question_id: str
    text: str
    visibility: Visibility


async def question_set_of_id(store: EventStore, question_set_id: UUID) -> QuestionSet | None:
    """A question set with all its versions, as it is now."""
    if question_set_id == DEFAULT_ID:
        return DEFAULT
    found = (await store.load(question_set_id))[question_set_id]
    if found.type != QUESTION_SET.name:
        return None
    state = question_set.fold(found.events)
    return state if isinstance(state, QuestionSet) else None


async def in_force(store: EventStore, programme_id: UUID) -> tuple[UUID, QuestionSet]:
    """What the pairs of a programme are asked with now: its own set, else the one that ships."""
    question_set_id = set_of(programme_id)
    found = await question_set_of_id(store, question_set_id)
    return (DEFAULT_ID, DEFAULT) if found is None else (question_set_id, found)


async def reflections_of(store: EventStore, stream_id: UUID) -> Reflections:
    """The reflections of a pair as they are now: who may read what is asked of no table that may lag behind."""
    found = (await store.load(stream_id))[stream_id]
    return pair_reflections.fold(found.events) if found.type == PAIR_REFLECTIONS.name else Unheard()


def carrying_out(handler: Handler, store: EventStore, texts: Texts) -> Carry:
    """How this service carries out its to-dos: pairs are asked with the question set in force at that moment, but for
    those whose erasure was acknowledged by then; and a receipt is given once the texts are erased.
    """
    send = erasing.carrying_out(handler, texts.erase)

    async def carry(stream_id: UUID, command: object, envelope: Envelope) -> Outcome:
        if isinstance(command, RequestingCommand):
            asking = asking_with(*await in_force(store, command.programme_id))
            people = asked_by(command, await reflections_of(store, stream_id))
            erased = frozenset({person for person in people if await _is_erased(store, person)})
            return await send(stream_id, replace(command, asking=asking, erased=erased), envelope)
        return await send(stream_id, command, envelope)

    return carry


async def _is_erased(store: EventStore, person_id: UUID) -> bool:
    # The stream that `erasing.asked` sends to.
    receipt = uuid5(person_id, "erasure")
    return bool((await store.load(receipt))[receipt].events)


async def submit(
    handler: Handler,
    store: EventStore,
    texts: Texts,
    *,
    stream_id: UUID,
    reflection_id: UUID,
    author: UUID,
    answers: Sequence[AnswerGiven],
    envelope: Envelope,
    fingerprint: bytes,
) -> Outcome:
    """Keeps the texts of the answers, then submits the reflection. Raises what `decide` and `Texts.write` raise.

    Of what a rule refuses no text is kept. Called again after a crash it writes no second ones.
    """
    # Of the request as a whole: were they of its key alone, a first try that died here would put its own texts into
    # a second one that says something else.
    kept = [
        Answer(
            question_id=answer.question_id,
            text_id=uuid5(envelope.command_id, f"{fingerprint.hex()} {answer.question_id}"),
            visibility=answer.visibility,
        )
        for answer in answers
    ]
    submitting = SubmitReflection(reflection_id=reflection_id, author=author, answers=tuple(kept))
    if _applies(submitting, await reflections_of(store, stream_id)):
        for answer, given in zip(kept, answers, strict=True):
            await texts.write(answer.text_id, subject=author, author=author, field=ANSWER, text=given.text)
    return await handler.handle(
        Intent(PAIR_REFLECTIONS, stream_id, submitting), envelope=envelope, fingerprint=fingerprint
    )


def _applies(submitting: SubmitReflection, state: Reflections) -> bool:
    # A refusal is the handler's to give, or its earlier answer.
    try:
        return bool(pair_reflections.decide(submitting, state))
    except DomainError:
        return False
