"""The development issuer's keys and tokens, for whoever may read the data folder."""

import json
import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Final
from uuid import UUID

from joserfc import jwt
from joserfc.jwk import ECKey

from upwell_shared.web.policies import UserRole
from upwell_shared.web.tokens import ALGORITHM, AUDIENCE, ISSUER

PRIVATE: Final = "issuer.json"
PUBLIC: Final = "issuer-public.json"

_HOURS_12: Final = 12 * 3600


def make_keys(folder: Path) -> None:
    """The issuer's key pair, once a folder; a crash half-way leaves nothing that looks like one."""
    private = folder / PRIVATE
    if not private.exists():
        key = ECKey.generate_key("P-256", private=True, auto_kid=True)
        _write(private, json.dumps(key.as_dict(private=True)))
    key = ECKey.import_key(json.loads(private.read_text()))
    public = folder / PUBLIC
    if not public.exists():
        _write(public, json.dumps({"keys": [key.as_dict(private=False) | {"alg": ALGORITHM, "use": "sig"}]}))


def token(
    folder: Path,
    person: UUID,
    roles: Iterable[UserRole] = (UserRole.PARTICIPANT,),
    units: Iterable[UUID] = (),
    *,
    seconds: int = _HOURS_12,
) -> str:
    """A bearer token of that issuer, valid for so many seconds of the wall clock."""
    key = ECKey.import_key(json.loads((folder / PRIVATE).read_text()))
    now = int(time.time())
    claims = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "iat": now,
        "exp": now + seconds,
        "sub": str(person),
        "roles": [role.value for role in roles],
        "units": [str(unit) for unit in units],
    }
    return jwt.encode({"alg": ALGORITHM, "kid": key.kid}, claims, key)


def _write(path: Path, text: str) -> None:
    new = path.with_name(f"{path.name}.new")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
