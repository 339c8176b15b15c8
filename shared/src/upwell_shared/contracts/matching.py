"""What `matching` publishes."""

from datetime import date
from typing import Annotated, ClassVar, Literal
from uuid import UUID

from pydantic import AwareDatetime, Field

from upwell_shared.contracts import Audience, Contract, PublishedEvent
from upwell_shared.contracts.erasure import PersonErasureAcknowledged

Side = Literal["mentor", "mentee"]
"""The mentor is the junior of the two."""

DeclineReason = Literal["no_time", "not_a_fit", "too_close", "other"]
"""Why somebody said no to a proposal."""

WithdrawalReason = Literal["rule_broken", "left", "on_leave", "enrolment_withdrawn", "by_coordinator"]
"""Why a proposal was taken back before both had accepted."""

EndReason = Literal["goals_reached", "no_time", "not_a_fit", "left", "rule_broken", "cohort_closed", "other"]
"""Why a pair ended before it was complete."""

Ender = Literal["mentor", "mentee", "coordinator", "upwell"]
"""Who ended a pair; `upwell` follows a fact of the directory."""

Rule = Literal["inversion", "independence"]
"""What an open pair must keep for as long as it is open."""

Count = Annotated[int, Field(ge=0)]


class ProgrammeOpened(PublishedEvent):
    """A programme opened, for the people of these units and all below them."""

    programme_id: UUID
    unit_ids: list[UUID]


class ProgrammeClosed(PublishedEvent):
    """A programme takes no more cohorts. Its open pairs go on."""

    programme_id: UUID


class CohortOpened(PublishedEvent):
    """An intake of a programme opened; its pairs run between these days."""

    cohort_id: UUID
    programme_id: UUID
    starts_on: date
    ends_on: date


class CohortClosed(PublishedEvent):
    """An intake takes no more enrolments and proposes no more pairs."""

    cohort_id: UUID
    programme_id: UUID


class EnrolmentSubmitted(PublishedEvent):
    """A person wishes to take part; `unit_id` is where they stood then."""

    enrolment_id: UUID
    programme_id: UUID
    cohort_id: UUID
    person_id: UUID
    organisation_id: UUID
    unit_id: UUID
    role: Side


class EnrolmentWithdrawn(PublishedEvent):
    """A person does not wish to take part any more, or cannot."""

    enrolment_id: UUID
    programme_id: UUID
    cohort_id: UUID
    person_id: UUID


class MatchRunPublished(PublishedEvent):
    """The pairs of a match run are fixed and about to be proposed."""

    match_run_id: UUID
    programme_id: UUID
    cohort_id: UUID
    pairs: Count


class PairProposed(PublishedEvent):
    """Two people are asked whether they wish to be a pair; the proposal lapses at `reply_by`."""

    pair_id: UUID
    programme_id: UUID
    cohort_id: UUID
    mentor_id: UUID
    mentee_id: UUID
    reply_by: AwareDatetime


class PairCreated(PublishedEvent):
    """Both have accepted. Units and organisations are those of that moment.

    `sessions` are planned, one every `days_between` days, of `minutes` each, until `ends_on`.
    """

    pair_id: UUID
    programme_id: UUID
    cohort_id: UUID
    mentor_id: UUID
    mentor_unit_id: UUID
    mentor_organisation_id: UUID
    mentee_id: UUID
    mentee_unit_id: UUID
    mentee_organisation_id: UUID
    sessions: Count
    days_between: Count
    minutes: Count
    ends_on: date


class PairPaused(PublishedEvent):
    """The pair rests until it is resumed."""

    pair_id: UUID
    programme_id: UUID


class PairResumed(PublishedEvent):
    """The pair goes on."""

    pair_id: UUID
    programme_id: UUID


class PairExtended(PublishedEvent):
    """The pair goes on for longer: the whole number of sessions planned from now on, and the new last day."""

    pair_id: UUID
    programme_id: UUID
    sessions: Count
    ends_on: date


class PairCompleted(PublishedEvent):
    """The pair has done what it set out to do."""

    pair_id: UUID
    programme_id: UUID


class PairEnded(PublishedEvent):
    """The pair ended before it was complete."""

    pair_id: UUID
    programme_id: UUID


class PairAccepted(PublishedEvent):
    """One side of a proposal accepted it. With the second acceptance the pair is created as well."""

    audience: ClassVar[Audience] = "internal"

    pair_id: UUID
    programme_id: UUID
    side: Side


class PairReplyReminded(PublishedEvent):
    """A proposal has waited for days; those who have not answered are asked again."""

    audience: ClassVar[Audience] = "internal"

    pair_id: UUID
    programme_id: UUID


class PairDeclined(PublishedEvent):
    """One side of a proposal said no."""

    audience: ClassVar[Audience] = "internal"

    pair_id: UUID
    programme_id: UUID
    side: Side
    reason: DeclineReason


class PairProposalExpired(PublishedEvent):
    """A proposal was not answered by both in time."""

    audience: ClassVar[Audience] = "internal"

    pair_id: UUID
    programme_id: UUID


class PairProposalWithdrawn(PublishedEvent):
    """A proposal was taken back."""

    audience: ClassVar[Audience] = "internal"

    pair_id: UUID
    programme_id: UUID
    reason: WithdrawalReason


class PairEndExplained(PublishedEvent):
    """By whom and why a pair ended; told with PairEnded. Nobody is at fault where `no_fault` is set."""

    audience: ClassVar[Audience] = "internal"

    pair_id: UUID
    programme_id: UUID
    by: Ender
    reason: EndReason
    no_fault: bool


class PairRuleBreached(PublishedEvent):
    """A fact of the directory has put an open pair in breach of a rule; a coordinator decides what follows."""

    audience: ClassVar[Audience] = "internal"

    pair_id: UUID
    programme_id: UUID
    rule: Rule


class PairRuleRestored(PublishedEvent):
    """The pair keeps that rule again."""

    audience: ClassVar[Audience] = "internal"

    pair_id: UUID
    programme_id: UUID
    rule: Rule


CONTRACT = Contract(
    "matching",
    ProgrammeOpened,
    ProgrammeClosed,
    CohortOpened,
    CohortClosed,
    EnrolmentSubmitted,
    EnrolmentWithdrawn,
    MatchRunPublished,
    PairProposed,
    PairCreated,
    PairPaused,
    PairResumed,
    PairExtended,
    PairCompleted,
    PairEnded,
    PairAccepted,
    PairReplyReminded,
    PairDeclined,
    PairProposalExpired,
    PairProposalWithdrawn,
    PairEndExplained,
    PairRuleBreached,
    PairRuleRestored,
    PersonErasureAcknowledged,
)
