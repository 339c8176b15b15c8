"""Proposals: made, answered, taken back."""

from uuid import UUID, uuid5

from fastapi import APIRouter, Response

from upwell_matching import commands
from upwell_matching.api.access import of_cohort, of_pair
from upwell_matching.carrying_out import Means, on_pair
from upwell_matching.domain.enrolment import Side
from upwell_matching.domain.pair import DeclinePair, DeclineReason, WithdrawalReason, WithdrawProposal
from upwell_matching.policies import member, programme_team
from upwell_matching.projections import pairs
from upwell_shared.errors import NotFound
from upwell_shared.web.commands import Body, Command, answer
from upwell_shared.web.policies import CurrentPrincipal, Principal, requires
from upwell_shared.web.routing import api_router


class PairToPropose(Body):
    mentor_id: UUID
    mentee_id: UUID


class Declining(Body):
    reason: DeclineReason


def router(means: Means) -> APIRouter:
    routes = api_router("/v1", tags=["proposals"])
    pool = means.pool
    reach = of_pair(pool)
    replies = [requires(member, reach, hidden=True)]

    async def side_of(who: Principal, pair_id: UUID) -> Side:
        row = await pairs.pair(pool, pair_id)
        if row is None:
            raise NotFound
        return Side.MENTOR if row.mentor_id == who.id else Side.MENTEE

    @routes.post(
        "/cohorts/{cohort_id}/pairs",
        status_code=201,
        dependencies=[requires(programme_team, of_cohort(pool), hidden=True)],
    )
    async def propose(command: Command, cohort_id: UUID, body: PairToPropose) -> Response:
        """Both are asked; rules and places are checked now, and again when they accept."""
        pair_id = uuid5(command.envelope.command_id, "pair")
        outcome = await commands.once(
            means,
            command,
            lambda: commands.propose_pair(
                means,
                pair_id,
                command.envelope,
                cohort_id=cohort_id,
                mentor_id=body.mentor_id,
                mentee_id=body.mentee_id,
                fingerprint=command.fingerprint,
                body={"pair_id": str(pair_id)},
            ),
        )
        return answer(outcome, 201)

    @routes.post("/pairs/{pair_id}/accept", dependencies=replies)
    async def accept(who: CurrentPrincipal, command: Command, pair_id: UUID) -> Response:
        """For oneself. Once both have, the pair is created and takes a place of each, or the acceptance is refused."""
        side = await side_of(who, pair_id)
        return answer(
            await commands.once(means, command, lambda: commands.accept_pair(means, command, pair_id, side))
        )

    @routes.post("/pairs/{pair_id}/decline", dependencies=replies)
    async def decline(who: CurrentPrincipal, command: Command, pair_id: UUID, body: Declining) -> Response:
        """For oneself; also after having accepted, for as long as the other has not."""
        side = await side_of(who, pair_id)
        declining = DeclinePair(side=side, reason=body.reason)
        return answer(
            await on_pair(means, pair_id, declining, command.envelope, fingerprint=command.fingerprint)
        )

    @routes.post("/pairs/{pair_id}/withdraw", dependencies=[requires(programme_team, reach, hidden=True)])
    async def withdraw(command: Command, pair_id: UUID) -> Response:
        """The programme team takes a proposal back."""
        withdrawing = WithdrawProposal(reason=WithdrawalReason.BY_COORDINATOR)
        return answer(
            await on_pair(means, pair_id, withdrawing, command.envelope, fingerprint=command.fingerprint)
        )

    return routes
