"""One session of a pair in the play: what becomes of it, and who says so."""

import random
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal, get_args
from uuid import UUID

from upwell.demo.client import Refused, User

Fate = Literal[
    "held",
    "moved",
    "cancelled_by_mentor",
    "cancelled_by_mentee",
    "missed_by_mentor",
    "missed_by_mentee",
    "disputed",
    "forgotten",
]
_CHANCES = (71, 8, 3, 4, 3, 3, 4, 4)


def fate(dice: random.Random) -> Fate:
    """What becomes of a session."""
    found: Fate = dice.choices(get_args(Fate), _CHANCES)[0]
    return found


class Meeting:
    """A session from its booking to what both say of it."""

    def __init__(self, pair_id: UUID, mentor: User, mentee: User, booker: User, becomes: Fate) -> None:
        self.pair_id = pair_id
        self.fate = becomes
        self.booker = booker
        self._mentor = mentor
        self._mentee = mentee
        self._session_id: str | None = None

    @property
    def _path(self) -> str:
        return f"cadences/{self.pair_id}/sessions/{self._session_id}"

    async def book(self, starts_at: datetime) -> bool:
        """Whether there is a session now; while a pair rests there is none."""
        if self._session_id is None:
            try:
                booked = await self.booker.do(
                    "POST", f"cadences/{self.pair_id}/sessions", {"starts_at": starts_at.isoformat()}
                )
            except Refused as refused:
                if refused.status != 409:
                    raise
                return False
            self._session_id = booked["session_id"]
        return True

    async def change(self, starts_at: datetime) -> None:
        """Moves the session there, or cancels it, where that is its fate."""
        if self._session_id is None:
            return
        match self.fate:
            case "moved":
                await self._move(starts_at)
            case "cancelled_by_mentor":
                await self._mentor.do("POST", f"{self._path}/cancel")
            case "cancelled_by_mentee":
                await self._mentee.do("POST", f"{self._path}/cancel")
            case _:
                pass

    async def _move(self, starts_at: datetime) -> None:
        cadence = f"cadences/{self.pair_id}"
        seen = await self._mentee.etag(cadence)
        await self._mentee.do(
            "POST", f"{self._path}/move", {"starts_at": starts_at.isoformat()}, if_match=seen
        )

    async def report(self, dice: random.Random, words: Sequence[str]) -> str | None:
        """Both say what became of it; the text of the recap, where one is written."""
        if self._session_id is None:
            return None
        match self.fate:
            case "held" | "moved":
                await self._say(self._mentor, held=True)
                await self._say(self._mentee, held=True)
                return await self._note(dice, words)
            case "missed_by_mentor" | "missed_by_mentee":
                by = self.fate.removeprefix("missed_by_")
                await self._say(self._mentor, held=False, missed_by=by)
                await self._say(self._mentee, held=False, missed_by=by)
            case "disputed":
                await self._say(self._mentor, held=True)
                await self._say(self._mentee, held=False, missed_by="mentor")
            case "forgotten":
                await self._say(self._mentor, held=True)
            case _:
                pass
        return None

    async def settle(self) -> None:
        """A mentee who disputed a session has thought about it: it did take place."""
        if self._session_id is not None:
            await self._say(self._mentee, held=True)
            self.fate = "held"

    async def _say(self, user: User, **what: Any) -> None:
        try:
            await user.do("POST", f"{self._path}/confirm", what)
        except Refused as refused:
            # What was booked was cancelled with the pair.
            if refused.status != 409:
                raise

    async def _note(self, dice: random.Random, words: Sequence[str]) -> str | None:
        if dice.random() > 0.4:
            return None
        text = dice.choice(words)
        await self._mentee.do("PUT", f"{self._path}/recap", {"text": text})
        await self._mentor.do("POST", f"{self._path}/recap/confirm")
        return text
