"""Programmes: their beginning and end, their rules, their topics."""

from typing import Self
from uuid import UUID, uuid5

from fastapi import APIRouter, Response

from upwell_matching.aggregates import PROGRAMME
from upwell_matching.api.access import around, last_of, of_programme, reaches_all, wait_for
from upwell_matching.carrying_out import Means
from upwell_matching.domain.eligibility import Measure, Rules
from upwell_matching.domain.programme import (
    AddTopic,
    ChangeRules,
    CloseProgramme,
    Defaults,
    OpenProgramme,
    ProgrammeCommand,
    RenameTopic,
)
from upwell_matching.fields import (
    DaysBetween,
    Gap,
    Levels,
    Minutes,
    Name,
    Places,
    ReminderDays,
    ReplyDays,
    Sessions,
    UnitIds,
)
from upwell_matching.policies import coordinates, programme_team, sees_programme, team_member
from upwell_matching.projections import programmes
from upwell_shared import units
from upwell_shared.errors import Forbidden, NotFound
from upwell_shared.handling import Intent
from upwell_shared.web.commands import Body, Command, IfMatch, answer, etag
from upwell_shared.web.cursors import Listing, Page, Paging
from upwell_shared.web.policies import CurrentPrincipal, authenticated, requires
from upwell_shared.web.positions import After
from upwell_shared.web.routing import api_router


class RulesToKeep(Body):
    measure: Measure
    gap: Gap
    """So many grades, or days in the role, by which the mentor is junior at least."""
    independence_levels: Levels = 2
    different_units: bool = False

    def rules(self) -> Rules:
        return Rules(**self.model_dump())

    @classmethod
    def of(cls, rules: Rules) -> Self:
        return cls(
            measure=rules.measure,
            gap=rules.gap,
            independence_levels=rules.independence_levels,
            different_units=rules.different_units,
        )


class DefaultsToTake(Body):
    mentor_capacity: Places = 1
    mentee_capacity: Places = 1
    sessions: Sessions = 6
    days_between: DaysBetween = 30
    minutes: Minutes = 60
    reply_days: ReplyDays = 10
    reminder_days: ReminderDays = 7

    def defaults(self) -> Defaults:
        return Defaults(**self.model_dump())

    @classmethod
    def of(cls, defaults: Defaults) -> Self:
        return cls(
            mentor_capacity=defaults.mentor_capacity,
            mentee_capacity=defaults.mentee_capacity,
            sessions=defaults.sessions,
            days_between=defaults.days_between,
            minutes=defaults.minutes,
            reply_days=defaults.reply_days,
            reminder_days=defaults.reminder_days,
        )


class ProgrammeToOpen(Body):
    name: Name
    unit_ids: UnitIds
    rules: RulesToKeep
    defaults: DefaultsToTake = DefaultsToTake()


class RulesToChange(Body):
    """Both as a whole."""

    rules: RulesToKeep
    defaults: DefaultsToTake


class TopicToAdd(Body):
    name: Name


class ProgrammeListed(Body):
    programme_id: UUID
    name: str
    closed: bool


class Programme(ProgrammeListed):
    unit_ids: list[UUID]
    rules: RulesToKeep
    defaults: DefaultsToTake


class Topic(Body):
    topic_id: UUID
    name: str


class Topics(Body):
    topics: list[Topic]


def router(means: Means) -> APIRouter:
    routes = api_router("/v1", tags=["programmes"])
    pool = means.pool
    reach = of_programme(pool)
    changes = [requires(programme_team, reach, hidden=True)]
    sees = [requires(sees_programme, reach, hidden=True)]

    async def carry_out(
        command: Command,
        programme_id: UUID,
        change: ProgrammeCommand,
        *,
        if_match: int | None = None,
        body: dict[str, str] | None = None,
        status: int = 200,
    ) -> Response:
        intent = Intent(PROGRAMME, programme_id, change, if_match)
        outcome = await means.handler.handle(
            intent, envelope=command.envelope, fingerprint=command.fingerprint, body=body
        )
        return answer(outcome, status)

    @routes.post("/programmes", status_code=201, dependencies=[requires(team_member)])
    async def open_programme(who: CurrentPrincipal, command: Command, body: ProgrammeToOpen) -> Response:
        """For the people of these units and all below them; each must be the caller's or below one that is."""
        unit_ids = tuple(body.unit_ids)
        if not await reaches_all(pool, who, unit_ids):
            raise Forbidden
        opening = OpenProgramme(
            name=body.name, unit_ids=unit_ids, rules=body.rules.rules(), defaults=body.defaults.defaults()
        )
        programme_id = uuid5(command.envelope.command_id, "programme")
        return await carry_out(
            command, programme_id, opening, body={"programme_id": str(programme_id)}, status=201
        )

    @routes.get("/programmes", dependencies=[requires(authenticated)])
    async def list_programmes(
        who: CurrentPrincipal, paging: Paging, after: After, response: Response
    ) -> Page[ProgrammeListed]:
        """Open ones for the unit the caller stands in, and all those of a programme team; by id."""
        await wait_for(pool, after, response, programmes.name)
        listing = Listing("programmes")
        found = await programmes.programmes(
            pool,
            around=await around(pool, who.id),
            below=await units.below(pool, who.units) if coordinates(who) else (),
            after=last_of(listing, paging),
            limit=paging.limit + 1,
        )
        rows = found[: paging.limit]
        return Page(
            items=[
                ProgrammeListed(programme_id=row.programme_id, name=row.name, closed=row.closed)
                for row in rows
            ],
            next=listing.encode(str(rows[-1].programme_id)) if len(found) > len(rows) else None,
        )

    @routes.get("/programmes/{programme_id}", dependencies=sees)
    async def programme(programme_id: UUID, after: After, response: Response) -> Programme:
        await wait_for(pool, after, response, programmes.name)
        row = await programmes.programme(pool, programme_id)
        if row is None:
            raise NotFound
        response.headers["ETag"] = etag(row.version)
        return Programme(
            programme_id=row.programme_id,
            name=row.name,
            closed=row.closed,
            unit_ids=[*row.unit_ids],
            rules=RulesToKeep.of(row.rules),
            defaults=DefaultsToTake.of(row.defaults),
        )

    @routes.post("/programmes/{programme_id}/rules", dependencies=changes)
    async def change_rules(
        command: Command, programme_id: UUID, body: RulesToChange, if_match: IfMatch
    ) -> Response:
        """For what is proposed from now on; a proposal or pair keeps the rules it was proposed under."""
        change = ChangeRules(rules=body.rules.rules(), defaults=body.defaults.defaults())
        return await carry_out(command, programme_id, change, if_match=if_match)

    @routes.post("/programmes/{programme_id}/close", dependencies=changes)
    async def close_programme(command: Command, programme_id: UUID) -> Response:
        """It takes no more cohorts. What is under way goes on."""
        return await carry_out(command, programme_id, CloseProgramme())

    @routes.post("/programmes/{programme_id}/topics", status_code=201, dependencies=changes)
    async def add_topic(command: Command, programme_id: UUID, body: TopicToAdd) -> Response:
        topic_id = uuid5(command.envelope.command_id, "topic")
        adding = AddTopic(topic_id=topic_id, name=body.name)
        return await carry_out(command, programme_id, adding, body={"topic_id": str(topic_id)}, status=201)

    @routes.post("/programmes/{programme_id}/topics/{topic_id}/rename", dependencies=changes)
    async def rename_topic(
        command: Command, programme_id: UUID, topic_id: UUID, body: TopicToAdd
    ) -> Response:
        return await carry_out(command, programme_id, RenameTopic(topic_id=topic_id, name=body.name))

    @routes.get("/programmes/{programme_id}/topics", dependencies=sees)
    async def topics(programme_id: UUID, after: After, response: Response) -> Topics:
        """All of them; there are at most 200."""
        await wait_for(pool, after, response, programmes.name)
        found = await programmes.topics(pool, programme_id)
        return Topics(topics=[Topic(topic_id=topic_id, name=name) for topic_id, name in found])

    return routes
