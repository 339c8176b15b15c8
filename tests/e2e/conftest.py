"""The launcher's own stack, started once for the module that asks for it, with a whole programme played on it."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from upwell.demo.cast import Cast, schools
from upwell.demo.performing import Performance, acknowledgements_of, perform
from upwell.reconciling.comparing import Findings, reconcile
from upwell.services import SERVICES
from upwell.stack import Stack


@dataclass(frozen=True)
class Stage:
    """A stack on which a play was played to its end."""

    stack: Stack
    cast: Cast
    performance: Performance
    words: list[str]

    async def reconciled(self, *, patience_seconds: float = 60.0) -> Findings:
        return await reconciled(self.stack, patience_seconds=patience_seconds)


async def reconciled(stack: Stack, *, patience_seconds: float = 60.0) -> Findings:
    """What `upwell reconcile` finds."""
    return await reconcile(
        {spec.name: stack.databases(spec.name).reader_url for spec in SERVICES},
        stack.kafka_bootstrap,
        acknowledgements_of(stack.folder.path),
        patience_seconds=patience_seconds,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("upwell")


@pytest_asyncio.fixture(
    scope="module",
    loop_scope="module",
    params=["embedded", pytest.param("apache", marks=pytest.mark.kafka)],
)
async def stage(request: pytest.FixtureRequest, folder: Path) -> AsyncIterator[Stage]:
    """The two schools, on each broker in turn."""
    cast = schools()
    async with Stack(folder / request.param, kafka=request.param, simulated_clock=True) as stack:
        performance, words = await perform(stack, cast, 1, lambda *_: None)
        yield Stage(stack, cast, performance, words)
