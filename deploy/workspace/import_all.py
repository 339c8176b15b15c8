"""Import every module of the package named on the command line, `testing` and `__main__` excepted.

Run with -W error in an environment that holds the package's own dependencies only: an import of something that
another member declares fails here, and nowhere else.
"""

import importlib
import pkgutil
import sys


def modules(package: str) -> list[str]:
    found = [package]
    for info in pkgutil.iter_modules(importlib.import_module(package).__path__, f"{package}."):
        leaf = info.name.rpartition(".")[2]
        if leaf not in {"testing", "__main__"}:
            found += modules(info.name) if info.ispkg else [info.name]
    return found


def main(package: str) -> int:
    failed = 0
    names = modules(package)
    for name in names:
        try:
            importlib.import_module(name)
        except Exception as error:  # noqa: BLE001 whatever an import raises is the finding
            failed += 1
            print(f"{name}: {type(error).__name__}: {error}", file=sys.stderr)
    good = len(names) - failed
    print(f"{package}: {good} of {len(names)} modules import with its own dependencies only", flush=True)
    return min(failed, 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
