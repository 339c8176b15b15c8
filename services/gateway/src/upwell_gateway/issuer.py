"""The development issuer: a key pair of its own, and tokens for whoever asks. Never in production, see `settings`.

Importable by whoever needs keys or a token without a running gateway, such as a launcher.
"""

import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final, NamedTuple
from uuid import UUID, uuid4

import orjson
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey

from upwell_shared.errors import UpwellError
from upwell_shared.web.policies import UserRole
from upwell_shared.web.tokens import ALGORITHM, AUDIENCE, ISSUER

TOKEN_SECONDS: Final = 12 * 3600
"""How long a token is believed."""

_CURVE = "P-256"


class UnreadableIssuerKey(UpwellError):
    """The issuer's private key is missing, or is no private ES256 key: check UPWELL_GATEWAY_ISSUER_KEY_FILE."""


class KeyFiles(NamedTuple):
    """Where the keys of an issuer lie."""

    private: Path
    """For UPWELL_GATEWAY_ISSUER_KEY_FILE: a JWK."""
    public: Path
    """For UPWELL_ISSUER_KEYS_FILE of every service: a JWK set."""


class Issuer:
    """Says who somebody is, and believes them."""

    def __init__(self, key: ECKey) -> None:
        self._key = key
        self._kid = key.thumbprint()

    @classmethod
    def of(cls, file: Path) -> "Issuer":
        """Reads the private key. Raises UnreadableIssuerKey."""
        try:
            key = ECKey.import_key(orjson.loads(file.read_bytes()))
        except (OSError, ValueError, KeyError, TypeError, AttributeError, JoseError) as error:
            raise UnreadableIssuerKey from error
        if not key.is_private or key.curve_name != _CURVE:
            raise UnreadableIssuerKey
        return cls(key)

    def public_keys(self) -> dict[str, Any]:
        """The public JWK set: what checks this issuer's tokens."""
        public = self._key.as_dict(private=False)
        return {"keys": [{**public, "kid": self._kid, "alg": ALGORITHM, "use": "sig"}]}

    def token(
        self,
        person_id: UUID,
        roles: Iterable[UserRole] = (UserRole.PARTICIPANT,),
        units: Iterable[UUID] = (),
        *,
        seconds: int = TOKEN_SECONDS,
    ) -> str:
        """A token for that person from now on, by the wall clock, for so many seconds."""
        now = int(time.time())
        claims = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": str(person_id),
            "iat": now,
            "exp": now + seconds,
            "roles": sorted(role.value for role in roles),
            "units": sorted(str(unit) for unit in units),
        }
        return jwt.encode({"alg": ALGORITHM, "typ": "JWT", "kid": self._kid}, claims, self._key)


def make_keys(folder: Path) -> KeyFiles:
    """The key files in `folder`, readable by their owner alone; made when they are absent, and left as they are otherwise.

    Safe to call at the same time as somebody else: both get the keys of whoever was first. Raises OSError, and
    UnreadableIssuerKey when something else lies there.
    """
    files = KeyFiles(folder / "issuer-key.json", folder / "issuer-keys.json")
    folder.mkdir(parents=True, exist_ok=True)
    if not files.private.exists():
        key = ECKey.generate_key(_CURVE, private=True)
        _write_once(files.private, orjson.dumps(key.as_dict(private=True)))
    if not files.public.exists():
        _write_once(files.public, orjson.dumps(Issuer.of(files.private).public_keys()))
    return files


def _write_once(file: Path, content: bytes) -> None:
    """Writes a file that is there as a whole or not at all; one that is there already stays."""
    draft = file.with_name(f".{file.name}.{uuid4().hex}")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as out:
            out.write(content)
            out.flush()
            os.fsync(out.fileno())
        try:
            os.link(draft, file)
        except FileExistsError:
            return
        folder = os.open(file.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    finally:
        draft.unlink(missing_ok=True)
