"""Databases of the gateway, and the service on them."""

from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from tests.gateway.world import World, running
from tests.service_fixtures import service_fixtures
from upwell_gateway.app import SERVICE
from upwell_shared.testing.databases import Dsns

migrated_template, dsns, pool, owner_pool = service_fixtures(SERVICE)


@pytest.fixture
async def world(dsns: Dsns, pool: asyncpg.Pool, tmp_path: Path) -> AsyncIterator[World]:
    async with running(dsns, pool, tmp_path) as world:
        yield world
