"""Databases of sessions, and the service on them."""

from collections.abc import AsyncIterator

import asyncpg
import pytest

from tests.service_fixtures import keys_fixtures, service_fixtures
from tests.sessions.world import World, running
from upwell_sessions.app import SERVICE
from upwell_shared.testing.databases import Dsns

migrated_template, dsns, pool, owner_pool = service_fixtures(SERVICE)
keys_template, keys_dsns, keys_pool = keys_fixtures(SERVICE)


@pytest.fixture
async def world(
    dsns: Dsns, keys_dsns: Dsns, pool: asyncpg.Pool, keys_pool: asyncpg.Pool
) -> AsyncIterator[World]:
    async with running(dsns, keys_dsns, pool, keys_pool) as world:
        yield world
