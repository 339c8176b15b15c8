"""Databases of feedback, and the service on them."""

from collections.abc import AsyncIterator

import asyncpg
import pytest

from tests.feedback.world import World, running
from tests.service_fixtures import keys_fixtures, service_fixtures
from upwell_feedback.app import SERVICE
from upwell_shared.testing.databases import Dsns

migrated_template, dsns, pool, owner_pool = service_fixtures(SERVICE)
keys_template, keys_dsns, keys_pool = keys_fixtures(SERVICE)


@pytest.fixture
async def world(dsns: Dsns, pool: asyncpg.Pool, keys_pool: asyncpg.Pool) -> AsyncIterator[World]:
    async with running(dsns, pool, keys_pool) as world:
        yield world
