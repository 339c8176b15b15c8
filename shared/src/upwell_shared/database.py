"""One way to reach Postgres."""

import asyncpg

from upwell_shared.errors import UpwellError

Connection = asyncpg.Connection | asyncpg.pool.PoolConnectionProxy
"""A connection, owned or borrowed from a pool."""

# No product transaction writes longer than 250 ms; an open one holds back every tail reader of the cluster.
_TIMEOUTS = {
    "statement_timeout": "10s",
    "idle_in_transaction_session_timeout": "5s",
    "transaction_timeout": "10s",
    "lock_timeout": "5s",
}


# Longer than any statement may take: whoever waits longer waits for a connection that leads nowhere.
_ANSWER_SECONDS = 15.0


class UnsupportedPostgres(UpwellError):
    """PostgreSQL 17 or newer is required."""


async def one(connection: Connection, statement: str, *arguments: object) -> asyncpg.Record:
    """The row of a statement that always gives one."""
    row = await connection.fetchrow(statement, *arguments)
    if row is None:
        raise LookupError("a statement that always gives a row gave none")
    return row


async def _keep_session(_: asyncpg.Connection) -> None:
    """Nothing here changes session state, so the pool's reset query would only cost a round trip."""


async def create_pool(dsn: str, *, application_name: str, size: int = 8) -> asyncpg.Pool:
    """A pool of at most `size` connections; 8 keep 2 cores busy. Callers never change session state.

    Raises UnsupportedPostgres.
    """
    try:
        return await asyncpg.create_pool(
            dsn,
            min_size=min(2, size),
            max_size=size,
            reset=_keep_session,
            command_timeout=_ANSWER_SECONDS,
            # What Postgres writes as text, in JSON above all, is in UTC wherever the server is.
            server_settings=_TIMEOUTS | {"application_name": application_name, "timezone": "UTC"},
        )
    except asyncpg.UndefinedObjectError as error:
        # An older server does not know transaction_timeout and refuses the connection itself.
        raise UnsupportedPostgres from error
