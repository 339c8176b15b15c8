"""Every service is served with what operators do, whether its composition root knows of it or not."""

from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from tests.contracts.test_routes import NOWHERE, SERVICES
from upwell_gateway.app import SERVICE as GATEWAY
from upwell_shared.clock import WallClock
from upwell_shared.service import Service, served
from upwell_shared.settings import Dsn
from upwell_shared.web.operations import operator
from upwell_shared.web.policies import Nobody, Principal, RequestFacts, UserRole
from upwell_shared.web.routing import Route

WANTED = {
    ("GET", "/v1/operations/dead-letters"),
    ("GET", "/v1/operations/dead-letters/{letter_id}"),
    ("POST", "/v1/operations/dead-letters/{letter_id}/retry"),
    ("POST", "/v1/operations/dead-letters/{letter_id}/discard"),
    ("GET", "/v1/operations/discards"),
}


@pytest.mark.parametrize("service", [*SERVICES, GATEWAY], ids=lambda service: service.name)
async def test_every_service_has_them_for_operators_alone(service: Service[Any]) -> None:
    dsn = Dsn(NOWHERE)
    settings = service.settings(database_url=dsn, **{"keys_database_url": dsn} if service.keeps_texts else {})
    pools = [asyncpg.create_pool(NOWHERE, min_size=0) for _ in range(1 + service.keeps_texts)]
    app = served(service.compose(settings, *pools), pools[0], Nobody(), WallClock())
    routes = [r for r in app.routes if isinstance(r, Route) and r.path.startswith("/v1/operations")]
    assert {(method, route.path) for route in routes for method in route.methods or ()} >= WANTED
    assert all(route.requirement.policy is operator for route in routes)
    assert "/v1/operations/discards" in app.openapi()["paths"]


@pytest.mark.parametrize("role", UserRole)
def test_the_role_ops_is_enough_and_no_other_is(role: UserRole) -> None:
    facts = RequestFacts("GET", {})
    assert operator.allows(Principal(uuid4(), frozenset({role})), facts) is (role is UserRole.OPS)
