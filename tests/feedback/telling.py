"""What other services tell, as the consumer of feedback hears it; without a broker between."""

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import NamedTuple
from uuid import UUID, uuid4

import asyncpg

from upwell_feedback import reactions
from upwell_feedback.aggregates import COMMANDS
from upwell_feedback.app import CONSUMED, FOREIGN, NAME
from upwell_shared.consuming import Applier, Batch, Handlers, reactions_of
from upwell_shared.contracts import Contract, Publication, PublishedEvent, record_headers
from upwell_shared.contracts import matching as by_matching
from upwell_shared.events import Envelope

_AT = datetime(2026, 3, 2, 9, tzinfo=UTC)


class _Record(NamedTuple):
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]]


class Tellers:
    """The services that feedback listens to, each key of theirs numbered as they do it."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        handlers = Handlers(FOREIGN, reactions_of(reactions), COMMANDS)
        self._pool = pool
        self.at = _AT
        """When what is told next came to pass."""
        self.log_id = uuid4()
        self._applier = Applier(NAME, pool, CONSUMED, handlers)
        self._owners = {kind: contract for contract in CONSUMED for kind in contract.classes.values()}
        self._sequences: Counter[tuple[str, str, UUID]] = Counter()
        self._offsets: Counter[str] = Counter()

    def say(self, key: UUID, event: PublishedEvent) -> tuple[str, _Record]:
        """The next record of that key, and its channel. What several owners tell bears its owner's class."""
        contract = self._owners[type(event)]
        publication = self._published(contract, key, event)
        channel = contract.channel(event.audience)
        record = _Record(
            0, str(key).encode(), publication.body, record_headers(publication.headers, self.log_id)
        )
        return channel, record

    async def hear(self, said: Sequence[tuple[str, _Record]]) -> None:
        """Has these records consumed, one page after the other."""
        for channel, record in said:
            offset = self._offsets[channel]
            self._offsets[channel] += 1
            await self._pool.execute(
                "INSERT INTO consumer_offsets VALUES ($1, $2, $3, 0, 0) ON CONFLICT DO NOTHING",
                NAME,
                self.log_id,
                channel,
            )
            applied = await self._applier.apply(
                Batch(
                    log_id=self.log_id,
                    channel=channel,
                    partition=0,
                    first_offset=offset,
                    records=[record._replace(offset=offset)],
                )
            )
            assert (applied.applied, applied.parked) == (1, {}), applied

    async def tell(self, key: UUID, *events: PublishedEvent) -> None:
        """Says it, and has it heard."""
        await self.hear([self.say(key, event) for event in events])

    def _published(self, contract: Contract, key: UUID, event: PublishedEvent) -> Publication:
        place = (contract.owner, event.audience, key)
        self._sequences[place] += 1
        return contract.publish(
            event,
            source_event_id=uuid4(),
            stream_id=key,
            sequence=self._sequences[place],
            recorded_at=self.at,
            envelope=Envelope(command_id=uuid4(), correlation_id=uuid4()),
        )


def pair_created(
    pair_id: UUID, programme_id: UUID, mentor_id: UUID, mentee_id: UUID
) -> by_matching.PairCreated:
    """A pair as matching tells of it; what is of no interest here is made up."""
    return by_matching.PairCreated(
        pair_id=pair_id,
        programme_id=programme_id,
        cohort_id=uuid4(),
        mentor_id=mentor_id,
        mentor_unit_id=uuid4(),
        mentor_organisation_id=uuid4(),
        mentee_id=mentee_id,
        mentee_unit_id=uuid4(),
        mentee_organisation_id=uuid4(),
        sessions=6,
        days_between=14,
        minutes=45,
        ends_on=date(2026, 9, 1),
    )
