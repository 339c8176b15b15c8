"""The rules of the house that no linter expresses: where things lie, how long they are, what a domain may touch."""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from itertools import chain
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

TOP_LEVEL = {
    *(".ci", ".dockerignore", ".editorconfig", ".gitattributes", ".gitignore", ".pre-commit-config.yaml"),
    *("CHANGELOG.md", "LICENSE", "Makefile", "README.md", "pyproject.toml"),
    *("deploy", "docs", "requirements", "services", "shared", "tests"),
}
LONGEST_MODULE = 400
PURE = {
    *("__future__", "collections", "dataclasses", "datetime", "decimal", "enum", "fractions", "functools"),
    *("itertools", "math", "operator", "re", "statistics", "types", "typing", "uuid", "zoneinfo"),
}
IMPURE_CALLS = {"now", "utcnow", "today", "uuid1", "uuid4", "uuid7"}

COMPANIONS = {"pydantic_core": "pydantic", "starlette": "fastapi"}  # pinned by, and part of the interface of
PROJECTS = sorted(ROOT.glob("services/*/pyproject.toml"))
SERVICES = [path.parent for path in PROJECTS]
DOMAINS = sorted(path for service in SERVICES for path in service.glob("src/*/domain/**/*.py"))


def tracked_files() -> list[str]:
    run = subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True)
    return [name for name in run.stdout.splitlines() if (ROOT / name).exists()]


def production_modules() -> list[Path]:
    roots = [
        ROOT / "shared" / "src",
        ROOT / "deploy" / "local" / "src",
        *(service / "src" for service in SERVICES),
    ]
    return [path for root in roots for path in root.rglob("*.py")]


def canonical(requirement: str) -> str:
    """The normalised name of the distribution a requirement asks for."""
    return re.sub(r"[-_.]+", "-", re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0]).lower()


def imported(path: Path) -> Iterator[str]:
    """Absolute names of the modules a file imports, relative imports excluded."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def impurities(path: Path, package: str) -> list[str]:
    """What a module of `package`'s domain imports, awaits or calls and should not."""
    allowed = (f"{package}.domain.", "upwell_shared.decider")
    foreign = (name for name in imported(path) if name.partition(".")[0] not in PURE)
    found = [f"imports {name}" for name in foreign if not name.startswith(allowed)]
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.AsyncFunctionDef | ast.Await):
            found.append(f"is asynchronous in line {node.lineno}")
        elif isinstance(node, ast.Call):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            found += [f"calls {called}"] if called in IMPURE_CALLS else []
    return [f"{path.name} {text}" for text in found]


def linter_settings() -> dict[str, object]:
    found = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]
    assert isinstance(found, dict)
    return found


def test_nothing_lies_at_the_root_but_the_houses_own_folders() -> None:
    assert {name.partition("/")[0] for name in tracked_files()} <= TOP_LEVEL


def test_no_lock_that_records_addresses_is_tracked() -> None:
    assert [name for name in tracked_files() if Path(name).name == "uv.lock"] == []


def test_every_folder_in_services_is_a_package_named_after_it() -> None:
    for service in ROOT.glob("services/*"):
        if not service.is_dir() or service.name.startswith((".", "_")):
            continue
        project = tomllib.loads((service / "pyproject.toml").read_text("utf-8"))["project"]
        assert project["name"] == f"upwell-{service.name}"
        assert (service / "src" / f"upwell_{service.name}" / "__init__.py").exists()
        assert (service / "README.md").exists()


@pytest.mark.parametrize(
    "file",
    [ROOT / "shared/pyproject.toml", ROOT / "deploy/local/pyproject.toml", *PROJECTS],
    ids=lambda file: file.parent.name,
)
def test_a_package_declares_what_it_imports(file: Path) -> None:
    """What comes along with another dependency today may be gone with its next version."""
    project = tomllib.loads(file.read_text("utf-8"))["project"]
    extras = chain.from_iterable(project.get("optional-dependencies", {}).values())
    declared = {canonical(line) for line in (project["name"], *project["dependencies"], *extras)}
    provided = packages_distributions()
    used = {name.partition(".")[0] for path in (file.parent / "src").rglob("*.py") for name in imported(path)}
    undeclared = [
        name
        for name in used - sys.stdlib_module_names
        if declared.isdisjoint(map(canonical, [*provided.get(name, ()), COMPANIONS.get(name, name)]))
    ]
    assert undeclared == []


def test_every_service_is_under_the_import_contracts() -> None:
    settings = linter_settings()
    roots, contracts = settings["root_packages"], settings["contracts"]
    assert isinstance(roots, list)
    assert isinstance(contracts, list)
    between = next(contract for contract in contracts if "services beside each other" in contract["name"])
    for service in SERVICES:
        assert f"upwell_{service.name}" in roots
        assert f"(upwell_{service.name})" in between["layers"][1]


def test_production_code_imports_no_testing_helper() -> None:
    """`testing` modules may use each other; nothing else in a package may use them."""
    borrowed = [
        (str(path.relative_to(ROOT)), name)
        for path in production_modules()
        if "testing" not in path.with_suffix("").relative_to(ROOT).parts
        for name in imported(path)
        if name.startswith("upwell") and "testing" in name.split(".")
    ]
    assert borrowed == []


def test_every_domain_is_pure() -> None:
    """Imports itself, `upwell_shared.decider` and the pure part of the standard library; no clock, no random id."""
    assert [
        finding for path in DOMAINS for finding in impurities(path, path.relative_to(ROOT).parts[3])
    ] == []


@pytest.mark.parametrize(
    "line",
    [
        "import asyncio",
        "from upwell_shared.event_store import append",
        "from upwell_matching.api import router",
        "import pydantic",
        "async def decide(): ...",
        "recorded = datetime.now()",
        "pair = uuid4()",
    ],
)
def test_an_impure_domain_is_found(tmp_path: Path, line: str) -> None:
    module = tmp_path / "pairing.py"
    module.write_text(line, "utf-8")
    assert len(impurities(module, "upwell_matching")) == 1


def test_a_pure_domain_is_let_be(tmp_path: Path) -> None:
    module = tmp_path / "pairing.py"
    module.write_text(
        "import dataclasses\n"
        "from datetime import datetime\n"
        "from upwell_matching.domain import person\n"
        "from upwell_shared.decider import Decider\n",
        "utf-8",
    )
    assert impurities(module, "upwell_matching") == []


def test_a_module_can_be_read_in_one_sitting() -> None:
    lengths = {
        str(path.relative_to(ROOT)): path.read_text("utf-8").count("\n") for path in production_modules()
    }
    assert {name: length for name, length in lengths.items() if length > LONGEST_MODULE} == {}


def test_every_folder_of_tests_is_a_package() -> None:
    """So that tests/matching/test_api.py and tests/sessions/test_api.py are two modules to pytest and mypy."""
    folders = {path.parent for path in (ROOT / "tests").rglob("*.py")}
    assert [
        str(folder.relative_to(ROOT)) for folder in folders if not (folder / "__init__.py").exists()
    ] == []
