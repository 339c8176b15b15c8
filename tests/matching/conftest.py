"""Databases of matching, and the service on them."""

from collections.abc import AsyncIterator

import asyncpg
import pytest

from tests.matching.world import World, running
from tests.service_fixtures import service_fixtures
from upwell_matching.app import SERVICE
from upwell_shared.testing.databases import Dsns

migrated_template, dsns, pool, owner_pool = service_fixtures(SERVICE)


@pytest.fixture
async def world(dsns: Dsns, pool: asyncpg.Pool) -> AsyncIterator[World]:
    async with running(dsns, pool) as world:
        yield world


@pytest.fixture
async def replicas(dsns: Dsns, pool: asyncpg.Pool) -> AsyncIterator[World]:
    """The same with two processes' worth of everything, asked in turn."""
    async with running(dsns, pool, replicas=2) as world:
        yield world
