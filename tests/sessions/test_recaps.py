"""The note of a session that the two share."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from uuid import uuid4

import asyncpg
import pytest

from tests.service_process import until
from tests.sessions.world import World, created, running
from tests.shared.logs import captured
from upwell_sessions.domain.cadence import ForgetReplacedRecaps, cadence_id
from upwell_shared.contracts.directory import PersonErased
from upwell_shared.events import Envelope
from upwell_shared.handling import Handler
from upwell_shared.privacy import MAX_TEXT
from upwell_shared.testing.databases import Dsns
from upwell_shared.web.policies import UserRole

SECRET = "XQ We spoke of Ottoline Kingfisher. QX"
_TABLES = """
SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
"""


async def test_a_recap_is_written_read_by_both_and_confirmed_by_the_other(world: World) -> None:
    pair = await world.pair()
    recap = f"{await world.book(pair)}/recap"
    nothing = {"state": "none", "text": None, "text_id": None, "by": None, "confirmed": False}
    assert await world.seen(recap) == nothing
    await world.refused("no-recap", "POST", f"{recap}/confirm", who="ben")
    await world.done("PUT", recap, {"text": SECRET})
    read = await world.seen(recap, who="ben")
    assert (read["state"], read["text"], read["by"], read["confirmed"]) == ("ok", SECRET, "mentor", False)
    await world.refused("own-recap", "POST", f"{recap}/confirm")
    confirmed = await world.done("POST", f"{recap}/confirm", {"text_id": read["text_id"]}, who="ben")
    (told,) = (await world.seen(f"/v1/cadences/{pair}", confirmed))["sessions"]
    assert (told["recap"], told["recap_by"]) == ("confirmed", "mentor")

    rewritten = await world.done(
        "PUT", recap, {"text": "Otherwise.", "instead_of": read["text_id"]}, who="ben"
    )
    (told,) = (await world.seen(f"/v1/cadences/{pair}", rewritten))["sessions"]
    assert (told["recap"], told["recap_by"]) == ("written", "mentee")
    again = await world.seen(recap)
    assert (again["text"], again["by"], again["confirmed"]) == ("Otherwise.", "mentee", False)
    # Nobody replaces or confirms what they have not read.
    await world.refused("recap-changed", "PUT", recap, {"text": "x", "instead_of": read["text_id"]})
    await world.refused("recap-changed", "POST", f"{recap}/confirm", {"text_id": read["text_id"]})
    await world.done("POST", f"{recap}/confirm")
    assert (await world.seen(recap))["confirmed"] is True


async def test_a_repeated_writing_is_one_and_another_text_needs_another_key(world: World) -> None:
    recap = f"{await world.book(await world.pair())}/recap"
    first = await world.done("PUT", recap, {"text": SECRET}, key="once")
    again = await world.done("PUT", recap, {"text": SECRET}, key="once")
    assert again.headers["Upwell-Position"] == first.headers["Upwell-Position"]
    other = await world.ask("PUT", recap, {"text": "Another."}, key="once")
    assert (other.status_code, other.json()["type"]) == (422, "urn:upwell:problem:idempotency-key-reused")
    assert (await world.seen(recap))["text"] == SECRET


class Died(Exception):
    """The process, at this point."""


async def test_a_text_whose_request_died_before_its_event_does_not_stand_in_for_another(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = await world.pair()
    recap = f"{await world.book(pair)}/recap"

    async def dies(*_: object, **__: object) -> None:
        raise Died

    with monkeypatch.context() as patched:
        patched.setattr(Handler, "handle", dies)
        died = await world.ask("PUT", recap, {"text": SECRET}, key="once")
    assert died.status_code == 500
    # The text is there, and no event names it.
    assert await world.pool.fetchval("SELECT count(*) FROM texts") == 1
    assert (await world.seen(recap))["state"] == "none"
    await world.done("PUT", recap, {"text": "Another."}, key="once")
    assert (await world.seen(recap))["text"] == "Another."
    await world.done("PUT", recap, {"text": SECRET}, key="twice")
    assert (await world.seen(recap))["text"] == SECRET


async def cleared(world: World, left: int) -> None:
    """Returns once so many texts are left that a key opens."""

    async def done() -> bool:
        counted = "SELECT count(*) FROM texts WHERE ciphertext <> ''"
        return bool(await world.pool.fetchval(counted) == left)

    await until(done)


async def test_a_recap_that_was_replaced_is_forgotten_and_no_other(world: World) -> None:
    pair, cleo, dan = await world.pair(), "cleo", uuid4()
    recap = f"{await world.book(pair)}/recap"
    other = f"{await world.book(pair, days=1)}/recap"
    elsewhere = created(world.cleo, dan)
    await world.hear("matching", elsewhere)
    theirs = f"{await world.book(elsewhere.pair_id, who=cleo)}/recap"
    await world.done("PUT", recap, {"text": SECRET}, key="once")
    await world.done("PUT", other, {"text": "Of the other session."})
    await world.done("PUT", theirs, {"text": "Theirs."}, who=cleo)
    written = await world.done("PUT", recap, {"text": "Second."}, who="ben")
    await world.done("PUT", recap, {"text": "Third."})
    world.clock.forward(timedelta(minutes=1))
    await cleared(world, 3)
    assert (await world.seen(recap))["text"] == "Third."
    assert (await world.seen(other, written))["text"] == "Of the other session."
    assert (await world.seen(theirs, who=cleo))["text"] == "Theirs."
    # The first request, repeated by somebody who never saw its answer, does not bring its text back.
    await world.done("PUT", recap, {"text": SECRET}, key="once")
    await cleared(world, 3)
    assert (await world.seen(recap))["text"] == "Third."


async def test_a_recap_is_kept_when_what_should_replace_it_died_and_forgotten_after_a_crash_half_way(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = await world.pair()
    recap = f"{await world.book(pair)}/recap"
    await world.done("PUT", recap, {"text": SECRET})

    async def dies(*_: object, **__: object) -> None:
        raise Died

    with monkeypatch.context() as patched:
        patched.setattr(Handler, "handle", dies)
        assert (await world.ask("PUT", recap, {"text": "Another."}, key="once")).status_code == 500
    envelope = Envelope(command_id=uuid4(), correlation_id=uuid4())
    stream, forget = cadence_id(pair), ForgetReplacedRecaps()
    [service] = world.services
    await service.carry(stream, forget, replace(envelope, command_id=uuid4()))
    assert (await world.seen(recap))["text"] == SECRET
    await world.done("PUT", recap, {"text": "Another."}, key="once")
    with monkeypatch.context() as patched:
        patched.setattr(Handler, "send", dies)
        with pytest.raises(Died):
            await service.carry(stream, forget, envelope)
    await cleared(world, 1)
    assert not (await service.carry(stream, forget, envelope)).repeated
    assert (await service.carry(stream, forget, envelope)).repeated
    assert (await world.seen(recap))["text"] == "Another."


async def test_of_what_is_refused_no_text_is_kept(world: World) -> None:
    pair = await world.pair()
    session = await world.book(pair)
    await world.done("POST", f"{session}/cancel")
    await world.refused("session-is-cancelled", "PUT", f"{session}/recap", {"text": SECRET})
    missing = f"/v1/cadences/{pair}/sessions/{uuid4()}/recap"
    assert (await world.ask("PUT", missing, {"text": SECRET})).status_code == 404
    assert (await world.ask("PUT", f"{session}/recap", {"text": SECRET}, who="cleo")).status_code == 404
    assert await world.pool.fetchval("SELECT count(*) FROM texts") == 0


async def test_the_longest_text_fits_however_it_is_written_and_one_character_more_does_not(
    world: World,
) -> None:
    recap = f"{await world.book(await world.pair())}/recap"
    longest = "🐢" * MAX_TEXT
    escaped = b'{"text": "' + b"\\ud83d\\udc22" * MAX_TEXT + b'"}'
    written = await world.ask("PUT", recap, content=escaped, headers={"Content-Type": "application/json"})
    assert written.status_code == 200, written.text
    assert (await world.seen(recap))["text"] == longest
    for text in (longest + "x", "", "half \x00 of it"):
        assert (await world.ask("PUT", recap, {"text": text})).status_code == 422
    half = await world.ask(
        "PUT", recap, content=b'{"text": "\\ud83d"}', headers={"Content-Type": "application/json"}
    )
    assert half.status_code == 400
    assert (await world.seen(recap))["text"] == longest


async def test_two_who_write_at_the_same_moment_both_have_written_and_one_stays(
    dsns: Dsns, keys_dsns: Dsns, pool: asyncpg.Pool, keys_pool: asyncpg.Pool
) -> None:
    async with running(dsns, keys_dsns, pool, keys_pool, replicas=2) as world:
        pair = await world.pair()
        recap = f"{await world.book(pair)}/recap"
        await asyncio.gather(
            *(world.done("PUT", recap, {"text": f"by {who}"}, who=who) for who in ("ada", "ben"))
        )
        read = await world.seen(recap)
        assert (read["text"], read["by"]) in {("by ada", "mentor"), ("by ben", "mentee")}
        assert (await world.events(pair)).count("RecapWritten") == 2
        assert await pool.fetchval("SELECT count(*) FROM texts") == 2
        assert await keys_pool.fetchval("SELECT count(*) FROM keys") == 1


async def test_a_text_that_was_tampered_with_is_our_failure_and_shows_nothing(world: World) -> None:
    recap = f"{await world.book(await world.pair())}/recap"
    await world.done("PUT", recap, {"text": SECRET})
    await world.pool.execute("UPDATE texts SET nonce = '\\x00'")
    damaged = await world.ask("GET", recap)
    assert (damaged.status_code, damaged.json()["type"]) == (500, "urn:upwell:problem:internal-error")
    assert "Ottoline" not in damaged.text


async def test_a_recap_is_found_nowhere_but_by_the_two(world: World) -> None:
    with captured("sessions", "debug") as log:
        pair = await world.pair()
        recap = f"{await world.book(pair)}/recap"
        await world.done("PUT", recap, {"text": SECRET})
        for role in UserRole:
            world.tokens.give(role.value, role)
        answers = [
            *[await world.ask("GET", recap, who=role.value) for role in UserRole],
            await world.ask("PUT", recap, {"text": SECRET + "x" * MAX_TEXT}),
            await world.ask("PUT", recap, {"text": SECRET, SECRET: SECRET}),
            await world.ask("PUT", recap, {"text": [SECRET]}),
            await world.ask("PUT", recap, {"text": SECRET}, who="cleo"),
            await world.ask("GET", f"/v1/cadences/{pair}"),
            await world.ask("GET", "/v1/cadences"),
        ]
        metrics = (await world.http.get("/metrics")).text
        assert (await world.seen(recap))["text"] == SECRET
    assert {answer.status_code for answer in answers[: len(UserRole)]} == {404}
    looked_through = [log.getvalue().decode(), metrics, *(answer.text for answer in answers)]
    for database in (world.pool, world.keys_pool):
        for (table,) in await database.fetch(_TABLES):
            rows = await database.fetch(f"SELECT t::text AS shown FROM {table} t")
            looked_through += [row["shown"] for row in rows]
    ledger = await world.pool.fetch("SELECT body, headers FROM ledger")
    looked_through += [(row["body"] + row["headers"]).decode() for row in ledger]
    # A bytea shows as hexadecimal digits.
    marks = ("ottoline", "kingfisher", b"Ottoline".hex())
    assert [text for text in looked_through for mark in marks if mark in text.lower()] == []


async def test_whoever_only_reads_the_databases_reads_neither_texts_nor_keys(
    world: World, dsns: Dsns, keys_dsns: Dsns
) -> None:
    recap = f"{await world.book(await world.pair())}/recap"
    await world.done("PUT", recap, {"text": SECRET})
    for dsn, table in ((dsns.reader, "texts"), (keys_dsns.reader, "keys")):
        reader = await asyncpg.connect(dsn)
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await reader.fetch(f"SELECT * FROM {table}")
        await reader.close()


async def test_erased_while_it_is_written_it_is_erased(world: World) -> None:
    """Whatever comes first, nothing of an erased member can be read after the receipt."""
    for _ in range(5):
        world.ada = world.tokens.give("ada")
        pair = await world.pair()
        recap = f"{await world.book(pair)}/recap"
        erased = PersonErased(person_id=world.ada, organisation_id=uuid4())
        answers = await asyncio.gather(
            *(world.ask("PUT", recap, {"text": SECRET}, who=who) for who in ("ada", "ben")),
            world.hear("directory", erased),
        )
        assert {a.status_code for a in answers if a is not None} <= {200, 410}
        assert (await world.seen(recap, who="ben"))["state"] in {"none", "erased"}
