"""Domain event → published events: the one door out."""

from collections.abc import Iterable
from typing import Any, assert_never
from uuid import UUID

from upwell_matching.domain import cohort, enrolment, match_run, pair, programme
from upwell_shared import erasing
from upwell_shared.contracts import PublishedEvent
from upwell_shared.contracts import matching as told
from upwell_shared.contracts.erasure import PersonErasureAcknowledged


def publishing(stream_id: UUID, event: Any, state: Any) -> Iterable[PublishedEvent]:
    """Names, rules, wishes and places by capacity stay here."""
    match event:
        case programme.ProgrammeOpened(unit_ids=unit_ids):
            yield told.ProgrammeOpened(programme_id=stream_id, unit_ids=[*unit_ids])
        case programme.ProgrammeClosed():
            yield told.ProgrammeClosed(programme_id=stream_id)
        case cohort.CohortOpened():
            yield told.CohortOpened(
                cohort_id=stream_id,
                programme_id=event.programme_id,
                starts_on=event.starts_on,
                ends_on=event.ends_on,
            )
        case cohort.CohortClosed():
            yield told.CohortClosed(cohort_id=stream_id, programme_id=state.programme_id)
        case enrolment.EnrolmentSubmitted():
            yield told.EnrolmentSubmitted(
                enrolment_id=stream_id,
                programme_id=event.programme_id,
                cohort_id=event.cohort_id,
                person_id=event.person_id,
                organisation_id=event.organisation_id,
                unit_id=event.unit_id,
                role=event.role.value,
            )
        case enrolment.EnrolmentWithdrawn():
            yield told.EnrolmentWithdrawn(
                enrolment_id=stream_id,
                programme_id=state.programme_id,
                cohort_id=state.cohort_id,
                person_id=state.person_id,
            )
        case match_run.MatchRunPublished(pairs=pairs):
            yield told.MatchRunPublished(
                match_run_id=stream_id,
                programme_id=state.programme_id,
                cohort_id=state.cohort_id,
                pairs=pairs,
            )
        case erasing.ErasureAcknowledged(person_id=person_id):
            yield PersonErasureAcknowledged(person_id=person_id, service=told.CONTRACT.owner)
        case _ if isinstance(event, pair.PairEvent):
            yield from _of_pair(stream_id, event, state)


def _of_pair(pair_id: UUID, event: pair.PairEvent, state: Any) -> Iterable[PublishedEvent]:
    terms: pair.Terms = state.terms
    programme_id = terms.programme_id
    match event:
        case pair.PairProposed():
            yield told.PairProposed(
                pair_id=pair_id,
                programme_id=programme_id,
                cohort_id=terms.cohort_id,
                mentor_id=terms.mentor_id,
                mentee_id=terms.mentee_id,
                reply_by=event.reply_by,
            )
        case pair.PairCreated():
            yield _created(pair_id, event, state)
        case pair.PairPaused():
            yield told.PairPaused(pair_id=pair_id, programme_id=programme_id)
        case pair.PairResumed():
            yield told.PairResumed(pair_id=pair_id, programme_id=programme_id)
        case pair.PairExtended(sessions=sessions, ends_on=ends_on):
            yield told.PairExtended(
                pair_id=pair_id, programme_id=programme_id, sessions=sessions, ends_on=ends_on
            )
        case pair.PairCompleted():
            yield told.PairCompleted(pair_id=pair_id, programme_id=programme_id)
        case pair.PairEnded(by=by, reason=reason, no_fault=no_fault):
            yield told.PairEnded(pair_id=pair_id, programme_id=programme_id)
            yield told.PairEndExplained(
                pair_id=pair_id,
                programme_id=programme_id,
                by=by.value,
                reason=reason.value,
                no_fault=no_fault,
            )
        case pair.PairAccepted(side=side):
            yield told.PairAccepted(pair_id=pair_id, programme_id=programme_id, side=side.value)
        case pair.PairDeclined(side=side, reason=reason):
            yield told.PairDeclined(
                pair_id=pair_id, programme_id=programme_id, side=side.value, reason=reason.value
            )
        case pair.PairReplyReminded():
            yield told.PairReplyReminded(pair_id=pair_id, programme_id=programme_id)
        case pair.PairProposalExpired():
            yield told.PairProposalExpired(pair_id=pair_id, programme_id=programme_id)
        case pair.PairProposalWithdrawn(reason=reason):
            yield told.PairProposalWithdrawn(pair_id=pair_id, programme_id=programme_id, reason=reason.value)
        case pair.PairRuleBreached(rule=rule):
            yield told.PairRuleBreached(pair_id=pair_id, programme_id=programme_id, rule=rule)
        case pair.PairRuleRestored(rule=rule):
            yield told.PairRuleRestored(pair_id=pair_id, programme_id=programme_id, rule=rule)
        case pair.PauseCauseAdded() | pair.PauseCauseRemoved():
            pass
        case _:
            assert_never(event)


def _created(pair_id: UUID, event: pair.PairCreated, state: pair.Active) -> told.PairCreated:
    terms, plan = state.terms, state.plan
    return told.PairCreated(
        pair_id=pair_id,
        programme_id=terms.programme_id,
        cohort_id=terms.cohort_id,
        mentor_id=terms.mentor_id,
        mentor_unit_id=event.mentor.unit_id,
        mentor_organisation_id=event.mentor.organisation_id,
        mentee_id=terms.mentee_id,
        mentee_unit_id=event.mentee.unit_id,
        mentee_organisation_id=event.mentee.organisation_id,
        sessions=plan.sessions,
        days_between=plan.days_between,
        minutes=plan.minutes,
        ends_on=plan.ends_on,
    )
