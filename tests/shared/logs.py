"""What was logged, for tests that look at it."""

import io
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import orjson

from upwell_shared.observability import configure_logging


class Log(io.BytesIO):
    """The lines written so far."""

    def lines(self, event: str | None = None) -> list[dict[str, Any]]:
        every = [orjson.loads(line) for line in self.getvalue().splitlines()]
        return [line for line in every if event in (None, line["event"])]


@contextmanager
def captured(service: str, level: str) -> Iterator[Log]:
    """Logging goes to the `Log`; afterwards stdlib logging is as it was, and ours is silent below errors."""
    root, hook = logging.getLogger(), sys.excepthook
    handlers, before = root.handlers[:], root.level
    log = Log()
    configure_logging(service, level, log)
    try:
        yield log
    finally:
        configure_logging(service, "error", io.BytesIO())
        logging.captureWarnings(capture=False)
        root.handlers[:], sys.excepthook = handlers, hook
        root.setLevel(before)
