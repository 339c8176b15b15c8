"""Match runs from the asking to the proposals: over HTTP, with workers that die in the middle."""

import asyncio
from collections import Counter
from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.matching.world import World
from tests.service_process import until
from upwell_matching import commands, running
from upwell_matching.domain.standing import BeginLeave
from upwell_matching.projections import match_runs
from upwell_matching.projections.programmes import rules_of
from upwell_matching.solving import Problem, apart, best_pairs
from upwell_matching.solving.apart import SolverFailed, solved_apart
from upwell_shared.web.policies import UserRole

JUNIOR, SENIOR = 3, 8


class Intake:
    """A cohort with two topics."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.people: dict[str, UUID] = {}

    async def open(self) -> "Intake":
        self.programme_id = await self.world.open_programme()
        self.code = await self.world.add_topic(self.programme_id, "Code")
        self.music = await self.world.add_topic(self.programme_id, "Music")
        self.cohort_id = await self.world.open_cohort(self.programme_id)
        return self

    async def mentor(self, name: str, *topics: UUID, **changes: Any) -> UUID:
        return await self._enrolled(name, "mentor", "offers", topics, **{"grade": JUNIOR} | changes)

    async def mentee(self, name: str, *topics: UUID, **changes: Any) -> UUID:
        return await self._enrolled(name, "mentee", "seeks", topics, **{"grade": SENIOR} | changes)

    async def _enrolled(
        self, name: str, role: str, wish: str, topics: tuple[UUID, ...], *, capacity: int = 1, **place: Any
    ) -> UUID:
        person_id = self.people[name] = await self.world.join(**place)
        body = {"role": role, wish: [str(t) for t in topics or (self.code,)], "capacity": capacity}
        path = f"/v1/cohorts/{self.cohort_id}/enrolments/{person_id}"
        await self.world.done("PUT", path, body, who=person_id)
        return person_id

    def named(self, person_id: str) -> str:
        return next(name for name, id_ in self.people.items() if id_ == UUID(person_id))

    async def start(self, **body: Any) -> str:
        started = await self.world.done("POST", f"/v1/cohorts/{self.cohort_id}/match-runs", body)
        assert started.status_code == 201
        return str(started.json()["match_run_id"])

    async def becomes(self, run: str, state: str) -> Any:
        """The match run, once it stands so and, where it is published, every pair has been taken up."""

        async def so() -> bool:
            answer = await self.world.ask("GET", f"/v1/match-runs/{run}")
            found = answer.json()
            settled = state != "published" or found.get("proposed", 0) + found.get("skipped", 0) == found.get(
                "pairs"
            )
            return bool(answer.status_code == 200 and found["state"] == state and settled)

        await until(so)
        return await self.world.seen(f"/v1/match-runs/{run}")

    async def draft(self, **body: Any) -> str:
        run = await self.start(**body)
        await self.becomes(run, "draft")
        return run

    async def publish(self, run: str) -> Any:
        await self.world.done("POST", f"/v1/match-runs/{run}/publish")
        return await self.becomes(run, "published")

    async def drafted(self, run: str) -> dict[tuple[str, str], Any]:
        rows = (await self.world.seen(f"/v1/match-runs/{run}/pairs"))["items"]
        return {(self.named(row["mentor_id"]), self.named(row["mentee_id"])): row for row in rows}

    async def unmatched(self, run: str) -> dict[str, Any]:
        rows = (await self.world.seen(f"/v1/match-runs/{run}/unmatched"))["items"]
        return {self.named(row["person_id"]): row["reasons"] for row in rows}

    async def proposals(self) -> dict[tuple[str, str], str]:
        await self.world.read_up()
        rows = (await self.world.seen(f"/v1/cohorts/{self.cohort_id}/pairs?limit=200"))["items"]
        return {(self.named(row["mentor_id"]), self.named(row["mentee_id"])): row["state"] for row in rows}


@pytest.fixture
async def intake(world: World) -> Intake:
    return await Intake(world).open()


@pytest.fixture
async def filled(intake: Intake) -> Intake:
    """Ada fits Eve best, Ben fits Eve and Dan: all four are paired, and Kim is left over."""
    await intake.mentor("Ada", intake.code, intake.music)
    await intake.mentor("Ben", intake.code)
    await intake.mentee("Dan", intake.code)
    await intake.mentee("Eve", intake.code, intake.music)
    await intake.mentee("Kim", intake.music, grade=JUNIOR)
    return intake


async def test_pairs_are_found_explained_published_and_proposed(filled: Intake) -> None:
    world = filled.world
    run = await filled.draft(seed=7)
    found = await world.seen(f"/v1/match-runs/{run}")
    assert {
        key: found[key] for key in ("state", "pairs", "unmatched", "score", "proposed", "skipped", "seed")
    } == {
        "state": "draft",
        "pairs": 2,
        "unmatched": 1,
        "score": 9,
        "proposed": 0,
        "skipped": 0,
        "seed": 7,
    }
    drafted = await filled.drafted(run)
    assert drafted.keys() == {("Ada", "Eve"), ("Ben", "Dan")}
    best = drafted["Ada", "Eve"]
    assert (best["score"], {*best["topics"]}, best["returned"], best["state"]) == (
        6,
        {str(filled.code), str(filled.music)},
        [],
        "drafted",
    )
    assert await filled.unmatched(run) == {"Kim": {"inversion": 2}}
    assert await filled.proposals() == {}

    published = await filled.publish(run)
    assert (published["proposed"], published["skipped"]) == (2, 0)
    assert await filled.proposals() == dict.fromkeys(drafted, "proposed")
    pair = await world.seen(f"/v1/pairs/{best['pair_id']}")
    assert (pair["match_run_id"], pair["state"]) == (run, "proposed")
    told = await world.pool.fetch("SELECT type, body FROM ledger WHERE key = $1", UUID(run))
    assert [row["type"].split(".")[2] for row in told] == ["MatchRunPublished"]
    assert b'"pairs":2' in told[0]["body"].replace(b" ", b"")


async def _is_free(intake: Intake) -> bool:
    """Whether the cohort's last match run has come to its end."""
    await intake.world.read_up()
    return not await match_runs.to_propose(intake.world.pool)


async def test_one_at_a_time_until_its_last_pair_was_proposed(filled: Intake) -> None:
    world, path = filled.world, f"/v1/cohorts/{filled.cohort_id}/match-runs"

    async def refused() -> bool:
        answer = await world.ask("POST", path, {})
        return (answer.status_code, answer.json().get("type", "").rpartition(":")[2]) == (
            409,
            "match-run-under-way",
        )

    first = await filled.start()
    assert await refused()
    await filled.becomes(first, "draft")
    assert await refused()
    await world.done("POST", f"/v1/match-runs/{first}/discard")
    await world.done("POST", f"/v1/match-runs/{first}/discard")
    second = await filled.draft()
    await filled.publish(second)

    await until(lambda: _is_free(filled))
    await filled.start()
    listed = (await world.seen(path))["items"]
    assert sorted(row["state"] for row in listed)[:2] in (["discarded", "draft"], ["discarded", "published"])


async def test_what_may_not_be_said_of_a_match_run(filled: Intake) -> None:
    world, path = filled.world, f"/v1/cohorts/{filled.cohort_id}/match-runs"
    bad: tuple[Any, ...] = (
        {"seed": -1},
        {"seed": 1 << 31},
        {"seed": "7"},
        {"seed": True},
        {"seeds": 7},
        [],
        "run",
    )
    for body in bad:
        assert (await world.ask("POST", path, body)).status_code == 422, body
    assert (await world.ask("POST", f"/v1/cohorts/{uuid4()}/match-runs", {})).status_code == 404
    assert (await world.ask("GET", f"/v1/match-runs/{uuid4()}")).status_code == 404
    assert (await world.ask("POST", f"/v1/match-runs/{uuid4()}/publish")).status_code == 404
    run = await filled.draft()
    await world.done("POST", f"/v1/match-runs/{run}/discard")
    answer = await world.ask("POST", f"/v1/match-runs/{run}/publish")
    assert (answer.status_code, answer.json()["type"].rpartition(":")[2]) == (409, "match-run-is-discarded")
    other = await filled.draft()
    await filled.publish(other)
    answer = await world.ask("POST", f"/v1/match-runs/{other}/discard")
    assert (answer.status_code, answer.json()["type"].rpartition(":")[2]) == (409, "match-run-is-published")
    await world.done("POST", f"/v1/cohorts/{filled.cohort_id}/close")
    answer = await world.ask("POST", path, {})
    assert answer.status_code == 409


async def test_a_replayed_start_is_one_run_and_the_same_key_with_another_body_none(filled: Intake) -> None:
    world, path, key = filled.world, f"/v1/cohorts/{filled.cohort_id}/match-runs", uuid4()
    first = await world.done("POST", path, {"seed": 3}, key=key)
    again = await world.done("POST", path, {"seed": 3}, key=key)
    assert first.json() == again.json()
    assert (await world.ask("POST", path, {"seed": 4}, key=key)).status_code == 422
    await filled.becomes(first.json()["match_run_id"], "draft")


async def test_the_same_people_and_seed_make_the_same_pairs(filled: Intake) -> None:
    drafts = []
    for _ in range(2):
        run = await filled.draft(seed=11)
        drafts.append({names: row["score"] for names, row in (await filled.drafted(run)).items()})
        await filled.world.done("POST", f"/v1/match-runs/{run}/discard")
    assert drafts[0] == drafts[1]


async def test_who_was_asked_before_is_not_asked_again_unless_nobody_said_no(filled: Intake) -> None:
    world = filled.world
    first = await filled.draft()
    await filled.publish(first)
    pairs = await filled.drafted(first)
    declined, lapsed = pairs["Ada", "Eve"]["pair_id"], pairs["Ben", "Dan"]["pair_id"]
    body = {"reason": "not_a_fit"}
    await world.done("POST", f"/v1/pairs/{declined}/decline", body, who=filled.people["Eve"])
    await world.done("POST", f"/v1/pairs/{lapsed}/withdraw")
    await world.read_up()
    second = await filled.draft()
    assert (await filled.drafted(second)).keys() == {("Ada", "Dan"), ("Ben", "Eve")}
    await world.done("POST", f"/v1/match-runs/{second}/discard")


async def test_who_may_still_say_yes_holds_a_place(filled: Intake) -> None:
    await filled.world.propose(filled.cohort_id, filled.people["Ada"], filled.people["Dan"])
    await filled.world.read_up()
    run = await filled.draft()
    assert (await filled.drafted(run)).keys() == {("Ben", "Eve")}
    assert await filled.unmatched(run) == {"Kim": {"inversion": 1}}


async def test_who_is_away_is_named_and_counted(filled: Intake) -> None:
    world = filled.world
    await world.send(filled.people["Ada"], BeginLeave())
    await world.read_up()
    run = await filled.draft()
    ((_, mentee),) = await filled.drafted(run)
    (other,) = {"Dan", "Eve"} - {mentee}
    assert await filled.unmatched(run) == {
        "Ada": {"away": 3},
        other: {"places": 1, "away": 1},
        "Kim": {"inversion": 1, "away": 1},
    }


async def test_a_pair_that_may_not_be_any_more_is_skipped_and_says_why(filled: Intake) -> None:
    world = filled.world
    run = await filled.draft()
    await world.join(person=filled.people["Ben"], grade=SENIOR)
    enrolments = (await world.seen(f"/v1/cohorts/{filled.cohort_id}/enrolments"))["items"]
    adas = next(row for row in enrolments if row["person_id"] == str(filled.people["Ada"]))
    await world.done("POST", f"/v1/enrolments/{adas['enrolment_id']}/withdraw")
    published = await filled.publish(run)
    assert (published["proposed"], published["skipped"]) == (0, 2)
    drafted = await filled.drafted(run)
    assert {names: (row["state"], row["reason"]) for names, row in drafted.items()} == {
        ("Ada", "Eve"): ("skipped", "enrolment-is-withdrawn"),
        ("Ben", "Dan"): ("skipped", "not-inverted"),
    }


async def test_a_run_of_nobody_ends_as_an_empty_draft(intake: Intake) -> None:
    run = await intake.draft()
    assert (await intake.publish(run))["pairs"] == 0
    await until(lambda: _is_free(intake))
    again = await intake.draft()
    assert (await intake.becomes(again, "draft"))["unmatched"] == 0


async def test_lists_come_in_pages(filled: Intake) -> None:
    world, run = filled.world, await filled.draft()
    for path, key, whole in (("pairs", "pair_id", 2), ("unmatched", "person_id", 1)):
        seen: list[str] = []
        cursor = ""
        while True:
            page = await world.seen(f"/v1/match-runs/{run}/{path}?limit=1{cursor}")
            seen += [row[key] for row in page["items"]]
            if page["next"] is None:
                break
            cursor = f"&cursor={page['next']}"
        assert len(seen) == len({*seen}) == whole


async def crowd(intake: Intake, pairs: int) -> None:
    """So many mentors and mentees who all fit."""
    for number in range(pairs):
        await intake.mentor(f"mentor {number}")
        await intake.mentee(f"mentee {number}")


async def test_proposing_that_dies_again_and_again_proposes_each_pair_once(
    intake: Intake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each time after a proposal is written and before anybody knows."""
    await crowd(intake, 12)
    deaths: list[int] = []
    propose = commands.propose_pair
    monkeypatch.setattr(running, "_AT_ONCE", 1)

    async def die_sometimes(*arguments: Any, **options: Any) -> Any:
        outcome = await propose(*arguments, **options)
        if len(deaths) < 5 and not outcome.repeated:
            deaths.append(1)
            raise ConnectionResetError
        return outcome

    monkeypatch.setattr(commands, "propose_pair", die_sometimes)
    run = await intake.draft()
    published = await intake.publish(run)
    assert len(deaths) == 5
    assert (published["proposed"], published["skipped"]) == (12, 0)
    kinds = Counter(kind for _, kind in await intake.world.events())
    assert (kinds["PairProposed"], kinds["MatchRunPublished"]) == (12, 1)


async def test_what_was_proposed_before_a_death_is_not_skipped_for_what_has_changed_since(
    filled: Intake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The proposals are written, the worker dies, both mentors are promoted, and the next worker begins again."""
    world, waiting, held = filled.world, match_runs.waiting, asyncio.Event()

    async def hold(*arguments: Any) -> Any:
        await held.wait()
        return await waiting(*arguments)

    run = await filled.draft()
    monkeypatch.setattr(match_runs, "waiting", hold)
    await world.done("POST", f"/v1/match-runs/{run}/publish")
    row = await match_runs.match_run(world.pool, UUID(run))
    assert row is not None
    drafted = await waiting(world.pool, UUID(run), 10)
    await running._propose_all(world.matchings[0].means, row, drafted)  # noqa: SLF001  (and then it is dead)
    for name in ("Ada", "Ben"):
        await world.join(person=filled.people[name], grade=SENIOR)
    await running._propose_all(world.matchings[0].means, row, drafted)  # noqa: SLF001  (as the next one would)
    held.set()
    published = await filled.becomes(run, "published")
    assert (published["proposed"], published["skipped"]) == (2, 0)
    kinds = Counter(kind for _, kind in await world.events())
    assert (kinds["PairProposed"], kinds["ProposalSkipped"]) == (2, 0)


async def test_finding_that_dies_half_way_is_done_again(
    filled: Intake, monkeypatch: pytest.MonkeyPatch
) -> None:
    deaths: list[int] = []

    async def die_twice(problem: Any) -> Any:
        solution = await solved_apart(problem)
        if len(deaths) < 2:
            deaths.append(1)
            raise ConnectionResetError
        return solution

    monkeypatch.setattr(running, "solved_apart", die_twice)
    run = await filled.draft()
    assert (await filled.drafted(run)).keys() == {("Ada", "Eve"), ("Ben", "Dan")}
    assert len(deaths) == 2


async def test_what_cannot_be_solved_fails_and_another_may_be_started(
    filled: Intake, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(apart, "sys", type("sys", (), {"executable": "/bin/false"}))
        run = await filled.start()
        failed = await filled.becomes(run, "failed")
    assert (failed["pairs"], failed["unmatched"]) == (0, 0)
    answer = await filled.world.ask("POST", f"/v1/match-runs/{run}/publish")
    assert answer.status_code == 409
    await filled.draft()


async def test_a_solver_whose_asker_is_gone_is_gone_too(
    filled: Intake, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    spawn = asyncio.create_subprocess_exec

    async def noted(*arguments: Any, **options: Any) -> Any:
        process = await spawn("sleep", "1000", **options)
        begun.set_result(process)
        return process

    monkeypatch.setattr(asyncio, "create_subprocess_exec", noted)
    row = match_runs.Row(
        uuid4(),
        filled.programme_id,
        filled.cohort_id,
        RULES,
        1,
        "running",
        finished=False,
        score=0,
        pairs=0,
        unmatched=0,
        version=1,
    )
    problem, _ = await running.problem_of(filled.world.pool, row)
    asking = asyncio.create_task(solved_apart(problem))
    process = await begun
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert process.returncode == -9


RULES = '{"measure": "grade", "gap": 2}'


async def test_apart_and_here_the_same_is_found(filled: Intake) -> None:
    row = match_runs.Row(
        uuid4(),
        filled.programme_id,
        filled.cohort_id,
        RULES,
        1,
        "running",
        finished=False,
        score=0,
        pairs=0,
        unmatched=0,
        version=1,
    )
    await filled.world.read_up()
    problem, away = await running.problem_of(filled.world.pool, row)
    assert (len(problem.mentors), len(problem.mentees), away) == (2, 3, [])
    assert await solved_apart(problem) == best_pairs(problem)


async def test_a_process_that_ends_without_an_answer_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apart, "sys", type("sys", (), {"executable": "/bin/false"}))
    nobody = Problem(rules=rules_of(RULES), mentors=(), mentees=(), barred=frozenset(), seed=1)
    with pytest.raises(SolverFailed):
        await solved_apart(nobody)


async def test_match_runs_are_for_the_programme_team_alone(filled: Intake) -> None:
    world = filled.world
    run = await filled.draft()
    elsewhere = frozenset({world.sales})
    world.tokens.give("stands in it", UserRole.PARTICIPANT, id_=filled.people["Ada"])
    world.tokens.give("hr of a part", UserRole.HR_ADMIN, units=elsewhere)
    world.tokens.give("analyst", UserRole.ANALYST, units=frozenset({world.acme}))
    world.tokens.give("hr", UserRole.HR_ADMIN, units=frozenset({world.acme}))
    document = (await world.http.get("/v1/openapi.json")).json()
    routes = [
        (method.upper(), path.format(match_run_id=run, cohort_id=filled.cohort_id), operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
        if "match-run" in path
    ]
    assert len(routes) == 7
    assert {operation["x-upwell-policy"] for _, _, operation in routes} == {"programme_team"}
    wrong = []
    for method, path, _ in routes:
        for who, status in (
            ("nobody", 401),
            ("stands in it", 404),
            ("hr of a part", 404),
            ("analyst", 404),
        ):
            found = (await world.ask(method, path, None if method == "GET" else {}, who=who)).status_code
            wrong += [(who, method, path, found)] if found != status else []
        if method == "GET":
            found = (await world.ask(method, path, who="hr")).status_code
            wrong += [("hr", method, path, found)] if found != 200 else []
    assert wrong == []
    await world.done("POST", f"/v1/match-runs/{run}/publish", who="hr")
