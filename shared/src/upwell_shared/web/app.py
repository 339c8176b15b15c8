"""The one way to make a service's HTTP application."""

from fastapi import APIRouter, FastAPI

from upwell_shared.web import problems
from upwell_shared.web.commands import InFlight
from upwell_shared.web.docs import docs_router
from upwell_shared.web.edge import Edge
from upwell_shared.web.health import Ping, health_router
from upwell_shared.web.openapi import describe
from upwell_shared.web.policies import Authenticator
from upwell_shared.web.routing import PolicyMissing, Route, Surroundings

REQUEST_SECONDS = 10.0


def create_app(
    title: str,
    *routers: APIRouter,
    authenticator: Authenticator,
    ping: Ping,
    version: str = "1",
    description: str = "",
    request_seconds: float = REQUEST_SECONDS,
) -> FastAPI:
    """An application with health, metrics and documentation, whose every error is a problem.

    `routers` come from `api_router`. Raises PolicyMissing for a route that names no policy, or cannot.
    Resources are opened before and closed after by the composition root; there is no lifespan.
    """
    app = FastAPI(
        title=title,
        description=description,
        version=version,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.surroundings = Surroundings(authenticator, InFlight())
    app.state.draining = False
    add_routes(app, *routers, health_router(ping), docs_router())
    problems.install(app)
    app.add_middleware(Edge, seconds=request_seconds)
    describe(app)
    return app


def add_routes(app: FastAPI, *routers: APIRouter) -> None:
    """Adds routers that come from `api_router`. To be called before the application is served or described."""
    for router in routers:
        for route in router.routes:
            if not isinstance(route, Route):
                raise PolicyMissing(
                    f"{getattr(route, 'path', route)} is not a route of api_router: it has no policy"
                )
            # Flat, not included: an included router is matched a second time with every request.
            app.router.routes.append(route)
