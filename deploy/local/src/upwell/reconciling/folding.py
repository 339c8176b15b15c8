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

    units: dict[str, Row] = field(default_factory=dict)
    """organisation, parent, closed"""
    programmes: dict[str, Row] = field(default_factory=dict)
    """units, closed"""
    cohorts: dict[str, Row] = field(default_factory=dict)
    """programme, first day, last day, closed"""
    enrolments: dict[str, Row] = field(default_factory=dict)
    """cohort, person, role, withdrawn"""
    pairs: dict[str, Row] = field(default_factory=dict)
    """programme, mentor, mentee, reply by, planned sessions, last day, state"""
    insides: dict[str, Row] = field(default_factory=dict)
    """Of pairs: reminded, declined by, ended by, reason of the end, no fault, inversion broken, independence broken"""
    accepted: set[Row] = field(default_factory=set)
    """pair, side"""
    sessions: dict[str, Row] = field(default_factory=dict)
    """pair, number, starts at (UTC), minutes, state, disputed at some time"""
    commitments: dict[Row, int] = field(default_factory=dict)
    """pair, side, commitment → how many"""
    reflections: dict[str, Row] = field(default_factory=dict)
    """pair, person, stage, due on, submitted"""
    people: dict[str, Row] = field(default_factory=dict)
    """organisation, unit they stood in last (unless erased), present"""
    timeline: set[str] = field(default_factory=set)
    """Events that some pair's page shows."""


def fold(records: Iterable[tuple[Place, Told]]) -> Answers:
    """In order of channel, key and sequence: what is shown must not depend on more."""
    folding = _Folding()
    for _, told in sorted(records, key=lambda record: (record[0][0], str(record[0][1]), record[0][2])):
        folding.take(told)
    return folding.finished()


class _Folding:
    def __init__(self) -> None:
        self._answers = Answers()
        self._ended: dict[str, str] = {}
        self._disputed: set[str] = set()
        self._standing: dict[str, tuple[str, str]] = {}
        self._places: dict[str, str] = {}
        self._insides: dict[str, dict[str, Any]] = {}

    def take(self, told: Told) -> None:
        name, body = told.type.split(".")[-2], told.body
        answers = self._answers
        held: Row
        if "pair_id" in body:
            answers.timeline.add(str(told.event_id))
        match name:
            case "UnitOpened" | "UnitMoved":
                answers.units[body["unit_id"]] = (body["organisation_id"], body["parent_id"], False)
            case "UnitClosed":
                answers.units[body["unit_id"]] = (*answers.units[body["unit_id"]][:-1], True)
            case "PersonJoined" | "PersonLeft" | "PersonErased":
                self._standing[body["person_id"]] = (name, body["organisation_id"])
            case "PersonMoved":
                self._places[body["person_id"]] = body["unit_id"]
            case "ProgrammeOpened":
                answers.programmes[body["programme_id"]] = (" ".join(sorted(body["unit_ids"])), False)
            case "ProgrammeClosed":
                self._last(answers.programmes, body["programme_id"], value=True)
            case "CohortOpened":
                held = (body["programme_id"], body["starts_on"], body["ends_on"], False)
                answers.cohorts[body["cohort_id"]] = held
            case "CohortClosed":
                self._last(answers.cohorts, body["cohort_id"], value=True)
            case "EnrolmentSubmitted":
                held = (body["cohort_id"], body["person_id"], body["role"], False)
                answers.enrolments[body["enrolment_id"]] = held
            case "EnrolmentWithdrawn":
                self._last(answers.enrolments, body["enrolment_id"], value=True)
            case "ReflectionRequested":
                held = (body["pair_id"], body["person_id"], body["stage"], body["due_on"], False)
                answers.reflections[body["reflection_id"]] = held
            case "ReflectionSubmitted":
                self._last(answers.reflections, body["reflection_id"], value=True)
            case "SessionDisputed":
                self._disputed.add(body["session_id"])
            case _ if name in _SESSION_STATES:
                self._session(name, body)
            case "CommitmentRecorded":
                line = (body["pair_id"], body["side"], body["commitment"])
                answers.commitments[line] = answers.commitments.get(line, 0) + 1
            case _ if "pair_id" in body:
                self._pair(name, body)
            case _:
                pass

    def _pair(self, name: str, body: dict[str, Any]) -> None:
        pair_id = body["pair_id"]
        pairs = self._answers.pairs
        match name:
            case "PairProposed":
                ids = (body["programme_id"], body["mentor_id"], body["mentee_id"])
                pairs[pair_id] = (*ids, _utc(body["reply_by"]), None, None, "proposed")
            case "PairCreated" | "PairExtended":
                *proposed, _, _, state = pairs[pair_id]
                state = "active" if name == "PairCreated" else state
                pairs[pair_id] = (*proposed, body["sessions"], body["ends_on"], state)
            case _ if name in _PAIR_STATES:
                self._last(pairs, pair_id, value=_PAIR_STATES[name])
            case "PairAccepted":
                self._answers.accepted.add((pair_id, body["side"]))
                self._insides.setdefault(pair_id, {})
            case _:
                self._inside(name, body)

    def _inside(self, name: str, body: dict[str, Any]) -> None:
        pair_id = body["pair_id"]
        inside = self._insides.setdefault(pair_id, {})
        match name:
            case "PairReplyReminded":
                inside["reminded"] = True
            case "PairRuleBreached" | "PairRuleRestored":
                inside[body["rule"]] = name == "PairRuleBreached"
            case "PairEndExplained":
                inside.update(ended_by=body["by"], reason=body["reason"], no_fault=body["no_fault"])
            case _ if name in _PROPOSAL_ENDS:
                self._ended[pair_id] = _PROPOSAL_ENDS[name]
                inside["declined_by"] = body.get("side")
            case _:
                pass

    def _session(self, name: str, body: dict[str, Any]) -> None:
        sessions, id_ = self._answers.sessions, body["session_id"]
        pair_id, number, starts_at, minutes, _ = sessions.get(
            id_, (body["pair_id"], body.get("number"), None, None, None)
        )
        if "starts_at" in body:
            starts_at, minutes = _utc(body["starts_at"]), body["minutes"]
        sessions[id_] = (pair_id, number, starts_at, minutes, _SESSION_STATES[name])

    def finished(self) -> Answers:
        answers = self._answers
        for pair_id, state in self._ended.items():
            self._last(answers.pairs, pair_id, value=state)
        for session_id, row in answers.sessions.items():
            answers.sessions[session_id] = (*row, session_id in self._disputed)
        for person_id, (name, organisation_id) in self._standing.items():
            unit = None if name == "PersonErased" else self._places.get(person_id)
            answers.people[person_id] = (organisation_id, unit, name == "PersonJoined")
        for pair_id, inside in self._insides.items():
            told = (inside.get(key) for key in ("declined_by", "ended_by", "reason", "no_fault"))
            broken = (inside.get(rule, False) for rule in ("inversion", "independence"))
            answers.insides[pair_id] = (inside.get("reminded", False), *told, *broken)
        return answers

    def _last(self, rows: dict[str, Row], key: str, *, value: object) -> None:
        rows[key] = (*rows[key][:-1], value)


def _utc(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)
