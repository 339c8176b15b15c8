"""The files a contract is published as, and whether they are up to date.

In the folder of the module that defines contracts: `schemas/<owner>/<Event>.v1.json`, `asyncapi/<channel>.json`, and
`released/<owner>/`, the schemas as the last release had them.
"""

from collections.abc import Iterable
from pathlib import Path

from upwell_shared.contracts import async_api, json_schema
from upwell_shared.contracts.model import Contract


def files(contract: Contract, folder: Path) -> dict[Path, str]:
    """Path → text of every generated file of a contract."""
    generated = {
        folder / "schemas" / contract.owner / name: json_schema.render(schema)
        for name, schema in json_schema.documents(contract).items()
    }
    for audience in sorted({event.audience for event in contract.classes.values()}):
        path = folder / "asyncapi" / f"{contract.channel(audience)}.json"
        generated[path] = json_schema.render(async_api.document(contract, audience))
    return generated


def _on_disk(contract: Contract, folder: Path) -> Iterable[Path]:
    yield from (folder / "schemas" / contract.owner).glob("*.json")
    yield from (folder / "asyncapi").glob(f"upwell.{contract.owner}.*")


def differences(contract: Contract, folder: Path) -> list[str]:
    """What is missing, stale or left over, as paths below `folder` with what is wrong."""
    generated = files(contract, folder)
    found = []
    for path, text in generated.items():
        if not path.exists():
            found.append(f"{path.relative_to(folder)} is missing")
        elif path.read_text("utf-8") != text:
            found.append(f"{path.relative_to(folder)} is not what the models say")
    found += [
        f"{p.relative_to(folder)} is left over" for p in _on_disk(contract, folder) if p not in generated
    ]
    return sorted(found)


def write(contract: Contract, folder: Path) -> None:
    """Make the files what the models say."""
    generated = files(contract, folder)
    for path in list(_on_disk(contract, folder)):
        if path not in generated:
            path.unlink()
    for path, text in generated.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")


def broken_promises(contract: Contract, folder: Path) -> list[str]:
    """What in the contract breaks what the last release promised; nothing before the first release."""
    released = json_schema.read_documents(folder / "released" / contract.owner)
    return json_schema.breaking_changes(released, json_schema.documents(contract))


def release(contract: Contract, folder: Path) -> None:
    """Take the contract as it is for the promise. Only after `broken_promises` finds none."""
    promised = folder / "released" / contract.owner
    promised.mkdir(parents=True, exist_ok=True)
    for name, schema in json_schema.documents(contract).items():
        (promised / name).write_text(json_schema.render(schema), "utf-8")
