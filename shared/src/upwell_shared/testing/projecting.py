"""The law of projections: the same events give the same rows, however they are cut into pages."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from upwell_shared.database import Connection
from upwell_shared.projecting import Projection

_ENTER = "SET LOCAL search_path TO pages_of_a_test, public"
_TABLES = """
SELECT relname, format('TABLE %I', relname) FROM pg_class WHERE relnamespace = 'pages_of_a_test'::regnamespace AND relkind = 'r' ORDER BY relname
"""


async def rows_in_pages(
    owner: Connection, projection: Projection[Any], events: Sequence[Any], cuts: Sequence[int] = ()
) -> dict[str, list[tuple[Any, ...]]]:
    """The rows of every table of `projection` after `events`, cut into pages before the given indexes.

    Works in a schema of its own and leaves nothing behind. `owner` may create schemas and is in no transaction.
    """
    bounds = sorted({0, len(events), *(cut for cut in cuts if 0 < cut < len(events))})
    transaction = owner.transaction()
    await transaction.start()
    try:
        await owner.execute("CREATE SCHEMA pages_of_a_test")
        await owner.execute(_ENTER)
        await owner.execute(projection.tables)
        for begin, end in pairwise(bounds):
            await projection.project(owner, events[begin:end])
        return {
            table: sorted(map(tuple, await owner.fetch(statement)), key=repr)
            for table, statement in await owner.fetch(_TABLES)
        }
    finally:
        await transaction.rollback()
