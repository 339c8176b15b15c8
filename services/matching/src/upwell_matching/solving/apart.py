"""The solver in a process of its own: it keeps a core busy for seconds, and its memory is given back with it."""

import asyncio
import sys

from pydantic import TypeAdapter

from upwell_matching.solving.problem import Problem, Solution
from upwell_shared.errors import UpwellError

PROBLEM: TypeAdapter[Problem] = TypeAdapter(Problem)
SOLUTION: TypeAdapter[Solution] = TypeAdapter(Solution)


class SolverFailed(UpwellError):
    """The solver's process ended without an answer."""


async def solved_apart(problem: Problem) -> Solution:
    """`best_pairs`, while the event loop goes on. Whoever is cancelled takes the process along. Raises SolverFailed."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "upwell_matching.solving",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        told, _ = await process.communicate(PROBLEM.dump_json(problem))
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        raise SolverFailed
    return SOLUTION.validate_json(told)
