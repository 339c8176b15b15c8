"""The one mutable store: names and contact data, kept nowhere else and in no event.

A row is written before its person's first event, in a transaction of its own. Where the process dies in between, a
row is left without a person: reads take it as absent, a retry completes it, and `forget_strays` removes it in the end.
"""

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from typing import Final
from uuid import UUID

import asyncpg

from upwell_shared.decider import DomainError
from upwell_shared.errors import ConcurrentUpdate, NotFound

# A row whose person has no event after a minute belongs to no request any more: none lives that long.
_DROP_STRAYS_IN_THE_WAY = """
DELETE FROM contacts c
WHERE (c.person_id = $1 OR c.updated_at < now() - interval '1 minute')
  AND (c.person_id = $1 OR (c.organisation_id = $2 AND c.external_id = $3) OR lower(c.user_name) = lower($4))
  AND NOT EXISTS (SELECT FROM streams s WHERE s.stream_id = c.person_id)
"""

# Not for one who has joined: whoever was erased meanwhile would be back. And ON CONFLICT instead of an error: the
# server's own log would quote the name that was taken.
_INSERT = """
INSERT INTO contacts (person_id, organisation_id, external_id, user_name, given_name, family_name, mail)
SELECT $1::uuid, $2::uuid, $3, $4, $5, $6, $7 WHERE NOT EXISTS (SELECT FROM streams WHERE stream_id = $1)
ON CONFLICT DO NOTHING RETURNING true
"""

_HAS_JOINED = "SELECT EXISTS (SELECT FROM streams WHERE stream_id = $1)"

_IN_THE_WAY = """
SELECT person_id, organisation_id = $1 AND external_id = $2 AS by_external_id FROM contacts
WHERE (organisation_id = $1 AND external_id = $2) OR lower(user_name) = lower($3)
"""

_UPDATE = """
UPDATE contacts
SET external_id = $2, user_name = $3, given_name = $4, family_name = $5, mail = $6, updated_at = now()
WHERE person_id = $1
"""

_ORGANISATION = """
SELECT organisation_id FROM contacts c
WHERE person_id = $1 AND EXISTS (SELECT FROM streams s WHERE s.stream_id = c.person_id) FOR UPDATE
"""

_THESE = """
SELECT person_id, external_id, user_name, given_name, family_name, mail FROM contacts WHERE person_id = ANY ($1)
"""

_DELETE = "DELETE FROM contacts WHERE person_id = $1"

_BY_EXTERNAL_ID = """
SELECT organisation_id, external_id, person_id, user_name, given_name, family_name, mail
FROM contacts WHERE organisation_id = ANY ($1) AND external_id = ANY ($2)
"""

_WHOSE = """
SELECT asked.user_name, c.organisation_id, c.external_id
FROM unnest($1::text[]) AS asked (user_name) JOIN contacts c ON lower(c.user_name) = lower(asked.user_name)
"""

_UPDATE_MANY = """
UPDATE contacts c
SET user_name = new.user_name, given_name = new.given_name, family_name = new.family_name, mail = new.mail,
    updated_at = now()
FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[])
    AS new (person_id, organisation_id, external_id, user_name, given_name, family_name, mail)
WHERE c.person_id = new.person_id
"""

_INSERT_MANY = """
INSERT INTO contacts (person_id, organisation_id, external_id, user_name, given_name, family_name, mail)
SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[])
    AS new (person_id, organisation_id, external_id, user_name, given_name, family_name, mail)
WHERE NOT EXISTS (SELECT FROM streams s WHERE s.stream_id = new.person_id)
ON CONFLICT DO NOTHING
"""

# In small batches: no transaction of the product writes for long.
_FORGET_STRAYS = """
DELETE FROM contacts WHERE person_id IN (
    SELECT person_id FROM contacts c
    WHERE updated_at < now() - interval '1 day'
      AND NOT EXISTS (SELECT FROM streams s WHERE s.stream_id = c.person_id)
    LIMIT $1
)
"""
_BATCH: Final = 500


class ExternalIdTaken(DomainError):
    """Another person of this organisation has this external id."""


class UserNameTaken(DomainError):
    """Another person has this user name."""


@dataclass(frozen=True, slots=True, repr=False)
class Contact:
    """What a person is called and where they can be written to. Shows nothing of it by itself."""

    external_id: str
    user_name: str
    given_name: str
    family_name: str
    mail: str | None


async def write_first(pool: asyncpg.Pool, person_id: UUID, organisation_id: UUID, contact: Contact) -> None:
    """Writes the row of somebody about to join; leaves one alone whose person has joined already.

    Safe to call again. Raises ExternalIdTaken, UserNameTaken.
    """
    async with pool.acquire() as connection, connection.transaction():
        row = (person_id, organisation_id, *astuple(contact))
        await connection.execute(_DROP_STRAYS_IN_THE_WAY, *row[:4])
        if await connection.fetchval(_INSERT, *row):
            return
        if not await connection.fetchval(_HAS_JOINED, person_id):
            _refuse(await connection.fetch(_IN_THE_WAY, *row[1:4]))


async def change(pool: asyncpg.Pool, person_id: UUID, contact: Contact) -> None:
    """Replaces all of it. Raises NotFound without a row (nobody, or erased), ExternalIdTaken, UserNameTaken."""
    async with pool.acquire() as connection, connection.transaction():
        organisation_id = await connection.fetchval(_ORGANISATION, person_id)
        if organisation_id is None:
            raise NotFound
        others = await connection.fetch(_IN_THE_WAY, organisation_id, contact.external_id, contact.user_name)
        _refuse([other for other in others if other["person_id"] != person_id])
        try:
            await connection.execute(_UPDATE, person_id, *astuple(contact))
        except asyncpg.UniqueViolationError:
            # Taken since we looked; the error itself quotes what was taken.
            raise ConcurrentUpdate from None


async def write_many(pool: asyncpg.Pool, rows: Sequence[tuple[UUID, UUID, Contact]]) -> None:
    """Rows of (person, organisation, contact): of people about to join, or in the place of what is there.

    An external id is not changed. Safe to call again. Raises ConcurrentUpdate when somebody else was given one of
    these ids or user names since they were looked up.
    """
    if not rows:
        return
    columns = [
        *zip(
            *(
                (person_id, organisation_id, *astuple(contact))
                for person_id, organisation_id, contact in rows
            ),
            strict=True,
        )
    ]
    try:
        async with pool.acquire() as connection, connection.transaction():
            await connection.execute(_UPDATE_MANY, *columns)
            await connection.execute(_INSERT_MANY, *columns)
            there = await connection.fetch(_THESE, columns[0])
    except asyncpg.UniqueViolationError:
        raise ConcurrentUpdate from None
    if {row["person_id"] for row in there} != {*columns[0]}:
        raise ConcurrentUpdate


async def by_external_id(
    pool: asyncpg.Pool, organisation_ids: Sequence[UUID], external_ids: Sequence[str]
) -> dict[tuple[UUID, str], tuple[UUID, Contact]]:
    """(organisation, external id) → (person, contact), of those that have a row."""
    return {
        (row["organisation_id"], row["external_id"]): (
            row["person_id"],
            Contact(row["external_id"], *row[3:]),
        )
        for row in await pool.fetch(_BY_EXTERNAL_ID, organisation_ids, external_ids)
    }


async def whose(pool: asyncpg.Pool, user_names: Sequence[str]) -> dict[str, tuple[UUID, str]]:
    """User name, as it is asked for → (organisation, external id) of who has it, in whatever letters."""
    return {row[0]: (row[1], row[2]) for row in await pool.fetch(_WHOSE, user_names)}


async def these(pool: asyncpg.Pool, person_ids: Sequence[UUID]) -> dict[UUID, Contact]:
    """Those that have a row. Whether such a person has joined is not looked at."""
    return {row["person_id"]: Contact(*row[1:]) for row in await pool.fetch(_THESE, person_ids)}


async def delete(pool: asyncpg.Pool, person_id: UUID) -> None:
    """Forgets a person; safe to call again."""
    await pool.execute(_DELETE, person_id)


async def forget_strays(pool: asyncpg.Pool) -> bool:
    """Removes one batch of rows older than a day whose person never joined; True when there may be more."""
    return await pool.execute(_FORGET_STRAYS, _BATCH) == f"DELETE {_BATCH}"


def _refuse(in_the_way: Sequence[asyncpg.Record]) -> None:
    if any(other["by_external_id"] for other in in_the_way):
        raise ExternalIdTaken
    if in_the_way:
        raise UserNameTaken
