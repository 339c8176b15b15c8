"""Names and addresses are in the one store, and in nothing that is kept, sent, counted or written about it."""

import asyncpg
import pytest

from tests.directory.files import as_csv
from tests.directory.world import World
from tests.shared.logs import captured
from upwell_shared.testing.databases import Dsns

MARKS = {
    "external_id": "XQEXTERNALQX",
    "user_name": "XQUSERQX",
    "given_name": "XQGivenQX",
    "family_name": "XQFamilyQX",
    "mail": "xqmailqx@example.org",
}
_TABLES = """
SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' AND c.relname <> 'contacts'
"""


async def test_a_name_is_found_nowhere_but_in_its_store(world: World, pool: asyncpg.Pool) -> None:
    with captured("directory", "debug") as log:
        acme = await world.open_acme()
        ada = await world.join(acme, **MARKS)
        path = f"/v1/people/{ada}"
        answers = [
            await world.ask("POST", "/v1/people", world.person(acme, **MARKS)),
            await world.ask("POST", "/v1/people", world.person(acme, **(MARKS | {"external_id": "other"}))),
            await world.ask("POST", "/v1/people", world.person(acme, **MARKS, nickname=MARKS["given_name"])),
            await world.ask("POST", "/v1/people", world.person(acme, **(MARKS | {"mail": "xqmailqx"}))),
            await world.ask(
                "POST", "/v1/people", world.person(acme, **MARKS) | {"grade": MARKS["user_name"]}
            ),
            await world.ask("PUT", f"{path}/contact", MARKS | {"mail": "xqmailqx"}),
            await world.ask("GET", f"/v1/people?cursor={MARKS['user_name']}"),
        ]
        await world.done("PUT", f"{path}/contact", MARKS)
        kept = await pool.fetchval("SELECT t::text FROM contacts t")
        assert all(mark in kept for mark in MARKS.values())
        line = {
            **MARKS,
            "organisation": "Acme",
            "unit": "",
            "grade": MARKS["family_name"],
            "manager_external_id": MARKS["external_id"],
            "in_role_since": MARKS["given_name"],
        }
        answers += [
            await world.ask(
                "POST", "/v1/imports", content=as_csv(lines), headers={"Content-Type": "text/csv"}
            )
            for lines in ([line], [line | {"in_role_since": "2024-01-01"}], [line | {"mail": "x"}])
        ]
        erased = await world.done("POST", f"{path}/erase")
        await world.seen(path, erased)
        metrics = (await world.http.get("/metrics")).text
    looked_through = [log.getvalue().decode(), metrics, *(answer.text for answer in answers)]
    assert {answer.status_code for answer in answers} == {200, 409, 422}
    for (table,) in await pool.fetch(_TABLES):
        rows = await pool.fetch(f"SELECT t::text AS shown FROM {table} t")
        looked_through += [row["shown"] for row in rows]
    ledger = await pool.fetch("SELECT body, headers FROM ledger")
    looked_through += [(row["body"] + row["headers"]).decode() for row in ledger]
    found = [text for text in looked_through for mark in MARKS.values() if mark.lower() in text.lower()]
    assert found == []


async def test_who_only_reads_the_database_reads_no_names(dsns: Dsns) -> None:
    reader = await asyncpg.connect(dsns.reader)
    assert await reader.fetch("SELECT * FROM people") == []
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await reader.fetch("SELECT * FROM contacts")
    await reader.close()
