"""The hourly sweep: open pairs that break a rule, or whose member is gone, and that nobody noticed. There must be none.

It trusts nothing that `rechecking` has done, and what it finds it rechecks.
"""

from typing import Final
from uuid import uuid4

import structlog
from prometheus_client import Gauge

from upwell_matching.carrying_out import Means
from upwell_matching.projections import enrolments, pairs, standings
from upwell_matching.rechecking import findings, recheck_one, withdraw_all
from upwell_shared.events import Envelope
from upwell_shared.looking_up import caught_up
from upwell_shared.metrics import REGISTRY
from upwell_shared.observability import bind_correlation

log = structlog.get_logger()

_PAGE: Final = 500

MISSED = Gauge(
    "upwell_matching_missed_pairs",
    "Open pairs that the last sweep found in breach of a rule, or without a member, with nobody having noticed; must be 0.",
    registry=REGISTRY,
)
ABANDONED = Gauge(
    "upwell_matching_abandoned_enrolments",
    "Enrolments of people who have left that the last sweep found open with nobody having noticed; must be 0.",
    registry=REGISTRY,
)


async def sweep(means: Means) -> bool:
    """Looks at every open pair and enrolment, and repairs and counts what was missed; always False, for once an hour."""
    missed, abandoned = 0, 0
    after = None
    while page := await pairs.all_open(means.pool, after=after, limit=_PAGE):
        for row, found in await findings(means, page):
            if found.changes(row) and (still := await _missed(means, row)) is not None:
                missed += 1
                cause = _cause()
                with bind_correlation(cause.correlation_id):
                    log.error("recheck_missed", pair_id=row.pair_id, state=row.state)
                    await recheck_one(means, still, cause)
        after = page[-1].pair_id
    for person_id in await standings.gone_but_enrolled(means.pool):
        if await enrolments.open_of(means.pool, person_id):
            abandoned += 1
            cause = _cause()
            with bind_correlation(cause.correlation_id):
                log.error("enrolment_abandoned", person_id=person_id)
                await withdraw_all(means, person_id, cause)
    MISSED.set(missed)
    ABANDONED.set(abandoned)
    log.info("swept", missed=missed, abandoned=abandoned)
    return False


async def _missed(means: Means, row: pairs.Row) -> pairs.Row | None:
    """The pair, if it was missed: every recheck that concerns it is done, and it stands as no recheck leaves it.

    Read in this order: the facts, the pair with all that was written by then, and the facts once more, unchanged.
    """
    ((_, before),) = await findings(means, [row])
    if not before.settled or not await caught_up(means.pool, standings.name, pairs.name):
        return None
    now = await pairs.pair(means.pool, row.pair_id)
    if now is None or now.state not in pairs.OPEN:
        return None
    ((_, after),) = await findings(means, [now])
    return now if after.settled and after.held == before.held and after.changes(now) else None


def _cause() -> Envelope:
    id_ = uuid4()
    return Envelope(command_id=id_, correlation_id=id_)
