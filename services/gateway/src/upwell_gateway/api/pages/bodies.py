"""What pages look like. They are written straight from the database; the tests hold them against these."""

from datetime import date, datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import Field

from upwell_shared.contracts import matching
from upwell_shared.contracts.feedback import Stage
from upwell_shared.contracts.sessions import Commitment
from upwell_shared.web.commands import Body

PairState = Literal["proposed", "declined", "expired", "withdrawn", "active", "paused", "completed", "ended"]
SessionState = Literal["scheduled", "held", "missed", "cancelled", "disputed", "unconfirmed"]
QueueKind = Literal["proposal", "disputed", "unconfirmed", "broken_rules"]


class Part(Body):
    """Something only its owner may tell; asked with the caller's token while the page is made, and never kept here.

    `forbidden`: not for this caller, or nothing this caller may know of. `unavailable`: the owner is away or too slow.
    """

    state: Literal["ok", "forbidden", "unavailable"]
    content: Any = Field(None, description="What the owner answered.")


class Parts(Body):
    """Absent with `parts=false`."""

    names: Part = Field(description="Of people: {person_id, state, given_name, family_name}.")
    programmes: Part = Field(description="`GET /v1/programmes`, which has their names.")


class ProgrammeLine(Body):
    programme_id: UUID
    unit_ids: list[UUID]
    opened_at: datetime
    closed_at: datetime | None
    enrolled: int
    open_pairs: int
    sessions_held: int


class ProgrammesParts(Body):
    programmes: Part


class ProgrammesPage(Body):
    items: list[ProgrammeLine]
    next: str | None
    parts: ProgrammesParts | None


class Cohort(Body):
    cohort_id: UUID
    starts_on: date
    ends_on: date
    open: bool
    enrolled: dict[matching.Side, int]


class Commitments(Body):
    """What one side did. `held` counts the sessions held of those this side had booked."""

    booked: int
    held: int
    moved: int
    cancelled: int
    said_held: int
    said_missed: int
    missed: int


class Asked(Body):
    asked: int
    submitted: int


class ProgrammeParts(Body):
    programme: Part = Field(description="`GET /v1/programmes/{id}`")
    cohorts: Part = Field(description="`GET /v1/programmes/{id}/cohorts`")
    topics: Part = Field(description="`GET /v1/programmes/{id}/topics`")


class ProgrammePage(Body):
    """For an analyst, only what subscribers to the public channels could count themselves: no `commitments`, no
    disputes, and every proposal that has not led to a pair is `proposed`.
    """

    programme_id: UUID
    unit_ids: list[UUID]
    opened_at: datetime
    closed_at: datetime | None
    cohorts: list[Cohort]
    enrolled: dict[matching.Side, int]
    pairs: dict[PairState, int]
    sessions: dict[SessionState, int]
    commitments: dict[matching.Side, Commitments] | None
    reflections: dict[Stage, Asked]
    parts: ProgrammeParts | None


class Inside(Body):
    """What only the programme's team is shown, and nobody of their own pair."""

    declined_by: matching.Side | None
    outcome_reason: matching.DeclineReason | matching.WithdrawalReason | None
    ended_by: matching.Ender | None
    end_reason: matching.EndReason | None
    no_fault: bool | None
    broken_rules: list[matching.Rule]


class PairSession(Body):
    session_id: UUID
    number: int
    starts_at: datetime
    minutes: int
    state: SessionState
    since: datetime
    commitments: list["Line"]


class Line(Body):
    """Of the commitment ledger: what a side did about the session, and how often."""

    side: matching.Side
    commitment: Commitment
    times: int


class PairReflection(Body):
    reflection_id: UUID
    person_id: UUID
    stage: Stage
    due_on: date
    asked_at: datetime
    submitted_at: datetime | None


class Moment(Body):
    """An event as it was published; `detail` is the commitment, stage, rule or reason. Members are told of their own pair
    neither reasons nor which `side` declined.
    """

    event_id: UUID
    at: datetime
    owner: str
    type: str
    session_id: UUID | None
    reflection_id: UUID | None
    person_id: UUID | None
    side: matching.Side | None
    detail: str | None


class PairParts(Body):
    names: Part = Field(description="Of both: {person_id, state, given_name, family_name}.")
    programme: Part = Field(description="`GET /v1/programmes/{id}`")
    cohort: Part = Field(description="`GET /v1/cohorts/{id}`")
    topics: Part = Field(description="`GET /v1/programmes/{id}/topics`")
    cadence: Part = Field(description="`GET /v1/cadences/{pair_id}`: plan, confirmations, recaps.")
    reflections: Part = Field(description="`GET /v1/reflections?pair_id=`: answers the caller may see.")


class PairPage(Body):
    pair_id: UUID
    programme_id: UUID
    cohort_id: UUID
    mentor_id: UUID
    mentee_id: UUID
    state: PairState
    since: datetime
    proposed_at: datetime
    reply_by: datetime
    accepted_by: list[matching.Side]
    reminded_at: datetime | None
    created_at: datetime | None
    planned_sessions: int | None
    days_between: int | None
    minutes: int | None
    ends_on: date | None
    inside: Inside | None
    sessions: list[PairSession]
    reflections: list[PairReflection]
    timeline: list[Moment]
    parts: PairParts | None


class PersonEnrolment(Body):
    enrolment_id: UUID
    programme_id: UUID
    cohort_id: UUID
    role: matching.Side
    submitted_at: datetime
    withdrawn_at: datetime | None


class PersonPair(Body):
    pair_id: UUID
    programme_id: UUID
    side: matching.Side
    other_id: UUID
    state: PairState
    since: datetime
    next_session_at: datetime | None
    sessions_held: int


class PersonReflection(Body):
    reflection_id: UUID
    pair_id: UUID
    stage: Stage
    due_on: date
    asked_at: datetime
    submitted_at: datetime | None


class PersonPage(Body):
    person_id: UUID
    standing: Literal["here", "gone", "erased"] | None = Field(description="null while nothing is known.")
    organisation_id: UUID | None
    unit_id: UUID | None
    enrolments: list[PersonEnrolment]
    pairs: list[PersonPair]
    reflections: list[PersonReflection]
    parts: Parts | None


class QueueItem(Body):
    """Something that waits for the programme's team since `since`."""

    kind: QueueKind
    since: datetime
    age_seconds: int
    programme_id: UUID
    pair_id: UUID
    mentor_id: UUID | None
    mentee_id: UUID | None
    session_id: UUID | None
    reply_by: datetime | None
    reminded: bool
    broken_rules: list[matching.Rule]


class QueuePage(Body):
    items: list[QueueItem]
    next: str | None
    parts: Parts | None
