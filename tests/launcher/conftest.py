"""One running Upwell for the tests that only look at it, or leave it as it was."""

from collections.abc import Iterator

import pytest

from tests.conftest import run
from tests.launcher.world import Up


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """All of it, on embedded servers."""
    up = Up(tmp_path_factory.mktemp("upwell") / "data")
    run(up.start())
    yield up
    run(up.stop())
