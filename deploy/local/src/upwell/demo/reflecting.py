"""Somebody answers what they are asked, or does not get round to it."""

import random
from collections.abc import Sequence

from upwell.demo.client import User

_VISIBILITIES = ("me", "pair", "programme_team", "quotable")
_CHANCES = (15, 35, 35, 15)


async def reflect(user: User, dice: random.Random, words: Sequence[str]) -> list[str]:
    """Answers every open request with some likelihood; the texts that were written."""
    written: list[str] = []
    for asked in await user.whole_list("reflections"):
        if asked["state"] != "open" or dice.random() > 0.8:
            continue
        reflection = await user.get(f"reflections/{asked['reflection_id']}")
        answers = [
            {
                "question_id": question["question_id"],
                "text": dice.choice(words),
                "visibility": dice.choices(_VISIBILITIES, _CHANCES)[0],
            }
            for question in reflection["questions"]
        ]
        await user.do("POST", f"reflections/{asked['reflection_id']}/submit", {"answers": answers})
        written += [answer["text"] for answer in answers]
    return written
