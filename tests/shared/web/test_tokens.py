"""Bearer tokens: one that is right, and all that are not."""

import base64
import hmac
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx2
import orjson
import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet

from tests.shared.web.test_problems import check
from upwell_shared.errors import Unauthenticated
from upwell_shared.web import tokens
from upwell_shared.web.app import create_app
from upwell_shared.web.policies import CurrentPrincipal, Principal, UserRole, authenticated, requires
from upwell_shared.web.routing import api_router
from upwell_shared.web.tokens import TokenVerifier, UnreadableKeys

ADA, ACME = uuid4(), uuid4()


def key(kid: str) -> ECKey:
    return ECKey.generate_key("P-256", parameters={"kid": kid}, private=True)


OURS, OTHERS = key("ours"), key("ours")
PUBLIC = KeySet([OURS]).as_dict(private=False)


def claims(**changes: object) -> dict[str, Any]:
    now = int(time.time())
    told = {
        "iss": "upwell",
        "aud": "upwell",
        "sub": str(ADA),
        "iat": now,
        "exp": now + 600,
        "roles": ["coordinator"],
        "units": [str(ACME)],
    } | changes
    return {name: value for name, value in told.items() if value is not None}


def signed(with_key: ECKey = OURS, header: dict[str, Any] | None = None, **changes: object) -> str:
    told = {"alg": "ES256", "kid": "ours"} | (header or {})
    return jwt.encode(told, claims(**changes), with_key)


def part(content: object) -> str:
    return base64.urlsafe_b64encode(orjson.dumps(content)).rstrip(b"=").decode()


def without_signature() -> str:
    return f"{part({'alg': 'none', 'kid': 'ours'})}.{part(claims())}."


def signed_with_what_everybody_knows() -> str:
    """The public key as a secret: believed by whoever lets a token say which algorithm it was signed with."""
    content = f"{part({'alg': 'HS256', 'kid': 'ours'})}.{part(claims())}"
    mac = hmac.digest(OURS.as_pem(private=False), content.encode(), "sha256")
    return f"{content}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"


def tampered() -> str:
    head, _, signature = signed().split(".")
    return f"{head}.{part(claims(roles=['hr_admin']))}.{signature}"


FORGED: dict[str, Callable[[], str]] = {
    "no algorithm": without_signature,
    "public key as secret": signed_with_what_everybody_knows,
    "another key": lambda: signed(OTHERS),
    "another issuer": lambda: signed(iss="somebody"),
    "another audience": lambda: signed(aud="others"),
    "expired": lambda: signed(exp=int(time.time()) - 60),
    "never expires": lambda: signed(exp=None),
    "tampered": tampered,
    "nobody": lambda: signed(sub="ada"),
    "unknown role": lambda: signed(roles=["king"]),
    "key of another": lambda: signed(OTHERS, {"kid": "theirs"}),
    "garbage": lambda: "a.b.c",
    "empty": lambda: "",
    "blank": lambda: " ",
    "too long": lambda: signed(units=[str(uuid4())] * 400),
    "no subject": lambda: signed(sub=None),
    "no issuer": lambda: signed(iss=None),
    "roles no list": lambda: signed(roles="hr_admin"),
    "units no ids": lambda: signed(units=["acme"]),
    "exp a word": lambda: signed(exp="tomorrow"),
    "claims no object": lambda: (
        f"{part({'alg': 'ES256', 'kid': 'ours'})}.{part(['a'])}.{signed().split('.')[2]}"
    ),
    "critical extension": lambda: (
        f"{part({'alg': 'ES256', 'kid': 'ours', 'crit': ['x'], 'x': 1})}.{part(claims())}.AAAA"
    ),
}


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    file = tmp_path / "keys.json"
    file.write_bytes(orjson.dumps(PUBLIC))
    return file


def client(keys: Path) -> httpx2.AsyncClient:
    routes = api_router("/v1")

    @routes.get("/me", dependencies=[requires(authenticated)])
    async def me(who: CurrentPrincipal) -> dict[str, Any]:
        return {"id": who.id, "roles": sorted(who.roles), "units": sorted(map(str, who.units))}

    async def ping() -> None: ...

    app = create_app("tokens", routes, authenticator=TokenVerifier.of(keys), ping=ping)
    return httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://tokens")


async def test_a_token_says_who_is_asking_in_which_roles_and_where(keys: Path) -> None:
    async with client(keys) as http:
        for _ in range(2):  # the second time it is remembered
            response = await http.get("/v1/me", headers={"authorization": f"Bearer {signed()}"})
            assert response.json() == {"id": str(ADA), "roles": ["coordinator"], "units": [str(ACME)]}


@pytest.mark.parametrize("forgery", FORGED)
async def test_a_forged_token_is_refused_without_saying_why(keys: Path, forgery: str) -> None:
    async with client(keys) as http:
        for _ in range(2):
            response = await http.get("/v1/me", headers={"authorization": f"Bearer {FORGED[forgery]()}"})
            check(response, 401, "unauthenticated")
            assert response.headers["www-authenticate"] == "Bearer"


async def test_roles_and_units_may_be_left_out(keys: Path) -> None:
    found = await TokenVerifier.of(keys).authenticate(signed(roles=None, units=None))
    assert found == Principal(ADA, frozenset(), frozenset())


async def test_what_is_remembered_ends_with_the_token(keys: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    verifier, token = TokenVerifier.of(keys), signed()
    assert (await verifier.authenticate(token)).id == ADA
    later = time.time() + 3600
    monkeypatch.setattr(time, "time", lambda: later)
    with pytest.raises(Unauthenticated):
        await verifier.authenticate(token)


async def test_remembering_has_an_end(keys: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "_REMEMBERED", 2)
    verifier = TokenVerifier.of(keys)
    told = [signed(sub=str(UUID(int=n))) for n in range(4)]
    for _ in range(2):
        assert [(await verifier.authenticate(token)).id.int for token in told] == [0, 1, 2, 3]
    assert len(verifier._known) == 2  # noqa: SLF001


async def test_keys_of_two_issuers_are_told_apart_by_their_id(tmp_path: Path) -> None:
    other = key("other")
    file = tmp_path / "keys.json"
    file.write_bytes(orjson.dumps(KeySet([OURS, other]).as_dict(private=False)))
    verifier = TokenVerifier.of(file)
    assert (await verifier.authenticate(signed())).roles == {UserRole.COORDINATOR}
    assert (await verifier.authenticate(signed(other, {"kid": "other"}))).id == ADA
    with pytest.raises(Unauthenticated):
        await verifier.authenticate(signed(other))


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b'{"keys": 1}', b'{"keys": [{"kty": "EC"}]}'])
def test_what_is_no_set_of_keys_is_said_to_be_none(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "keys.json"
    file.write_bytes(content)
    with pytest.raises(UnreadableKeys, match="UPWELL_ISSUER_KEYS_FILE"):
        TokenVerifier.of(file)
    with pytest.raises(UnreadableKeys):
        TokenVerifier.of(tmp_path / "none.json")
