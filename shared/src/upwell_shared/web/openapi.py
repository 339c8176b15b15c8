"""The OpenAPI document: what FastAPI derives from signatures, and what is true of every route of ours."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from upwell_shared.web.policies import public
from upwell_shared.web.positions import is_read_after
from upwell_shared.web.problems import MEDIA_TYPE, TITLES
from upwell_shared.web.routing import Route, carries_body

_PROBLEM = {
    "type": "object",
    "description": "RFC 9457. `type` is stable and names the problem; `errors` lists what to correct.",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string", "format": "uri", "examples": ["urn:upwell:problem:not-found"]},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "correlation_id": {"type": "string", "format": "uuid"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["in", "at", "detail"],
                "properties": {
                    "in": {
                        "type": "string",
                        "enum": ["body", "query", "path", "header", "cookie", "request"],
                    },
                    "at": {
                        "type": "string",
                        "description": "A JSON pointer into the body, or a parameter's name.",
                    },
                    "detail": {"type": "string"},
                },
            },
        },
    },
}
_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": True,
    "description": "New for each intention, the same for each retry of it; best a random UUID.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 64, "pattern": "^[\\x21-\\x7e]+$"},
}


def describe(app: FastAPI) -> None:
    """Makes `app.openapi()` tell all of it; computed once."""

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _document(app)
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign] # the way FastAPI documents


def _document(app: FastAPI) -> dict[str, Any]:
    document = get_openapi(
        title=app.title, version=app.version, description=app.description, routes=app.routes
    )
    components = document.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    for derived in ("HTTPValidationError", "ValidationError"):
        schemas.pop(derived, None)
    schemas["Problem"] = _PROBLEM
    components["securitySchemes"] = {"bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}}
    for route in app.routes:
        if isinstance(route, Route) and route.include_in_schema:
            for method in route.methods or ():
                _complete(document["paths"][route.path_format][method.lower()], route)
    return document


def _complete(operation: dict[str, Any], route: Route) -> None:
    responses = operation["responses"]
    responses.pop("422", None)
    for status in sorted(_statuses(route)):
        responses[str(status)] = {
            "description": TITLES[status],
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
    for status, response in responses.items():
        headers = response.setdefault("headers", {})
        headers["Upwell-Correlation-Id"] = _header("Finds this request in the log.", format="uuid")
        if status.startswith("2") and route.is_command:
            headers["Upwell-Position"] = _header(
                "Send it as Upwell-After with a read that must show this change."
            )
            headers["ETag"] = _header("The version this led to, for If-Match.")
        if status.startswith("2") and is_read_after(route.dependant):
            headers["Upwell-Stale"] = _header("`true` when Upwell-After was not reached in time.")
        if status == "405":
            headers["Allow"] = _header("The methods this path takes.")
        if status == "401":
            headers["WWW-Authenticate"] = _header("`Bearer`")
    if route.is_command:
        operation.setdefault("parameters", []).append(_KEY)
    for parameter in operation.get("parameters", ()):
        if parameter["name"].lower() == "if-match":
            # The signature allows its absence so that the answer is 428 and says what to do.
            parameter |= {"required": True, "schema": {"type": "string", "pattern": '^(W/)?"[0-9]{1,9}"$'}}
    if route.requirement.policy is not public:
        operation["security"] = [{"bearer": []}]
    operation["x-upwell-policy"] = route.requirement.policy.name
    if route.taken.media_type != "application/json":
        operation["requestBody"] = {
            "required": True,
            "description": f"At most {route.taken.limit} bytes in UTF-8.",
            "content": {route.taken.media_type: {"schema": {"type": "string"}}},
        }


def _statuses(route: Route) -> set[int]:
    statuses = {404, 405, 422, 500, 503}
    if route.requirement.policy is not public:
        statuses |= {401, 403}
    if carries_body(route):
        statuses |= {400, 413, 415}
    if route.is_command:
        statuses |= {400, 409}
    if route.has_if_match:
        statuses |= {412, 428}
    # A problem of this route alone is declared as `responses={410: {}}`.
    return statuses | {int(status) for status in route.responses if int(status) >= 400}


def _header(description: str, **schema: str) -> dict[str, Any]:
    return {"description": description, "schema": {"type": "string", **schema}}
