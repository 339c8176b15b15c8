"""Whoever is erased is forgotten here: their words, and nothing of others'."""

from collections import Counter
from uuid import UUID, uuid4

from tests.feedback.telling import pair_created
from tests.feedback.world import World
from upwell_shared.contracts.directory import PersonErased
from upwell_shared.privacy import KeyStore, Texts


async def erase(world: World, person_id: UUID) -> None:
    await world.tellers.tell(person_id, PersonErased(person_id=person_id, organisation_id=world.acme))
    await world.settled()


async def receipts(world: World) -> int:
    return int(
        await world.pool.fetchval("SELECT count(*) FROM ledger WHERE type LIKE '%PersonErasureAcknowledged%'")
    )


async def test_what_an_erased_person_wrote_reads_as_erased_to_who_could_read_it(world: World) -> None:
    pair = await world.begin()
    adas, bens = pair.reflection(pair.ada), pair.reflection(pair.ben)
    said = {"plans": ("Ada's plans", "quotable"), "reverse-mentoring": ("Ada's own", "me")}
    await world.submit(adas, said)
    await world.submit(bens, {"plans": ("Ben's plans", "pair")}, who="ben")
    await erase(world, pair.ada)
    assert await receipts(world) == 1

    erased = {"question_id": "plans", "state": "erased", "text": None, "visibility": "quotable"}
    for who in ("ben", "hr"):
        shown = await world.seen(f"/v1/reflections/{adas}", who=who)
        assert shown["answers"] == [erased]
        assert shown["request"]["state"] == "submitted"
    kept = await world.seen(f"/v1/reflections/{bens}", who="ben")
    assert [answer["text"] for answer in kept["answers"]] == ["Ben's plans"]
    lengths = await world.pool.fetch("SELECT author, length(ciphertext) > 0 AS there FROM texts")
    assert {row["author"]: row["there"] for row in lengths} == {pair.ada: False, pair.ben: True}


async def test_nobody_is_asked_who_was_erased_before_and_the_other_is(world: World) -> None:
    pair = await world.begin()
    await world.hold(pair, uuid4())
    await erase(world, pair.ada)
    await world.hold(pair, uuid4())
    await world.end(pair)
    asked = await world.pool.fetch(
        "SELECT person_id, stage FROM reflections WHERE pair_id = $1", pair.pair_id
    )
    assert Counter(map(tuple, asked)) == Counter(
        [(pair.ada, "start"), (pair.ben, "start"), (pair.ben, "after_session"), (pair.ben, "end")]
    )
    # What was asked before still stands; and whoever is erased begins with nobody.
    strangers = uuid4(), uuid4()
    await erase(world, strangers[0])
    late = pair_created(uuid4(), world.programme, *strangers)
    await world.tellers.tell(late.pair_id, late)
    await world.settled()
    asked = await world.pool.fetch(
        "SELECT person_id, stage FROM reflections WHERE pair_id = $1", late.pair_id
    )
    assert [*map(tuple, asked)] == [(strangers[1], "start")]


async def test_an_erasure_told_again_gives_no_second_receipt(world: World) -> None:
    pair = await world.begin()
    await erase(world, pair.ada)
    await erase(world, pair.ada)
    assert await receipts(world) == 1
    stranger = uuid4()
    await erase(world, stranger)
    assert await receipts(world) == 2


async def test_of_somebody_erased_nothing_is_kept_any_more(world: World) -> None:
    pair = await world.begin()
    await erase(world, pair.ada)
    refused = await world.submit(pair.reflection(pair.ada), {"plans": ("Some", "me")})
    assert (refused.status_code, refused.json()["type"]) == (410, "urn:upwell:problem:subject-erased")
    assert await world.pool.fetchval("SELECT count(*) FROM texts") == 0
    assert "ReflectionSubmitted" not in await world.events()


async def test_a_receipt_is_given_only_when_everything_is_forgotten(world: World) -> None:
    """An erasure that died half-way: the key is gone, the texts are not cleared yet, and there is no receipt."""
    pair = await world.begin()
    await world.submit(pair.reflection(pair.ada), {"plans": ("Some", "me")})
    keys = KeyStore(world.keys_pool)
    await keys.destroy(pair.ada)
    shown = await world.seen(f"/v1/reflections/{pair.reflection(pair.ada)}")
    assert shown["answers"][0]["state"] == "erased"
    assert await receipts(world) == 0
    await erase(world, pair.ada)
    assert await receipts(world) == 1
    assert await world.pool.fetchval("SELECT count(*) FROM texts WHERE ciphertext <> ''") == 0
    assert await Texts(world.pool, keys).read_many([]) == {}
