"""Who may do what. Every route names its policy, and one without does not start the app."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, Generic, NamedTuple, Protocol, TypeVar
from uuid import UUID

from fastapi import Depends
from fastapi.params import Depends as Dependency
from starlette.requests import Request

from upwell_shared.errors import Forbidden, NotFound, Unauthenticated

Facts = TypeVar("Facts")


class UserRole(StrEnum):
    """What somebody may be in general; what that lets them do is said by the policies of each service."""

    PARTICIPANT = "participant"
    COORDINATOR = "coordinator"
    HR_ADMIN = "hr_admin"
    ANALYST = "analyst"
    OPS = "ops"


@dataclass(frozen=True, slots=True)
class Principal:
    """Who is asking: a person or a client of ours, what it may be in general, and the units that is limited to."""

    id: UUID
    roles: frozenset[str] = frozenset()
    units: frozenset[UUID] = frozenset()


class Authenticator(Protocol):
    """Knows who a bearer token stands for."""

    async def authenticate(self, token: str) -> Principal:
        """Raises Unauthenticated, whatever is wrong with the token and without saying what."""
        ...


class Nobody:
    """The authenticator of a process that was given no other: it lets nobody in."""

    async def authenticate(self, _: str) -> Principal:
        raise Unauthenticated


class RequestFacts(NamedTuple):
    """What a policy can decide on without looking anything up."""

    method: str
    path: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Policy(Generic[Facts]):
    """A named rule of access over facts; pure."""

    name: str
    allows: Callable[[Principal, Facts], bool]


def policy(allows: Callable[[Principal, Facts], bool]) -> Policy[Facts]:
    """Makes a policy of a pure function, named after it."""
    return Policy(allows.__name__, allows)


@policy
def authenticated(_: Principal, __: RequestFacts) -> bool:
    """Anyone who is known."""
    return True


@policy
def public(_: Principal, __: RequestFacts) -> bool:
    """Anyone at all: no token is asked for, and one that is sent is not looked at."""
    return True


@dataclass(frozen=True, slots=True)
class Requirement:
    """A policy as a route declares it. Without `facts` it is checked before the body is read."""

    policy: Policy[Any]
    looked_up: bool
    hidden: bool

    def check(self, who: Principal, facts: Any) -> None:
        """Raises Forbidden, or NotFound where that something exists is itself not for everyone."""
        if not self.policy.allows(who, facts):
            raise NotFound if self.hidden else Forbidden


async def _principal(request: Request) -> Principal:
    who: Principal = request.scope["upwell.principal"]
    return who


CurrentPrincipal = Annotated[Principal, Depends(_principal)]
"""A parameter of a route that is not public: who is asking."""


def requires(
    rule: Policy[Facts], facts: Callable[..., Awaitable[Facts]] | None = None, *, hidden: bool = False
) -> Dependency:
    """Declares the policy of a route or of a router: `dependencies=[requires(coordinator)]`.

    `facts` is a FastAPI dependency that looks up what the policy decides on, when the request alone does not say.
    With `hidden` a refusal is a 404: whoever may not see a pair learns not even that there is one.
    """
    requirement = Requirement(rule, looked_up=facts is not None, hidden=hidden)
    if facts is None:

        async def declared() -> None: ...

        declared.requirement = requirement  # type: ignore[attr-defined] # read by `requirements_of`
        return Dependency(declared)

    async def check(who: CurrentPrincipal, known: Annotated[Any, Depends(facts)]) -> None:
        requirement.check(who, known)

    check.requirement = requirement  # type: ignore[attr-defined] # as above
    return Dependency(check)
