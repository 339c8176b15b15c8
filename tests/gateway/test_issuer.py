"""The development issuer: its keys, its tokens, and where it refuses to be."""

import os
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

import orjson
import pytest

from tests.gateway.world import World
from upwell_gateway.issuer import Issuer, UnreadableIssuerKey, make_keys
from upwell_shared.errors import Unauthenticated
from upwell_shared.web.policies import Principal, UserRole
from upwell_shared.web.tokens import TokenVerifier


def test_keys_are_made_once_for_their_owners_eyes_alone(tmp_path: Path) -> None:
    files = make_keys(tmp_path / "run" / "keys")
    before = [file.read_bytes() for file in files]
    assert [stat.S_IMODE(file.stat().st_mode) for file in files] == [0o600, 0o600]
    assert make_keys(tmp_path / "run" / "keys") == files
    assert [file.read_bytes() for file in files] == before
    assert sorted(file.name for file in files.private.parent.iterdir()) == sorted(file.name for file in files)
    assert "d" in orjson.loads(before[0])
    assert all("d" not in key for key in orjson.loads(before[1])["keys"])


def test_public_keys_that_were_not_written_any_more_are_written_next_time(tmp_path: Path) -> None:
    files = make_keys(tmp_path)
    public = files.public.read_bytes()
    files.public.unlink()
    make_keys(tmp_path)
    assert files.public.read_bytes() == public


async def test_whoever_makes_keys_at_the_same_time_has_the_same(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as threads:
        made = [*threads.map(lambda _: Issuer.of(make_keys(tmp_path).private), range(16))]
    verifier = TokenVerifier.of(make_keys(tmp_path).public)
    ada = uuid4()
    for issuer in made:
        assert (await verifier.authenticate(issuer.token(ada))).id == ada


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b'"key"', b"{}", b'{"kty":"oct","k":"c2VjcmV0"}', b'{"kty":"EC","crv":"P-256"}'],
)
def test_what_is_no_private_key_is_said_to_be_none(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "key.json"
    file.write_bytes(content)
    with pytest.raises(UnreadableIssuerKey, match="UPWELL_GATEWAY_ISSUER_KEY_FILE"):
        Issuer.of(file)
    with pytest.raises(UnreadableIssuerKey):
        Issuer.of(tmp_path / "none.json")


def test_a_public_key_is_no_private_key(tmp_path: Path) -> None:
    (public,) = orjson.loads(make_keys(tmp_path).public.read_bytes())["keys"]
    file = tmp_path / "public.json"
    file.write_bytes(orjson.dumps(public))
    with pytest.raises(UnreadableIssuerKey):
        Issuer.of(file)


async def test_a_login_answers_a_token_that_says_who_somebody_is(world: World, tmp_path: Path) -> None:
    ada, acme = uuid4(), uuid4()
    body = {"person_id": str(ada), "roles": ["coordinator", "analyst"], "units": [str(acme)]}
    told = (await world.http.post("/v1/login", json=body)).json()
    assert (told["token_type"], told["expires_in"]) == ("Bearer", 12 * 3600)
    keys = (await world.http.get("/v1/issuer/keys")).json()
    file = tmp_path / "public.json"
    file.write_bytes(orjson.dumps(keys))
    who = await TokenVerifier.of(file).authenticate(told["access_token"])
    assert who == Principal(ada, frozenset({UserRole.COORDINATOR, UserRole.ANALYST}), frozenset({acme}))
    assert "d" not in keys["keys"][0]
    told = (await world.http.post("/v1/login", json={"person_id": str(ada)})).json()
    who = await TokenVerifier.of(file).authenticate(told["access_token"])
    assert who == Principal(ada, frozenset({UserRole.PARTICIPANT}), frozenset())


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"person_id": "ada"},
        {"person_id": str(uuid4()), "roles": ["king"]},
        {"person_id": str(uuid4()), "units": ["acme"]},
        {"person_id": str(uuid4()), "units": [str(uuid4())] * 101},
        {"person_id": str(uuid4()), "admin": True},
    ],
)
async def test_a_login_that_does_not_fit_is_refused(world: World, body: object) -> None:
    assert (await world.http.post("/v1/login", json=body)).status_code == 422


async def test_a_token_whose_time_is_over_is_believed_no_more(tmp_path: Path) -> None:
    files = make_keys(tmp_path)
    over = Issuer.of(files.private).token(uuid4(), seconds=-60)
    with pytest.raises(Unauthenticated):
        await TokenVerifier.of(files.public).authenticate(over)


def start(**environment: str) -> subprocess.CompletedProcess[str]:
    told = {"PATH": os.environ["PATH"], "UPWELL_GATEWAY_DATABASE_URL": "postgresql://a:b@127.0.0.1:1/c"}
    return subprocess.run(
        [sys.executable, "-m", "upwell_gateway", "all"],
        capture_output=True,
        text=True,
        check=False,
        env=told | environment,
    )


def test_in_production_there_is_no_issuer_that_believes_whoever_asks(tmp_path: Path) -> None:
    key = str(make_keys(tmp_path).private)
    refused = start(UPWELL_ENV="production", UPWELL_GATEWAY_ISSUER_KEY_FILE=key)
    assert refused.returncode == 2
    (line,) = refused.stderr.splitlines()
    assert line.startswith("UPWELL_GATEWAY_ISSUER_KEY_FILE: the development issuer believes whoever asks")
    assert key not in refused.stderr


@pytest.mark.parametrize(
    "urls",
    [
        "127.0.0.1:8401",
        "ftp://x",
        "http://",
        "http://x/v1",
        "http://u:p@x",
        "http://x:port",
        "http://x,",
        "http://x?y",
    ],
)
def test_addresses_that_are_none_are_named(urls: str) -> None:
    refused = start(UPWELL_GATEWAY_MATCHING_URLS=urls)
    assert refused.returncode == 2
    (line,) = refused.stderr.splitlines()
    assert line == (
        "UPWELL_GATEWAY_MATCHING_URLS: must be addresses like http://host:port, separated by commas, without a path"
    )
