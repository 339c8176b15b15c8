"""A request that changes something: its identity, so that a retry is the same command, and its answer."""

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any, Final
from uuid import UUID, uuid5

import orjson
from fastapi import Depends, Header
from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, ValidatorFunctionWrapHandler
from pydantic_core import CoreSchema, core_schema
from starlette.requests import Request
from starlette.responses import Response

from upwell_shared.errors import CommandInFlight, IdempotencyKeyMissing, Malformed, VersionRequired, Violation
from upwell_shared.events import Envelope
from upwell_shared.handling import Outcome
from upwell_shared.web.policies import Principal

_NAMESPACE: Final = UUID("7d0f5c1e-9a3b-5c67-8a41-3f5b2f9c6d10")
_KEY = re.compile(rb"[\x21-\x7e]{1,64}")
_ETAG = re.compile(r'(?:W/)?"([0-9]{1,9})"')


class Body(BaseModel):
    """The base of every request body: what is not declared is refused, and JSON means what it says.

    A body is validated from its bytes and strictly, so that `true` is no number and `"1"` neither, just as the
    published schema has it. Of a key that comes twice the last counts.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        model = handler(source)
        from_python = core_schema.no_info_wrap_validator_function(cls._from_bytes, model)
        return core_schema.json_or_python_schema(json_schema=model, python_schema=from_python)

    @classmethod
    def _from_bytes(cls, value: Any, validate: ValidatorFunctionWrapHandler) -> Any:
        return cls.model_validate_json(value, strict=True) if isinstance(value, bytes) else validate(value)


class Command(Request):
    """A parameter of every route that changes something: `command: Command`.

    It carries what `Handler.handle` needs to carry the command out once: where it comes from, and what it looked
    like. It is the request itself, because a FastAPI dependency would cost more than all that is computed here.
    """

    principal: Principal
    envelope: Envelope
    fingerprint: bytes
    content: bytes = b""
    parsed: Any = None
    validates_bytes: bool = False

    async def body(self) -> bytes:
        """The body as it was read and checked."""
        return self.content

    async def json(self) -> Any:
        """The body for FastAPI to validate: as bytes for a `Body`, else as it was parsed."""
        return self.content if self.validates_bytes else self.parsed


def command_id(who: Principal, key: str) -> UUID:
    """The id of the command that this principal means by this key.

    Of principal and key alone: were the route part of it, one key used for two things would make two commands,
    where the fingerprint now tells them apart and the second is refused. It is the same in every replica and in the
    service behind a gateway that hands the caller's token and key on.
    """
    return uuid5(_NAMESPACE, f"{who.id}\n{key}")


def fingerprint(method: str, path: str, query: bytes, body: object | bytes) -> bytes:
    """SHA-256 of what was asked for. JSON counts by content: neither spacing nor the order of keys matters."""
    content = body if isinstance(body, bytes) else orjson.dumps(body, option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(b"\n".join((method.encode(), path.encode(), query, content))).digest()


def read_key(header: bytes | None) -> str:
    """Raises IdempotencyKeyMissing, or Malformed for a key nobody should send."""
    if not header:
        raise IdempotencyKeyMissing
    if not _KEY.fullmatch(header):
        detail = "must be 1 to 64 printable ASCII characters without spaces, best a random UUID"
        raise Malformed(Violation("header", "Idempotency-Key", detail))
    return header.decode()


class InFlight:
    """The commands this process is carrying out. Across replicas the store's command id settles the same question."""

    def __init__(self) -> None:
        self._ids: set[UUID] = set()

    @contextmanager
    def claim(self, id_: UUID) -> Iterator[None]:
        """Raises CommandInFlight while another request holds the same id."""
        if id_ in self._ids:
            raise CommandInFlight
        self._ids.add(id_)
        try:
            yield
        finally:
            self._ids.discard(id_)


async def if_match(if_match: Annotated[str | None, Header(max_length=64)] = None) -> int:
    """Raises VersionRequired without If-Match, and Malformed unless it is one ETag of ours.

    A weak one counts too: a proxy that compresses makes ours weak, and they name a state, not its bytes.
    """
    if if_match is None:
        raise VersionRequired
    found = _ETAG.fullmatch(if_match.strip())
    if found is None:
        raise Malformed(Violation("header", "If-Match", 'must be the one ETag of your last read, as in "12"'))
    return int(found[1])


IfMatch = Annotated[int, Depends(if_match)]
"""A parameter of a command that changes what the caller was looking at: the version that was."""


def etag(version: int) -> str:
    """The ETag of a stream at a version, for reads that a command with `IfMatch` may follow."""
    return f'"{version}"'


def answer(outcome: Outcome, status: int = 200) -> Response:
    """The response to a command: what it answers, where to read it, and the version it led to."""
    headers = {"Upwell-Position": outcome.position, "ETag": etag(outcome.version)}
    return Response(orjson.dumps(outcome.body), status, headers, "application/json")
