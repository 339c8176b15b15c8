"""Dying, or being overtaken, at every point where a program waits for its database, one after the other.

A scenario is given a `Fuse`. It builds what is to die on `fuse.pool(pool)`, lets it run inside `fuse.dying()`, then
does the same again on the pool itself and looks at what is there. `everywhere` runs the scenario with the fuse set
to the first call, the second, and so on, until one run needs no more calls; first dying before each call, then after
it: done, and its answer never seen. With an `Interruption` in the place of the fuse something else happens there, and
the program goes on.
"""

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from itertools import count
from typing import Any, Literal, ParamSpec, TypeVar, cast

import asyncpg
from asyncpg.transaction import Transaction

P = ParamSpec("P")
T = TypeVar("T")

_ENOUGH = 200
"""A program of more calls than this is not meant to be crashed at each of them."""


class Crash(BaseException):
    """The program died here. No `except Exception` holds it up."""


class Fuse:
    """Counts calls and kills at the `at`-th, `before` it is made or `after` it was; then nothing works any more."""

    def __init__(self, at: int, when: Literal["before", "after"]) -> None:
        self.at = at
        self.when = when
        self.calls = 0
        self.reached = False
        self.dead = False
        self.where = ""

    def __str__(self) -> str:
        return f"{type(self).__name__} {self.when} call {self.at}: {self.where}"

    def pool(self, pool: asyncpg.Pool) -> asyncpg.Pool:
        """The same pool, on which each call to the database is counted."""
        return cast("asyncpg.Pool", _Pool(pool, self))

    def guard(self, action: Callable[P, Awaitable[T]], name: str = "") -> Callable[P, Awaitable[T]]:
        """The same action, counted as one call."""
        name = name or action.__name__

        async def guarded(*args: P.args, **kwargs: P.kwargs) -> T:
            await self._pass("before", name, args)
            result = await action(*args, **kwargs)
            await self._pass("after", name, args)
            return result

        return guarded

    @contextmanager
    def dying(self) -> Iterator[None]:
        """What stands in here may die, and nobody else does."""
        try:
            yield
        except Crash:
            assert self.dead

    async def _pass(self, when: str, name: str, args: tuple[Any, ...]) -> None:
        if self.dead:
            raise Crash
        self.calls += when == "before"
        if self.calls == self.at and when == self.when and not self.reached:
            self.reached = True
            self.where = " ".join([name, *map(str, args[:1])])
            await self._happen()

    async def _happen(self) -> None:
        self.dead = True
        raise Crash


class Interruption(Fuse):
    """Nobody dies: `action`, which the scenario sets, happens at that point."""

    action: Callable[[], Awaitable[object]]

    async def _happen(self) -> None:
        await self.action()


F = TypeVar("F", bound=Fuse)


async def everywhere(scenario: Callable[[F], Awaitable[None]], kind: type[F] = Fuse) -> int:  # type: ignore[assignment]
    """Runs the scenario with a crash before and after each of its calls; how many crashes that were."""
    crashes = 0
    for when in ("before", "after"):
        for at in count(1):
            fuse = kind(at, when)
            try:
                await scenario(fuse)
            except Exception as error:
                error.add_note(str(fuse))
                raise
            if not fuse.reached:
                break
            crashes += 1
            assert at < _ENOUGH, "it never comes to its end"
    return crashes


class _Guarded:
    """Whatever of `real`, a `kind`, is awaited is a call."""

    kind: type

    def __init__(self, real: Any, fuse: Fuse) -> None:
        self._real = real
        self._fuse = fuse

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._real, name)
        if inspect.iscoroutinefunction(getattr(self.kind, name, None)):
            return self._fuse.guard(found, name)
        return found


class _Pool(_Guarded):
    kind = asyncpg.Pool

    @asynccontextmanager
    async def acquire(self) -> AsyncIterator["_Connection"]:
        async with self._real.acquire() as connection:
            try:
                yield _Connection(connection, self._fuse)
            finally:
                if self._fuse.dead:
                    connection.terminate()


class _Connection(_Guarded):
    kind = asyncpg.Connection

    def transaction(self, **options: Any) -> "_Transaction":
        return _Transaction(self._real.transaction(**options), self._fuse)


class _Transaction(_Guarded):
    kind = Transaction

    async def __aenter__(self) -> None:
        await self._fuse.guard(self._real.start, "start")()

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        # Where the program dies the server rolls back; here that is awaited, so that nobody meets its locks later.
        ended = False

        async def commit() -> None:
            nonlocal ended
            await self._real.commit()
            ended = True

        try:
            if kind is None:
                await self._fuse.guard(commit)()
        finally:
            if not ended:
                await self._real.rollback()
