"""What people write is in the store of texts, encrypted, and in nothing that is kept, sent, counted or written about it."""

import asyncpg

from tests.feedback.world import World
from tests.shared.logs import captured

MARK = "XQansweredQX"
_TABLES = """
SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
"""


async def everything(pool: asyncpg.Pool) -> list[str]:
    """Every row of a database that its service may read, as text and as bytes."""
    found: list[str] = []
    for (table,) in await pool.fetch(_TABLES):
        rows = await pool.fetch(f"SELECT t::text AS shown FROM {table} t")
        found += [row["shown"] for row in rows]
    return found


async def test_what_was_answered_is_found_nowhere(world: World) -> None:
    with captured("feedback", "debug") as log:
        pair = await world.begin()
        mine, path = pair.reflection(pair.ada), f"/v1/reflections/{pair.reflection(pair.ada)}"
        said = {"plans": (f"{MARK} to the pair", "pair"), "reverse-mentoring": (MARK * 3, "me")}
        answers = [
            await world.submit(mine, said | {"nonsense": (MARK, "me")}),
            await world.submit(mine, {"plans": (MARK + "x" * 20_000, "me")}),
            await world.submit(mine, {"plans": (MARK + "\0", "me")}),
            await world.submit(mine, {"plans": (MARK, MARK)}),
            await world.submit(mine, {MARK: (MARK, "me")}),
            await world.submit(pair.reflection(pair.ben), {"plans": (MARK, "me")}),
            await world.ask("GET", f"/v1/reflections?cursor={MARK}"),
            await world.ask("GET", f"/v1/reflections/{MARK}"),
            await world.ask("POST", f"{path}/submit", content=f'{{"answers": "{MARK}'.encode()),
            await world.ask("POST", f"{path}/answers/{MARK}/visibility", {"visibility": MARK}),
            await world.submit(mine, said),
            await world.submit(mine, said),
            await world.ask("GET", "/v1/reflections"),
            await world.ask("GET", f"/v1/reflections?programme_id={world.programme}", who="hr"),
            await world.ask("GET", f"/v1/reflections?pair_id={pair.pair_id}", who="hr"),
            await world.ask("GET", path, who="hr"),
            await world.ask("GET", path, who="ops"),
        ]
        assert {answer.status_code for answer in answers} >= {200, 404, 409, 415, 422}
        seen = await world.seen(path, who="ben")
        assert [answer["text"] for answer in seen["answers"]] == [said["plans"][0]]
        await world.seen(path)
        metrics = (await world.http.get("/metrics")).text
    looked_through = [log.getvalue().decode(), metrics, *(answer.text for answer in answers)]
    for pool in (world.pool, world.keys_pool):
        looked_through += await everything(pool)
    ledger = await world.pool.fetch("SELECT body, headers FROM ledger")
    looked_through += [(row["body"] + row["headers"]).decode() for row in ledger]
    assert len(ledger) >= 3
    hidden = [MARK.lower(), MARK.encode().hex()]
    assert [text for text in looked_through for mark in hidden if mark in text.lower()] == []


async def test_who_only_reads_the_database_reads_no_words(world: World) -> None:
    pair = await world.begin()
    await world.submit(pair.reflection(pair.ada), {"plans": (MARK, "quotable")})
    [row] = await world.pool.fetch("SELECT ciphertext FROM texts")
    assert MARK.encode() not in row["ciphertext"]
    assert not await world.pool.fetch("SELECT FROM pg_tables WHERE tablename = 'keys'")
