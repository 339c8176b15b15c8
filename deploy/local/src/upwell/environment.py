"""What each service is told by its environment, and which parts the caller's own environment says are elsewhere."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from upwell.databases import Cluster, ServiceDatabases
from upwell.services import GATEWAY, ServiceSpec
from upwell_gateway.issuer import KeyFiles
from upwell_shared.errors import UpwellError

_PREFIX: Final = "UPWELL_"

_BROKERS: Final[Mapping[str, Mapping[str, str]]] = {
    # docs/decisions/0002-brokers.md says why.
    "embedded": {
        "UPWELL_CONSUMER_SESSION_MS": "1000",
        "UPWELL_CONSUMER_HEARTBEAT_MS": "200",
        "UPWELL_CONSUMER_FETCH_WAIT_MS": "20",
    },
    # One broker on the same machine: a member that was killed need not be waited for longer.
    "apache": {"UPWELL_CONSUMER_SESSION_MS": "3000", "UPWELL_CONSUMER_HEARTBEAT_MS": "500"},
}


class NotForProduction(UpwellError):
    """`upwell up` is Upwell on one machine, with an issuer that believes everybody: unset UPWELL_ENV=production."""


class HalfElsewhere(UpwellError):
    """A service that keeps texts needs both of its databases elsewhere, or none."""


class Elsewhere:
    """Parts that run somewhere else, by UPWELL_KAFKA_BOOTSTRAP, UPWELL_<SERVICE>_DATABASE_URL and …_KEYS_DATABASE_URL.

    They are used as they are: whoever runs a database has migrated it.
    """

    def __init__(self, environment: Mapping[str, str], services: Sequence[ServiceSpec]) -> None:
        """Raises NotForProduction, HalfElsewhere."""
        if environment.get("UPWELL_ENV") == "production":
            raise NotForProduction
        self.bootstrap = environment.get("UPWELL_KAFKA_BOOTSTRAP") or None
        self._found: dict[str, ServiceDatabases] = {}
        for spec in services:
            url, keys = spec.variable("database_url"), spec.variable("keys_database_url")
            if spec.keeps_texts and bool(environment.get(url)) != bool(environment.get(keys)):
                raise HalfElsewhere(f"{url} and {keys} belong together: set both, or none")
            if address := environment.get(url):
                self._found[spec.name] = ServiceDatabases(address, environment.get(keys) or None, address)

    def databases(self, spec: ServiceSpec) -> ServiceDatabases | None:
        """None: the embedded PostgreSQL has them."""
        return self._found.get(spec.name)


class Wiring:
    """The settings of every service of one stack. What the caller's environment says of a service stays."""

    def __init__(
        self,
        *,
        environment: Mapping[str, str],
        keys: KeyFiles,
        ports: Mapping[str, int],
        bootstrap: str,
        broker: str | None,
        clock: Path | None,
    ) -> None:
        """`broker` is the kind of the one started here, None for one elsewhere; `clock` the simulated one's file."""
        own = tuple(f"{_PREFIX}{name}_".upper() for name in ports)
        common = {
            name: value
            for name, value in environment.items()
            if name.startswith(_PREFIX) and not name.startswith(own)
        }
        self._environment = environment
        self._keys = keys
        self._ports = ports
        self._common = dict(_BROKERS.get(broker or "", {})) | common
        self._common |= {
            "UPWELL_ENV": "local",
            "UPWELL_KAFKA_BOOTSTRAP": bootstrap,
            "UPWELL_ISSUER_KEYS_FILE": str(keys.public),
        }
        self._common.pop("UPWELL_CLOCK_FILE", None)
        if clock is not None:
            self._common["UPWELL_CLOCK_FILE"] = str(clock)

    def service(self, spec: ServiceSpec, databases: ServiceDatabases) -> dict[str, str]:
        """The environment of the running service."""
        told = self._own(spec) | {
            spec.variable("database_url"): databases.url,
            spec.variable("host"): "127.0.0.1",
            spec.variable("port"): str(self._ports[spec.name]),
        }
        if databases.keys_url is not None:
            told[spec.variable("keys_database_url")] = databases.keys_url
        if spec.name == GATEWAY:
            told[spec.variable("issuer_key_file")] = str(self._keys.private)
            told |= {
                spec.variable(f"{name}_urls"): f"http://127.0.0.1:{port}"
                for name, port in self._ports.items()
                if name != GATEWAY
            }
        return told

    def migration(self, spec: ServiceSpec, cluster: Cluster) -> dict[str, str]:
        """The environment of its migration, as the databases' owner."""
        owner = ServiceDatabases(
            cluster.url(spec, "owner"),
            cluster.url(spec, "owner", keys=True) if spec.keeps_texts else None,
            "",
        )
        return self.service(spec, owner)

    def _own(self, spec: ServiceSpec) -> dict[str, str]:
        prefix = f"{_PREFIX}{spec.name}_".upper()
        mine = {name: value for name, value in self._environment.items() if name.startswith(prefix)}
        return self._common | mine
