"""Find a Python new enough for Upwell and hand over to environments.py.

This one file keeps to the syntax of Python 3.6, so that an old interpreter can say what is missing instead of
failing on a line it cannot read. Everything after it is written for Python 3.11.
"""

import os
import shutil
import subprocess
import sys
from typing import Optional

HERE = os.path.dirname(os.path.abspath(__file__))
OLDEST = (3, 11)
NAMES = ("python3.13", "python3.12", "python3.11", "python3.14", "python3")
PROBE = "import sys; sys.exit(sys.version_info < (3, 11))"


def runs(python: str) -> bool:
    """Whether this interpreter starts and is new enough."""
    return subprocess.call([python, "-c", PROBE], stderr=subprocess.DEVNULL) == 0


def suitable() -> Optional[str]:
    """Return the path of an interpreter of at least 3.11, or None.

    The one of a working .venv comes first, so that `python3` meaning something else in another terminal changes
    nothing; then this one; then whatever has a telling name.
    """
    existing = os.path.join(HERE, "..", "..", ".venv", "bin", "python")
    if os.path.exists(existing) and runs(existing):
        return existing
    if sys.version_info >= OLDEST:
        return sys.executable
    for name in NAMES:
        path = shutil.which(name)
        if path and runs(path):
            return path
    return None


def main() -> int:
    """Replace this process with environments.py under a suitable interpreter, or exit with 2."""
    python = suitable()
    if python is None:
        found = ".".join(str(part) for part in sys.version_info[:3])
        remedy = "; on Debian: apt install python3 python3-venv\n"
        sys.stderr.write("upwell needs Python 3.11 or newer and found only " + found + remedy)
        return 2
    script = os.path.join(HERE, "environments.py")
    os.execv(python, [python, script] + sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
