"""What the routes of pages have in common."""

from collections.abc import Mapping
from typing import Annotated, Any

import orjson
from fastapi import Query
from starlette.responses import Response

from upwell_shared.web.positions import mark_stale

WithParts = Annotated[
    bool,
    Query(alias="parts", description="Without: only what the gateway knows itself; nobody else is asked."),
]
"""A parameter of every page."""


def page(content: Mapping[str, Any], *, fresh: bool) -> Response:
    """The answer; it says so when it does not hold the position asked for yet."""
    answer = Response(orjson.dumps(content, default=str), media_type="application/json")
    if not fresh:
        mark_stale(answer)
    return answer
