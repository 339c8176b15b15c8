"""Databases of the directory, and the service on them."""

from collections.abc import AsyncIterator

import asyncpg
import pytest

from tests.directory.world import World, running
from tests.service_fixtures import service_fixtures
from upwell_directory.app import SERVICE
from upwell_shared.testing.databases import Dsns

migrated_template, dsns, pool, owner_pool = service_fixtures(SERVICE)


@pytest.fixture
async def world(dsns: Dsns, pool: asyncpg.Pool) -> AsyncIterator[World]:
    async with running(dsns, pool) as world:
        yield world
