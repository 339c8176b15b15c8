"""Golden files: what a store may hold, kept as bytes, so that no release forgets how to read it.

A service's test is `check_golden_files(EVENTS, Path(__file__).parent / "golden")`.
`<Type>.v<N>.json` is written once, when that version is current, and never changed.
"""

import os
import re
from collections.abc import Iterable
from pathlib import Path

from upwell_shared.events import EventCodec
from upwell_shared.testing.samples import sample

WRITE = "UPWELL_WRITE_GOLDEN"
_NAME = re.compile(r"(?P<type>\w+)\.v(?P<version>\d+)\.json")


def check_golden_files(codec: EventCodec, folder: Path, examples: Iterable[object] = ()) -> None:
    """Every type the codec knows has a file for each of its versions; each decodes; current ones encode to their bytes.

    A missing file of a current version is written when the environment says UPWELL_WRITE_GOLDEN=1: from the event of its
    class in `examples`, or from a sample with every field filled. Raises AssertionError, listing all that is wrong.
    """
    if os.environ.get(WRITE) == "1":
        given = {type(example): example for example in examples}
        for name in codec.current:
            kind = codec.classes[name]
            encoded = codec.encode(given.get(kind) or sample(kind))
            file = folder / f"{encoded.type}.v{encoded.schema_version}.json"
            if not file.exists():
                folder.mkdir(parents=True, exist_ok=True)
                file.write_text(encoded.data + "\n", "utf-8")
    wrong: list[str] = []
    there = {file.name for file in folder.glob("*.json")}
    # A name no class bears any more ended at a version only its files know.
    wanted = {f"{name}.v{v}.json" for name in codec.current for v in range(1, codec.versions[name] + 1)}
    wanted |= {f"{name}.v1.json" for name in codec.versions.keys() - codec.current}
    wrong += [
        f"{name} is missing: run this test once with {WRITE}=1, and commit the file; if an older version is missing, "
        "take it back from history"
        for name in sorted(wanted - there)
    ]
    wrong += [problem for name in sorted(there) if (problem := _problem(codec, folder / name))]
    if wrong:
        raise AssertionError("\n".join(wrong))


def _problem(codec: EventCodec, file: Path) -> str | None:
    match = _NAME.fullmatch(file.name)
    if match is None:
        return f"{file.name} is not named <Type>.v<N>.json"
    name, version = match["type"], int(match["version"])
    data = file.read_text("utf-8").removesuffix("\n")
    try:
        event = codec.decode(name, version, data)
    except Exception as error:  # noqa: BLE001  (an upcaster may raise anything; all files are looked at)
        return f"{file.name} cannot be read: {error!r}"
    if name in codec.current and version == codec.versions[name] and codec.encode(event).data != data:
        return f"{file.name} would be written otherwise now: raise schema_version and add an upcaster"
    return None
