"""What a service refuses to start on, because facts would be lost, hidden or read out of order."""

from upwell_shared.database import Connection, UnsupportedPostgres
from upwell_shared.errors import UpwellError

_OLDEST_SERVER = 170_000
"""PostgreSQL 17 brought transaction_timeout, without which a stuck writer holds every reader back."""

# A stored transaction id at or above the next one the cluster will give can only come from another cluster.
_FROM_ELSEWHERE = """
SELECT greatest((SELECT max(tx) FROM events), (SELECT max(tx) FROM ledger))
       >= pg_snapshot_xmax(pg_current_snapshot())
"""


class NotPrimary(UpwellError):
    """This is a read replica: connect to the primary, since replicas may show commits in another order."""


class UnsafeDurability(UpwellError):
    """The server acknowledges commits it may lose."""


class LogicalRestore(UpwellError):
    """The events were restored by a logical dump into a younger cluster: new facts would sort before old ones.

    Restore a physical backup instead, or raise the cluster's counter past the stored ids with
    `pg_resetwal --next-transaction-id` while it is stopped, to a multiple of 1048576.
    """


async def require_safe(connection: Connection) -> None:
    """Raises UnsupportedPostgres, NotPrimary, UnsafeDurability or LogicalRestore."""
    server = int(await connection.fetchval("SELECT current_setting('server_version_num')"))
    if server < _OLDEST_SERVER:
        raise UnsupportedPostgres(f"PostgreSQL 17 or newer is required; this one is {server // 10_000}")
    if await connection.fetchval("SELECT pg_is_in_recovery()"):
        raise NotPrimary
    for setting in ("fsync", "synchronous_commit"):
        if await connection.fetchval("SELECT current_setting($1)", setting) == "off":
            raise UnsafeDurability(
                f"{setting} is off: the server acknowledges commits it may lose; turn it on"
            )
    if await connection.fetchval(_FROM_ELSEWHERE):
        raise LogicalRestore
