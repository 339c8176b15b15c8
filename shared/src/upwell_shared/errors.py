"""The one tree of errors the chassis raises on purpose; the docstring of a class is its message.

A message may name things of ours (a command, a stream, a setting) and never repeats what a caller sent: messages of
this tree go to callers and to the log. The HTTP status of each is mapped in `upwell_shared.web.problems` alone.
"""

import re
from dataclasses import dataclass


class UpwellError(Exception):
    """Something Upwell can name went wrong."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or " ".join((type(self).__doc__ or "").split()))

    @property
    def slug(self) -> str:
        """Stable name for machines: `StaleVersion` is `stale-version`."""
        return re.sub(r"(?<!^)(?=[A-Z])", "-", type(self).__name__).lower()


# What a command or a query runs into.


class NotFound(UpwellError):
    """There is nothing here, or nothing you may know of."""


class StaleVersion(UpwellError):
    """What you looked at has changed since: read it again, then decide again."""


class ConcurrentUpdate(UpwellError):
    """Others changed the same thing at the same moment, three times in a row: try again."""


class Unavailable(UpwellError):
    """This cannot be answered right now: try again shortly, with the same Idempotency-Key."""


# Who asks.


class Unauthenticated(UpwellError):
    """A valid bearer token is needed."""


class Forbidden(UpwellError):
    """You are known, and this is not yours to do."""


# What a request looks like.


@dataclass(frozen=True, slots=True)
class Violation:
    """One thing wrong with a request: where, and what to do about it; never the value that was sent.

    `at` is a JSON pointer into the body (`#/answers/0`) or the name of a parameter; `place` says which of these.
    """

    place: str
    at: str
    detail: str


class Malformed(UpwellError):
    """The request does not fit its schema: correct what `errors` lists."""

    def __init__(self, *violations: Violation) -> None:
        super().__init__()
        self.violations = violations


class UnreadableBody(UpwellError):
    """The body is not JSON in UTF-8, or a string in it holds half of a surrogate pair."""


class TooLarge(UpwellError):
    """The body is larger than this route takes."""


class UnsupportedMediaType(UpwellError):
    """The body must have the content type this route takes, without a content encoding."""


class VersionRequired(UpwellError):
    """Say what you were looking at: send If-Match with the ETag of your last read."""


class IdempotencyKeyMissing(UpwellError):
    """Send an Idempotency-Key, new for each intention and the same for each retry of it: 1 to 64 printable ASCII
    characters, best a random UUID.
    """


class IdempotencyKeyReused(UpwellError):
    """This Idempotency-Key already stood for another request: send a new key with a new intention."""


class CommandInFlight(UpwellError):
    """The first request with this Idempotency-Key is still being handled: ask again in a moment."""
