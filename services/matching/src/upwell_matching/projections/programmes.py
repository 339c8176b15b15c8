"""Which programmes there are: for whom, with which rules and topics."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import asyncpg
from pydantic import TypeAdapter

from upwell_matching.domain.eligibility import Rules
from upwell_matching.domain.programme import (
    Defaults,
    ProgrammeClosed,
    ProgrammeEvent,
    ProgrammeOpened,
    RulesChanged,
    TopicAdded,
    TopicRenamed,
)
from upwell_shared.database import Connection
from upwell_shared.events import Recorded

name = "programmes"
version = 1
tables = """
CREATE TABLE programmes (
    programme_id uuid   PRIMARY KEY,
    name         text   NOT NULL,
    unit_ids     uuid[] NOT NULL,
    rules        json   NOT NULL,
    defaults     json   NOT NULL,
    closed       bool   NOT NULL,
    version      int    NOT NULL
);
CREATE TABLE topics (
    topic_id     uuid PRIMARY KEY,
    programme_id uuid NOT NULL,
    name         text NOT NULL
);
CREATE INDEX topics_by_programme ON topics (programme_id, topic_id);
"""

_OPEN = "INSERT INTO programmes VALUES ($1, $2, $3, $4, $5, false, $6)"
_CHANGE = "UPDATE programmes SET rules = $2, defaults = $3 WHERE programme_id = $1"
_CLOSE = "UPDATE programmes SET closed = true WHERE programme_id = $1"
_VERSION = "UPDATE programmes SET version = $2 WHERE programme_id = $1"
_ADD_TOPIC = "INSERT INTO topics VALUES ($1, $2, $3)"
_RENAME_TOPIC = "UPDATE topics SET name = $2 WHERE topic_id = $1"

_ONE = """
SELECT programme_id, name, unit_ids, rules, defaults, closed, version FROM programmes WHERE programme_id = $1
"""

# `$1`: the units around somebody, and above; `$2`: the units a team member was given, and below.
_LIST = """
SELECT programme_id, name, unit_ids, rules, defaults, closed, version FROM programmes
WHERE ((unit_ids && $1::uuid[] AND NOT closed) OR unit_ids <@ $2::uuid[])
  AND ($3::uuid IS NULL OR programme_id > $3)
ORDER BY programme_id LIMIT $4
"""

_TOPICS = "SELECT topic_id, name FROM topics WHERE programme_id = $1 ORDER BY topic_id"

_RULES: TypeAdapter[Rules] = TypeAdapter(Rules)
_DEFAULTS: TypeAdapter[Defaults] = TypeAdapter(Defaults)


@dataclass(frozen=True, slots=True)
class Row:
    """A programme as it is known now."""

    programme_id: UUID
    name: str
    unit_ids: tuple[UUID, ...]
    rules: Rules
    defaults: Defaults
    closed: bool
    version: int


async def project(connection: Connection, events: Sequence[Recorded[Any]]) -> None:
    """One event after the other: there are few."""
    for recorded in events:
        if isinstance(recorded.event, ProgrammeEvent):
            await _take(connection, recorded.stream_id, recorded.event, recorded.version)


async def _take(connection: Connection, programme_id: UUID, event: ProgrammeEvent, version: int) -> None:
    match event:
        case ProgrammeOpened():
            rules, defaults = rules_text(event.rules), _DEFAULTS.dump_json(event.defaults).decode()
            row = (programme_id, event.name, event.unit_ids, rules, defaults, version)
            await connection.execute(_OPEN, *row)
        case RulesChanged():
            rules, defaults = rules_text(event.rules), _DEFAULTS.dump_json(event.defaults).decode()
            await connection.execute(_CHANGE, programme_id, rules, defaults)
        case TopicAdded(topic_id=topic_id, name=name):
            await connection.execute(_ADD_TOPIC, topic_id, programme_id, name)
        case TopicRenamed(topic_id=topic_id, name=name):
            await connection.execute(_RENAME_TOPIC, topic_id, name)
        case ProgrammeClosed():
            await connection.execute(_CLOSE, programme_id)
    await connection.execute(_VERSION, programme_id, version)


def rules_text(rules: Rules) -> str:
    """Rules as a column keeps them."""
    return _RULES.dump_json(rules).decode()


def rules_of(text: str) -> Rules:
    """What `rules_text` wrote."""
    return _RULES.validate_json(text)


async def programme(pool: asyncpg.Pool, programme_id: UUID) -> Row | None:
    """None for one that is not known here."""
    found = await pool.fetchrow(_ONE, programme_id)
    return None if found is None else _row(found)


async def programmes(
    pool: asyncpg.Pool,
    *,
    around: Collection[UUID],
    below: Collection[UUID],
    after: UUID | None,
    limit: int,
) -> list[Row]:
    """Open ones for a unit of `around`, and those all of whose units are among `below`; by id, after one."""
    return [_row(row) for row in await pool.fetch(_LIST, [*around], [*below], after, limit)]


async def topics(pool: asyncpg.Pool, programme_id: UUID) -> list[tuple[UUID, str]]:
    """(id, name) of each topic, by id."""
    return [(row["topic_id"], row["name"]) for row in await pool.fetch(_TOPICS, programme_id)]


def _row(found: asyncpg.Record) -> Row:
    programme_id, name, unit_ids, rules, defaults, closed, version = found
    return Row(
        programme_id,
        name,
        tuple(unit_ids),
        rules_of(rules),
        _DEFAULTS.validate_json(defaults),
        closed,
        version,
    )
