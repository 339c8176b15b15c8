"""Asking the services behind the gateway: over kept connections, at one of their addresses, and once more elsewhere.

A request is sent again, once, when it was refused before anybody could act on it (no connection, or 503). That is safe
for commands too: their Idempotency-Key makes the second one the first. Nothing else is retried here: whoever asked
may send the same request again, with the same key.
"""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Final

import httpx2

from upwell_shared.errors import Unavailable

ANSWER_SECONDS: Final = 12.0
"""Longer than a service takes to answer that it cannot, and shorter than the gateway's own limit."""

_CONNECT_SECONDS = 1.0
_PAUSE_SECONDS = 0.1
_BUSY = 503

# Shorter than the five seconds after which our servers close an idle connection: else both could use it at once.
_LIMITS = httpx2.Limits(max_connections=200, max_keepalive_connections=50, keepalive_expiry=2.0)


class OwnerAway(Unavailable):
    """The service this belongs to cannot be reached right now: send the same request again shortly, with the same
    Idempotency-Key.
    """


class OwnerSilent(Unavailable):
    """The service this belongs to has not answered in time: whether a command was carried out is not known here, and
    the same request with the same Idempotency-Key finds out.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A request as a service gets it. `target` is path and query as on the wire."""

    method: str
    target: bytes
    headers: Mapping[str, str]
    content: bytes = b""


@dataclass(slots=True)
class _Service:
    name: str
    addresses: Sequence[httpx2.URL]
    turn: Iterator[int] = field(default_factory=count)


class Forwarder:
    """Knows where every service is. One for a process; `close` ends its connections."""

    def __init__(self, addresses: Mapping[str, Sequence[str]]) -> None:
        """`addresses` by the name of the service; those of one are replicas of each other."""
        self._services = {
            name: _Service(name, [httpx2.URL(address) for address in of_it])
            for name, of_it in addresses.items()
        }
        # What the environment says of proxies concerns the world outside, and a token must not go through one.
        self._client = httpx2.AsyncClient(
            limits=_LIMITS, timeout=None, trust_env=False, follow_redirects=False
        )

    async def close(self) -> None:
        await self._client.aclose()

    async def ask(
        self, service: str, question: Question, *, seconds: float = ANSWER_SECONDS
    ) -> httpx2.Response:
        """The answer, whatever its status. Raises OwnerAway and OwnerSilent; both within `seconds`."""
        known = self._services[service]
        if not known.addresses:
            raise _away(service)
        first = next(known.turn) % len(known.addresses)
        second = (first + 1) % len(known.addresses)
        try:
            async with asyncio.timeout(seconds):
                answer = await self._try(known.addresses[first], question)
                if answer is None or answer.status_code == _BUSY:
                    if second == first:
                        await asyncio.sleep(_PAUSE_SECONDS)
                    answer = await self._try(known.addresses[second], question) or answer
        except TimeoutError as error:
            raise OwnerSilent(
                f"The service {service} has not answered in time: whether a command was carried out is not known "
                "here, and the same request with the same Idempotency-Key finds out."
            ) from error
        except httpx2.HTTPError as error:
            # The connection broke after the question was sent, or what came back is no answer.
            raise _away(service) from error
        if answer is None:
            raise _away(service)
        return answer

    async def _try(self, address: httpx2.URL, question: Question) -> httpx2.Response | None:
        """None when there was no connection, so that nothing was asked."""
        request = httpx2.Request(
            question.method,
            address.copy_with(raw_path=question.target),
            headers=question.headers,
            content=question.content or None,
        )
        # The time for an answer is limited around both tries.
        request.extensions["timeout"] = {"connect": _CONNECT_SECONDS, "pool": _CONNECT_SECONDS}
        try:
            return await self._client.send(request)
        except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout):
            return None


def _away(service: str) -> OwnerAway:
    return OwnerAway(
        f"The service {service} cannot be reached right now: send the same request again shortly, with the same "
        "Idempotency-Key."
    )
