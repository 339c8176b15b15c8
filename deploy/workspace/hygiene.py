"""Look through every tracked file for what must never be in the repository; exits with 1 and a line per finding.

Looked for: private keys and tokens, hosts of package registries, paths of somebody's machine, download addresses
in locks, and files that record such things by nature.
"""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from members import ROOT

FORBIDDEN_FILES = re.compile(
    r"(^|/)(uv\.lock|pylock[^/]*\.toml|\.env(\.[^/]*)?|id_(rsa|ed25519)|[^/]*\.(pem|p12|jks))$"
)
FORBIDDEN_TEXT = {
    "a private key": re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----"),
    "a token": re.compile(
        r"\b(AKIA[0-9A-Z]{16}|gh[pousr]_[A-Za-z0-9]{36}|xox[abprs]-[A-Za-z0-9-]{10,}|pypi-[A-Za-z0-9_-]{40,})"
    ),
    "a token's signature": re.compile(r"\beyJ[A-Za-z0-9_-]{15,}\.eyJ[A-Za-z0-9_-]{15,}\.[A-Za-z0-9_-]{20,}"),
    "a registry's host": re.compile(
        r"\b(pypi\.org|files\.pythonhosted|registry\.npmjs|repo1?\.maven|deb\.debian|registry-1\.docker)\b"
    ),
    "a machine's path": re.compile(r"(?<![\w.])/(home/[a-z]\w*|Users/\w+|root|work)/(?=[\w.])"),
}
ADDRESS = re.compile(r"[a-z]://")


def tracked() -> list[str]:
    """Names of the files git tracks, relative to the root. Raises CalledProcessError outside a checkout."""
    run = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True)  # noqa: S607 git is where PATH says
    return [name for name in run.stdout.split("\0") if name and (ROOT / name).is_file()]


def findings(name: str) -> Iterator[str]:
    if FORBIDDEN_FILES.search(name):
        yield f"{name}: a file of this kind is not to be tracked"
    try:
        text = Path(ROOT / name).read_text("utf-8")
    except UnicodeDecodeError:
        return
    for number, line in enumerate(text.splitlines(), start=1):
        for what, pattern in FORBIDDEN_TEXT.items():
            if pattern.search(line):
                yield f"{name}:{number}: {what}"
        if name.startswith("requirements/") and ADDRESS.search(line):
            yield f"{name}:{number}: a download address"


def main() -> int:
    names = tracked()
    found = [finding for name in names for finding in findings(name)]
    for finding in found:
        print(finding, file=sys.stderr)
    print(f"{len(names)} tracked files, {len(found)} findings")
    return min(len(found), 1)


if __name__ == "__main__":
    sys.exit(main())
