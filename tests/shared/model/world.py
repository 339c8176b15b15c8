"""Doing what a program says: two replicas of each part, two clients' worth of impatience, one log."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from datetime import timedelta
from functools import partial
from itertools import islice
from typing import Any, TypeVar
from uuid import NAMESPACE_OID, UUID, uuid5

import asyncpg

from tests.shared.crashes import Crash, Fuse
from tests.shared.example.app import AGGREGATES, COMMANDS, EVENTS, TIMERS
from tests.shared.example.contract import contract
from tests.shared.example.projections import who_sits_where
from tests.shared.example.publishing import publishing
from tests.shared.model.asked import Asked
from tests.shared.model.log import Log
from tests.shared.model.parts import Mortal, Reader, SlowPool, WatchedRelay
from tests.shared.model.program import (
    REPLICAS,
    Advance,
    Ask,
    AskAgain,
    AskBoth,
    AskSlowly,
    AskTwice,
    Collide,
    Commit,
    Consume,
    Death,
    Elect,
    LoseLog,
    Program,
    Project,
    Relay,
    SetBack,
    Step,
    Tick,
    Wish,
    Work,
)
from upwell_shared.decider import DomainError
from upwell_shared.errors import ConcurrentUpdate
from upwell_shared.event_store import EventStore
from upwell_shared.events import Envelope, Recorded
from upwell_shared.handling import Handler
from upwell_shared.lease import Fenced, Lease, Term
from upwell_shared.projecting import Projection, Projector
from upwell_shared.testing import FixedClock
from upwell_shared.timers import Ticker
from upwell_shared.todos import TodoWorker

P = TypeVar("P")

_PATIENCE = 20.0
_VERSIONS = "SELECT stream_id, version FROM streams"


class World:
    """A service on a database and a log of its own, with its clients."""

    def __init__(self, pool: asyncpg.Pool, bootstrap: str, log: Log, owner: str) -> None:
        self.pool = pool
        self.log = log
        self.owner = owner
        self.clock = FixedClock()
        self.asked: list[Asked] = []
        self._slow: tuple[Asked, SlowPool, asyncio.Task[None]] | None = None
        self._offsets: dict[tuple[object, ...], int] = {}

        self.deaths: Counter[str] = Counter()
        self.troubles: Counter[str] = Counter()

        def replicas(
            name: str, make: Callable[[Fuse], P], end: Callable[[P], Awaitable[None]] | None = None
        ) -> list[Mortal[P]]:
            return [Mortal(name, make, end, self.deaths) for _ in range(REPLICAS)]

        self._handlers = replicas("handler", self._handler)
        self._relays = replicas(
            "relay", lambda fuse: WatchedRelay(pool, bootstrap, owner, fuse), WatchedRelay.close
        )
        self._leases = [Lease(pool, "relay", ttl=300) for _ in range(REPLICAS)]
        self._terms: list[Term | None] = [None] * REPLICAS
        self._readers = replicas("reader", lambda fuse: Reader(pool, log, owner, fuse))
        self._workers = replicas(
            "worker", lambda fuse: TodoWorker(fuse.pool(pool), COMMANDS, self._handler(fuse).send, self.clock)
        )
        self._tickers = replicas("ticker", lambda fuse: Ticker(fuse.pool(pool), self.clock))
        self._projectors = {
            projection.name: replicas(projection.name, partial(self._projector, projection))
            for projection in (who_sits_where, TIMERS)
        }

    def _projector(self, projection: Projection[Recorded[Any]], fuse: Fuse) -> Projector:
        return Projector(fuse.pool(self.pool), EVENTS, projection)

    def _handler(self, fuse: Fuse) -> Handler:
        return self._handler_on(fuse.pool(self.pool))

    def _handler_on(self, pool: asyncpg.Pool) -> Handler:
        return Handler(EventStore(pool, EVENTS), self.clock, contract(self.owner), publishing, AGGREGATES)

    async def run(self, program: Program) -> None:
        """Every step, then all parts without a crash until there is nothing left to do."""
        for step in program:
            with suppress(Crash, ConcurrentUpdate):
                await self._do(step)
        await self._settle()

    async def close(self) -> None:
        await self._end_slow(lost=True)
        for relay in self._relays:
            await relay.part.close()

    # Steps.

    async def _do(self, step: Step) -> None:
        match step:
            case Ask(wish, replica, death):
                await self._send(self._ask(wish), replica, death)
            case AskBoth(first, second, death):
                await self._together((self._ask(first), death), (self._ask(second), None))
            case AskTwice(wish, death):
                asked = self._ask(wish)
                await self._together((asked, death), (asked, None))
            case AskSlowly(wish):
                await self._send_slowly(self._ask(wish))
            case Commit(lost):
                await self._end_slow(lost=lost)
            case AskAgain(replica, death):
                for asked in islice(self._unanswered(), 1):
                    await self._send(asked, replica, death)
            case Elect(replica):
                await self._elect(replica)
            case Relay(replica, page, looks, death):
                await self._relay(replica, page, looks=looks, death=death)
            case Consume(replica, looks, stops, death):
                await self._consume(replica, looks=looks, stops=stops, death=death)
            case Work(replica, death):
                await self._end_slow(lost=False)
                await self._turn("worker", replica, death)
            case Tick(replica, death):
                await self._turn("ticker", replica, death)
            case Project(projection, replica, death):
                await self._turn(projection, replica, death)
            case Collide(part, death):
                await self._end_slow(lost=False)
                outcomes = await asyncio.gather(
                    self._turn(part, 0, death), self._turn(part, 1, None), return_exceptions=True
                )
                _raise_first(outcomes)
            case Advance(hours):
                self.clock.forward(timedelta(hours=hours))
            case LoseLog(how):
                await (self.log.delete() if how == "deleted" else self.log.rename())
            case SetBack():
                await self.pool.execute("UPDATE cursors SET tx = '0', position = 0")

    # Clients.

    def _ask(self, wish: Wish) -> Asked:
        asked = Asked(uuid5(NAMESPACE_OID, f"command {len(self.asked)}"), wish)
        self.asked.append(asked)
        return asked

    def _unanswered(self) -> Iterator[Asked]:
        slow = self._slow[0] if self._slow else None
        return (asked for asked in self.asked if not asked.answered and asked is not slow)

    async def _send(self, asked: Asked, replica: int, death: Death | None) -> None:
        if self._slow and self._slow[0].streams & asked.streams:
            await self._end_slow(lost=False)
        await self._handlers[replica].run(partial(self._attempt, asked), death)

    async def _together(self, *each: tuple[Asked, Death | None]) -> None:
        outcomes = await asyncio.gather(
            *(self._send(asked, replica, death) for replica, (asked, death) in enumerate(each)),
            return_exceptions=True,
        )
        for outcome in outcomes:
            if isinstance(outcome, Crash | ConcurrentUpdate):
                # Another attempt's refusal says nothing about the one that was not answered.
                for asked, _ in each:
                    asked.refusal = None
        _raise_first(outcomes)

    async def _send_slowly(self, asked: Asked) -> None:
        await self._end_slow(lost=False)
        slow = SlowPool(self.pool)
        handler = self._handler_on(slow)  # type: ignore[arg-type]
        task = asyncio.create_task(self._attempt(asked, handler))
        executed = asyncio.create_task(slow.executed.wait())
        await asyncio.wait([task, executed], return_when=asyncio.FIRST_COMPLETED)
        executed.cancel()
        self._slow = asked, slow, task

    async def _end_slow(self, *, lost: bool) -> None:
        if self._slow is None:
            return
        _, slow, task = self._slow
        self._slow = None
        slow.lost.set_result(lost)
        with suppress(Crash, ConcurrentUpdate):
            await task

    async def _attempt(self, asked: Asked, handler: Handler) -> None:
        before = await self._versions()
        envelope = Envelope(command_id=asked.command_id, correlation_id=asked.command_id)
        outcome, refusal = None, None
        try:
            outcome = await handler.handle(
                *asked.intents(self.clock), envelope=envelope, fingerprint=repr(asked.wish).encode()
            )
        except DomainError as error:
            refusal = type(error)
        # One of two attempts at once may be refused before the other is carried out: a yes counts.
        if asked.outcome is None:
            asked.before, asked.after = before, await self._versions()
            asked.outcome, asked.refusal = outcome, refusal

    async def _versions(self) -> dict[UUID, int]:
        return {row["stream_id"]: row["version"] for row in await self.pool.fetch(_VERSIONS)}

    # Parts.

    async def _elect(self, replica: int) -> Term:
        await self.pool.execute("UPDATE leases SET expires_at = '-infinity'")
        term = await self._leases[replica].acquire()
        assert term is not None
        self._terms[replica] = term
        return term

    async def _turn(self, part: str, replica: int, death: Death | None) -> None:
        match part:
            case "reader":
                self._offsets.clear()  # between two looks at them either may have begun its log anew
                await self._readers[replica].run(lambda r: r.read(looks=False, stops=False), death)
            case "worker":
                await self._workers[replica].run(TodoWorker.step, death)
            case "ticker":
                await self._tickers[replica].run(Ticker.step, death)
            case projection:
                await self._projectors[projection][replica].run(Projector.step, death)

    async def _relay(self, replica: int, page: int, *, looks: bool, death: Death | None) -> bool:
        term = self._terms[replica] or await self._elect(replica)
        try:
            return await self._relays[replica].run(lambda r: r.publish(term, page=page, looks=looks), death)
        except Fenced:
            self._terms[replica] = None
        except Exception as error:  # noqa: BLE001  (a worker goes on after any; that it may not need to, shows in the end)
            self.troubles[f"{type(error).__name__}: {error}"[:60]] += 1
        return True

    async def _consume(self, replica: int, *, looks: bool, stops: bool, death: Death | None) -> bool:
        try:
            return await self._readers[replica].run(lambda r: r.read(looks=looks, stops=stops), death)
        finally:
            await self._check_offsets()

    async def _check_offsets(self) -> None:
        """Whoever reads: what is read of a log stays read, as long as it is the log that is read."""
        rows = await self.pool.fetch(
            "SELECT consumer, log_id, channel, partition, next_offset FROM consumer_offsets"
        )
        offsets = {(*row,)[:-1]: row["next_offset"] for row in rows}
        for place in self._offsets.keys() & offsets.keys():
            before, now = self._offsets[place], offsets[place]
            assert now >= before, f"reading of {place} went back from {before} to {now}"
        self._offsets = offsets

    # The end.

    async def _settle(self) -> None:
        await self._end_slow(lost=False)
        while asked := next(self._unanswered(), None):
            with suppress(ConcurrentUpdate):
                await self._send(asked, 0, None)
        await self._elect(0)
        left = ["everything"]
        async with asyncio.timeout(_PATIENCE):
            try:
                while left:
                    await self._round()
                    left = await self._left()
            except TimeoutError as error:
                raise AssertionError(
                    f"it does not come to rest: {', '.join(left)}; {dict(self.troubles)}"
                ) from error

    async def _round(self) -> None:
        for projectors in self._projectors.values():
            while await projectors[0].run(Projector.step, None):
                pass
        await self._tickers[0].run(Ticker.step, None)
        await self._workers[0].run(TodoWorker.step, None)
        looks = True
        while await self._relay(0, 100, looks=looks, death=None):
            looks = False
        while await self._consume(0, looks=True, stops=False, death=None):
            pass

    async def _left(self) -> list[str]:
        """What is still to be done. Others' transactions in the same cluster may hold the tails back for a while."""
        row = await self.pool.fetchrow(_LEFT, self.clock.now())
        assert row is not None
        return [name for name, undone in row.items() if undone]


def _raise_first(outcomes: Sequence[object]) -> None:
    """What nobody had to expect."""
    for outcome in outcomes:
        if isinstance(outcome, BaseException) and not isinstance(outcome, Crash | ConcurrentUpdate):
            raise outcome


_LEFT = """
SELECT EXISTS (SELECT FROM todos WHERE parked_because IS NULL) AS todos,
       EXISTS (SELECT FROM timers WHERE due_at <= $1) AS timers,
       EXISTS (SELECT FROM events e, projections p WHERE p.live AND p.name IN ('who_sits_where', 'timers')
               AND (e.tx, e.position) > (p.tx, p.position)) AS projections,
       coalesce((SELECT (tx, position) FROM ledger ORDER BY tx DESC, position DESC LIMIT 1)
                > (SELECT (tx, position) FROM cursors), false) AS ledger,
       EXISTS (SELECT FROM ledger l WHERE NOT EXISTS (
                   SELECT FROM progress p
                   WHERE (p.channel, p.stream_id) = (l.channel, l.key) AND p.sequence >= l.sequence)) AS consumer,
       NOT EXISTS (SELECT FROM cursors) AS relay
"""
