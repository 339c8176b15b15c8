"""People from a file."""

from typing import Final

import asyncpg
from fastapi import APIRouter, Response

from upwell_directory.importing.reading import MOST_BYTES
from upwell_directory.importing.running import Import, Report
from upwell_directory.policies import hr_admin
from upwell_shared.clock import Clock
from upwell_shared.handling import Handler
from upwell_shared.web.commands import Command
from upwell_shared.web.policies import CurrentPrincipal, requires
from upwell_shared.web.routing import RawBody, api_router, takes

# Well within what a request may take; a larger file goes on with the next request.
_SECONDS: Final = 6.0


def router(handler: Handler, pool: asyncpg.Pool, clock: Clock) -> APIRouter:
    routes = api_router("/v1", tags=["imports"])

    @routes.post("/imports", dependencies=[requires(hr_admin), takes("text/csv", MOST_BYTES)])
    async def import_people(
        who: CurrentPrincipal,
        command: Command,
        content: RawBody,
        response: Response,
        *,
        dry_run: bool = False,
        skip_bad: bool = False,
    ) -> Report:
        """CSV with a header: external_id, given_name, family_name, user_name, mail (may be empty), organisation (name
        or id), unit (a path as in A / B; empty: the organisation itself), grade, manager_external_id (may be empty,
        may come later in the file), in_role_since. Units that are missing are opened. Nobody is removed.

        With a bad row nothing is imported, unless `skip_bad`. 202: it is under way; send the same request again.
        """
        file = Import(
            pool,
            handler,
            envelope=command.envelope,
            fingerprint=command.fingerprint,
            reach=who.units,
            today=clock.now().date(),
        )
        if dry_run:
            return await file.dry_run(content)
        report = await file.run(content, skip_bad=skip_bad, seconds=_SECONDS)
        if report.state == "under_way":
            response.status_code = 202
        return report

    return routes
