"""An owner's public ledger written once more, for one subscriber, into a channel of its own.

The relay's cursor is not touched, nor any channel others read. Records are those of the ledger, in its order and with
their sequences, under a log id of their own: whoever reads them to the end and goes on in the owner's public channel
misses nothing, and drops by its sequence what comes twice.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from uuid import UUID, uuid4

import asyncpg
from aiokafka import errors as kafka
from aiokafka.structs import TopicPartition

from upwell_shared.contracts import ChannelSpec, Contract
from upwell_shared.errors import UpwellError
from upwell_shared.events import START, Position
from upwell_shared.log_identity import ClusterClient
from upwell_shared.producing import AcknowledgementLost, PageProducer, RecordsGone
from upwell_shared.tail import ledger_after

_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?")
_PAGE = 1_000
_LIMIT_SECONDS = 10.0
_CHANNEL_SECONDS = 60.0
_BARRIER_SECONDS = 0.05

# Two who write one channel at once would mix their copies. Of a session, so that it ends with whoever took it.
_TAKE = "SELECT pg_try_advisory_lock(hashtextextended($1, 0))"
_GIVE_BACK = "SELECT pg_advisory_unlock(hashtextextended($1, 0))"

_GOAL = "SELECT tx, position FROM ledger ORDER BY tx DESC, position DESC LIMIT 1"


class BadSubscriberName(UpwellError):
    """A subscriber's name is 1 to 40 small letters, digits and hyphens, such as `hr-dashboard`."""


class RepublishRunning(UpwellError):
    """This ledger is being written for this subscriber already: wait for that to end."""


class RepublishFailed(UpwellError):
    """The broker did not take all of it: do it again, it begins anew."""


@dataclass(frozen=True, slots=True)
class Republished:
    """What lies in the channel now: all that was published until the republishing began."""

    channel: str
    log_id: UUID
    records: int


async def republish(
    pool: asyncpg.Pool,
    contract: Contract,
    name: str,
    bootstrap: str,
    told: Callable[[int], None] = lambda _: None,
) -> Republished:
    """Fills `upwell.<owner>.replay.<name>` from the ledger's first row on; an earlier replay of that name is replaced.

    `pool` need not be able to write. `told` hears of every page how many records are in. Cut short at any point, the
    channel holds a beginning of it, and the next call begins anew.

    Raises BadSubscriberName, RepublishRunning, RepublishFailed, RecordRefused, WrongPartitionCount.
    """
    if not _NAME.fullmatch(name):
        raise BadSubscriberName
    spec = contract.replay_channel(name)
    async with _alone(pool, spec.name):
        try:
            async with _producer(bootstrap, spec) as producer:
                return await _fill(pool, contract.channel("public"), spec.name, producer, told)
        except (kafka.KafkaError, OSError, TimeoutError, RecordsGone, AcknowledgementLost) as error:
            raise RepublishFailed(
                f"{spec.name} is not whole ({type(error).__name__}): do it again, it begins anew"
            ) from error


async def _fill(
    pool: asyncpg.Pool, public: str, channel: str, producer: PageProducer, told: Callable[[int], None]
) -> Republished:
    row = await pool.fetchrow(_GOAL)
    goal = START if row is None else Position(*row)
    at, log_id, records = START, uuid4(), 0
    acknowledged: dict[TopicPartition, int] = {}
    while at < goal:
        async with pool.acquire() as connection:
            page = await ledger_after(connection, at, _PAGE)
        if not page:
            # Somebody who began earlier has yet to end; see `tail`.
            await asyncio.sleep(_BARRIER_SECONDS)
            continue
        rows = [replace(row, channel=channel) for row in page if row.channel == public and row.at <= goal]
        acknowledged |= await producer.send(rows, log_id, acknowledged)
        at = page[-1].at
        records += len(rows)
        told(records)
    return Republished(channel, log_id, records)


@asynccontextmanager
async def _alone(pool: asyncpg.Pool, channel: str) -> AsyncIterator[None]:
    async with pool.acquire() as connection:
        if not await connection.fetchval(_TAKE, channel):
            raise RepublishRunning(f"{channel} is being written already: wait for that to end")
        try:
            yield
        finally:
            await connection.fetchval(_GIVE_BACK, channel)


@asynccontextmanager
async def _producer(bootstrap: str, spec: ChannelSpec) -> AsyncIterator[PageProducer]:
    """One for the channel, which is empty; it fails rather than go on with a broker that may have lost what it had."""
    client = f"republish-{spec.name}"
    async with ClusterClient(bootstrap, client_id=client) as cluster:
        async with asyncio.timeout(_CHANNEL_SECONDS):
            await cluster.create([spec])
            while await cluster.not_empty([spec]):
                await cluster.make_anew([spec])
                await cluster.create([spec])
        producer = PageProducer(bootstrap, client_id=client, limit=_LIMIT_SECONDS)
        try:
            async with asyncio.timeout(_LIMIT_SECONDS):
                await producer.start(cluster)
            yield producer
        finally:
            await producer.close()
