"""The play: people arrive, a programme opens, pairs are made and meet for months, on the simulated clock.

Everything is done over HTTP by those who would do it. What may go wrong between people does, by dice: sessions are
moved, cancelled, missed, disputed and forgotten; one leaves, one is on leave for a while, one never answers.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeVar
from uuid import UUID, uuid4

from upwell.demo.cast import Cast, Member
from upwell.demo.client import Gateway, Refused, User, until
from upwell.demo.meeting import Meeting, fate
from upwell.demo.reflecting import reflect
from upwell_shared.clock import SimulatedClock
from upwell_shared.errors import UpwellError

T = TypeVar("T")

Tell = Callable[[str, int, int], None]
"""Told of progress: what is being done, how many of how many are."""

_SAMPLES = 25
_DAY = timedelta(days=1)


class BadCast(UpwellError):
    """The directory refuses somebody of the cast."""


@dataclass
class Played:
    """What came of it: where to look, and what was measured on the way."""

    programme_id: UUID
    cohort_id: UUID
    coordinator_id: UUID
    organisations: list[UUID]
    pairs: list[UUID] = field(default_factory=list)
    words: list[str] = field(default_factory=list)
    """Every text that was written as a recap or an answer."""
    visible_after: list[float] = field(default_factory=list)
    """Seconds from an acknowledgement until the pair's page shows it."""


@dataclass
class Pair:
    """Two who were proposed to each other."""

    pair_id: UUID
    mentor: User
    mentee: User
    meetings: list[Meeting] = field(default_factory=list)

    @property
    def members(self) -> tuple[User, User]:
        return self.mentor, self.mentee


class Play:
    """One performance on a running stack. Not to be begun twice; a crash of any service meanwhile is no trouble."""

    def __init__(self, cast: Cast, gateway: Gateway, clock: SimulatedClock, seed: int, tell: Tell) -> None:
        self._cast = cast
        self._gateway = gateway
        self._clock = clock
        self._seed = seed
        self._tell = tell
        self._people: dict[str, User] = {}
        self._organisations = {name: uuid4() for name in cast.organisations}
        self._coordinator = gateway.user(
            "coordinator", uuid4(), ("hr_admin", "coordinator"), [*self._organisations.values()]
        )
        self._pairs: list[Pair] = []
        self._late: list[Pair] = []

    async def perform(self) -> Played:
        """From the first person to the last completed pair."""
        await self._arrive()
        programme_id, cohort_id = await self._open_programme()
        played = Played(programme_id, cohort_id, self._coordinator.id, [*self._organisations.values()])
        await self._enrol(cohort_id)
        await self._pair_up(cohort_id)
        await self._answer_proposals()
        played.pairs = [pair.pair_id for pair in self._pairs]
        for number in range(1, self._cast.rounds + 1):
            await self._round(number, played, cohort_id)
        await self._complete()
        # Whoever looks around afterwards finds an open one at the end.
        last = self._pairs[-1].pair_id
        played.pairs = [*(pair_id for pair_id in played.pairs if pair_id != last), last]
        await self._reflect(played, "last reflections")
        return played

    async def _arrive(self) -> None:
        hr = self._coordinator
        for name, id_ in self._organisations.items():
            await hr.do("PUT", f"organisations/{id_}", {"name": name})
        done = 0
        for name in self._organisations:
            self._tell("people arrive", done, len(self._cast.members))
            report = await hr.upload("imports", self._cast.file(name))
            if report.get("faults"):
                raise BadCast(f"the import of the cast has faults: {report['faults'][:3]}")
            done += sum(member.organisation == name for member in self._cast.members)
        known = await until(self._everybody, "everybody shown by the directory")
        self._people = {external: self._gateway.user(external, id_) for external, id_ in known.items()}
        self._tell("people arrive", done, len(self._cast.members))

    async def _everybody(self) -> dict[str, UUID] | None:
        people = await self._coordinator.whole_list("people")
        known = {person["contact"]["external_id"]: UUID(person["person_id"]) for person in people}
        return known if len(known) == len(self._cast.members) else None

    async def _open_programme(self) -> tuple[UUID, UUID]:
        cast, by = self._cast, self._coordinator
        opened = await self._patiently(
            lambda: by.do(
                "POST",
                "programmes",
                {
                    "name": cast.programme,
                    "unit_ids": [str(id_) for id_ in self._organisations.values()],
                    "rules": {"measure": "grade", "gap": cast.gap},
                    "defaults": {
                        "sessions": cast.sessions,
                        "days_between": cast.days_between,
                        "minutes": cast.minutes,
                    },
                },
            ),
            "unknown-unit",
        )
        programme_id = UUID(opened["programme_id"])
        self._topics = [
            (await by.do("POST", f"programmes/{programme_id}/topics", {"name": name}))["topic_id"]
            for name in cast.topics
        ]
        today = self._clock.now().date()
        days = cast.rounds * cast.days_between + 30
        cohort = {
            "name": cast.cohort,
            "starts_on": str(today),
            "ends_on": str(today + timedelta(days=days)),
        }
        opened = await self._patiently(
            lambda: by.do("POST", f"programmes/{programme_id}/cohorts", cohort), "not-found"
        )
        return programme_id, UUID(opened["cohort_id"])

    async def _enrol(self, cohort_id: UUID) -> None:
        async def enrol(member: Member) -> None:
            user = self._people[member.external_id]
            wish = {
                "role": member.role,
                "offers": [self._topics[n] for n in member.offers],
                "seeks": [self._topics[n] for n in member.seeks],
            }
            await self._patiently(
                lambda: user.do("PUT", f"cohorts/{cohort_id}/enrolments/{user.id}", wish),
                *("unknown-person", "not-found", "unknown-topic"),
            )

        willing = [member for member in self._cast.members if member.role]
        await self._all("people enrol", [enrol(member) for member in willing])

    async def _pair_up(self, cohort_id: UUID) -> None:
        by = self._coordinator
        self._tell("pairs are found", 0, 1)
        run = (await by.do("POST", f"cohorts/{cohort_id}/match-runs", {"seed": 7}))["match_run_id"]
        await until(lambda: self._run_in(run, "draft"), "a draft of the match run")
        await by.do("POST", f"match-runs/{run}/publish")
        found = await until(lambda: self._run_in(run, "published"), "the proposals")
        by_id = {user.id: user for user in self._people.values()}
        pairs = await by.whole_list(f"cohorts/{cohort_id}/pairs")
        self._pairs = [
            Pair(UUID(pair["pair_id"]), by_id[UUID(pair["mentor_id"])], by_id[UUID(pair["mentee_id"])])
            for pair in pairs
        ]
        self._pairs.sort(key=lambda pair: pair.mentor.label + pair.mentee.label)
        self._tell("pairs are found", len(pairs), found["pairs"])

    async def _run_in(self, run: str, state: str) -> dict[str, Any] | None:
        found = await self._coordinator.found(f"match-runs/{run}")
        if found is None or found["state"] != state:
            return None
        complete = state != "published" or found["proposed"] + found["skipped"] >= found["pairs"]
        return dict(found) if complete else None

    async def _answer_proposals(self) -> None:
        """All say yes but two: one mentee never answers, one mentor has no time."""
        self._advance(_DAY)
        silent, declined = self._pairs[0], self._pairs[1]
        await silent.mentor.do("POST", f"pairs/{silent.pair_id}/accept")
        await declined.mentor.do("POST", f"pairs/{declined.pair_id}/decline", {"reason": "no_time"})
        self._late = [silent, declined]
        self._pairs = self._pairs[2:]
        await self._all("both sides accept", [self._accept(pair) for pair in self._pairs])

    async def _accept(self, pair: Pair) -> None:
        for user in pair.members:
            await user.do("POST", f"pairs/{pair.pair_id}/accept")
        for user in pair.members:
            await until(lambda user=user: user.found(f"cadences/{pair.pair_id}"), "a cadence")  # type: ignore[misc] # bound

    async def _round(self, number: int, played: Played, cohort_id: UUID) -> None:
        """A week, or a month: book, change one's mind, meet, say what became of it, reflect."""
        name = f"round {number} of {self._cast.rounds}"
        await self._happen(number, cohort_id)
        for pair in self._pairs:
            dice = self._dice(f"{name} {pair.mentor.label}")
            booker = dice.choice(pair.members)
            pair.meetings.append(Meeting(pair.pair_id, pair.mentor, pair.mentee, booker, fate(dice)))
        meetings = [pair.meetings[-1] for pair in self._pairs]
        starts_at = self._clock.now() + 2 * _DAY
        if len(played.visible_after) < _SAMPLES:
            for meeting in meetings[: _SAMPLES - len(played.visible_after)]:
                if await meeting.book(starts_at):
                    played.visible_after.append(
                        await meeting.booker.seen(f"pages/pairs/{meeting.pair_id}", "sessions")
                    )
        await self._all(f"{name}: sessions are booked", [m.book(starts_at) for m in meetings])
        self._advance(_DAY)
        await self._all(f"{name}: some change", [m.change(starts_at + _DAY) for m in meetings])
        self._advance(timedelta(days=3))
        noted = await self._all(
            f"{name}: they meet",
            [m.report(self._dice(f"{name} {m.booker.label}"), self._cast.words) for m in meetings],
        )
        played.words += [text for text in noted if text is not None]
        await self._all(
            f"{name}: second thoughts",
            [m.settle() for pair in self._pairs for m in pair.meetings[:-1] if m.fate == "disputed"],
        )
        await self._reflect(played, f"{name}: they reflect")
        self._advance(timedelta(days=self._cast.days_between) - 4 * _DAY)

    async def _happen(self, number: int, cohort_id: UUID) -> None:
        """What comes from outside in this round."""
        hr, pairs = self._coordinator, self._pairs
        if len(pairs) < 6:
            return
        if number == 3:
            await self._second_wave(cohort_id)
        if number == 4:
            leaver = pairs.pop(0)
            await hr.do("POST", f"people/{leaver.mentor.id}/left")
            await until(lambda: self._is(leaver, "ended"), "the end of a leaver's pair")
            self._late.append(leaver)
        if number == 5:
            await hr.do("POST", f"people/{pairs[1].mentee.id}/leave", {"until": None})
            await until(lambda: self._is(pairs[1], "paused"), "the pause of a pair")
        if number == min(8, self._cast.rounds):
            await hr.do("POST", f"people/{pairs[1].mentee.id}/return")
            await until(lambda: self._is(pairs[1], "active"), "the pair going on")
        if number == min(9, self._cast.rounds):
            await self._promote(pairs[-3].mentor)
        if number == min(10, self._cast.rounds):
            ended = pairs.pop()
            await ended.mentee.do(
                "POST", f"pairs/{ended.pair_id}/end", {"reason": "no_time", "no_fault": True}
            )
            self._late.append(ended)

    async def _second_wave(self, cohort_id: UUID) -> None:
        """The proposal nobody answered has lapsed; the coordinator proposes the two who still wait to each other."""
        silent, declined = self._late
        await until(lambda: self._is(silent, "expired"), "the expiry of a proposal")
        wish = {"mentor_id": str(silent.mentor.id), "mentee_id": str(declined.mentee.id)}
        try:
            proposed = await self._coordinator.do("POST", f"cohorts/{cohort_id}/pairs", wish)
        except Refused as refused:
            # They may not suit each other: then both go on waiting.
            if refused.status != 409:
                raise
            return
        pair = Pair(UUID(proposed["pair_id"]), silent.mentor, declined.mentee)
        await self._accept(pair)
        self._pairs.append(pair)

    async def _promote(self, mentor: User) -> None:
        """A mentor rises above their mentee: the pair breaks the rule it was made under, and a coordinator must look."""
        hr = self._coordinator
        person = await hr.get(f"people/{mentor.id}")
        place = {key: person[key] for key in ("unit_id", "manager_id", "in_role_since")} | {"grade": 19}
        await hr.do("POST", f"people/{mentor.id}/move", place, if_match=await hr.etag(f"people/{mentor.id}"))

    async def _is(self, pair: Pair, state: str) -> bool:
        found = await self._coordinator.get(f"pairs/{pair.pair_id}")
        return bool(found["state"] == state)

    async def _reflect(self, played: Played, what: str) -> None:
        # Somebody may be in two pairs.
        users = {user.id: user for pair in (*self._pairs, *self._late) for user in pair.members}
        answered = await self._all(
            what,
            [reflect(user, self._dice(f"{what} {user.label}"), self._cast.words) for user in users.values()],
        )
        played.words += [text for texts in answered for text in texts]

    async def _complete(self) -> None:
        """All but the last two, who go on."""
        done = self._pairs[: max(0, len(self._pairs) - 2)]

        async def complete(pair: Pair) -> None:
            await self._coordinator.do("POST", f"pairs/{pair.pair_id}/complete")

        await self._all("pairs complete", [complete(pair) for pair in done])

    def _dice(self, about: str) -> random.Random:
        # Of one's own for each thing that happens: which request is answered first must not matter.
        return random.Random(f"{self._seed} {about}")  # noqa: S311 what happens between people

    def _advance(self, by: timedelta) -> None:
        self._clock.advance(by)

    async def _patiently(self, ask: Callable[[], Awaitable[T]], *problems: str) -> T:
        """What a service answers once it has heard of what another one was told a moment ago."""

        async def tried() -> T | None:
            try:
                return await ask()
            except Refused as refused:
                if refused.problem.rpartition(":")[2] in problems:
                    return None
                raise

        return await until(tried, f"the end of {' or '.join(problems)}")

    async def _all(self, what: str, work: Sequence[Awaitable[T]] | Iterable[Awaitable[T]]) -> list[T]:
        """All of it side by side; tells how far it is."""
        waiting = [asyncio.ensure_future(each) for each in work]
        self._tell(what, 0, len(waiting))
        try:
            for n, done in enumerate(asyncio.as_completed(waiting), start=1):
                await done
                self._tell(what, n, len(waiting))
        finally:
            for each in waiting:
                each.cancel()
        return [each.result() for each in waiting]
