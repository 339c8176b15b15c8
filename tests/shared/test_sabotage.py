"""The three safeguards everything else rests on: without one of them the suites fail. All: tests/shared/sabotage.py."""

import asyncio

import pytest

from tests.shared.sabotage import SABOTAGES, Sabotage, unnoticed

CHOSEN = ("the readers' barrier", "the first-write guard", "the projector's compare-and-set")


@pytest.mark.parametrize("without", CHOSEN)
async def test_the_suites_fail_without(postgres_dsn: str, without: str) -> None:
    [sabotage] = [each for each in SABOTAGES if each.without == without]
    first = Sabotage(sabotage.without, sabotage.module, sabotage.replace, sabotage.tests[:1])
    assert await asyncio.to_thread(unnoticed, first, postgres_dsn) == []
