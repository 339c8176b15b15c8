"""The scan for leaks: every name, address and text of the demo is looked for wherever it must not be."""

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import httpx2
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from upwell.demo.cast import Cast


def needles(cast: Cast, words: Iterable[str]) -> list[str]:
    """What nobody may find: given and family names, user names and addresses of everybody, and all they wrote."""
    people = [
        part
        for member in cast.members
        for part in (member.given_name, member.family_name, member.user_name, member.mail)
    ]
    return sorted({*people, *words}, key=len, reverse=True)


class Scan:
    """Looks for needles, whatever their case. `found` says where; it names the needle by its place in the list."""

    def __init__(self, what: Sequence[str]) -> None:
        self._numbers = {needle.lower().encode(): n for n, needle in enumerate(what)}
        self._any = re.compile(b"|".join(re.escape(needle) for needle in self._numbers), re.IGNORECASE)
        self.found: list[str] = []
        self.bytes = 0
        self.kinds: set[str] = set()

    def look(self, kind: str, where: str, content: bytes | None) -> None:
        self.kinds.add(kind)
        self.bytes += len(content or b"")
        for hit in self._any.finditer(content or b""):
            self.found.append(f"{kind} of {where}: needle {self._numbers[hit[0].lower()]}")

    async def records(self, bootstrap: str) -> None:
        """Keys, values and headers of every record of every channel there is."""
        consumer = AIOKafkaConsumer(
            bootstrap_servers=bootstrap, enable_auto_commit=False, auto_offset_reset="earliest"
        )
        await consumer.start()
        try:
            places = [place for place in await _places(bootstrap) if place.topic.startswith("upwell.")]
            consumer.assign(places)
            ends = await consumer.end_offsets(places)
            await consumer.seek_to_beginning(*places)
            waiting = {place for place in places if ends[place] > 0}
            while waiting:
                for place, records in (await consumer.getmany(*waiting, timeout_ms=200)).items():
                    for record in records:
                        where = f"{place.topic}/{place.partition}@{record.offset}"
                        self.look("value", where, record.value)
                        self.look("key", where, record.key)
                        for name, value in record.headers:
                            self.look("header", f"{where} {name}", name.encode() + b"=" + (value or b""))
                for place in list(waiting):
                    if await consumer.position(place) >= ends[place]:
                        waiting.discard(place)
        finally:
            await consumer.stop()

    def logs(self, folder: Path) -> None:
        """Everything any process has written: services and broker, and what servers keep beside their data."""
        for file in [*_files(folder / "logs"), *sorted(folder.glob("*/server.log"))]:
            self.look("log", file.name, file.read_bytes())

    async def metrics(self, addresses: Iterable[str]) -> None:
        async with httpx2.AsyncClient(timeout=10) as http:
            for address in addresses:
                response = await http.get(f"{address}/metrics")
                assert response.status_code == 200, address
                self.look("metrics", address, response.content)


async def _places(bootstrap: str) -> list[TopicPartition]:
    """Every partition of every channel the broker has."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        told = await admin.describe_topics(await admin.list_topics())
    finally:
        await admin.close()
    return [
        TopicPartition(topic["topic"], partition["partition"])
        for topic in told
        for partition in topic["partitions"]
    ]


def _files(folder: Path) -> Iterator[Path]:
    yield from sorted(path for path in folder.rglob("*") if path.is_file())
