"""`python -m tests.contracts.speed`: what it costs to publish and to read an event, beside its parts."""

import timeit
from collections.abc import Callable
from uuid import uuid4

import aiokafka.partitioner

from tests.contracts.sample import CONTRACTS, LOG, OPENED, BookingOpened, Seat, published
from upwell_shared.contracts import decode, murmur2, record_headers


def microseconds(action: Callable[[], object]) -> float:
    """Of the best of seven rounds, since other work on the machine only ever adds."""
    return min(timeit.repeat(action, number=10_000, repeat=7)) / 10_000 * 1e6


def main() -> None:
    event = OPENED.model_copy(update={"seats": tuple(Seat(seat_id=uuid4(), row=n) for n in (1, 2, 3))})
    publication = published(event)
    headers = record_headers(publication.headers, LOG)
    key = str(publication.key).encode()
    actions: dict[str, Callable[[], object]] = {
        "publish": lambda: published(event),
        "  the body to bytes": event.model_dump_json,
        "  the body from bytes": lambda: BookingOpened.read(publication.body),
        "  murmur2": lambda: murmur2(key),
        "  murmur2 of aiokafka": lambda: aiokafka.partitioner.murmur2(key),
        "record_headers": lambda: record_headers(publication.headers, LOG),
        "decode": lambda: decode(headers, key, publication.body, CONTRACTS, channel=publication.channel),
    }
    for name, action in actions.items():
        print(f"{name:24}{microseconds(action):7.1f} µs")


if __name__ == "__main__":
    main()
