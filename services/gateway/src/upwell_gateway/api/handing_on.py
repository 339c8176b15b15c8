"""What belongs to another service goes there as it came, and its answer comes back as it is."""

from typing import Final

import httpx2
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope

from upwell_gateway.forwarding import Forwarder, Question
from upwell_gateway.routing import OWNERS, may_be_asked, most_bytes, owner_of
from upwell_shared.errors import Malformed, NotFound, Violation
from upwell_shared.web.policies import authenticated, requires
from upwell_shared.web.routing import RawBody, api_router, hands_on

_METHODS: Final = ["GET", "POST", "PUT", "PATCH", "DELETE"]
_TO_OWNER: Final = (
    *("authorization", "idempotency-key", "if-match", "upwell-after"),
    *("content-type", "content-encoding", "accept"),
)
_TO_CALLER: Final = (
    *("content-type", "upwell-position", "upwell-stale", "etag", "location"),
    *("retry-after", "allow", "www-authenticate", "cache-control"),
)


def router(forwarder: Forwarder) -> APIRouter:
    routes = api_router("/v1")

    async def hand_on(request: Request, content: RawBody) -> Response:
        scope = request.scope
        owner = owner_of(scope["raw_path"])
        if owner is None:
            raise NotFound
        if not may_be_asked(scope["query_string"]):
            raise Malformed(Violation("query", "…", "must be printable ASCII: escape the rest"))
        answer = await forwarder.ask(owner, question_of(scope, content))
        return Response(answer.content, answer.status_code, told(answer))

    for segment in OWNERS:
        # What follows the segment is looked at as it came over the wire, see `owner_of`.
        routes.add_api_route(
            f"/{segment}{{rest:path}}",
            hand_on,
            methods=_METHODS,
            dependencies=[requires(authenticated), hands_on(most_bytes(segment))],
        )
    return routes


def question_of(scope: Scope, content: bytes) -> Question:
    """The caller's request, with the caller's token and without what is only between the caller and us."""
    query: bytes = scope["query_string"]
    return Question(
        method=scope["method"],
        target=scope["raw_path"] + (b"?" + query if query else b""),
        headers=headers_of(scope, _TO_OWNER),
        content=content,
    )


def headers_of(scope: Scope, names: tuple[str, ...]) -> dict[str, str]:
    """These headers of a request, and the id that finds it in every service's log."""
    came: dict[bytes, bytes] = scope["upwell.headers"]
    found = {
        name: value.decode("latin-1") for name in names if (value := came.get(name.encode())) is not None
    }
    # Where somebody traces, this is our own span, and what the owner does goes below it.
    if (trace := scope["upwell.trace"]) is not None:
        found["traceparent"] = str(trace)
    return found | {"upwell-correlation-id": scope["upwell.correlation_id"], "accept-encoding": "identity"}


def told(answer: httpx2.Response) -> dict[str, str]:
    """Of an owner's headers, what the caller is told."""
    return {name: answer.headers[name] for name in _TO_CALLER if name in answer.headers}
