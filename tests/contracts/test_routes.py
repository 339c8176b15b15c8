"""Every route of every service is reached through the gateway, whole: the gateway's table is no list to remember."""

from typing import Any
from uuid import UUID

import asyncpg
import pytest
from fastapi import FastAPI

from upwell_directory.app import SERVICE as DIRECTORY
from upwell_feedback.app import SERVICE as FEEDBACK
from upwell_gateway.routing import OWNERS, most_bytes, owner_of
from upwell_matching.app import SERVICE as MATCHING
from upwell_sessions.app import SERVICE as SESSIONS
from upwell_shared.service import Service
from upwell_shared.settings import Dsn
from upwell_shared.web.policies import Nobody
from upwell_shared.web.routing import Route, carries_body

SERVICES: tuple[Service[Any], ...] = (DIRECTORY, MATCHING, SESSIONS, FEEDBACK)
NOWHERE = "postgresql://nobody@127.0.0.1:1/nothing"
OWN = {"health", "metrics", "docs", "openapi.json"}


def app_of(service: Service[Any]) -> FastAPI:
    """Its application; nothing is connected to."""
    dsn = Dsn(NOWHERE)
    settings = service.settings(database_url=dsn, **{"keys_database_url": dsn} if service.keeps_texts else {})
    pools = [asyncpg.create_pool(NOWHERE, min_size=0) for _ in range(1 + service.keeps_texts)]
    return service.compose(settings, *pools).app(Nobody())


def routes_of(service: Service[Any]) -> list[Route]:
    """Those that are of this service and not of every one."""
    routes = [route for route in app_of(service).routes if isinstance(route, Route)]
    return [route for route in routes if not OWN & set(route.path.split("/"))]


@pytest.mark.parametrize("service", SERVICES, ids=lambda service: service.name)
async def test_every_route_leads_to_its_service(service: Service[Any]) -> None:
    routes = routes_of(service)
    assert len(routes) >= 5
    for route in routes:
        words = {name: f"a-Word_{index}.x~" for index, name in enumerate(route.param_convertors)}
        for values in (words, dict.fromkeys(words, str(UUID(int=1)))):
            assert owner_of(route.path_format.format(**values).encode()) == service.name, route.path_format


@pytest.mark.parametrize("service", SERVICES, ids=lambda service: service.name)
async def test_every_body_a_service_takes_gets_through(service: Service[Any]) -> None:
    for route in filter(carries_body, routes_of(service)):
        segment = route.path_format.split("/")[2]
        assert route.taken.limit <= most_bytes(segment), route.path_format


async def test_no_segment_leads_to_a_service_that_has_no_such_route() -> None:
    found = {
        route.path_format.split("/")[2]: service.name for service in SERVICES for route in routes_of(service)
    }
    assert found == dict(OWNERS)
