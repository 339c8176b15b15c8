"""Opaque places in a list, and the cap on a page.

A cursor is the sort key of the last row shown, with a checksum over the list it belongs to. The checksum is no
signature: a cursor gives nothing, since every row behind it passes the same policy again. It is there so that a
cursor cut short, of another list or with other filters is refused instead of answered with the wrong page. Sort
keys end up in addresses and their logs: they are times and ids, never names.
"""

import base64
import binascii
import hashlib
from typing import Annotated, Generic, NamedTuple, TypeVar

import orjson
from fastapi import Depends, Query
from pydantic import BaseModel

from upwell_shared.errors import Malformed, Violation

MOST_ROWS = 200

Key = str | int | None
T = TypeVar("T")

_SUM_BYTES = 8


class Listing:
    """The cursors of one list. `version` rises when its sort order changes; `filters` are those of the request."""

    def __init__(self, name: str, version: int = 1, **filters: object) -> None:
        told = orjson.dumps([name, version, sorted((key, str(value)) for key, value in filters.items())])
        self._key = hashlib.sha256(told).digest()

    def encode(self, *keys: Key) -> str:
        """The cursor behind a row with these sort keys."""
        content = orjson.dumps(keys)
        return base64.urlsafe_b64encode(self._sum(content) + content).rstrip(b"=").decode()

    def decode(self, cursor: str) -> tuple[Key, ...]:
        """The sort keys. Raises Malformed for what `encode` of this list did not make."""
        try:
            raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
            content = raw[_SUM_BYTES:]
            if raw[:_SUM_BYTES] == self._sum(content):
                return tuple(orjson.loads(content))
        except (binascii.Error, ValueError):
            pass
        detail = "is not a cursor of this list with these filters: begin again without it"
        raise Malformed(Violation("query", "cursor", detail))

    def _sum(self, content: bytes) -> bytes:
        return hashlib.blake2b(content, digest_size=_SUM_BYTES, key=self._key).digest()


class Page(BaseModel, Generic[T]):
    """A part of a list; `next` is the cursor of the part that follows, absent at the end."""

    items: list[T]
    next: str | None = None


class PageRequest(NamedTuple):
    """What a caller asks of a list."""

    limit: int
    cursor: str | None


async def _paging(
    limit: Annotated[int, Query(ge=1, le=MOST_ROWS)] = 50,
    cursor: Annotated[str | None, Query(max_length=512)] = None,
) -> PageRequest:
    return PageRequest(limit, cursor)


Paging = Annotated[PageRequest, Depends(_paging)]
"""A parameter of a list: at most 200 rows, 50 when nothing is said."""
