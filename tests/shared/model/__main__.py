"""What the model notices: `python -m tests.shared.model [words ...]` runs it without safeguards of tests/shared/sabotage.py.

Prints for each how many programs went well before one did not. A safeguard that only makes a copy of the work cheaper
or an error plainer goes unnoticed here, and is what the tests named beside it are for.
"""

import os
import re
import subprocess
import sys

from tests.shared.sabotage import ROOT, SABOTAGES, Sabotage, taken_out

# That one fails is what is asked; to make it small would take minutes. The servers' log says how many there were.
_PYTEST = """
import sys, pytest
from hypothesis import Phase, settings
settings.register_profile("sabotage", settings(), phases=(Phase.generate,))
settings.load_profile("sabotage")
sys.exit(pytest.main(sys.argv[1:]))
"""
_OPTIONS = ("-q", "-s", "-p", "no:cacheprovider", "-W", "ignore::pytest.PytestAssertRewriteWarning")
_TEST = "tests/shared/test_model.py"


def noticed(sabotage: Sabotage) -> str:
    """What went wrong first, and after how many programs."""
    with taken_out(sabotage) as folder:
        run = subprocess.run(
            [sys.executable, "-c", _PYTEST, *_OPTIONS, _TEST],
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": f"{folder}:{ROOT}"},
            capture_output=True,
            text=True,
            check=False,
        )
    outcome = re.search(r"^(\d+ failed|\d+ passed)[^\n]* in [^\n]*$", run.stdout, re.MULTILINE)
    if outcome is None:
        raise LookupError(f"the model did not run:\n{run.stdout}{run.stderr}")
    if "failed" not in outcome[1]:
        return "unnoticed"
    programs = re.findall(r"^programs (\d+)", run.stdout, re.MULTILINE)
    why = re.search(r"^E +(\w+(?:Error|Exception|Group)[^\n]*)", run.stdout, re.MULTILINE)
    return f"program {programs[-1]}: {why[1][:110] if why else '?'}"


def main(*words: str) -> None:
    """One line for each safeguard in whose name one of the words occurs, or for all."""
    for sabotage in SABOTAGES:
        if not words or any(word in sabotage.without for word in words):
            print(f"{sabotage.without:<50} {noticed(sabotage)}", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
