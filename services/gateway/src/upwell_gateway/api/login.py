"""The development issuer over HTTP. It believes whoever asks: there is none in production."""

from typing import Any, Literal
from uuid import UUID

from fastapi import APIRouter
from pydantic import Field

from upwell_gateway.issuer import TOKEN_SECONDS, Issuer
from upwell_shared.web.commands import Body
from upwell_shared.web.policies import UserRole, public, requires
from upwell_shared.web.routing import api_router, without_key


class Login(Body):
    person_id: UUID
    roles: list[UserRole] = Field([UserRole.PARTICIPANT], max_length=len(UserRole))
    units: list[UUID] = Field([], max_length=100)


class Token(Body):
    access_token: str
    token_type: Literal["Bearer"] = "Bearer"  # noqa: S105 RFC 6750's word for the kind
    expires_in: int


def router(issuer: Issuer) -> APIRouter:
    routes = api_router("/v1", tags=["login"], dependencies=[requires(public)])

    @routes.post("/login", dependencies=[without_key("a further token changes nothing")])
    async def login(body: Login) -> Token:
        """A token for that person, with these roles in and below these units. Nothing is checked: for development."""
        return Token(
            access_token=issuer.token(body.person_id, body.roles, body.units), expires_in=TOKEN_SECONDS
        )

    @routes.get("/issuer/keys")
    async def keys() -> dict[str, Any]:
        """The public keys that check the tokens, as a JWK set (RFC 7517)."""
        return issuer.public_keys()

    return routes
