"""Every error a caller can get, as RFC 9457 problem+json, and the one place where an error gets its HTTP status.

A problem never repeats what was sent: it says where, and what to do. What a caller cannot act on is logged here and
told as `internal-error` with the correlation id, which finds it in the log.
"""

import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

import orjson
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope

from upwell_shared import errors, privacy
from upwell_shared.decider import DomainError
from upwell_shared.web.violations import violation_of

MEDIA_TYPE = "application/problem+json"

STATUS: Mapping[type[Exception], int] = {
    DomainError: 409,
    errors.UnreadableBody: 400,
    errors.IdempotencyKeyMissing: 400,
    errors.Unauthenticated: 401,
    errors.Forbidden: 403,
    errors.NotFound: 404,
    errors.ConcurrentUpdate: 409,
    errors.CommandInFlight: 409,
    privacy.TextIdTaken: 409,
    privacy.SubjectErased: 410,
    errors.StaleVersion: 412,
    errors.TooLarge: 413,
    errors.UnsupportedMediaType: 415,
    errors.Malformed: 422,
    errors.IdempotencyKeyReused: 422,
    privacy.TextNotStorable: 422,
    errors.VersionRequired: 428,
    errors.Unavailable: 503,
}

TITLES: Mapping[int, str] = {
    400: "The request cannot be read, or has no Idempotency-Key",
    401: "No valid bearer token",
    403: "Not yours to do",
    404: "Nothing here, or nothing you may know of",
    405: "The path does not take this method",
    409: "A rule said no, or others were faster",
    410: "Erased, for good",
    412: "Changed since you looked at it",
    413: "The body is too large",
    415: "The body has another content type",
    422: "The request does not fit its schema",
    428: "Say what you were looking at",
    500: "Something failed on our side",
    503: "Not right now: try again shortly",
}

_HEADERS: Mapping[type[Exception], Mapping[str, str]] = {
    errors.Unauthenticated: {"WWW-Authenticate": "Bearer"},
    errors.CommandInFlight: {"Retry-After": "1"},
    errors.Unavailable: {"Retry-After": "1"},
}


def urn(slug: str) -> str:
    """The stable `type` of a problem; it is a name, not an address."""
    return f"urn:upwell:problem:{slug}"


def slug_of(kind: type[Exception]) -> str:
    """The name of an error class in a problem's `type`."""
    return re.sub(r"(?<!^)(?=[A-Z])", "-", kind.__name__).lower()


def status_of(error: Exception) -> int:
    """500 for an error a caller can do nothing about."""
    return next((STATUS[kind] for kind in type(error).__mro__ if kind in STATUS), 500)


def problem(
    scope: Scope,
    status: int,
    slug: str,
    detail: str,
    *,
    violations: Sequence[errors.Violation] = (),
    headers: Mapping[str, str] | None = None,
) -> Response:
    """The response to a request that failed."""
    document: dict[str, Any] = {
        "type": urn(slug),
        "title": slug.replace("-", " ").capitalize(),
        "status": status,
        "detail": detail,
    }
    if (correlation_id := scope.get("upwell.correlation_id")) is not None:
        document["correlation_id"] = correlation_id
    if violations:
        document["errors"] = [{"in": v.place, "at": v.at, "detail": v.detail} for v in violations]
    return Response(orjson.dumps(document), status, headers, MEDIA_TYPE)


def problem_of(scope: Scope, error: errors.UpwellError | DomainError) -> Response:
    """The response to an error of our trees."""
    headers = next((_HEADERS[kind] for kind in type(error).__mro__ if kind in _HEADERS), None)
    violations = error.violations if isinstance(error, errors.Malformed) else ()
    return problem(scope, status_of(error), error.slug, str(error), violations=violations, headers=headers)


def internal_error(scope: Scope) -> Response:
    """What is told of an error that is nobody's business but ours."""
    return problem(
        scope,
        500,
        "internal-error",
        "Something failed on our side: quote the correlation id to the operators.",
    )


async def _on_ours(request: Request, error: Exception) -> Response:
    if status_of(error) == 500 or not isinstance(error, errors.UpwellError | DomainError):
        raise error  # the edge logs it and answers
    return problem_of(request.scope, error)


async def _on_invalid(request: Request, error: Exception) -> Response:
    if not isinstance(error, RequestValidationError):
        raise error
    # Two dependencies that read one parameter report it twice.
    violations = dict.fromkeys(map(violation_of, error.errors()))
    return problem_of(request.scope, errors.Malformed(*violations))


async def _on_http(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    cause = error.__cause__
    if isinstance(cause, errors.UpwellError):
        return problem_of(request.scope, cause)
    if error.status_code == 404:
        return problem_of(request.scope, errors.NotFound())
    if error.status_code == 405:
        allowed = ", ".join(sorted(_methods_of(request)))
        detail = f"This path takes {allowed} only."
        return problem(request.scope, 405, "method-not-allowed", detail, headers={"Allow": allowed})
    phrase = HTTPStatus(error.status_code).phrase
    slug = "-".join(phrase.lower().replace("'", "").split())
    return problem(request.scope, error.status_code, slug, f"{phrase}.", headers=error.headers)


def _methods_of(request: Request) -> set[str]:
    # Several routes may share a path; the router itself names the methods of the first one only.
    routes = (r for r in request.app.routes if r.path_regex.match(request.scope["path"]))
    return {method for route in routes for method in route.methods}


def install(app: FastAPI) -> None:
    """Makes every error of `app` a problem; what is left for the edge is what nobody expected."""
    app.add_exception_handler(errors.UpwellError, _on_ours)
    app.add_exception_handler(DomainError, _on_ours)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(HTTPException, _on_http)
