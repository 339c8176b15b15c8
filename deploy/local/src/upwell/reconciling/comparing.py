"""The comparison itself: waits until all is quiet, then names what differs."""

import asyncio
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

from upwell.demo.acknowledgements import acknowledged
from upwell.reconciling.folding import Answers, fold
from upwell.reconciling.log import Log, read_log
from upwell.reconciling.shown import shown
from upwell.reconciling.stores import Store
from upwell.services import GATEWAY, SERVICES
from upwell_shared.contracts.shipped import shipped

_APART_SECONDS = 0.5
_TABLES = (
    *("units", "people", "programmes", "cohorts", "enrolments", "pairs", "insides", "accepted"),
    *("sessions", "commitments", "reflections", "timeline"),
)


@dataclass
class Findings:
    """What was compared, in numbers, and every difference; none means that all is equal."""

    services: dict[str, dict[str, int]] = field(default_factory=dict)
    gateway_rows: dict[str, int] = field(default_factory=dict)
    records: int = 0
    repeated: int = 0
    acknowledged: int = 0
    differences: list[str] = field(default_factory=list)

    @property
    def equal(self) -> bool:
        return not self.differences


async def reconcile(
    databases: Mapping[str, str],
    bootstrap: str,
    acknowledgements: Path | None = None,
    *,
    patience_seconds: float = 60.0,
) -> Findings:
    """`databases`: a DSN for each service that may read its tables.

    Waits for what is on its way, `patience_seconds` at most; what is missing then is a difference.
    """
    findings = Findings()
    contracts = [contract for contract in shipped() if contract.owner in databases]
    stores = await _quiet(databases, patience_seconds)
    log = await read_log(bootstrap, contracts)
    for store in stores.values():
        findings.services[store.service] = {
            "streams": len(store.versions),
            "events": sum(len(events) for events in store.events.values()),
            "published": len(store.ledger),
        }
        findings.differences += store.differences()
    findings.records, findings.repeated = len(log.records), log.repeated
    findings.differences += [*log.contradictions, *_log_against_ledgers(stores, log)]
    findings.differences += _behind(stores)
    findings.differences += [
        f"{store.service}: {store.unfinished}" for store in stores.values() if store.unfinished
    ]
    if acknowledgements is not None:
        findings.differences += _unkept(stores, acknowledgements, findings)
    if GATEWAY in databases:
        told = fold((place, record) for place, record in log.records.items())
        seen = await shown(databases[GATEWAY])
        findings.gateway_rows = {name: len(getattr(seen, name)) for name in _TABLES}
        findings.differences += _rows(told, seen)
    return findings


async def _quiet(databases: Mapping[str, str], patience: float) -> dict[str, Store]:
    """All stores once nothing is on its way between them, or when patience ends."""
    until = time.monotonic() + patience
    while True:
        stores = {name: await Store.read(name, dsn) for name, dsn in databases.items()}
        on_its_way = next(_behind(stores), None) or next((s for s in stores.values() if s.unfinished), None)
        if on_its_way is None or time.monotonic() > until:
            return stores
        await asyncio.sleep(_APART_SECONDS)


def _behind(stores: Mapping[str, Store]) -> Iterator[str]:
    """Where a service has not had the effect of what others published."""
    for spec in SERVICES:
        if spec.name not in stores:
            continue
        applied = stores[spec.name].applied
        for owner in (stores[name] for name in spec.hears if name in stores):
            for (channel, key), last in _last(owner).items():
                if (reached := applied.get((channel, key), 0)) != last:
                    yield f"{spec.name}: of stream {key} in {channel} sequence {reached} is applied, and {last} published"


def _last(store: Store) -> dict[tuple[str, UUID], int]:
    found: dict[tuple[str, UUID], int] = {}
    for channel, key, sequence in store.ledger:
        found[channel, key] = max(sequence, found.get((channel, key), 0))
    return found


def _log_against_ledgers(stores: Mapping[str, Store], log: Log) -> Iterator[str]:
    ledgers = {place: row for store in stores.values() for place, row in store.ledger.items()}
    for place in sorted(ledgers.keys() | log.records.keys(), key=str):
        channel, key, sequence = place
        row, record = ledgers.get(place), log.records.get(place)
        name = f"sequence {sequence} of stream {key} in {channel}"
        if row is None:
            yield f"ledger: {name} is in the log and in no ledger"
        elif record is None:
            yield f"log: {name}, event {row.event_id}, is in the ledger and not in the log"
        elif (row.event_id, row.type) != (record.event_id, record.type):
            yield f"log: {name} is event {record.event_id} there and {row.event_id} in the ledger"


def _unkept(stores: Mapping[str, Store], file: Path, findings: Findings) -> Iterator[str]:
    for line in acknowledged(file) if file.exists() else ():
        findings.acknowledged += 1
        if line.service not in stores:
            continue
        version = stores[line.service].versions.get(line.stream_id, (0, 0, 0))[0]
        at = stores[line.service].events.get(line.stream_id, {})
        if version < line.version or (line.version and line.version not in at):
            yield (
                f"acknowledged: {line.service} answered command {line.command_id} with version {line.version} "
                f"of stream {line.stream_id}, which it does not have"
            )


def _rows(told: Answers, seen: Answers) -> Iterator[str]:
    for name in _TABLES:
        wanted, found = getattr(told, name), getattr(seen, name)
        if isinstance(wanted, set):
            wanted, found = dict.fromkeys(wanted, True), dict.fromkeys(found, True)
        for key in sorted(wanted.keys() | found.keys(), key=str):
            if wanted.get(key) != found.get(key):
                yield f"gateway: {name} {_words(key)} is {_words(found.get(key))}, and by the log {_words(wanted.get(key))}"


def _words(value: Any) -> str:
    if value is None:
        return "absent"
    return " / ".join(str(part) for part in value) if isinstance(value, tuple) else str(value)
