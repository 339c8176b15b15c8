"""Free text: encrypted under a key of its subject, readable until that key is destroyed.

Texts lie in the service's database and keys in a second one, so nothing makes a write to both atomic. The order does:
a key is stored before the first text under it, so no text is ever written that could not be read; an erasure destroys
the keys first, so no text is readable once anything of it has happened. A process that dies in between leaves a key
without a text or a text without a key. Both are harmless, and doing the same again completes the work.

Keys are never kept in memory: an erasure holds at once in every process.
"""

import re
import secrets
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, NamedTuple
from uuid import UUID, uuid4

import asyncpg
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from upwell_shared.errors import UpwellError

MAX_TEXT: Final = 20_000
"""Characters of a text; about seven pages."""

_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_NONCE_BYTES: Final = 12  # what GCM is made for; random, which one key may be used with for 2**32 texts
_KEY_BITS: Final = 256


class TextNotStorable(UpwellError):
    """A text is too long, or holds a NUL or half of a surrogate pair."""


class TextIdTaken(UpwellError):
    """This text id already stands for a text of another author, pair, field or key."""


class TextDamaged(UpwellError):
    """A stored text does not fit its key: it was changed outside Upwell, or keys were mixed up."""


class SubjectErased(UpwellError):
    """The data of this person were erased: nothing more is kept about them."""


@dataclass(frozen=True, slots=True)
class Erased:
    """Stands for a text whose key was destroyed. It is a value like any other, and false."""

    def __bool__(self) -> bool:
        return False


ERASED: Final = Erased()


class Key(NamedTuple):
    """A key in use. Its repr shows no secret."""

    key_id: UUID
    secret: bytes

    def __repr__(self) -> str:
        return f"Key({self.key_id})"


class KeyStore:
    """The keys of one service, in their own database."""

    _FIND = "SELECT key_id, key FROM keys WHERE subject = $1"
    _FIND_MANY = "SELECT key_id, key FROM keys WHERE key_id = ANY ($1)"
    # Waits for an erasure that holds the table; the statement after it then sees what that has destroyed.
    _LET_ERASURES_FINISH = "LOCK TABLE keys IN ROW EXCLUSIVE MODE"
    _ADD = """
        INSERT INTO keys (key_id, subject, members, key)
        SELECT $1, $2, $3, $4
        WHERE NOT EXISTS (SELECT FROM destroyed WHERE subject = $2 OR subject = ANY ($3))
        ON CONFLICT (subject) DO NOTHING
    """
    _HOLD_NEW_KEYS = "LOCK TABLE keys IN SHARE ROW EXCLUSIVE MODE"
    _DESTROY = """
        WITH gone AS (
            DELETE FROM keys WHERE subject = $1 OR members @> ARRAY[$1] RETURNING subject, members, key_id
        )
        INSERT INTO destroyed (subject, members, key_id)
        SELECT subject, members, key_id FROM gone
        UNION ALL
        SELECT $1, ARRAY[$1], NULL WHERE NOT EXISTS (SELECT FROM gone WHERE subject = $1)
        ON CONFLICT (subject) DO NOTHING
    """
    _DESTROYED = """
        SELECT key_id FROM destroyed
        WHERE (subject = $1 OR members @> ARRAY[$1]) AND key_id IS NOT NULL
    """

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def obtain(self, subject: UUID, members: Sequence[UUID]) -> Key:
        """The key of a subject, made if there is none yet. Raises SubjectErased.

        `members` are the people whose erasure destroys the key; they are taken when the key is made.
        """
        row = await self._pool.fetchrow(self._FIND, subject)
        if row is None:
            async with self._pool.acquire() as connection, connection.transaction():
                await connection.execute(self._LET_ERASURES_FINISH)
                await connection.execute(
                    self._ADD, uuid4(), subject, list(members), AESGCM.generate_key(_KEY_BITS)
                )
                row = await connection.fetchrow(self._FIND, subject)
        if row is None:
            raise SubjectErased
        return Key(row["key_id"], row["key"])

    async def find_many(self, key_ids: Iterable[UUID]) -> dict[UUID, Key]:
        """The keys of these that are not destroyed, in one query."""
        rows = await self._pool.fetch(self._FIND_MANY, list(key_ids))
        return {row["key_id"]: Key(row["key_id"], row["key"]) for row in rows}

    async def destroy(self, subject: UUID) -> list[UUID]:
        """Destroys the subject's key, and those of every pair it is a member of; none is ever made anew.

        Answers the ids of all keys ever destroyed so, also by an earlier call.
        """
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.execute(self._HOLD_NEW_KEYS)
            await connection.execute(self._DESTROY, subject)
            rows = await connection.fetch(self._DESTROYED, subject)
        return [row["key_id"] for row in rows]


class Texts:
    """The free texts of one service."""

    _ADD = """
        INSERT INTO texts (text_id, author, pair, field, key_id, nonce, ciphertext)
        VALUES ($1, $2, $3, $4, $5, $6, $7)
        ON CONFLICT (text_id) DO NOTHING
    """
    _FIND = "SELECT author, pair, field, key_id FROM texts WHERE text_id = $1"
    _FIND_MANY = "SELECT text_id, field, key_id, nonce, ciphertext FROM texts WHERE text_id = ANY ($1)"
    # A person writes some hundred texts in years: one statement stays far below 250 ms.
    _CLEAR = "UPDATE texts SET nonce = '', ciphertext = '' WHERE key_id = ANY ($1) AND ciphertext <> ''"

    def __init__(self, pool: asyncpg.Pool, keys: KeyStore) -> None:
        self._pool = pool
        self._keys = keys

    async def write(
        self,
        text_id: UUID,
        *,
        subject: UUID,
        author: UUID,
        field: str,
        text: str,
        pair: UUID | None = None,
        members: Sequence[UUID] = (),
    ) -> None:
        """Keep a text; done again with the same id, nothing happens and the first text stays.

        `subject` owns the key: the author, or the pair for what belongs to both, whose two `members` must then be
        given. Write before the event that holds `text_id` is appended: a text without an event is never shown, an
        event without its text would be a hole. Raises TextNotStorable, SubjectErased, TextIdTaken.
        """
        if subject not in {author, pair}:
            raise ValueError("a text belongs to its author or to the pair")
        if subject == author:
            members = (author,)
        elif len(set(members)) != 2 or author not in members:
            raise ValueError("a pair has two members, and the author is one of them")
        plaintext = _storable(field, text)
        key = await self._keys.obtain(subject, members)
        nonce = secrets.token_bytes(_NONCE_BYTES)
        ciphertext = AESGCM(key.secret).encrypt(nonce, plaintext, _context(text_id, key.key_id, field))
        said = await self._pool.execute(
            self._ADD, text_id, author, pair, field, key.key_id, nonce, ciphertext
        )
        if said == "INSERT 0 0":
            kept = await self._pool.fetchrow(self._FIND, text_id)
            if kept is None or tuple(kept) != (author, pair, field, key.key_id):
                raise TextIdTaken

    async def read_many(self, text_ids: Iterable[UUID]) -> dict[UUID, str | Erased]:
        """The texts of these ids, in one query to each database; an id never written is left out.

        Raises TextDamaged, naming the id, when one does not fit its key.
        """
        rows = await self._pool.fetch(self._FIND_MANY, list(text_ids))
        keys = await self._keys.find_many({row["key_id"] for row in rows if row["ciphertext"]})
        return {row["text_id"]: _opened(row, keys.get(row["key_id"])) for row in rows}

    async def erase(self, subject: UUID) -> None:
        """Make unreadable for ever what belongs to a person or a pair.

        For a person that includes every pair they are a member of. May be called again at any time; a call that
        failed half-way must be, until one succeeds.
        """
        await self._pool.execute(self._CLEAR, await self._keys.destroy(subject))


def _storable(field: str, text: str) -> bytes:
    if len(text) > MAX_TEXT:
        raise TextNotStorable(f"{field} has {len(text)} characters; the limit is {MAX_TEXT}")
    if "\0" in text:
        raise TextNotStorable(f"{field} holds a NUL character")
    # Asked first, since the error of a failed encode() carries the whole text along.
    if _SURROGATE.search(text):
        raise TextNotStorable(f"{field} holds half of a surrogate pair")
    return text.encode()


def _context(text_id: UUID, key_id: UUID, field: str) -> bytes:
    # Bound to its place: a ciphertext moved to another row does not open.
    return text_id.bytes + key_id.bytes + field.encode()


def _opened(row: asyncpg.Record, key: Key | None) -> str | Erased:
    if key is None:
        return ERASED
    context = _context(row["text_id"], row["key_id"], row["field"])
    with suppress(InvalidTag, ValueError):
        return AESGCM(key.secret).decrypt(row["nonce"], row["ciphertext"], context).decode()
    raise TextDamaged(f"text {row['text_id']} does not fit its key")
