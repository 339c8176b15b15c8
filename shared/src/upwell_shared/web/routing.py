"""The route class of every API: what is true of a request before its endpoint is called.

In this order, so that a stranger learns nothing and costs little: who asks, whether the policy lets them, whether
the request fits the route, what its body says, and which command it is.
"""

from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any
from uuid import UUID

import orjson
from fastapi import APIRouter, Depends
from fastapi.dependencies.models import Dependant
from fastapi.params import Depends as Dependency
from fastapi.routing import APIRoute
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope

from upwell_shared.errors import (
    Malformed,
    TooLarge,
    Unauthenticated,
    UnreadableBody,
    UnsupportedMediaType,
    Violation,
)
from upwell_shared.events import Envelope
from upwell_shared.observability import begin_trace
from upwell_shared.web.commands import Body, Command, InFlight, command_id, fingerprint, if_match, read_key
from upwell_shared.web.policies import Authenticator, Principal, RequestFacts, Requirement, public

BODY_BYTES = 64 * 1024
_READING = frozenset({"GET", "HEAD", "OPTIONS"})
_DECLARATIONS = ("requirement", "takes", "without_key", "hands_on")
_NOBODY = Principal(UUID(int=0))


@dataclass(frozen=True, slots=True)
class _Takes:
    media_type: str
    limit: int


def takes(media_type: str = "application/json", limit: int = BODY_BYTES) -> Dependency:
    """Declares another body than JSON of at most 64 KiB: `dependencies=[takes("text/csv", 5_000_000)]`.

    What is not JSON reaches the endpoint through a `RawBody` parameter, free of NUL and otherwise as it came.
    """

    async def declared() -> None: ...

    declared.takes = _Takes(media_type, limit)  # type: ignore[attr-defined] # read by `Route`
    return Dependency(declared)


def without_key(reason: str) -> Dependency:
    """Declares that a route is no command although it is not a GET, and why no retry of it can do harm."""

    async def declared() -> None: ...

    declared.without_key = reason  # type: ignore[attr-defined] # read by `Route`
    return Dependency(declared)


def hands_on(limit: int = BODY_BYTES) -> Dependency:
    """Declares that a request is another service's to understand: its policy is checked here and its size, no more.

    Its body, of any kind and at most `limit` bytes, reaches the endpoint through a `RawBody` parameter as it came, and
    it is not described: whoever understands it does that.
    """

    async def declared() -> None: ...

    declared.hands_on = limit  # type: ignore[attr-defined] # read by `Route`
    return Dependency(declared)


async def _raw_body(request: Request) -> bytes:
    return await request.body()


RawBody = Annotated[bytes, Depends(_raw_body)]
"""A parameter of a route that `takes` something else than JSON."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What routes need of the app they are in."""

    authenticator: Authenticator
    in_flight: InFlight


class PolicyMissing(TypeError):
    """A route must declare exactly one policy with `requires(…)`."""


class Route(APIRoute):
    """A route of ours. Raises PolicyMissing, naming itself, when it is declared without a policy."""

    requirement: Requirement
    taken: _Takes
    handed_on: int | None
    """The most bytes of a body that is somebody else's to understand; None for a route of this service's own."""
    is_command: bool
    has_if_match: bool
    takes_body_model: bool

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        calls = [dependant.call for dependant in _flattened(self.dependant)]
        requirements = [r for call in calls if (r := getattr(call, "requirement", None)) is not None]
        if len(requirements) != 1:
            names = ", ".join(sorted(self.methods or ()))
            raise PolicyMissing(
                f"{names} {self.path_format} declares {len(requirements)} policies; it needs one"
            )
        self.requirement = requirements[0]
        self.taken = next(
            (t for call in calls if (t := getattr(call, "takes", None))),
            _Takes("application/json", BODY_BYTES),
        )
        self.handed_on = next((limit for call in calls if (limit := getattr(call, "hands_on", None))), None)
        self.include_in_schema = self.include_in_schema and self.handed_on is None
        changes = self.handed_on is not None or not (self.methods or set()) <= _READING
        self.is_command = (
            changes and self.handed_on is None and not any(hasattr(call, "without_key") for call in calls)
        )
        self.has_if_match = if_match in calls
        annotation = None if self.body_field is None else self.body_field.field_info.annotation
        self.takes_body_model = isinstance(annotation, type) and issubclass(annotation, Body)
        # What only declares has done its work; FastAPI would call it with every request.
        self.dependant.dependencies[:] = [
            d for d in self.dependant.dependencies if not _is_declaration(d.call)
        ]
        return self._guarded(super().get_route_handler(), changes=changes)

    def _guarded(
        self, handle: Callable[[Request], Coroutine[Any, Any, Response]], *, changes: bool
    ) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        anonymous, looked_up = self.requirement.policy is public, self.requirement.looked_up
        queries = frozenset(field.alias for d in _flattened(self.dependant) for field in d.query_params)

        async def handler(request: Request) -> Response:
            scope = request.scope
            headers: Mapping[bytes, bytes] = scope["upwell.headers"]
            around: Surroundings = scope["app"].state.surroundings
            who = _NOBODY
            if not anonymous:
                who = scope["upwell.principal"] = await _authenticate(headers, around.authenticator)
                if not looked_up:
                    self.requirement.check(who, RequestFacts(scope["method"], scope["path_params"]))
            if scope["query_string"] and self.handed_on is None:
                _refuse_unknown(request, queries)
            if not changes:
                return await handle(request)
            command = Command(scope, request.receive)
            command.principal = who
            if self.handed_on is not None:
                command.content = await _read_capped(command.receive, headers, self.handed_on)
                return await handle(command)
            await self._read(command, headers)
            if not self.is_command:
                return await handle(command)
            _identify(command, headers, None if anonymous else str(who.id))
            with around.in_flight.claim(command.envelope.command_id):
                return await handle(command)

        return handler

    async def _read(self, command: Command, headers: Mapping[bytes, bytes]) -> None:
        """Reads and parses the body within the limits of this route."""
        media_type, limit = self.taken.media_type, self.taken.limit
        content = command.content = await _read_capped(command.receive, headers, limit)
        if content:
            _check_media_type(headers, media_type)
        if media_type != "application/json":
            if b"\x00" in content:
                raise Malformed(Violation("body", "#", "must not hold the character NUL"))
            if not content:
                raise Malformed(Violation("body", "#", "is required: add it"))
            return
        if content:
            try:
                command.parsed = orjson.loads(content)
            except orjson.JSONDecodeError as error:
                raise UnreadableBody from error
            # Only an escape can bring NUL into valid JSON; the text is searched first, being cheap and mostly clean.
            if b"\\u0000" in content:
                _refuse_nul(command.parsed, "#")
        command.validates_bytes = self.takes_body_model
        if self.body_field is None and command.parsed not in (None, {}):
            raise Malformed(Violation("body", "#", "is not taken here: send none"))


def api_router(
    prefix: str = "", *, tags: Sequence[str] = (), dependencies: Sequence[Dependency] = ()
) -> APIRouter:
    """A router whose routes are ours. Give `prefix`, and a policy for all of it, here: `create_app` takes it flat."""
    return APIRouter(prefix=prefix, tags=list(tags), dependencies=list(dependencies), route_class=Route)


def carries_body(route: Route) -> bool:
    """Whether a request to this route may have a body."""
    return not (route.methods or set()) <= _READING


def _flattened(dependant: Dependant) -> Iterator[Dependant]:
    yield dependant
    for below in dependant.dependencies:
        yield from _flattened(below)


def _is_declaration(call: Any) -> bool:
    requirement = getattr(call, "requirement", None)
    looked_up = requirement is not None and requirement.looked_up
    return not looked_up and any(hasattr(call, name) for name in _DECLARATIONS)


async def _authenticate(headers: Mapping[bytes, bytes], authenticator: Authenticator) -> Principal:
    scheme, _, token = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise Unauthenticated
    return await authenticator.authenticate(token)


def _refuse_unknown(request: Request, known: frozenset[str]) -> None:
    if unknown := set(request.query_params) - known:
        told = ", ".join(sorted(known)) or "none"
        detail = f"this route has no such parameter; it knows: {told}"
        raise Malformed(*(Violation("query", "…", detail) for _ in unknown))


async def _read_capped(receive: Receive, headers: Mapping[bytes, bytes], limit: int) -> bytes:
    length = headers.get(b"content-length", b"")
    if length.isdigit() and int(length) > limit:
        raise TooLarge(f"The body may have at most {limit} bytes here.")
    content = b""
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        content += message.get("body", b"")
        if len(content) > limit:
            raise TooLarge(f"The body may have at most {limit} bytes here.")
        more = message.get("more_body", False)
    return content


def _check_media_type(headers: Mapping[bytes, bytes], expected: str) -> None:
    told, _, parameters = headers.get(b"content-type", b"").decode("latin-1").lower().partition(";")
    told = told.strip()
    fits = told == expected or (
        expected == "application/json" and told.startswith("application/") and told.endswith("+json")
    )
    in_utf8 = not parameters or parameters.strip().replace('"', "") == "charset=utf-8"
    if not fits or not in_utf8 or headers.get(b"content-encoding", b"identity") != b"identity":
        raise UnsupportedMediaType(f"The body must be {expected} in UTF-8, without a content encoding.")


def _refuse_nul(value: object, where: str) -> None:
    if isinstance(value, str) and "\x00" in value:
        raise Malformed(Violation("body", where, "must not hold the character NUL"))
    if isinstance(value, dict):
        for key, item in value.items():
            _refuse_nul(key, where)
            _refuse_nul(item, f"{where}/{key}" if key.isidentifier() else f"{where}/…")
    if isinstance(value, list):
        for index, item in enumerate(value):
            _refuse_nul(item, f"{where}/{index}")


def _identify(command: Command, headers: Mapping[bytes, bytes], actor: str | None) -> None:
    """Gives the request its identity as a command."""
    scope: Scope = command.scope
    key = read_key(headers.get(b"idempotency-key"))
    correlation_id = UUID(scope["upwell.correlation_id"])
    command.envelope = Envelope(
        command_id=command_id(command.principal, key),
        correlation_id=correlation_id,
        actor=actor,
        traceparent=str(scope["upwell.trace"] or begin_trace(correlation_id)),
    )
    body = command.content if command.parsed is None else command.parsed
    command.fingerprint = fingerprint(scope["method"], scope["path"], scope["query_string"], body)
