"""The operators' routes of a running stack's services, asked with a token of the role ops."""

from getpass import getuser
from typing import Any, Final
from uuid import NAMESPACE_DNS, uuid4, uuid5

import httpx2

from upwell.folder import DataFolder
from upwell.services import UnknownPart
from upwell_gateway.issuer import Issuer, make_keys
from upwell_shared.errors import UpwellError
from upwell_shared.web.policies import UserRole

_OPERATORS: Final = uuid5(NAMESPACE_DNS, "operators.local.upwell")
"""Who operates is known by the account on this machine: the same one, the same id in what is kept."""
_REQUEST_SECONDS: Final = 30.0


class ServiceSilent(UpwellError):
    """The service does not answer."""


class NotDone(UpwellError):
    """The service refused."""


class Operator:
    """Whoever uses this machine, as an operator of the services that run on a folder."""

    def __init__(self, folder: DataFolder) -> None:
        """Raises NotRunning."""
        self._services: dict[str, dict[str, Any]] = folder.read_state()["services"]
        issuer = Issuer.of(make_keys(folder.keys).private)
        self._token = issuer.token(uuid5(_OPERATORS, getuser()), [UserRole.OPS], ())

    def services(self, only: str | None = None) -> list[str]:
        """The names of all, or the one that is meant. Raises UnknownPart."""
        if only is not None and only not in self._services:
            raise UnknownPart(f"there is no service {only}; there are {', '.join(self._services)}")
        return [*self._services] if only is None else [only]

    def all(self, service: str, path: str) -> list[dict[str, Any]]:
        """Every item of a list, page by page. Raises ServiceSilent, NotDone."""
        items: list[dict[str, Any]] = []
        cursor: str | None = None
        while True:
            asked = {"limit": "200"} if cursor is None else {"limit": "200", "cursor": cursor}
            page = self.ask(service, "GET", path, params=asked)
            items += page["items"]
            cursor = page["next"]
            if cursor is None:
                return items

    def ask(self, service: str, method: str, path: str, **options: Any) -> Any:
        """What the service answers; a refusal is NotDone in its own words. Raises ServiceSilent, UnknownPart."""
        self.services(service)
        address = f"http://127.0.0.1:{self._services[service]['port']}/v1/operations{path}"
        headers = {"Authorization": f"Bearer {self._token}", "Idempotency-Key": str(uuid4())}
        try:
            answer = httpx2.request(method, address, headers=headers, timeout=_REQUEST_SECONDS, **options)
        except httpx2.TransportError as error:
            raise ServiceSilent(
                f"{service} does not answer: see `upwell status`, `upwell start {service}`"
            ) from error
        if answer.status_code >= 400:
            raise NotDone(f"{service}: {_reason(answer)}")
        return answer.json()


def _reason(answer: httpx2.Response) -> str:
    try:
        problem = answer.json()
        errors = [f"{each['at']} {each['detail']}".lstrip("#/ ") for each in problem.get("errors", [])]
        return "; ".join([str(problem["detail"]), *errors])
    except (ValueError, KeyError, TypeError):
        return f"status {answer.status_code}"
