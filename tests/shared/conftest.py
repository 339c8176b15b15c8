"""Databases with the chassis and the example's projections in them."""

from dataclasses import dataclass
from functools import partial

from tests.service_fixtures import service_fixtures
from tests.shared.example.app import SERVICE
from upwell_shared.testing import databases

OWNER, APP, READER = "example_owner", "example_app", "example_reader"

migrated_template, dsns, pool, owner_pool = service_fixtures(SERVICE)
create_roles = partial(databases.create_roles, service=SERVICE.name)
hand_over = partial(databases.hand_over, service=SERVICE.name)


@dataclass(frozen=True)
class Dsns(databases.Dsns):
    """One database of the example, by role."""

    service: str = SERVICE.name
