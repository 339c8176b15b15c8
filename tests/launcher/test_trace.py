"""`upwell trace` on a running Upwell: the second of two acceptances, and what it led to in four services."""

import json
from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import pytest
import pytest_asyncio

from tests.launcher.pairing import Paired, paired
from tests.launcher.world import PATIENCE, Up, answer, refusal, upwell
from upwell.folder import DataFolder
from upwell.servers.processes import eventually
from upwell_shared.web.commands import command_id
from upwell_shared.web.policies import Principal

pytestmark = [pytest.mark.timeout(300), pytest.mark.asyncio(loop_scope="module")]

LISTENERS = {"sessions", "feedback", "gateway"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pair(running: Up) -> Paired:
    (ready,) = running.said("ready")
    made = await paired(running.folder, ready["gateway"])
    assert await eventually(lambda: settled(traced(running, made.correlation_id)), within=PATIENCE)
    return made


def traced(running: Up, id_: object, *options: str) -> dict[str, Any]:
    told = answer(running.folder, "trace", str(id_), *options)
    assert isinstance(told, dict)
    return told


def steps(story: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for step in story:
        yield step
        for event in step.get("events", ()):
            yield from steps(event["led_to"])
            for told in event["told"]:
                yield from steps(told["led_to"])


def events(told: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """By service."""
    found: dict[str, list[dict[str, Any]]] = {}
    for step in steps(told["story"]):
        found.setdefault(step["service"], []).extend(step.get("events", ()))
    return found


def settled(told: dict[str, Any]) -> bool:
    """Everything told, taken by all who listen, and carried out."""
    every = [event for of_service in events(told).values() for event in of_service]
    published = [each for event in every for each in event["told"]]
    return (
        {"matching", "sessions", "feedback"} <= set(events(told))
        and all(each["relayed"] for each in published)
        and all(heard["state"] == "taken" for each in published for heard in each["heard"].values())
        and not any(event["not_read_by"] for event in every)
        and not any(step.get("state") in {"open", "postponed"} for step in steps(told["story"]))
    )


async def test_the_command_its_events_their_publication_and_every_effect(running: Up, pair: Paired) -> None:
    told = traced(running, pair.correlation_id)
    (root,) = told["story"]
    assert root["service"] == "matching"
    assert root["command_id"] == str(command_id(Principal(pair.mentee_id), pair.key))
    assert root["after_seconds"] is None
    created = next(event for event in root["events"] if event["type"] == "PairCreated")
    assert created["stream_id"] == str(pair.pair_id)
    # Both enrolments have a place less, in the same command.
    assert len({event["stream_id"] for event in root["events"]}) == 3
    public = next(each for each in created["told"] if each["type"] == "upwell.matching.PairCreated.v1")
    assert {name: heard["state"] for name, heard in public["heard"].items()} == dict.fromkeys(
        LISTENERS, "taken"
    )
    effects = {step["service"]: step for step in public["led_to"]}
    assert {"sessions", "feedback"} <= set(effects)
    assert all(effect["events"] for effect in effects.values())
    assert all(effect["after_seconds"] >= 0 for effect in effects.values())
    opened = effects["sessions"]["events"][0]
    assert {each["heard"]["gateway"]["state"] for each in opened["told"]} == {"taken"}


async def test_whatever_names_it_finds_it(running: Up, pair: Paired) -> None:
    whole = traced(running, pair.correlation_id)
    (root,) = whole["story"]
    created = next(event for event in root["events"] if event["type"] == "PairCreated")
    named = [root["command_id"], created["event_id"], *(each["event_id"] for each in created["told"])]
    for id_ in named:
        found = traced(running, id_)
        assert (found["correlation_id"], found["command_id"]) == (
            str(pair.correlation_id),
            root["command_id"],
        )
        assert found["story"] == whole["story"]
    by_key = traced(running, pair.key, "--person", str(pair.mentee_id))
    assert by_key["command_id"] == root["command_id"]


async def test_of_an_effect_only_its_causes_and_what_followed(running: Up, pair: Paired) -> None:
    whole = traced(running, pair.correlation_id)
    effect = next(
        step for step in steps(whole["story"]) if step["service"] == "sessions" and "events" in step
    )
    told = traced(running, effect["command_id"])
    (root,) = told["story"]
    assert root["command_id"] == whole["story"][0]["command_id"]
    assert [event["type"] for event in root["events"]] == ["PairCreated"]
    assert "feedback" not in events(told)
    assert next(step for step in steps(told["story"]) if step["command_id"] == effect["command_id"]) == effect


async def test_the_same_id_finds_the_request_in_the_log_of_every_service_it_passed(
    running: Up, pair: Paired
) -> None:
    for service in ("gateway", "matching"):
        lines = DataFolder(running.folder).log_of(service).read_text().splitlines()
        told = [json.loads(line) for line in lines if str(pair.correlation_id) in line]
        assert [(line["event"], line["method"], line["status"]) for line in told] == [
            ("request", "POST", 200)
        ]


async def test_it_is_told_in_lines_without_a_word_of_anybody(running: Up, pair: Paired) -> None:
    done = upwell(running.folder, "trace", str(pair.correlation_id))
    assert done.returncode == 0, done.stderr
    for said in (
        f"correlation {pair.correlation_id}",
        "matching: command",
        "sessions: command",
        "told: upwell.matching.PairCreated.v1",
        "gateway: taken",
    ):
        assert said in done.stdout
    told = done.stdout + json.dumps(traced(running, pair.correlation_id))
    assert not [word for word in pair.words if word in told]


async def test_what_a_service_that_is_away_has_not_taken_and_what_is_due_later_are_seen(running: Up) -> None:
    (ready,) = running.said("ready")
    assert upwell(running.folder, "stop", "sessions").returncode == 0
    try:
        made = await paired(running.folder, ready["gateway"], accepted=False)

        def told() -> dict[str, Any]:
            (root,) = traced(running, made.proposal_id)["story"]
            found = next(event for event in root["events"] if event["type"] == "PairProposed")
            assert isinstance(found, dict)
            return found

        def heard() -> dict[str, str]:
            (public,) = (each for each in told()["told"] if each["channel"] == "upwell.matching.v1")
            return {name: each["state"] for name, each in public["heard"].items()}

        assert await eventually(
            lambda: heard()["gateway"] == "taken" and bool(told()["led_to"]), within=PATIENCE
        )
        assert heard()["sessions"] == "not yet"
        lines = upwell(running.folder, "trace", str(made.proposal_id)).stdout
        assert "sessions: not yet" in lines
        # Nobody has answered yet: what happens then is part of the story.
        timers = {step["promised"]: step for step in told()["led_to"]}
        assert set(timers) == {"RemindPair", "ExpireProposal"}
        timer = timers["ExpireProposal"]
        assert timer["state"] == "timer"
        assert f"is due at {timer['due_at'][:10]}" in lines
        found = traced(running, timer["command_id"])
        assert found["correlation_id"] == str(made.proposal_id)
        assert timer in list(steps(found["story"]))
    finally:
        assert upwell(running.folder, "start", "sessions").returncode == 0
    assert await eventually(lambda: heard()["sessions"] == "taken", within=PATIENCE)


async def test_what_is_not_known_and_what_is_no_id(running: Up) -> None:
    unknown = uuid4()
    assert str(unknown) in refusal(upwell(running.folder, "trace", str(unknown)))
    assert "--person" in refusal(upwell(running.folder, "trace", "my-key"))
    assert "no store knows" in refusal(
        upwell(running.folder, "trace", "my-key", "--person", str(UUID(int=7)))
    )


async def test_without_a_database_it_says_so(running: Up) -> None:
    assert upwell(running.folder, "stop", "postgres").returncode == 0
    try:
        assert "database" in refusal(upwell(running.folder, "trace", str(uuid4())))
    finally:
        assert upwell(running.folder, "start", "postgres").returncode == 0
