"""A page of events folded into rows: read the rows it touches, fold in memory, write them back. Two statements a table.

The rows of a table must be fed by one channel: of a channel's stream the consumer applies one page at a time, so that
nobody else writes these rows in between.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Generic, TypeVar

from upwell_shared.contracts import Consumed, PublishedEvent
from upwell_shared.database import Connection

Row = TypeVar("Row", bound=tuple[Any, ...])


@dataclass(frozen=True, slots=True, kw_only=True)
class Folding(Generic[Row]):
    """How the rows of one table follow from events."""

    row: Callable[..., Row]
    """A named tuple of the columns, in the order of both statements; the first is the key."""
    of: frozenset[type[PublishedEvent]]
    """The classes of events that are about these rows. Looked up by class, since a page holds many of others."""
    key: str
    """The field of these events that names the row."""
    evolve: Callable[[Row | None, Consumed], Row | None]
    """The row after the event. None stays none: an event of something whose beginning was discarded changes nothing."""
    held: str
    """Selects the rows of the keys in $1."""
    write: str
    """Inserts or replaces rows, a column an argument."""

    async def take(self, connection: Connection, events: Sequence[Consumed]) -> None:
        """Folds a page, inside the caller's transaction."""
        key_of = attrgetter(self.key)
        about = [(key_of(each.event), each) for each in events if type(each.event) in self.of]
        if not about:
            return
        keys = {key for key, _ in about}
        rows = {record[0]: self.row(*record) for record in await connection.fetch(self.held, keys)}
        for key, consumed in about:
            after = self.evolve(rows.get(key), consumed)
            if after is not None:
                rows[key] = after
        if rows:
            await connection.execute(self.write, *zip(*rows.values(), strict=True))
