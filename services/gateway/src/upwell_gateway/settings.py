"""What the gateway is told by its environment."""

from pathlib import Path
from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import BeforeValidator, model_validator
from pydantic_core import PydanticCustomError
from pydantic_settings import NoDecode, SettingsConfigDict

from upwell_shared.settings import ServiceSettings


def _addresses(value: object) -> object:
    """`http://one:8401, http://two:8401` as a tuple of addresses without a path."""
    found = [each.strip().rstrip("/") for each in value.split(",")] if isinstance(value, str) else value
    if isinstance(found, list | tuple) and all(map(_is_address, found)):
        return tuple(found)
    raise PydanticCustomError(
        "addresses", "must be addresses like http://host:port, separated by commas, without a path"
    )


def _is_address(text: object) -> bool:
    if not isinstance(text, str):
        return False
    try:
        parts = urlsplit(text)
        parts.port  # noqa: B018 it is checked when it is read
    except ValueError:
        return False
    plain = not (parts.path or parts.query or parts.fragment or "@" in parts.netloc)
    return parts.scheme in {"http", "https"} and bool(parts.hostname) and plain


Addresses = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_addresses)]


class GatewaySettings(ServiceSettings):
    """Without any address of a service it cannot be asked, and its part of a page is unavailable."""

    model_config = SettingsConfigDict(env_prefix="UPWELL_GATEWAY_")

    directory_urls: Addresses = ()
    matching_urls: Addresses = ()
    sessions_urls: Addresses = ()
    feedback_urls: Addresses = ()
    issuer_key_file: Path | None = None
    """The private key of the development issuer, which believes whoever asks; without one there is no such issuer."""

    @model_validator(mode="after")
    def _believe_nobody_in_production(self) -> Self:
        if self.env == "production" and self.issuer_key_file is not None:
            raise PydanticCustomError(
                "issuer",
                "UPWELL_GATEWAY_ISSUER_KEY_FILE: the development issuer believes whoever asks and is refused "
                "when UPWELL_ENV=production: unset it",
            )
        return self

    def addresses(self) -> dict[str, tuple[str, ...]]:
        """Where each service is, by its name."""
        return {
            "directory": self.directory_urls,
            "matching": self.matching_urls,
            "sessions": self.sessions_urls,
            "feedback": self.feedback_urls,
        }
