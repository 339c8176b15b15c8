"""What was logged, for tests that look at it."""

import io
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import orjson
import structlog

from upwell_shared.observability import configure_logging


class Log(io.BytesIO):
    """The lines written so far."""

    def lines(self, event: str | None = None) -> list[dict[str, Any]]:
        every = [orjson.loads(line) for line in self.getvalue().splitlines()]
        return [line for line in every if event in (None, line["event"])]


@contextmanager
def captured(service: str, level: str) -> Iterator[Log]:
    """Logging goes to the `Log`; afterwards all logging is as it was."""
    root, hook = logging.getLogger(), sys.excepthook
    handlers, before = root.handlers[:], root.level
    log = Log()
    configure_logging(service, level, log)
    try:
        yield log
    finally:
        # Access lines go nowhere, and the next test's loggers are as if nobody had configured them.
        configure_logging(service, "error", io.BytesIO())
        structlog.reset_defaults()
        logging.captureWarnings(capture=False)
        root.handlers[:], sys.excepthook = handlers, hook
        root.setLevel(before)
