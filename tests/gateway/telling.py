"""What other services tell, without them: events numbered as their owners number them, taken in as a consumer does."""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from uuid import UUID, uuid5

import asyncpg

from upwell_gateway.app import HANDLERS, NAME
from upwell_gateway.sources import SOURCES
from upwell_shared.consuming import Applied, Applier, Batch
from upwell_shared.contracts import Contract, Publication, PublishedEvent, record_headers
from upwell_shared.events import Envelope

LOG = UUID(int=0xA)
NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)


class Raw(NamedTuple):
    """A record without a broker."""

    offset: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]]


def contract_of(event: PublishedEvent) -> Contract:
    return next(c for c in SOURCES.values() if type(event) in c.classes.values())


class Teller:
    """All owners in one: numbers what each tells of each stream, and says when."""

    def __init__(self) -> None:
        self._sequences: Counter[tuple[str, UUID]] = Counter()
        self._told = 0

    def tell(self, stream_id: UUID, event: PublishedEvent, at: datetime | None = None) -> Publication:
        contract = contract_of(event)
        channel = contract.channel(event.audience)
        self._sequences[channel, stream_id] += 1
        self._told += 1
        sequence = self._sequences[channel, stream_id]
        return contract.publish(
            event,
            source_event_id=uuid5(stream_id, f"{channel} {sequence}"),
            stream_id=stream_id,
            sequence=sequence,
            recorded_at=at or NOON + timedelta(seconds=self._told),
            envelope=Envelope(command_id=uuid5(stream_id, "c"), correlation_id=uuid5(stream_id, "r")),
        )

    def position(self, service: str, stream_id: UUID, *, ahead: int = 0) -> str:
        """What a command of that stream would have answered."""
        contract = SOURCES[service]
        public = self._sequences[contract.channel("public"), stream_id]
        internal = self._sequences[contract.channel("internal"), stream_id]
        return f"{service}/{stream_id}@{public + internal + ahead}.{public + ahead}.{internal}"


class Reader:
    """The gateway's consumer, without a broker."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self.pool = pool
        self._applier = Applier(NAME, pool, [*SOURCES.values()], HANDLERS)
        self._offsets: Counter[str] = Counter()

    async def take(self, *publications: Publication) -> None:
        """In this order, a page for each run of one channel."""
        page: list[Publication] = []
        for publication in publications:
            if page and page[0].channel != publication.channel:
                await self.page(page)
                page = []
            page.append(publication)
        if page:
            await self.page(page)

    async def page(self, publications: Sequence[Publication]) -> Applied:
        """Of one channel, as one transaction."""
        channel = publications[0].channel
        first = self._offsets[channel]
        if not first:
            await self.pool.execute(
                "INSERT INTO consumer_offsets VALUES ($1, $2, $3, 0, 0) ON CONFLICT DO NOTHING",
                NAME,
                LOG,
                channel,
            )
        records = [record(publication, first + n) for n, publication in enumerate(publications)]
        self._offsets[channel] += len(records)
        batch = Batch(log_id=LOG, channel=channel, partition=0, first_offset=first, records=records)
        return await self._applier.apply(batch)


def record(publication: Publication, offset: int) -> Raw:
    headers = record_headers(publication.headers, LOG)
    return Raw(offset, str(publication.key).encode(), publication.body, headers)


_TABLES = """
SELECT format('%I.%I', schemaname, tablename) FROM pg_tables WHERE schemaname LIKE 'projection\\_%' ORDER BY tablename
"""


async def tables(pool: asyncpg.Pool) -> dict[str, list[tuple[object, ...]]]:
    """Every row of every read model, and every to-do."""
    names = [row[0] for row in await pool.fetch(_TABLES)]
    found = {name: await pool.fetch(f"TABLE {name}") for name in names}
    found["todos"] = await pool.fetch("SELECT command_id, stream_id, type, command::text FROM todos")
    return {name: sorted(map(tuple, rows), key=repr) for name, rows in found.items()}


async def wipe(pool: asyncpg.Pool) -> None:
    """As before anything was read."""
    names: Iterable[str] = [row[0] for row in await pool.fetch(_TABLES)]
    for name in (*names, "consumer_offsets", "progress", "dead_letters", "todos"):
        await pool.execute(f"DELETE FROM {name}")
