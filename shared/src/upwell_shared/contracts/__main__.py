"""`python -m upwell_shared.contracts write|check|release`: the committed files of the contracts Upwell ships."""

import sys
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

from upwell_shared import contracts
from upwell_shared.contracts import Contract, committed, fields

FOLDER = Path(contracts.__file__).parent
_USE = "use: python -m upwell_shared.contracts write|check|release"


def shipped() -> Iterator[Contract]:
    """The contract of every module of the package that defines one."""
    for module in iter_modules(contracts.__path__):
        if module.name != "__main__":
            contract = getattr(import_module(f"{contracts.__name__}.{module.name}"), "CONTRACT", None)
            if isinstance(contract, Contract):
                yield contract


def faults(contract: Contract, folder: Path = FOLDER) -> list[str]:
    """Everything that keeps a contract from being released."""
    return [
        *fields.violations(contract),
        *committed.differences(contract, folder),
        *committed.broken_promises(contract, folder),
    ]


def main(arguments: Sequence[str], folder: Path = FOLDER) -> int:
    """0 done, 1 with a line for each fault found, 2 not understood."""
    if len(arguments) != 1 or arguments[0] not in {"write", "check", "release"}:
        sys.stderr.write(f"{_USE}\n")
        return 2
    found = []
    for contract in shipped():
        if arguments[0] == "write":
            committed.write(contract, folder)
        else:
            found += faults(contract, folder)
    if arguments[0] == "release" and not found:
        for contract in shipped():
            committed.release(contract, folder)
    sys.stdout.writelines(f"{line}\n" for line in found)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
