"""Whose a path is, and that none leads anywhere else."""

import re
from urllib.parse import urlsplit

import httpx2
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from upwell_gateway.routing import OWNERS, may_be_asked, owner_of

ID = "6f7a0a52-41a3-4a54-9d2f-0d3c7ad0a4b1"


@pytest.mark.parametrize(
    ("path", "owner"),
    [
        ("/v1/people", "directory"),
        (f"/v1/people/{ID}/consents/quotes/give", "directory"),
        ("/v1/imports", "directory"),
        (f"/v1/match-runs/{ID}/publish", "matching"),
        (f"/v1/cadences/{ID}/sessions/{ID}/recap/confirm", "sessions"),
        (f"/v1/question-sets/{ID}", "feedback"),
    ],
)
def test_the_first_segment_says_whose_it_is(path: str, owner: str) -> None:
    assert owner_of(path.encode()) == owner


@pytest.mark.parametrize(
    "path",
    [
        "/v1/nothing",
        "/v1/peoples",
        "/v1/",
        "/v1",
        "/people",
        "/v2/people",
        "//v1/people",
        "/v1//people",
        "/v1/people/",
        "/v1/people//x",
        "/v1/people/..",
        "/v1/people/../../health/ready",
        "/v1/people/.",
        "/v1/people/.hidden",
        "/v1/people/%2e%2e/metrics",
        "/v1/people/%2E%2E%2Fmetrics",
        "/v1/people%2f..",
        "/v1/people\\..\\x",
        "/v1/people;x=1",
        "/v1/people@evil.example",
        "/v1/people/x?y",
        "/v1/people/x#y",
        "/v1/people/é",
        "/v1/people/a\nb",
        "/v1/people\n",
        "/v1/people/http://evil.example/",
        "http://evil.example/v1/people",
        "/v1/people" + "/x" * 13,
        "/v1/people/" + "x" * 200,
        "",
    ],
)
def test_a_path_that_is_nobodys_or_could_be_read_in_two_ways_is_nobodys(path: str) -> None:
    assert owner_of(path.encode()) is None


@given(
    raw=st.one_of(
        st.binary(max_size=60), st.from_regex(rb"/v1/(people|pairs)[/.%2eEfF~a-z:@;?#\\]*", fullmatch=True)
    )
)
@example(raw=b"/v1/pairs/..%2f")
@example(raw=b"/v1/people/~x")
def test_what_is_handed_on_stays_below_its_segment_at_its_address(raw: bytes) -> None:
    owner = owner_of(raw)
    if owner is None:
        return
    path = raw.decode("ascii")
    segments = path.split("/")[2:]
    assert OWNERS[segments[0]] == owner
    assert all(segment and not segment.startswith(".") for segment in segments)
    url = httpx2.URL("http://127.0.0.1:8401").copy_with(raw_path=raw)
    assert (url.host, url.port, url.raw_path) == ("127.0.0.1", 8401, raw)
    assert urlsplit(str(url)).path == path


@given(query=st.binary(max_size=80))
@example(query=b"a=1&b=%2F..%2F")
@example(query=b"a=%C3%A9&b='\"<>|{}^`")
def test_a_query_reaches_the_owner_as_it_came_or_not_at_all(query: bytes) -> None:
    if may_be_asked(query):
        assert re.fullmatch(rb"[\x21-\x7e]*", query)
        url = httpx2.URL("http://127.0.0.1:8401").copy_with(raw_path=b"/v1/people?" + query)
        assert (url.host, url.raw_path.partition(b"?")[0]) == ("127.0.0.1", b"/v1/people")
        assert httpx2.QueryParams(url.query.decode()) == httpx2.QueryParams(query.decode())
