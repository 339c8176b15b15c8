"""The contracts Upwell ships: every module of this package that defines `CONTRACT`, found and not listed."""

from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Final

from upwell_shared import contracts
from upwell_shared.contracts import Contract, committed, fields

FOLDER: Final = Path(contracts.__file__).parent
"""Where their committed files are."""


def shipped() -> list[Contract]:
    """Every contract, by the name of its module."""
    modules = (module.name for module in iter_modules(contracts.__path__) if module.name != "__main__")
    found = (getattr(import_module(f"{contracts.__name__}.{name}"), "CONTRACT", None) for name in modules)
    return [contract for contract in found if isinstance(contract, Contract)]


def faults(contract: Contract, folder: Path = FOLDER) -> list[str]:
    """Everything that keeps a contract from being released."""
    return [
        *fields.violations(contract),
        *committed.differences(contract, folder),
        *committed.broken_promises(contract, folder),
    ]
