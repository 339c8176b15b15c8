"""People from a file, through the gateway, as an HR team would send them."""

import time
from collections.abc import Callable, Sequence
from typing import Any, Final
from uuid import NAMESPACE_DNS, UUID, uuid4, uuid5

import asyncpg
import httpx2

from upwell_gateway.issuer import Issuer
from upwell_shared.errors import UpwellError
from upwell_shared.web.policies import UserRole

_ROOTS: Final = "SELECT unit_id, name FROM units WHERE parent_id IS NULL AND NOT closed"
_LOCAL: Final = uuid5(NAMESPACE_DNS, "local.upwell")
"""Ids of organisations opened here follow from their names, so that a repeated opening opens none."""
_REQUEST_SECONDS: Final = 60.0
_TRIES: Final = 20
_PAUSE_SECONDS: Final = 0.5
_NOT_NOW: Final = frozenset({502, 503, 504})


class NotImported(UpwellError):
    """The file was not taken."""


class UnknownOrganisation(UpwellError):
    """There is no organisation with this id."""


async def organisations(directory_reader_url: str) -> dict[UUID, str]:
    """The open organisations, by id."""
    connection = await asyncpg.connect(directory_reader_url)
    try:
        return {row["unit_id"]: row["name"] for row in await connection.fetch(_ROOTS)}
    finally:
        await connection.close()


class People:
    """An HR team of the development issuer's, for all organisations there are."""

    def __init__(self, gateway: str, issuer: Issuer, known: dict[UUID, str]) -> None:
        """`known`: the organisations that exist."""
        self._gateway = gateway
        self._issuer = issuer
        self._known = dict(known)
        self._who = uuid4()

    def open(self, wanted: Sequence[str]) -> dict[UUID, str]:
        """Opens the organisations of these names that do not exist, and answers all of `wanted`, also those given by id.

        Raises UnknownOrganisation for an id, NotImported.
        """
        found = {}
        for text in wanted:
            found[self._open(text)] = text
        return found

    def send(
        self, content: bytes, *, dry_run: bool, skip_bad: bool, waiting: Callable[[int], None]
    ) -> dict[str, Any]:
        """The report of the import, once there is nothing more to do; `waiting` hears how many rows remain.

        Raises NotImported.
        """
        key = uuid4()
        asked = {"dry_run": str(dry_run).lower(), "skip_bad": str(skip_bad).lower()}
        while True:
            answer = self._request(
                "POST", "/v1/imports", key, content=content, params=asked, media="text/csv"
            )
            report: dict[str, Any] = answer.json()
            if answer.status_code != 202:
                return report
            waiting(report["remaining"])

    def _open(self, text: str) -> UUID:
        if (given := _as_id(text)) is not None:
            if given not in self._known:
                raise UnknownOrganisation(f"there is no organisation {given}; name it, and it is opened")
            return given
        known = next((known for known, name in self._known.items() if name == text), None)
        if known is not None:
            return known
        new = uuid5(_LOCAL, text)
        self._known[new] = text
        self._request("PUT", f"/v1/organisations/{new}", uuid4(), json={"name": text})
        return new

    def _request(
        self, method: str, path: str, key: UUID, *, media: str = "application/json", **options: Any
    ) -> httpx2.Response:
        """Sent again, with the same key, while nobody answers or the answer is "not now"."""
        token = self._issuer.token(self._who, [UserRole.HR_ADMIN], self._known)
        headers = {"Authorization": f"Bearer {token}", "Idempotency-Key": str(key), "Content-Type": media}
        said = "nobody answers"
        for _ in range(_TRIES):
            try:
                answer = httpx2.request(
                    method, f"{self._gateway}{path}", headers=headers, timeout=_REQUEST_SECONDS, **options
                )
            except httpx2.TransportError:
                time.sleep(_PAUSE_SECONDS)
                continue
            if answer.status_code not in _NOT_NOW:
                if answer.status_code >= 400:
                    raise NotImported(f"{self._gateway} refused: {_problem(answer)}")
                return answer
            said = _problem(answer)
            time.sleep(_PAUSE_SECONDS)
        raise NotImported(
            f"{self._gateway}: {said}; the same file can be sent again, nobody is imported twice"
        )


def _as_id(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


def _problem(answer: httpx2.Response) -> str:
    try:
        problem = answer.json()
        errors = [f"{each['at']} {each['detail']}".lstrip("# ") for each in problem.get("errors", [])]
        return "; ".join([str(problem.get("detail") or problem["title"]), *errors])
    except (ValueError, KeyError, TypeError, AttributeError):
        return f"status {answer.status_code}"
