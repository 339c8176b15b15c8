import asyncio
import os
import traceback
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import asyncpg
import pytest

from tests.conftest import CreateDatabase, run
from tests.shared.conftest import APP, READER, Dsns, create_roles, hand_over
from upwell.servers.testing import Databases
from upwell_shared.database import create_pool
from upwell_shared.migrating import CHASSIS_KEYS, migrate
from upwell_shared.privacy import (
    ERASED,
    MAX_TEXT,
    KeyStore,
    SubjectErased,
    TextDamaged,
    TextIdTaken,
    TextNotStorable,
    Texts,
)

SECRET = "Ada Lovelace said she would rather not"


@dataclass(frozen=True)
class Store:
    """Texts with both their databases at hand."""

    pool: asyncpg.Pool
    keys_pool: asyncpg.Pool
    keys_dsn: str

    @property
    def keys(self) -> KeyStore:
        return KeyStore(self.keys_pool)

    @property
    def texts(self) -> Texts:
        """A new one at each call, as in another process."""
        return Texts(self.pool, self.keys)

    async def answer(self, author: UUID, text: str = SECRET, text_id: UUID | None = None) -> UUID:
        text_id = text_id or uuid4()
        await self.texts.write(text_id, subject=author, author=author, field="answer", text=text)
        return text_id

    async def recap(self, pair: UUID, author: UUID, other: UUID) -> UUID:
        text_id = uuid4()
        await self.texts.write(
            text_id,
            subject=pair,
            author=author,
            pair=pair,
            members=(other, author),
            field="recap",
            text=SECRET,
        )
        return text_id


@pytest.fixture(scope="session")
def keys_template(postgres_dsn: str, databases: Databases) -> Iterator[str]:
    """The name of a database for keys, to copy."""

    async def prepare() -> Dsns:
        await create_roles(postgres_dsn)
        dsns = Dsns(await databases.create())
        await hand_over(dsns.superuser)
        await migrate(dsns.owner, [CHASSIS_KEYS], app_role=APP, reader_role=READER)
        return dsns

    dsns = run(prepare())
    yield urlsplit(dsns.superuser).path.removeprefix("/")
    run(databases.drop(dsns.superuser))


@pytest.fixture
async def store(
    pool: asyncpg.Pool, create_database: CreateDatabase, keys_template: str
) -> AsyncIterator[Store]:
    dsns = Dsns(await create_database(template=keys_template))
    keys_pool = await create_pool(dsns.app, application_name="test-keys")
    yield Store(pool, keys_pool, dsns.superuser)
    await keys_pool.close()


@pytest.mark.parametrize("text", ["", "a", SECRET, "żółw 🐢\r\n\tquote ' and \\", "x" * MAX_TEXT])
async def test_a_text_is_read_as_it_was_written(store: Store, text: str) -> None:
    text_id = await store.answer(uuid4(), text)
    assert await store.texts.read_many([text_id]) == {text_id: text}


async def test_a_text_lies_encrypted(store: Store) -> None:
    await store.answer(uuid4())
    row = await store.pool.fetchrow("SELECT * FROM texts")
    assert row is not None
    assert b"Lovelace" not in row["ciphertext"]
    assert SECRET not in repr(row)


async def test_equal_texts_look_different(store: Store) -> None:
    author = uuid4()
    for _ in range(3):
        await store.answer(author)
    rows = await store.pool.fetch("SELECT nonce, ciphertext FROM texts")
    assert len({row["nonce"] for row in rows}) == len({row["ciphertext"] for row in rows}) == 3


async def test_many_texts_take_one_query_to_each_database(store: Store) -> None:
    written = [await store.answer(uuid4(), f"text {number}") for number in range(20)]
    queries: list[str] = []
    async with store.pool.acquire() as one, store.keys_pool.acquire() as other:
        texts = Texts(one, KeyStore(other))  # type: ignore[arg-type]
        await texts.read_many(written)  # the driver looks up types at first
        for connection in (one, other):
            connection.add_query_logger(lambda query: queries.append(query.query))
        found = await texts.read_many(written)
    assert found == {text_id: f"text {number}" for number, text_id in enumerate(written)}
    assert len(queries) == 2


async def test_an_id_never_written_is_left_out(store: Store) -> None:
    text_id = await store.answer(uuid4())
    assert await store.texts.read_many([text_id, uuid4()]) == {text_id: SECRET}
    assert await store.texts.read_many([]) == {}


async def test_a_repeated_command_writes_once(store: Store) -> None:
    author = uuid4()
    text_id = await store.answer(author)
    await store.answer(author, "something else", text_id)
    assert await store.texts.read_many([text_id]) == {text_id: SECRET}


async def test_an_id_does_not_stand_for_two_peoples_texts(store: Store) -> None:
    text_id = await store.answer(uuid4())
    with pytest.raises(TextIdTaken):
        await store.answer(uuid4(), "something else", text_id)


@pytest.mark.parametrize("text", ["Lovelace\0", "Lovelace \ud800", "\udfff Lovelace", "Lovelace" * MAX_TEXT])
async def test_what_cannot_be_stored_is_refused_without_repeating_it(store: Store, text: str) -> None:
    with pytest.raises(TextNotStorable, match="answer") as refused:
        await store.answer(uuid4(), text)
    assert "Lovelace" not in "".join(traceback.format_exception_only(refused.value))
    assert refused.value.__context__ is None
    assert await store.pool.fetchval("SELECT count(*) FROM texts") == 0


async def test_a_pair_has_two_members_and_the_author_is_one(store: Store) -> None:
    author, other, third, pair = (uuid4() for _ in range(4))
    for members in ([], [author], [author, author], [other, third], [author, other, third]):
        with pytest.raises(ValueError, match="pair"):
            await store.texts.write(
                uuid4(), subject=pair, author=author, pair=pair, members=members, field="recap", text=SECRET
            )


async def test_a_text_belongs_to_its_author_or_the_pair(store: Store) -> None:
    with pytest.raises(ValueError, match="belongs"):
        await store.texts.write(uuid4(), subject=uuid4(), author=uuid4(), field="answer", text=SECRET)


async def test_an_erased_text_is_a_value(store: Store) -> None:
    author, other = uuid4(), uuid4()
    gone, kept = await store.answer(author), await store.answer(other)
    await store.texts.erase(author)
    assert await store.texts.read_many([gone, kept]) == {gone: ERASED, kept: SECRET}
    assert not ERASED


async def test_erasing_twice_is_erasing(store: Store) -> None:
    author = uuid4()
    text_id = await store.answer(author)
    for _ in range(2):
        await store.texts.erase(author)
    assert await store.texts.read_many([text_id]) == {text_id: ERASED}


@pytest.mark.parametrize("erased", ["author", "other"])
async def test_a_recap_goes_with_either_member(store: Store, erased: str) -> None:
    pair, people = uuid4(), {"author": uuid4(), "other": uuid4(), "neighbour": uuid4()}
    recap = await store.recap(pair, people["author"], people["other"])
    elsewhere = await store.recap(uuid4(), people["neighbour"], uuid4())
    answers = {name: await store.answer(person) for name, person in people.items()}
    await store.texts.erase(people[erased])
    found = await store.texts.read_many([recap, elsewhere, *answers.values()])
    assert found[recap] is ERASED
    assert found[elsewhere] == SECRET
    assert {name for name, text_id in answers.items() if found[text_id] is ERASED} == {erased}


async def test_a_pair_can_be_erased_alone(store: Store) -> None:
    pair, author = uuid4(), uuid4()
    recap, answer = await store.recap(pair, author, uuid4()), await store.answer(author)
    await store.texts.erase(pair)
    assert await store.texts.read_many([recap, answer]) == {recap: ERASED, answer: SECRET}


async def test_an_erased_person_never_gets_a_new_key(store: Store) -> None:
    author, other, stranger = uuid4(), uuid4(), uuid4()
    pair = uuid4()
    await store.recap(pair, author, other)
    await store.texts.erase(author)
    await store.texts.erase(stranger)
    for attempt in (
        store.answer(author),
        store.answer(stranger),
        store.recap(pair, author, other),
        store.recap(pair, other, uuid4()),
        store.recap(uuid4(), other, author),
        store.recap(uuid4(), other, stranger),
    ):
        with pytest.raises(SubjectErased):
            await attempt
    assert await store.keys_pool.fetchval("SELECT count(*) FROM keys") == 0


async def test_a_repeated_command_does_not_bring_a_text_back(store: Store) -> None:
    author = uuid4()
    text_id = await store.answer(author)
    await store.texts.erase(author)
    with pytest.raises(SubjectErased):
        await store.answer(author, text_id=text_id)
    assert await store.texts.read_many([text_id]) == {text_id: ERASED}


async def test_an_erasure_that_died_between_the_databases_is_finished_by_the_next(store: Store) -> None:
    author, other = uuid4(), uuid4()
    texts = [await store.answer(author), await store.recap(uuid4(), other, author)]
    await store.keys.destroy(author)
    assert set((await store.texts.read_many(texts)).values()) == {ERASED}
    assert await store.pool.fetchval("SELECT count(*) FROM texts WHERE ciphertext <> ''") == 2
    await store.texts.erase(author)
    assert await store.pool.fetchval("SELECT count(*) FROM texts WHERE ciphertext <> ''") == 0


async def test_a_write_that_died_between_the_databases_leaves_a_key_that_serves_the_next(
    store: Store,
) -> None:
    author = uuid4()
    left = await store.keys.obtain(author, (author,))
    text_id = await store.answer(author)
    assert await store.pool.fetchval("SELECT key_id FROM texts WHERE text_id = $1", text_id) == left.key_id


async def test_writers_of_one_subject_share_its_key(store: Store) -> None:
    author = uuid4()
    written = await asyncio.gather(*(store.answer(author) for _ in range(12)))
    assert set((await store.texts.read_many(written)).values()) == {SECRET}
    assert await store.keys_pool.fetchval("SELECT count(*) FROM keys") == 1


async def test_no_key_slips_past_an_erasure(store: Store) -> None:
    """Whatever the interleaving, nothing of an erased person can be read after the erasure has answered."""
    for _ in range(10):
        author, other = uuid4(), uuid4()
        outcomes = await asyncio.gather(
            store.answer(author),
            store.recap(uuid4(), other, author),
            store.texts.erase(author),
            store.answer(author),
            store.recap(uuid4(), author, other),
            return_exceptions=True,
        )
        unexpected = [
            o for o in outcomes if isinstance(o, BaseException) and not isinstance(o, SubjectErased)
        ]
        assert unexpected == []
        written = [outcome for outcome in outcomes if isinstance(outcome, UUID)]
        assert set((await store.texts.read_many(written)).values()) <= {ERASED}
        keys = await store.keys_pool.fetchval(
            "SELECT count(*) FROM keys WHERE members @> ARRAY[$1::uuid]", author
        )
        assert keys == 0


async def until_one_waits(store: Store, task: asyncio.Task[object]) -> None:
    """Until `task` waits for a lock on the keys."""
    waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'keys'::regclass"
    while not await store.keys_pool.fetchval(waiting):
        assert not task.done()


async def test_an_erasure_waits_for_a_key_being_made(store: Store) -> None:
    author = uuid4()
    async with store.keys_pool.acquire() as maker, maker.transaction():
        await maker.execute(
            "INSERT INTO keys (key_id, subject, members, key) VALUES ($1, $2, $3, $4)",
            *(uuid4(), author, [author], bytes(32)),
        )
        erasing = asyncio.create_task(store.texts.erase(author))
        await until_one_waits(store, erasing)
    await erasing
    assert await store.keys_pool.fetchval("SELECT count(*) FROM keys") == 0


async def test_a_key_waits_for_an_erasure_under_way(store: Store) -> None:
    author = uuid4()
    async with store.keys_pool.acquire() as eraser, eraser.transaction():
        await eraser.execute("LOCK TABLE keys IN SHARE ROW EXCLUSIVE MODE")
        writing = asyncio.create_task(store.answer(author))
        await until_one_waits(store, writing)
        await eraser.execute("INSERT INTO destroyed (subject, members) VALUES ($1, $2)", author, [author])
    with pytest.raises(SubjectErased):
        await writing


@pytest.mark.parametrize(
    "tampering",
    [
        "UPDATE texts SET ciphertext = set_byte(ciphertext, 0, get_byte(ciphertext, 0) # 1)",
        "UPDATE texts SET ciphertext = substring(ciphertext FROM 1 FOR 5)",
        "UPDATE texts SET nonce = set_byte(nonce, 0, get_byte(nonce, 0) # 1)",
        "UPDATE texts SET nonce = ''",
        "UPDATE texts SET field = 'concern'",
        "UPDATE texts SET text_id = gen_random_uuid()",
        "UPDATE texts SET key_id = (SELECT max(key_id::text)::uuid FROM texts)",
    ],
)
async def test_a_text_that_does_not_fit_its_key_is_an_error_without_content(
    store: Store, tampering: str
) -> None:
    for _ in range(2):
        await store.answer(uuid4())
    await store.pool.execute(tampering)
    rows = await store.pool.fetch("SELECT text_id FROM texts")
    with pytest.raises(TextDamaged, match="does not fit its key") as damaged:
        await store.texts.read_many([row["text_id"] for row in rows])
    assert "Lovelace" not in str(damaged.value)


async def test_a_key_does_not_show_itself(store: Store) -> None:
    author = uuid4()
    key = await store.keys.obtain(author, (author,))
    assert len(key.secret) == 32
    assert repr(key) == f"Key({key.key_id})"


async def test_readers_see_neither_texts_nor_keys(store: Store, dsns: Dsns) -> None:
    await store.answer(uuid4())
    for dsn, table in ((dsns.reader, "texts"), (Dsns(store.keys_dsn).reader, "keys")):
        reader = await asyncpg.connect(dsn)
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await reader.fetch(f"SELECT * FROM {table}")
        await reader.close()


async def files_holding(marker: bytes, *dsns: str) -> list[str]:
    """Files of these databases in which the marker stands."""
    found = []
    for dsn in dsns:
        superuser = await asyncpg.connect(dsn)
        directory = Path(await superuser.fetchval("SHOW data_directory"))
        number = await superuser.fetchval("SELECT oid FROM pg_database WHERE datname = current_database()")
        await superuser.execute("CHECKPOINT")
        await superuser.close()
        files = (directory / "base" / str(number)).iterdir()
        found += [path.name for path in files if marker in path.read_bytes()]
    return found


@pytest.mark.skipif("UPWELL_TEST_POSTGRES" in os.environ, reason="the files of another server cannot be read")
async def test_a_planted_marker_is_found_nowhere_after_erasure(store: Store, dsns: Dsns) -> None:
    author = uuid4()
    marker = f"marker-{uuid4()}"
    control = uuid4().bytes
    text_id = await store.answer(author, marker)
    secret = (await store.keys.obtain(author, (author,))).secret
    row = await store.pool.fetchrow("SELECT ciphertext FROM texts WHERE text_id = $1", text_id)
    assert row is not None
    assert await files_holding(marker.encode(), dsns.superuser, store.keys_dsn) == []
    # What is looked for can be found: before the erasure, key and ciphertext lie in the files.
    assert await files_holding(secret, store.keys_dsn) != []
    assert await files_holding(row["ciphertext"], dsns.superuser) != []
    assert await files_holding(secret, dsns.superuser) == []
    assert await files_holding(control, dsns.superuser, store.keys_dsn) == []

    await store.texts.erase(author)
    for dsn, table in ((dsns.superuser, "texts"), (store.keys_dsn, "keys")):
        superuser = await asyncpg.connect(dsn)
        await superuser.execute(f"VACUUM FULL {table}")
        await superuser.close()
    assert await files_holding(secret, store.keys_dsn, dsns.superuser) == []
    assert await files_holding(row["ciphertext"], store.keys_dsn, dsns.superuser) == []
    assert await files_holding(marker.encode(), store.keys_dsn, dsns.superuser) == []
