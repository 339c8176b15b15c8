"""Whose facts the gateway shows."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from upwell_shared.contracts import Contract, directory, feedback, matching, sessions

SOURCES: Final[Mapping[str, Contract]] = MappingProxyType(
    {each.CONTRACT.owner: each.CONTRACT for each in (directory, matching, sessions, feedback)}
)
"""The contracts the gateway consumes, by owner."""
