"""Write the locks in requirements/, or check that they are those of the present inputs.

    locks.py write [--upgrade]    needs a package index; without --upgrade, versions already pinned stay
    locks.py check                needs no network; exits with 1 and names each lock that is out of date

A lock is `uv pip compile` over the pyproject files of the members it serves, for every platform at once, with
hashes and without addresses. All other locks are constrained to the versions of dev.txt, so one version of a
package is tested and shipped. requirements/inputs.sha256 records, per lock, a digest of what it was made from and
of what came out; descriptions, versions and comments of the inputs do not count.
"""

import hashlib
import json
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

from environments import DEV, uv_settings
from members import REQUIREMENTS, ROOT, Member, members, with_own_dependencies

RECORD = REQUIREMENTS / "inputs.sha256"
DEPENDENCY_KEYS = ("name", "requires-python", "dependencies", "optional-dependencies")


@dataclass(frozen=True, kw_only=True)
class Lock:
    """One file in requirements/ and what it is made from."""

    name: str
    served: tuple[Member, ...] = ()
    files: tuple[str, ...] = ()
    """Names of .in files in requirements/."""
    options: tuple[str, ...] = ()

    @property
    def path(self) -> Path:
        return REQUIREMENTS / f"{self.name}.txt"

    def digest(self) -> str | None:
        """Digest of inputs and outcome; None as long as the lock has never been written."""
        if not self.path.exists():
            return None
        uv = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["uv"]
        declared = [{key: one.project.get(key) for key in DEPENDENCY_KEYS} for one in self.served]
        lines = [requirement_lines(REQUIREMENTS / name) for name in self.files]
        asked = json.dumps([uv, declared, lines, self.options], sort_keys=True)
        return hashlib.sha256(asked.encode() + self.path.read_bytes()).hexdigest()

    def write(self, *, upgrade: bool) -> None:
        """Compile the lock. Raises CalledProcessError when uv finds no solution."""
        hidden = [part for one in members() for part in ("--no-emit-package", one.distribution)]
        inputs = [str((one.folder / "pyproject.toml").relative_to(ROOT)) for one in self.served]
        inputs += [f"requirements/{name}" for name in self.files]
        command = [
            *(
                str(DEV / "bin" / "uv"),
                "pip",
                "compile",
                "--quiet",
                "--universal",
                "--python-version",
                "3.11",
            ),
            *("--generate-hashes", "--no-header", "--no-annotate", "--no-emit-index-url"),
            *(*hidden, *self.options, *(["--upgrade"] if upgrade else [])),
            *("--output-file", str(self.path.relative_to(ROOT)), *inputs),
        ]
        subprocess.run(command, check=True, cwd=ROOT, env=uv_settings())


def requirement_lines(path: Path) -> list[str]:
    lines = (line.partition("#")[0].strip() for line in path.read_text("utf-8").splitlines())
    return [line for line in lines if line]


def locks() -> list[Lock]:
    """Every lock there is to be, dev first: the others take its versions."""
    tools = ("dev.in",)
    everything = "--all-extras"
    same_versions = ("--constraints", "requirements/dev.txt")
    return [
        Lock(name="bootstrap", files=("bootstrap.in",)),
        Lock(name="dev", served=members(), files=tools, options=(everything,)),
        Lock(
            name="bench", served=members(), files=(*tools, "bench.in"), options=(everything, *same_versions)
        ),
        *(Lock(name=one.name, served=with_own_dependencies(one), options=same_versions) for one in members()),
    ]


def write(*, upgrade: bool) -> int:
    for lock in locks():
        lock.write(upgrade=upgrade)
        pins = sum("==" in line for line in lock.path.read_text("utf-8").splitlines())
        print(f"requirements/{lock.path.name}: {pins} packages", flush=True)
    record = "".join(f"{lock.digest()}  {lock.path.name}\n" for lock in locks())
    RECORD.write_text(record, "utf-8")
    return 0


def check() -> int:
    recorded = {line.split()[1]: line.split()[0] for line in RECORD.read_text("utf-8").splitlines()}
    expected = {lock.path.name: lock for lock in locks()}
    stale = [name for name, lock in expected.items() if lock.digest() != recorded.get(name, "none")]
    present = {path.name for path in REQUIREMENTS.glob("*.txt")}
    stale += [f"{name} (nothing asks for it)" for name in sorted(present - expected.keys())]
    for name in stale:
        print(f"requirements/{name} is not the lock of the present inputs: run `make lock`", file=sys.stderr)
    return min(len(stale), 1)


def main(arguments: list[str]) -> int:
    match arguments:
        case ["write"]:
            return write(upgrade=False)
        case ["write", "--upgrade"]:
            return write(upgrade=True)
        case ["check"]:
            return check()
        case _:
            print(__doc__)
            return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
