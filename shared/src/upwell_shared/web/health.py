"""What an orchestrator and a scraper ask. Readiness is the service's own database, never Kafka and never peers: a
broker away must not take down what can still be answered.
"""

import asyncio
from collections.abc import Awaitable, Callable

from fastapi import APIRouter
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from upwell_shared.errors import Unavailable
from upwell_shared.metrics import REGISTRY
from upwell_shared.standing import Standing
from upwell_shared.web.policies import public, requires
from upwell_shared.web.routing import api_router

Ping = Callable[[], Awaitable[object]]

_PING_SECONDS = 1.0


def health_router(ping: Ping) -> APIRouter:
    """`/health/live`, `/health/ready` and `/metrics`. `ping` asks the service's own database anything."""
    router = api_router(tags=["operations"], dependencies=[requires(public)])

    @router.get("/health/live")
    async def live() -> Response:
        """The event loop turns."""
        return JSONResponse({"status": "live"})

    @router.get("/health/ready")
    async def ready(request: Request) -> Response:
        """Requests are welcome: the database answers within a second, and the service is not stopping."""
        if request.app.state.draining:
            raise Unavailable("This service is stopping.")
        try:
            async with asyncio.timeout(_PING_SECONDS):
                await ping()
        except Exception as error:
            raise Unavailable("The database of this service does not answer.") from error
        return JSONResponse({"status": "ready"})

    @router.get("/metrics", include_in_schema=False)
    async def metrics(request: Request) -> Response:
        """What this process counts, and how the service stands by its database, where the root has given it a look."""
        standing: Standing | None = getattr(request.app.state, "standing", None)
        if standing is not None:
            await standing.observe()
        return Response(generate_latest(REGISTRY), media_type=CONTENT_TYPE_LATEST)

    return router
