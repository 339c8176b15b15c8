"""Bearer tokens: JSON Web Tokens (RFC 7519) of one issuer, checked against its public keys.

The issuer's keys are a JWK set in a file (RFC 7517), read at start. Only ES256 is taken, whatever a token says of
itself. Claims: `iss`, `aud`, `exp`, `iat`, `sub` (who, a UUID), `roles` (see `UserRole`) and `units` (the units those
are limited to). Times are of the wall clock: a simulated one is for facts, not for who may come in.
"""

import time
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import orjson
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from upwell_shared.errors import Unauthenticated, UpwellError
from upwell_shared.web.policies import Principal, UserRole

ISSUER: Final = "upwell"
AUDIENCE: Final = "upwell"
ALGORITHM: Final = "ES256"

_LEEWAY_SECONDS = 5
_REMEMBERED = 10_000
_MAX_TOKEN = 8_192


class UnreadableKeys(UpwellError):
    """The file of the issuer's public keys is missing, or is no JWK set: check UPWELL_ISSUER_KEYS_FILE."""


class TokenVerifier:
    """Knows whom a token stands for. Remembers whom it has let in until their tokens end."""

    def __init__(self, keys: KeySet) -> None:
        self._keys = keys
        self._claims = jwt.JWTClaimsRegistry(
            leeway=_LEEWAY_SECONDS,
            iss={"essential": True, "value": ISSUER},
            aud={"essential": True, "value": AUDIENCE},
            exp={"essential": True},
            sub={"essential": True},
        )
        self._known: OrderedDict[str, tuple[float, Principal]] = OrderedDict()

    @classmethod
    def of(cls, file: Path) -> "TokenVerifier":
        """Reads the keys. Raises UnreadableKeys."""
        try:
            return cls(KeySet.import_key_set(orjson.loads(file.read_bytes())))
        except (OSError, ValueError, KeyError, TypeError, JoseError) as error:
            raise UnreadableKeys from error

    async def authenticate(self, token: str) -> Principal:
        """Raises Unauthenticated, whatever is wrong with the token."""
        until, who = self._known.get(token) or self._verify(token)
        if until < time.time():
            self._known.pop(token, None)
            raise Unauthenticated
        return who

    def _verify(self, token: str) -> tuple[float, Principal]:
        if len(token) > _MAX_TOKEN:
            raise Unauthenticated
        try:
            claims = jwt.decode(token, self._keys, algorithms=[ALGORITHM]).claims
            self._claims.validate(claims)
            found = (float(claims["exp"]) + _LEEWAY_SECONDS, principal_of(claims))
        except (JoseError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise Unauthenticated from error
        self._known[token] = found
        if len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)
        return found


def principal_of(claims: Mapping[str, Any]) -> Principal:
    """Whom the claims of a valid token name. Raises ValueError, KeyError or TypeError for claims that are not ours."""
    return Principal(
        UUID(claims["sub"]),
        frozenset(UserRole(role) for role in _texts(claims.get("roles", []))),
        frozenset(UUID(unit) for unit in _texts(claims.get("units", []))),
    )


def _texts(value: Any) -> Iterable[str]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise TypeError("a list of strings")
    return value
