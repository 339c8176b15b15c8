"""Bring the environments that `make` needs into being, and up to date; does nothing, quickly, when they are.

    environments.py dev              .venv: every member, the tests' tools
    environments.py bench            .venvs/bench: the same and what the benchmarks compare with
    environments.py uv               .venv with uv alone, enough to write the locks
    environments.py isolated         for each member, .venvs/<name> with that member's own dependencies only,
                                     and in it an import of every module of the member

Packages come from the hash-pinned files in requirements/, as wheels only, so that nothing unpinned runs during an
installation; the members themselves are installed editable by uv's built-in build backend, which fetches nothing.
Exits with 2 and one line when the machine lacks something, with 1 when an installation or an import fails.
"""

import ast
import fcntl
import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

from members import REQUIREMENTS, ROOT, Member, members, with_own_dependencies

DEV = ROOT / ".venv"
OTHERS = ROOT / ".venvs"
STAMP = "upwell-environment"
"""File in an environment that says what it was made from; absent while an installation is under way."""

PIP_TO_UV = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "no-index": "UV_NO_INDEX",
    "trusted-host": "UV_INSECURE_HOST",
    "cert": "SSL_CERT_FILE",
    "client-cert": "SSL_CLIENT_CERT",
    "proxy": "ALL_PROXY",
    "default-timeout": "UV_HTTP_TIMEOUT",
    "timeout": "UV_HTTP_TIMEOUT",
}
"""uv does not read pip's configuration, and a machine behind a mirror is usually configured for pip."""


PINNED_WHEELS = ("--require-hashes", "--only-binary", ":all:")


class Refusal(Exception):
    """The machine lacks something; the message says what to do."""


def say(text: str) -> None:
    print(f"environment: {text}", flush=True)


def python_of(environment: Path) -> Path:
    return environment / "bin" / "python"


def fingerprint(parts: Iterable[Path]) -> str:
    """Digest of everything an environment is made from; a moved checkout or another interpreter changes it too."""
    digest = hashlib.sha256(f"{ROOT} {sys.version} {Path(sys.base_prefix).resolve()}".encode())
    for part in (Path(__file__), *parts):
        digest.update(part.read_bytes())
    return digest.hexdigest()


def is_current(environment: Path, wanted: str) -> bool:
    stamp = environment / STAMP
    return stamp.exists() and python_of(environment).exists() and stamp.read_text("utf-8") == wanted


def uv_settings() -> dict[str, str]:
    """The process's environment, and pip's own configuration in uv's words where uv has not been told otherwise."""
    run = subprocess.run(
        [python_of(DEV), "-m", "pip", "config", "list"], capture_output=True, text=True, check=False, cwd=ROOT
    )
    found: dict[str, str] = {}
    lines = [line.partition("=") for line in run.stdout.splitlines() if "=" in line]
    for section in ("global.", "install.", ":env:."):  # from weak to strong
        for name, _, value in lines:
            if name.startswith(section):
                found[name.removeprefix(section)] = str(ast.literal_eval(value))
    if "find-links" in found:  # uv, unlike pip, stops at a folder that is not there
        places = [place for place in found["find-links"].split() if "://" in place or Path(place).is_dir()]
        found["find-links"] = ",".join(places)
    translated = {PIP_TO_UV[name]: value for name, value in found.items() if name in PIP_TO_UV and value}
    quiet = {} if sys.stdout.isatty() else {"UV_NO_PROGRESS": "1"}
    return translated | os.environ | quiet


def call(*command: str | Path, env: dict[str, str] | None = None) -> int:
    return subprocess.run(command, check=False, cwd=ROOT, env=env, stdin=subprocess.DEVNULL).returncode


def pip_install(environment: Path, lock: Path) -> int:
    """Install a lock with the pip of .venv, which knows the machine's mirrors best."""
    options = ("--disable-pip-version-check", "--python", python_of(environment))
    return call(python_of(DEV), "-m", "pip", *options, "install", *PINNED_WHEELS, "-r", lock)


def ensure_uv() -> None:
    """Create .venv when it is missing or broken, and install the pinned uv into it with pip."""
    lock = REQUIREMENTS / "bootstrap.txt"
    stamp = DEV / f"{STAMP}-uv"
    wanted = fingerprint([lock])
    usable = python_of(DEV).exists() and call(python_of(DEV), "-c", "import pip") == 0
    if usable and stamp.exists() and stamp.read_text("utf-8") == wanted:
        return
    if not usable or not runs_this_version(DEV):
        base = getattr(sys, "_base_executable", sys.executable)
        probe = 'import importlib.util as u, sys; sys.exit(not (u.find_spec("venv") and u.find_spec("ensurepip")))'
        if call(base, "-c", probe) != 0:
            version = f"{sys.version_info.major}.{sys.version_info.minor}"
            raise Refusal(
                f"{base} has no venv module; on Debian: apt install python3-venv (or python{version}-venv)"
            )
        say(f"creating .venv with Python {sys.version.split()[0]}")
        if call(base, "-m", "venv", "--clear", DEV) != 0:
            raise Refusal(f"`{base} -m venv` failed, see above; on Debian: apt install python3-venv")
    say("installing uv")
    if pip_install(DEV, lock) != 0:
        raise Refusal(
            "pip could not install requirements/bootstrap.txt, see above: a package index is needed once"
        )
    stamp.write_text(wanted, "utf-8")


def runs_this_version(environment: Path) -> bool:
    probe = f"import sys; sys.exit(sys.version_info[:2] != {tuple(sys.version_info[:2])})"
    return call(python_of(environment), "-c", probe) == 0


def ensure(environment: Path, lock: Path, installed: tuple[Member, ...]) -> None:
    """Make `environment` hold exactly `lock` and the given members. May be called twice; may download."""
    projects = [one.folder / "pyproject.toml" for one in installed]
    wanted = fingerprint([REQUIREMENTS / "bootstrap.txt", lock, *projects])
    if is_current(environment, wanted):
        return
    ensure_uv()
    began = time.monotonic()
    uv, env = DEV / "bin" / "uv", uv_settings()
    shown = environment.relative_to(ROOT)
    if environment != DEV and not (python_of(environment).exists() and runs_this_version(environment)):
        created = call(uv, "venv", "-q", "--clear", "--python", python_of(DEV), environment, env=env)
        if created != 0:
            raise Refusal(f"uv could not create {shown}, see above")
    (environment / STAMP).unlink(missing_ok=True)
    say(f"installing {lock.relative_to(ROOT)} into {shown}")
    quiet = () if sys.stdout.isatty() else ("-q",)
    target = ("--python", python_of(environment))
    if call(uv, "pip", *quiet, "sync", *target, *PINNED_WHEELS, lock, env=env) != 0:
        say("uv could not, see above; trying pip")
        if pip_install(environment, lock) != 0:
            raise Refusal(f"neither uv nor pip could install {lock.relative_to(ROOT)}, see above")
    offline = ("--offline", "--no-deps", "--no-build-isolation")
    editable = [part for one in installed for part in ("-e", str(one.folder))]
    if call(uv, "pip", "-q", "install", *target, *offline, *editable) != 0:
        raise Refusal(f"uv could not install the workspace's own packages into {shown}, see above")
    (environment / STAMP).write_text(wanted, "utf-8")
    say(f"{shown} ready, {time.monotonic() - began:.1f} s")


def isolated() -> int:
    """Import every module of every member in an environment that holds this member's own dependencies only."""
    worst = 0
    for member in members():
        environment = OTHERS / member.name
        ensure(environment, REQUIREMENTS / f"{member.name}.txt", with_own_dependencies(member))
        importer = Path(__file__).with_name("import_all.py")
        worst = max(worst, call(python_of(environment), "-W", "error", importer, member.package))
    return worst


def main(arguments: list[str]) -> int:
    """Serve one request; a second process asking for the same waits for the first."""
    OTHERS.mkdir(exist_ok=True)
    with (OTHERS / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            match arguments:
                case ["dev"]:
                    ensure(DEV, REQUIREMENTS / "dev.txt", members())
                case ["bench"]:
                    ensure(OTHERS / "bench", REQUIREMENTS / "bench.txt", members())
                case ["uv"]:
                    ensure_uv()
                case ["isolated"]:
                    return isolated()
                case _:
                    print(__doc__)
                    return 2
        except Refusal as refusal:
            print(f"environment: {refusal}", file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
