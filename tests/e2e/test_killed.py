"""kill -9 of every process, one after another, while a programme is played: nothing is lost and nothing counts twice.

    UPWELL_E2E_PEOPLE=2000 make test PYTEST_ARGS="tests/e2e/test_killed.py -s"

plays a larger organisation; all parts are killed again and again until the play is over.
"""

import asyncio
import os
import random
import time
from pathlib import Path

import pytest

from tests.e2e.conftest import reconciled
from upwell.demo.cast import made_up
from upwell.demo.performing import perform
from upwell.keeping import Keeper
from upwell.stack import Stack

PEOPLE = int(os.environ.get("UPWELL_E2E_PEOPLE", "50"))
SEED = 7


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("kafka", ["embedded", pytest.param("apache", marks=pytest.mark.kafka)])
async def test_every_process_killed_during_a_play_loses_and_doubles_nothing(
    tmp_path: Path, kafka: str
) -> None:
    begun = asyncio.Event()

    def tell(what: str, done: int, of: int) -> None:
        if what == "people enrol":
            begun.set()
        if done == of:
            print(f"{time.strftime('%X')} {what} ({of})")

    async with Stack(tmp_path / "upwell", kafka=kafka, simulated_clock=True) as stack:  # type: ignore[arg-type] # parametrized
        playing = asyncio.create_task(perform(stack, made_up(PEOPLE, SEED), SEED, tell))
        await asyncio.wait([playing, asyncio.create_task(begun.wait())], return_when=asyncio.FIRST_COMPLETED)
        killed = await kill_in_turn(stack.parts, playing)
        performance, _ = await playing
        began = time.monotonic()
        await stack.settled(within=180)
        converged = time.monotonic() - began
        findings = await reconciled(stack)
    assert findings.differences == []
    assert findings.acknowledged == performance.acknowledged
    assert set(killed) >= {part.name for part in stack.parts}
    print(
        f"{PEOPLE} people on {kafka}: {len(killed)} kills, {performance.acknowledged} commands acknowledged, "
        f"{performance.sent_again} requests made again, {findings.records} events, lost 0, doubled 0, "
        f"converged {converged:.1f} s after the play"
    )


async def kill_in_turn(parts: tuple[Keeper, ...], playing: "asyncio.Task[object]") -> list[str]:
    """Each part once at least, and on as long as the play lasts: the next one once the last one is back."""
    dice = random.Random(SEED)
    killed: list[str] = []
    while not playing.done() or len(killed) < len(parts):
        for part in dice.sample(parts, len(parts)):
            if playing.done() and len(killed) >= len(parts):
                break
            await part.kill()
            killed.append(part.name)
            await asyncio.sleep(dice.uniform(0.0, 0.5))  # a moment of its absence, different each time
            await part.running()
            # A moment in which all work, or nothing would ever be done.
            await asyncio.wait([playing], timeout=dice.uniform(1.0, 3.0))
    return killed
