"""What the workspace consists of: its members, read from their own pyproject files and from nowhere else."""

import functools
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
REQUIREMENTS = ROOT / "requirements"


@dataclass(frozen=True, kw_only=True)
class Member:
    """One installable package of this repository."""

    distribution: str
    folder: Path
    project: dict[str, Any]
    """The [project] table of its pyproject.toml."""

    @property
    def name(self) -> str:
        """Short name, which also names its lock and its environment: `matching` of `upwell-matching`."""
        return self.distribution.removeprefix("upwell-")

    @property
    def package(self) -> str:
        """Import name."""
        return self.distribution.replace("-", "_")

    @property
    def requires(self) -> frozenset[str]:
        """Names of the distributions it depends on directly, normalised."""
        found = (re.match(r"[A-Za-z0-9._-]+", line) for line in self.project.get("dependencies", ()))
        return frozenset(re.sub(r"[-_.]+", "-", name[0]).lower() for name in found if name)


@functools.cache
def members() -> tuple[Member, ...]:
    """Every member of the workspace, in a stable order: the folders the root pyproject.toml names, as far as they exist."""
    root = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    patterns = root["tool"]["uv"]["workspace"]["members"]
    files = [file for pattern in patterns for file in sorted(ROOT.glob(f"{pattern}/pyproject.toml"))]
    projects = [(file.parent, tomllib.loads(file.read_text("utf-8"))["project"]) for file in files]
    return tuple(
        Member(distribution=project["name"], folder=folder, project=project) for folder, project in projects
    )


def with_own_dependencies(member: Member) -> tuple[Member, ...]:
    """The member and every member it needs, directly or not."""
    needed = {member.distribution}
    while True:
        more = {other for one in members() if one.distribution in needed for other in one.requires} | needed
        more &= {one.distribution for one in members()}
        if more == needed:
            return tuple(one for one in members() if one.distribution in needed)
        needed = more
