"""Reflections as one reader may see them: every answer that is shown to anybody goes through here."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple
from uuid import UUID

from upwell_feedback.api.bodies import AskedQuestion, RequestedReflection, VisibleAnswer, asked_questions
from upwell_feedback.commands import question_set_of_id, reflections_of
from upwell_feedback.domain.question_set import QuestionSet
from upwell_feedback.domain.reflections import Answer, Answered, Reflection, Unheard
from upwell_feedback.domain.visibility import Reader, may_read, reader_of
from upwell_feedback.projections.reflections import Row
from upwell_shared.event_store import EventStore
from upwell_shared.privacy import Texts


class Seen(NamedTuple):
    """A reflection with nothing in it that its reader may not see."""

    request: RequestedReflection
    questions: list[AskedQuestion]
    answers: list[VisibleAnswer]


def reader_of_row(row: Row, person_id: UUID, *, in_team: bool) -> Reader:
    """Who somebody is to what was, or will be, answered there."""
    return reader_of(person_id, row.person_id, (row.person_id, row.other_id), in_team=in_team)


async def seen(store: EventStore, texts: Texts, rows: Sequence[tuple[Row, Reader]]) -> list[Seen]:
    """These reflections, each as its reader may see it, from the facts as they are now.

    Takes a query for each pair and question set among them, and one to each database for all the texts.
    """
    facts: dict[UUID, Reflection] = {}
    for stream_id in {row.stream_id for row, _ in rows}:
        state = await reflections_of(store, stream_id)
        facts |= {} if isinstance(state, Unheard) else state.reflections
    sets: dict[UUID, QuestionSet] = {}
    for question_set_id in {row.question_set_id for row, _ in rows}:
        found = await question_set_of_id(store, question_set_id)
        if found is not None:
            sets[question_set_id] = found
    visible = [_visible(facts[row.reflection_id], reader) for row, reader in rows]
    kept = await texts.read_many([answer.text_id for answers in visible for answer in answers])
    return [
        Seen(
            RequestedReflection.of(replace(row, submitted=isinstance(facts[row.reflection_id], Answered))),
            asked_questions(
                sets[row.question_set_id].versions[row.question_set_version - 1],
                facts[row.reflection_id].request.question_ids,
            ),
            [VisibleAnswer.of(answer, kept[answer.text_id]) for answer in answers],
        )
        for (row, _), answers in zip(rows, visible, strict=True)
    ]


def _visible(reflection: Reflection, reader: Reader) -> list[Answer]:
    if not isinstance(reflection, Answered):
        return []
    return [answer for answer in reflection.answers if may_read(reader, answer.visibility)]
