"""What a service is told by its environment: frozen, checked as a whole at start, silent about secrets."""

import os
import sys
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self, TypeVar
from urllib.parse import urlsplit

from pydantic import Field, GetCoreSchemaHandler, ValidationError, model_validator
from pydantic_core import CoreSchema, PydanticCustomError, core_schema
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

COMMON_PREFIX = "UPWELL_"

Port = Annotated[int, Field(ge=0, le=65_535)]


class Dsn:
    """A PostgreSQL address whose password shows only when asked for by `reveal`."""

    __slots__ = ("_address",)

    def __init__(self, address: str) -> None:
        self._address = address

    def reveal(self) -> str:
        """The whole address, for the driver alone."""
        return self._address

    def __str__(self) -> str:
        parts = urlsplit(self._address)
        user, at, place = parts.netloc.rpartition("@")
        # A password may also stand in the query, so that the query is not shown at all.
        return f"{parts.scheme}://{user.partition(':')[0]}{at}{place}{parts.path}"

    def __repr__(self) -> str:
        return f"Dsn('{self}')"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Dsn) and other._address == self._address

    def __hash__(self) -> int:
        return hash(self._address)

    @classmethod
    def _parse(cls, value: object) -> Self:
        if isinstance(value, cls):
            return value
        if isinstance(value, str) and value.startswith(("postgresql://", "postgres://")):
            return cls(value)
        raise PydanticCustomError("dsn", "must look like postgresql://user:password@host:port/database")

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(cls._parse)


class _CommonSource(EnvSettingsSource):
    """`UPWELL_X` for the fields that mean the same to every service."""

    def __call__(self) -> dict[str, Any]:
        common = getattr(self.settings_cls, "common", frozenset[str]())
        return {name: value for name, value in super().__call__().items() if name in common}


class CommonSettings(BaseSettings):
    """What every process of one installation shares, from `UPWELL_…`; a service's own prefix wins over it."""

    model_config = SettingsConfigDict(
        env_prefix=COMMON_PREFIX,
        frozen=True,
        extra="forbid",
        env_ignore_empty=True,
        hide_input_in_errors=True,
    )

    common: ClassVar[frozenset[str]] = frozenset()

    env: Literal["local", "test", "production"] = "local"
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    clock_file: Path | None = None
    """The shared simulated clock; None is the wall clock."""
    kafka_bootstrap: str = "127.0.0.1:9092"
    issuer_keys_file: Path | None = None
    """The public keys of the issuer whose tokens are believed, a JWK set; without one nobody is let in."""
    consumer_session_ms: Annotated[int, Field(ge=500, le=300_000)] = 10_000
    consumer_heartbeat_ms: Annotated[int, Field(ge=100, le=100_000)] = 3_000
    consumer_fetch_wait_ms: Annotated[int, Field(ge=1, le=5_000)] = 20

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        cls.common = frozenset(CommonSettings.model_fields)

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if self.env == "production" and self.clock_file is not None:
            raise PydanticCustomError(
                "clock",
                "UPWELL_CLOCK_FILE: a simulated clock is refused when UPWELL_ENV=production: unset it",
            )
        if self.consumer_heartbeat_ms * 2 > self.consumer_session_ms:
            raise PydanticCustomError(
                "heartbeat",
                "UPWELL_CONSUMER_HEARTBEAT_MS: must be at most half of UPWELL_CONSUMER_SESSION_MS, "
                "or one late heartbeat loses the member",
            )
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 the signature is pydantic's
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 as above
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Own prefix first, then the common one; no dotenv files, since what runs must be visible in one place."""
        return init_settings, env_settings, _CommonSource(settings_cls, env_prefix=COMMON_PREFIX)


class ServiceSettings(CommonSettings):
    """The settings of one service; a subclass names its prefix, `UPWELL_MATCHING_`.

    >>> class MatchingSettings(ServiceSettings):
    ...     model_config = SettingsConfigDict(env_prefix="UPWELL_MATCHING_")
    """

    database_url: Dsn
    keys_database_url: Dsn | None = None
    """The database of keys, backed up apart; None for a service that keeps no texts."""
    host: str = "127.0.0.1"
    port: Port = 0
    """0 lets the system choose."""
    drain_seconds: Annotated[float, Field(ge=0, le=60)] = 0.0
    """How long a stopping service still accepts requests while it says it is not ready: what a load balancer needs."""


S = TypeVar("S", bound=CommonSettings)


def load_settings(cls: type[S]) -> S:
    """Reads the environment. Wrong settings: one line per problem on stderr, naming the variable and never its
    value, and exit code 2. A variable with the service's own prefix that no setting has is a problem too.
    """
    problems = _unknown_variables(cls)
    settings: S | None = None
    try:
        settings = cls()
    except ValidationError as error:
        problems += [
            _line(cls, list(detail["loc"]), detail["type"], detail["msg"]) for detail in error.errors()
        ]
    if settings is None or problems:
        sys.stderr.writelines(f"{problem}\n" for problem in problems)
        raise SystemExit(2)
    return settings


def _unknown_variables(cls: type[CommonSettings]) -> list[str]:
    prefix = cls.model_config.get("env_prefix", COMMON_PREFIX)
    if prefix == COMMON_PREFIX:  # Prefixes of services begin with it, so that nothing can be said here.
        return []
    known = {f"{prefix}{name}".upper() for name in cls.model_fields}
    return [
        f"{name}: no such setting; check the spelling"
        for name in sorted(os.environ)
        if name.startswith(prefix) and name not in known
    ]


def _line(cls: type[CommonSettings], where: list[int | str], kind: str, message: str) -> str:
    if not where:  # A rule over several settings names its variable itself.
        return message
    name = str(where[0])
    own, shared = f"{cls.model_config.get('env_prefix', '')}{name}".upper(), f"{COMMON_PREFIX}{name}".upper()
    variable = shared if name in CommonSettings.model_fields and own not in os.environ else own
    return f"{variable}: {'is missing' if kind == 'missing' else message}"
