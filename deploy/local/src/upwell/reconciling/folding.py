"""What the gateway must show, folded from the records of the log by code of its own.

Shapes are those of the questions, not of the gateway's tables: a dictionary for each, by id.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from upwell.reconciling.log import Told
from upwell.reconciling.stores import Place

Row = tuple[Any, ...]

_PAIR_STATES = {
    "PairProposed": "proposed",
    "PairCreated": "active",
    "PairPaused": "paused",
    "PairResumed": "active",
    "PairCompleted": "completed",
    "PairEnded": "ended",
}
_PROPOSAL_ENDS = {
    "PairDeclined": "declined",
    "PairProposalExpired": "expired",
    "PairProposalWithdrawn": "withdrawn",
}
_SESSION_STATES = {
    "SessionScheduled": "scheduled",
    "SessionRescheduled": "scheduled",
    "SessionCancelled": "cancelled",
    "SessionHeld": "held",
    "SessionMissed": "missed",
    "SessionUnconfirmed": "unconfirmed",
}


@dataclass
class Answers:
    """What every page is made of."""

    programmes: dict[str, Row] = field(default_factory=dict)
    """closed"""
    cohorts: dict[str, Row] = field(default_factory=dict)
    """programme, closed"""
    enrolments: dict[str, Row] = field(default_factory=dict)
    """cohort, person, role, withdrawn"""
    pairs: dict[str, Row] = field(default_factory=dict)
    """programme, mentor, mentee, state"""
    accepted: set[Row] = field(default_factory=set)
    """pair, side"""
    sessions: dict[str, Row] = field(default_factory=dict)
    """pair, number, starts at (UTC), state, disputed at some time"""
    commitments: dict[Row, int] = field(default_factory=dict)
    """pair, side, commitment → how many"""
    reflections: dict[str, Row] = field(default_factory=dict)
    """pair, person, stage, submitted"""
    people: dict[str, Row] = field(default_factory=dict)
    """organisation, present"""
    timeline: set[str] = field(default_factory=set)
    """Events that some pair's page shows."""


def fold(records: Iterable[tuple[Place, Told]]) -> Answers:
    """In order of channel, key and sequence: what is shown must not depend on more."""
    answers = Answers()
    ended: dict[str, str] = {}
    disputed: set[str] = set()
    for _, told in sorted(records, key=lambda record: (record[0][0], str(record[0][1]), record[0][2])):
        name, body = told.type.split(".")[-2], told.body
        if "pair_id" in body:
            answers.timeline.add(str(told.event_id))
        match name:
            case "PersonJoined" | "PersonLeft" | "PersonErased":
                answers.people[body["person_id"]] = (body["organisation_id"], name == "PersonJoined")
            case "ProgrammeOpened" | "ProgrammeClosed":
                answers.programmes[body["programme_id"]] = (name == "ProgrammeClosed",)
            case "CohortOpened" | "CohortClosed":
                answers.cohorts[body["cohort_id"]] = (body["programme_id"], name == "CohortClosed")
            case "EnrolmentSubmitted":
                answers.enrolments[body["enrolment_id"]] = (
                    *(body["cohort_id"], body["person_id"], body["role"]),
                    False,
                )
            case "EnrolmentWithdrawn":
                held = answers.enrolments[body["enrolment_id"]]
                answers.enrolments[body["enrolment_id"]] = (*held[:-1], True)
            case "PairProposed":
                answers.pairs[body["pair_id"]] = (
                    *(body["programme_id"], body["mentor_id"], body["mentee_id"]),
                    "proposed",
                )
            case _ if name in _PAIR_STATES:
                held = answers.pairs[body["pair_id"]]
                answers.pairs[body["pair_id"]] = (*held[:-1], _PAIR_STATES[name])
            case _ if name in _PROPOSAL_ENDS:
                ended[body["pair_id"]] = _PROPOSAL_ENDS[name]
            case "PairAccepted":
                answers.accepted.add((body["pair_id"], body["side"]))
            case "SessionDisputed":
                disputed.add(body["session_id"])
            case _ if name in _SESSION_STATES:
                _session(answers, name, body)
            case "CommitmentRecorded":
                line = (body["pair_id"], body["side"], body["commitment"])
                answers.commitments[line] = answers.commitments.get(line, 0) + 1
            case "ReflectionRequested" | "ReflectionSubmitted":
                answers.reflections[body["reflection_id"]] = (
                    *(body["pair_id"], body["person_id"], body["stage"]),
                    name == "ReflectionSubmitted",
                )
            case _:
                pass
    for pair_id, state in ended.items():
        answers.pairs[pair_id] = (*answers.pairs[pair_id][:-1], state)
    for session_id, row in answers.sessions.items():
        answers.sessions[session_id] = (*row, session_id in disputed)
    return answers


def _session(answers: Answers, name: str, body: dict[str, Any]) -> None:
    pair_id, number, starts_at, _ = answers.sessions.get(
        body["session_id"], (body["pair_id"], body.get("number"), None, None)
    )
    if "starts_at" in body:
        starts_at = datetime.fromisoformat(body["starts_at"]).astimezone(UTC)
    answers.sessions[body["session_id"]] = (pair_id, number, starts_at, _SESSION_STATES[name])
