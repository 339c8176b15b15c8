"""Projections: read models folded from events, in tables that can be made again from zero.

Each generation of a projection's tables lives in a schema of its own; `project` names its tables plainly and runs
with that schema first on the transaction's search path. Readers use the views in `public`, which show the live
generation. A rebuild fills a new generation beside the live one and switches in one transaction.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol, TypedDict, TypeVar

import asyncpg
import structlog

from upwell_shared.database import Connection, one
from upwell_shared.errors import UpwellError
from upwell_shared.events import START, EventCodec, Position, Recorded
from upwell_shared.migrating import alone, grant
from upwell_shared.tail import events_after

_log = structlog.get_logger()

_PAGE = 500
_LET_GO_SECONDS = 0.05
_UNFILLED = 0
"""The version of a live generation that nobody has filled yet, see `ensure`."""

Event_contra = TypeVar("Event_contra", contravariant=True)


class Projection(Protocol[Event_contra]):
    """One read model. `tables` is its DDL with plain names; raise `version` when DDL or folding change.

    `project` takes a page of events in order, of which it may not have seen the page's cut before: the same events in
    other pages give the same rows. It runs in a transaction it neither commits nor ends, and must not fail on an
    event it has no use for.
    """

    @property
    def name(self) -> str: ...
    @property
    def version(self) -> int: ...
    @property
    def tables(self) -> str: ...

    async def project(self, connection: Connection, events: Sequence[Event_contra]) -> None: ...


class Roles(TypedDict):
    """The database roles that are given their rights on new tables."""

    app_role: str
    reader_role: str


class ProjectionSuperseded(UpwellError):
    """This release's version of the projection is not the live one: rebuild it, or deploy the release that matches."""


class RebuildAbandoned(UpwellError):
    """Another rebuild of this projection took this one's place."""


_LIVE = "SELECT generation, tx, position FROM projections WHERE name = $1 AND version = $2 AND live"

# Moves the cursor only from where the page was read, and puts the generation's tables first for this transaction.
_ADVANCE = """
UPDATE projections SET tx = $1, position = $2
WHERE name = $3 AND generation = $4 AND tx = $5 AND position = $6
RETURNING set_config('search_path', quote_ident(schema) || ', public', true)
"""

_ENTER = """
SELECT set_config('search_path', quote_ident(schema) || ', public', true)
FROM projections WHERE name = $1 AND version = $2 AND live FOR SHARE
"""

# One round trip for all, and always the same path, so that statements keep their plans.
_ENTER_ALL = """
SELECT count(*), set_config('search_path', string_agg(quote_ident(schema), ', ' ORDER BY name) || ', public', true)
FROM (
    SELECT name, schema FROM projections JOIN unnest($1::text[], $2::int[]) AS ours (name, version) USING (name, version)
    WHERE live ORDER BY name FOR SHARE OF projections
) AS entered
"""

_REACHED = """
SELECT EXISTS (
    SELECT FROM events e, projections p
    WHERE e.stream_id = $1 AND e.version = $2 AND p.name = $3 AND p.live
      AND (e.tx, e.position) <= (p.tx, p.position)
)
"""

_HEAD = "SELECT tx, position FROM events ORDER BY tx DESC, position DESC LIMIT 1"
_HAS_READ = "SELECT (tx, position) >= ($2, $3) FROM projections WHERE name = $1 AND live"

_RESERVE = """
INSERT INTO projections (name, generation, version, schema, live)
SELECT $1, n, $2, format('projection_%s_%s', $1::text, n), NOT EXISTS (SELECT FROM projections WHERE name = $1 AND live)
FROM (SELECT coalesce(max(generation), 0) + 1 AS n FROM projections WHERE name = $1) AS next
RETURNING generation, schema, live
"""

_CREATE = "SELECT format('CREATE SCHEMA %I', $1::text), set_config('search_path', quote_ident($1) || ', public', true)"
_ABSENT = "SELECT NOT EXISTS (SELECT FROM projections WHERE name = $1 AND live)"
_CONSUMED = "SELECT EXISTS (SELECT FROM progress)"
_ADOPT = "UPDATE projections SET version = $2 WHERE name = $1 AND live AND version = $3 RETURNING true"

# Rows before schemas: a rebuild at work takes them in this order too.
_FORGET_OTHERS = """
DELETE FROM projections WHERE name = $1 AND generation <> $2 AND NOT live
RETURNING format('DROP SCHEMA %I CASCADE', schema)
"""

_HIDE = """
SELECT format('DROP VIEW IF EXISTS public.%I', relname)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = $1 AND c.relkind = 'r' ORDER BY relname
"""
_SHOW = """
SELECT format('CREATE VIEW public.%I AS TABLE %I.%I', relname, nspname, relname)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = $1 AND c.relkind = 'r' ORDER BY relname
"""

# Readers of the live tables hold up a switch, and while it waits, new readers wait behind it.
_WAIT_BRIEFLY = "SET LOCAL lock_timeout = '50ms'"
_LOCK_LIVE = "SELECT tx, position FROM projections WHERE name = $1 AND live FOR UPDATE"
_CURSOR = "SELECT tx, position FROM projections WHERE name = $1 AND generation = $2"
_RETIRE = "UPDATE projections SET live = false WHERE name = $1 AND live RETURNING schema"
_ENLIVEN = "UPDATE projections SET live = true WHERE name = $1 AND generation = $2 RETURNING schema"


async def enter(connection: Connection, projection: Projection[Any]) -> None:
    """Puts the live generation's tables first for the rest of the caller's transaction. Raises ProjectionSuperseded.

    Until that transaction ends the live generation stays the live one; waits while it is held, see `hold_live`.
    """
    # Asked again, since a switch may have come between this statement's snapshot and the row's lock.
    for _ in range(2):
        if await connection.fetchval(_ENTER, projection.name, projection.version) is not None:
            return
    raise ProjectionSuperseded(_superseded(projection))


async def enter_all(connection: Connection, projections: Sequence[Projection[Any]]) -> None:
    """`enter` for several at once. No two have a table of the same name: each is shown in `public` by its name."""
    names, versions = [each.name for each in projections], [each.version for each in projections]
    for _ in range(2):
        entered = await connection.fetchrow(_ENTER_ALL, names, versions)
        if entered is not None and entered["count"] == len(projections):
            return
    for projection in projections:
        await enter(connection, projection)


async def hold_live(connection: Connection, name: str) -> Position:
    """Until the caller's transaction ends nobody writes to the live generation or switches; returns how far it has read.

    To be called first in the transaction.
    """
    await alone(connection)
    row = await one(connection, _LOCK_LIVE, name)
    return Position(row["tx"], row["position"])


async def reached(pool: asyncpg.Pool, projection: str, stream_id: Any, version: int) -> bool:
    """True when the live generation of an own projection has read that version of the stream."""
    return bool(await pool.fetchval(_REACHED, stream_id, version, projection))


async def head(pool: asyncpg.Pool) -> Position:
    """Where the newest event stands that is committed now."""
    row = await pool.fetchrow(_HEAD)
    return START if row is None else Position(*row)


async def has_read(pool: asyncpg.Pool, projection: str, position: Position) -> bool:
    """True when the live generation of an own projection has read everything up to that position."""
    return bool(await pool.fetchval(_HAS_READ, projection, *position))


class Projector:
    """Keeps one of the service's own projections from its event store."""

    def __init__(self, pool: asyncpg.Pool, codec: EventCodec, projection: Projection[Recorded[Any]]) -> None:
        self._pool = pool
        self._codec = codec
        self._projection = projection

    async def step(self, _: object = None) -> bool:
        """Reads and folds one page in one transaction; True when there was one. Raises ProjectionSuperseded."""
        name, version = self._projection.name, self._projection.version
        async with self._pool.acquire() as connection:
            live = await connection.fetchrow(_LIVE, name, version)
            if live is None and await connection.fetchval(_ADOPT, name, version, _UNFILLED):
                live = await connection.fetchrow(_LIVE, name, version)
            if live is None:
                raise ProjectionSuperseded(_superseded(self._projection))
            # Where another replica was faster its rows are in and ours are not: go on from there.
            return (
                await self._fold(connection, live["generation"], Position(live["tx"], live["position"]))
                is not None
            )

    async def _fold(self, connection: Connection, generation: int, after: Position) -> bool | None:
        """Folds the page after that position: None when there is none, False when the cursor was elsewhere."""
        page = await events_after(connection, self._codec, after, _PAGE)
        if not page:
            return None
        async with connection.transaction():
            moved = await connection.fetchval(
                _ADVANCE, *page[-1].at, self._projection.name, generation, *after
            )
            if moved is None:
                return False
            await self._projection.project(connection, page)
        return True

    async def rebuild(self, owner: asyncpg.Pool, *, app_role: str, reader_role: str) -> int:
        """Fills a new generation from zero beside the live one, switches to it, and returns its number.

        `owner` is a pool of the database's owner, who may create schemas. Fails on the first error, leaving the live
        generation as it was. Reads see the old rows until the switch and the new ones after it. A rebuild begun while
        another runs takes its place: the earlier one raises RebuildAbandoned.
        """
        roles = Roles(app_role=app_role, reader_role=reader_role)
        generation = await create_generation(owner, self._projection, **roles)

        async def caught_up(connection: Connection, goal: Position) -> bool:
            # What the live projector had read beyond us is read before the switch, if it is no more than a page.
            if await self._cursor(connection, generation) < goal:
                await self._fold_next(connection, generation)
            return await self._cursor(connection, generation) >= goal

        while True:
            async with owner.acquire() as connection:
                while await self._fold_next(connection, generation):
                    pass
            if await switch_if(owner, self._projection.name, generation, caught_up, **roles):
                return generation
            await asyncio.sleep(_LET_GO_SECONDS)

    async def _fold_next(self, connection: Connection, generation: int) -> bool:
        folded = await self._fold(connection, generation, await self._cursor(connection, generation))
        if folded is False:
            raise RebuildAbandoned
        return folded is not None

    async def _cursor(self, connection: Connection, generation: int) -> Position:
        row = await connection.fetchrow(_CURSOR, self._projection.name, generation)
        if row is None:
            raise RebuildAbandoned
        return Position(*row)


async def create_generation(
    owner: asyncpg.Pool, projection: Projection[Any], *, app_role: str, reader_role: str
) -> int:
    """Creates a further set of the projection's tables, live at once when it is the first; returns its number.

    Generations that are not live (retired, or left by a rebuild that died) are dropped.
    """
    async with owner.acquire() as connection, connection.transaction():
        await alone(connection)
        return await _create(
            connection, projection, projection.version, app_role=app_role, reader_role=reader_role
        )


async def ensure(
    owner: asyncpg.Pool, projections: Sequence[Projection[Any]], *, app_role: str, reader_role: str
) -> None:
    """Creates the tables of every projection that has none yet; part of `migrate`, and like it safe to call at once.

    What is new in a service that has consumed others' events has missed these. Therefore it is live, empty, and of
    version 0, which `enter` refuses: the new release's consumer stands still until somebody rebuilds the projection,
    which is to be done when no consumer of the earlier release runs any more. One fed by own events begins at the first
    of them, so its projector takes it over as it is.
    """
    for projection in projections:
        async with owner.acquire() as connection, connection.transaction():
            await alone(connection)
            if await connection.fetchval(_ABSENT, projection.name):
                version = _UNFILLED if await connection.fetchval(_CONSUMED) else projection.version
                await _create(connection, projection, version, app_role=app_role, reader_role=reader_role)


async def switch_if(
    owner: asyncpg.Pool,
    name: str,
    generation: int,
    caught_up: Callable[[Connection, Position], Awaitable[bool]],
    *,
    app_role: str,
    reader_role: str,
) -> bool:
    """Switches to a generation if it turns out to have caught up while the live one is held; else lets go.

    `caught_up` gets the transaction and how far the live one has read. All tail readers of the cluster wait for it: it
    reads nothing but the database, and little. Lets go too when somebody reads the live tables for long. Raises
    RebuildAbandoned when the generation is gone.
    """
    try:
        async with owner.acquire() as connection, connection.transaction():
            live = await hold_live(connection, name)
            held_at = time.perf_counter()
            await connection.execute(_WAIT_BRIEFLY)
            if not await caught_up(connection, live):
                return False
            await switch(connection, name, generation)
            await grant(connection, app_role=app_role, reader_role=reader_role)
    except asyncpg.LockNotAvailableError:
        return False
    _log.info(
        "switched",
        projection=name,
        generation=generation,
        held_ms=round((time.perf_counter() - held_at) * 1000),
    )
    return True


async def switch(connection: Connection, name: str, generation: int) -> None:
    """Makes a generation the live one, inside the caller's transaction, which must hold the live one (`hold_live`).
    Raises RebuildAbandoned when the generation is gone.
    """
    retired = await connection.fetchval(_RETIRE, name)
    enlivened = await connection.fetchval(_ENLIVEN, name, generation)
    if enlivened is None:
        raise RebuildAbandoned
    await _run_each(connection, _HIDE, retired)
    await _run_each(connection, _SHOW, enlivened)


async def _create(
    connection: Connection, projection: Projection[Any], version: int, *, app_role: str, reader_role: str
) -> int:
    # The new number is taken while the old ones are there: one that came again would let an abandoned rebuild go on
    # in the tables of the one that took its place.
    generation, schema, live = await one(connection, _RESERVE, projection.name, version)
    await _run_each(connection, _FORGET_OTHERS, projection.name, generation)
    create, _ = await one(connection, _CREATE, schema)
    await connection.execute(create)
    await connection.execute(projection.tables)
    if live:
        await _run_each(connection, _SHOW, schema)
    await grant(connection, app_role=app_role, reader_role=reader_role)
    return int(generation)


async def _run_each(connection: Connection, statement: str, *arguments: object) -> None:
    """Runs the statements that a statement gives."""
    for row in await connection.fetch(statement, *arguments):
        await connection.execute(row[0])


def _superseded(projection: Projection[Any]) -> str:
    return f"version {projection.version} of projection {projection.name} is not the live one: rebuild it, or deploy what matches"
