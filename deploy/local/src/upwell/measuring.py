"""How things stand, read from the services' databases: what is stored, told, heard, still to do, and parked."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg

from upwell_shared.clock import Clock, clock_from
from upwell_shared.contracts.shipped import shipped
from upwell_shared.database import one

_STORED = """
SELECT (SELECT count(*) FROM events) AS events,
       (SELECT count(*) FROM ledger l
        WHERE (l.tx, l.position) > (coalesce((SELECT c.tx FROM cursors c WHERE c.name = 'relay'), '0'::xid8),
                                    coalesce((SELECT c.position FROM cursors c WHERE c.name = 'relay'), 0))) AS untold,
       (SELECT count(*) FROM todos WHERE parked_because IS NULL) AS todos,
       (SELECT count(*) FROM todos WHERE parked_because IS NOT NULL) AS parked,
       (SELECT count(*) FROM dead_letters) AS letters
"""
_TOLD = "SELECT channel, count(*) AS told FROM ledger GROUP BY channel"
_HEARD = "SELECT channel, sum(sequence)::bigint AS heard FROM progress WHERE consumer = $1 GROUP BY channel"

# A projection that has never read stands at zero; so does one that is fed by others, for good.
_BEHIND = """
SELECT coalesce(sum(behind), 0)::bigint FROM (
    SELECT (SELECT count(*) FROM events e WHERE (e.tx, e.position) > (p.tx, p.position)) AS behind
    FROM projections p WHERE p.live AND (p.tx > '0'::xid8 OR p.name = 'timers')
) each
"""
_NO_ANSWER = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)

_HAS_TIMERS = "SELECT to_regclass('timers') IS NOT NULL"
_DUE = "SELECT count(*) FROM timers WHERE due_at <= $1"


@dataclass(frozen=True, slots=True)
class ServiceFigures:
    """One service. `lag` counts, by owner, what was appended there and has had no effect here yet."""

    events: int
    untold: int
    """Published events the relay has still to bring to the log."""
    told: Mapping[str, int]
    """Published events in all, by channel."""
    lag: Mapping[str, int]
    behind: int
    """Events its own read models have still to read, summed over these."""
    todos: int
    due: int
    """Timers that should have been issued."""
    parked: int
    """To-dos that wait for a person."""
    letters: int
    """Open dead letters."""

    @property
    def open(self) -> int:
        """What is still under way; what is parked is not."""
        return self.untold + sum(self.lag.values()) + self.behind + self.todos + self.due


@dataclass(frozen=True, slots=True)
class Figures:
    """All services, each at a moment of its own."""

    services: Mapping[str, ServiceFigures]

    @property
    def at_rest(self) -> bool:
        """Whether nothing was under way in any of them when it was looked at."""
        return not any(figures.open for figures in self.services.values())

    def same_counts(self, other: "Figures") -> bool:
        """Whether nothing was appended or heard from one look to the other."""
        return self == other

    def under_way(self) -> dict[str, dict[str, Any]]:
        """What is still open, by service."""
        return {
            name: {
                "untold": each.untold,
                "lag": {owner: lag for owner, lag in each.lag.items() if lag},
                "behind": each.behind,
                "todos": each.todos,
                "due": each.due,
            }
            for name, each in self.services.items()
            if each.open
        }


@dataclass(frozen=True, slots=True)
class _Look:
    stored: Mapping[str, int]
    told: Mapping[str, int]
    heard: Mapping[str, int]
    behind: int
    due: int


class Measurer:
    """Asks the databases, over connections that live as long as one answer."""

    def __init__(
        self, databases: Mapping[str, str], hears: Mapping[str, Sequence[str]], clock: Clock
    ) -> None:
        """`databases`: the address of each service's; `hears`: the owners each listens to."""
        self._databases = databases
        self._hears = hears
        self._clock = clock
        self._channels = {
            contract.owner: [contract.channel("public"), contract.channel("internal")]
            for contract in shipped()
        }

    async def measure(self) -> Figures:
        """Raises OSError or asyncpg's PostgresError when a database does not answer."""
        names = list(self._databases)
        looks = dict(zip(names, await asyncio.gather(*map(self._look, names)), strict=True))
        return Figures({name: self._figures(name, looks) for name in names})

    async def measured(self) -> Figures | None:
        """`measure`, or None where a database is away or was cut off while it answered."""
        try:
            return await self.measure()
        except _NO_ANSWER:
            return None

    def _figures(self, name: str, looks: Mapping[str, _Look]) -> ServiceFigures:
        look = looks[name]
        lag = {
            owner: sum(
                max(0, looks[owner].told.get(channel, 0) - look.heard.get(channel, 0))
                for channel in self._channels[owner]
            )
            for owner in self._hears[name]
            if owner in looks
        }
        return ServiceFigures(told=look.told, lag=lag, behind=look.behind, due=look.due, **look.stored)

    async def _look(self, name: str) -> _Look:
        connection = await asyncpg.connect(self._databases[name], timeout=5, command_timeout=10)
        try:
            # What was heard before what was told would show as a lag below zero; the other way round it is one too
            # many for a moment, which errs on the safe side.
            heard = {row["channel"]: row["heard"] for row in await connection.fetch(_HEARD, name)}
            stored = await one(connection, _STORED)
            told = {row["channel"]: row["told"] for row in await connection.fetch(_TOLD)}
            behind = await connection.fetchval(_BEHIND)
            has_timers = await connection.fetchval(_HAS_TIMERS)
            due = await connection.fetchval(_DUE, self._clock.now()) if has_timers else 0
        finally:
            await connection.close()
        return _Look(dict(stored), told, heard, behind, due)


def measurer_of(state: Mapping[str, Any]) -> Measurer:
    """For the stack that wrote this state, see `folder.DataFolder.read_state`."""
    services = state["services"]
    clock = clock_from(Path(state["clock"]) if state["clock"] else None)
    return Measurer(
        {name: each["reader_url"] for name, each in services.items()},
        {name: each["hears"] for name, each in services.items()},
        clock,
    )
