"""`python -m upwell_shared.contracts write|check|release`: the committed files of the contracts Upwell ships."""

import sys
from collections.abc import Sequence
from pathlib import Path

from upwell_shared.contracts import committed
from upwell_shared.contracts.shipped import FOLDER, faults, shipped

_USE = "use: python -m upwell_shared.contracts write|check|release"


def main(arguments: Sequence[str], folder: Path = FOLDER) -> int:
    """0 done, 1 with a line for each fault found, 2 not understood. `release` does nothing while there is a fault."""
    if len(arguments) != 1 or arguments[0] not in {"write", "check", "release"}:
        sys.stderr.write(f"{_USE}\n")
        return 2
    if arguments[0] == "write":
        for contract in shipped():
            committed.write(contract, folder)
        return 0
    found = [line for contract in shipped() for line in faults(contract, folder)]
    sys.stdout.writelines(f"{line}\n" for line in found)
    if found:
        return 1
    if arguments[0] == "release":
        for contract in shipped():
            committed.release(contract, folder)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
