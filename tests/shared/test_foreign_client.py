"""What a subscriber with another vendor's client and standard libraries finds in the channels, from offset 0."""

import asyncio
import json
from collections import defaultdict
from collections.abc import Iterator
from uuid import UUID, uuid4

import asyncpg
import pytest
from cloudevents.core.bindings.kafka import KafkaMessage, from_binary_event
from confluent_kafka import Consumer, Message, TopicPartition
from jsonschema import Draft202012Validator

from tests.shared.example import FOLDER, publishing, reactions
from tests.shared.example.app import BOOKING, ROOM, handler
from tests.shared.example.contract import contract
from tests.shared.example.domain.booking import CancelBooking, ConfirmBooking, RequestBooking
from tests.shared.example.domain.room import OpenRoom, TakeSeat
from upwell.servers.testing import SharedBroker
from upwell_shared.clock import WallClock
from upwell_shared.contracts import PARTITIONS, committed, fields, partition_of
from upwell_shared.events import Envelope
from upwell_shared.handling import Intent
from upwell_shared.lease import Lease
from upwell_shared.relay import Relay
from upwell_shared.testing import unpublished


def read_all(bootstrap: str, channel: str) -> Iterator[Message]:
    """Every record of a channel, from offset 0 to the end."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "foreign", "enable.auto.commit": False})
    try:
        places = [TopicPartition(channel, partition, 0) for partition in range(PARTITIONS)]
        missing = sum(consumer.get_watermark_offsets(place, timeout=10)[1] for place in places)
        consumer.assign(places)
        # The embedded broker calls the first offset of its last batch plus one the end: read on until it is silent.
        while (message := consumer.poll(10 if missing > 0 else 1)) is not None:
            assert message.error() is None
            missing -= 1
            yield message
        assert missing <= 0, "the broker went silent before the end"
    finally:
        consumer.close()


def text_headers(message: Message) -> dict[str, bytes]:
    headers = message.headers()
    assert isinstance(headers, list)
    return {name: value for name, value in headers if isinstance(value, bytes)}


async def history(pool: asyncpg.Pool, owner: str) -> None:
    """Some bookings, among them one that was cancelled."""
    carry = handler(pool, WallClock(), owner=owner)
    room = uuid4()

    async def send(*intents: Intent) -> None:
        await carry.handle(*intents, envelope=Envelope(command_id=uuid4(), correlation_id=uuid4()))

    await send(Intent(ROOM, room, OpenRoom(seats=40)))
    for n in range(30):
        booking, now = uuid4(), WallClock().now()
        await send(Intent(BOOKING, booking, RequestBooking(room_id=room, now=now)))
        await send(
            Intent(BOOKING, booking, ConfirmBooking(now=now)),
            Intent(ROOM, room, TakeSeat(booking_id=booking)),
        )
        if n % 3 == 0:
            await send(Intent(BOOKING, booking, CancelBooking()))


async def relay_everything(pool: asyncpg.Pool, owner: str, broker: SharedBroker) -> None:
    relay = Relay(pool, owner, broker.bootstrap, channels=contract(owner).channels)
    term = await Lease(pool, "relay", ttl=60).acquire()
    assert term is not None
    while await relay.step(term):
        pass
    await relay.close()


async def test_a_foreign_client_reads_decodes_and_validates_every_record(
    pool: asyncpg.Pool, broker: SharedBroker
) -> None:
    owner = f"example{uuid4().hex[:8]}"
    await history(pool, owner)
    await relay_everything(pool, owner, broker)
    written = {
        row["event_id"]: row["body"]
        for row in await pool.fetch("SELECT event_id, body FROM ledger WHERE sequence > 0")
    }
    channel = contract(owner).channel("public")
    messages = await asyncio.to_thread(lambda: list(read_all(broker.bootstrap, channel)))

    sequences: defaultdict[str, list[int]] = defaultdict(list)
    read = {}
    for message in messages:
        value, key = message.value() or b"", message.key() or b""
        event = from_binary_event(KafkaMessage(text_headers(message), key, value))
        assert event.get_specversion() == "1.0"
        assert event.get_source() == f"/upwell/{owner}"
        assert event.get_subject() == key.decode()
        assert partition_of(UUID(key.decode())) == message.partition()
        assert event.get_datacontenttype() == "application/json"
        name = event.get_type().removeprefix(f"upwell.{owner}.")
        assert event.get_dataschema() == f"urn:upwell:schema:{owner}:{name.removesuffix('.v1')}:1"
        schema = json.loads((FOLDER / "schemas" / "example" / f"{name}.json").read_text())
        Draft202012Validator(schema, format_checker=Draft202012Validator.FORMAT_CHECKER).validate(
            json.loads(value)
        )
        sequences[key.decode()].append(int(str(event.get_extension("sequence"))))
        read[UUID(event.get_id())] = value
    assert len(messages) == 70
    assert read == written
    assert all(found == list(range(1, len(found) + 1)) for found in sequences.values())


def test_nothing_leaves_the_example_that_subscribers_may_not_see() -> None:
    allowed: dict[str, fields.Kind] = {"booking_id": "id", "room_id": "id", "confirmed_at": "timestamp"}
    assert fields.violations(contract(), allowed) == []
    assert fields.violations(contract(), {"booking_id": "id"}) != []


def test_all_that_the_contract_promises_is_published() -> None:
    assert unpublished(contract(), publishing) == []
    assert unpublished(contract(), reactions) == [
        "BookingAgreed",
        "BookingEnded",
        "BookingLapsed",
        "BookingOpened",
    ]


@pytest.mark.parametrize("part", ["schemas", "asyncapi"])
def test_the_committed_contract_of_the_example_is_what_its_classes_say(part: str) -> None:
    """`committed.write(contract(), FOLDER)` writes it anew."""
    stale = [line for line in committed.differences(contract(), FOLDER) if line.startswith(part)]
    assert stale == []
