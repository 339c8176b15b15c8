"""What a play ends in: a page for the terminal, made of what the gateway answers and what the databases count."""

import statistics
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import httpx2
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from upwell.demo.performing import Performance
from upwell.stack import Stack
from upwell_shared.web.policies import UserRole

_PAIR_STATES = ("active", "paused", "completed", "ended", "declined", "expired", "withdrawn", "proposed")
_SESSION_STATES = ("held", "scheduled", "cancelled", "missed", "unconfirmed", "disputed")


@dataclass(frozen=True, slots=True)
class Outcome:
    """Everything the page shows; `as_dict` is the same for programs."""

    performance: Performance
    overview: dict[str, Any]
    queue: list[dict[str, Any]]
    channels: dict[str, int]
    gateway: str

    def as_dict(self) -> dict[str, Any]:
        played = self.performance
        return {
            "programme_id": played.programme_id,
            "cohort_id": played.cohort_id,
            "coordinator_id": played.coordinator_id,
            "organisations": played.organisations,
            "people": played.people,
            "pairs": self.overview["pairs"],
            "sessions": self.overview["sessions"],
            "commitments": self.overview["commitments"],
            "reflections": self.overview["reflections"],
            "queue": len(self.queue),
            "events": self.channels,
            "acknowledged": played.acknowledged,
            "sent_again": played.sent_again,
            "played_seconds": round(played.played_seconds, 1),
            "visible_after_ms": {
                "p50": _milliseconds(played.visible_after, 0.5),
                "p99": _milliseconds(played.visible_after, 0.99),
            },
            "gateway": self.gateway,
        }


async def look(stack: Stack, performance: Performance) -> Outcome:
    """Asks the gateway as the programme's coordinator would."""
    token = stack.token(
        performance.coordinator_id, (UserRole.COORDINATOR, UserRole.HR_ADMIN), performance.organisations
    )
    async with httpx2.AsyncClient(
        base_url=stack.gateway, headers={"Authorization": f"Bearer {token}"}, timeout=30
    ) as gateway:
        overview = await gateway.get(f"/v1/pages/programmes/{performance.programme_id}")
        overview.raise_for_status()
        queue = await gateway.get("/v1/pages/queue", params={"limit": 200})
        queue.raise_for_status()
    figures = await stack.measure()
    channels = {
        channel: count for each in figures.services.values() for channel, count in sorted(each.told.items())
    }
    return Outcome(performance, overview.json(), queue.json()["items"], channels, stack.gateway)


def page(outcome: Outcome) -> RenderableType:
    """What came of it, in tables."""
    played = outcome.performance
    head = Text.assemble(
        (f" {played.programme} ", "bold white on dark_cyan"),
        f"  {played.people} people, {len(played.pairs)} proposals, played in {played.played_seconds:.0f} s",
    )
    grid = Table.grid(padding=(1, 2))
    grid.add_row(_pairs(outcome), _sessions(outcome))
    grid.add_row(_queue(outcome), _reflections(outcome))
    grid.add_row(_measured(played), _events(outcome))
    return Group(Text(), head, grid)


def next_steps(outcome: Outcome, data: str) -> list[tuple[str, str]]:
    """Where to look next: what, and the line to type. `data` is what to add to a command to find this folder."""
    played = outcome.performance
    units = " ".join(f"--unit {unit}" for unit in played.organisations)
    token = f"upwell token{data} --role coordinator --role hr_admin {units} --person {played.coordinator_id}"
    pair: UUID | str = played.pairs[-1] if played.pairs else "PAIR"
    curl = f'curl -s -H "Authorization: Bearer $TOKEN" {outcome.gateway}/v1/pages'
    return [
        ("log in as the coordinator", f"export TOKEN=$({token})"),
        ("a pair and its whole timeline", f"{curl}/pairs/{pair}"),
        ("the programme", f"{curl}/programmes/{played.programme_id}"),
        ("what waits for the coordinator", f"{curl}/queue"),
        ("events as they come", f"upwell events tail{data} --from-start"),
        ("whether everything agrees", f"upwell reconcile{data}"),
        ("the API", f"{outcome.gateway}/v1/docs"),
    ]


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    for n, column in enumerate(columns):
        table.add_column(column, justify="left" if n == 0 else "right", header_style="dim", no_wrap=True)
    return table


def _pairs(outcome: Outcome) -> Table:
    table = _table("pairs", "state", "")
    for state in _PAIR_STATES:
        if count := outcome.overview["pairs"].get(state, 0):
            table.add_row(state, str(count))
    return table


def _sessions(outcome: Outcome) -> Table:
    table = _table("sessions", "", "mentors", "mentees", "all")
    by_side = outcome.overview["commitments"] or {}
    mentor, mentee = by_side.get("mentor", {}), by_side.get("mentee", {})
    states = outcome.overview["sessions"]
    table.add_row(
        "held of booked", _held(mentor), _held(mentee), f"{states.get('held', 0)}/{sum(states.values())}"
    )
    for name in ("moved", "cancelled", "missed"):
        table.add_row(
            f"{name} by", str(mentor.get(name, 0)), str(mentee.get(name, 0)), str(states.get(name, ""))
        )
    for state in ("scheduled", "unconfirmed", "disputed"):
        if count := states.get(state, 0):
            table.add_row(state, "", "", str(count))
    return table


def _held(side: dict[str, int]) -> str:
    return f"{side.get('held', 0)}/{side.get('booked', 0)}"


def _reflections(outcome: Outcome) -> Table:
    table = _table("reflections", "stage", "asked", "answered")
    for stage, counts in outcome.overview["reflections"].items():
        if not counts["asked"]:
            continue
        table.add_row(stage.replace("_", " "), str(counts["asked"]), str(counts["submitted"]))
    return table


def _queue(outcome: Outcome) -> Table:
    table = _table("waits for the team", "kind", "")
    kinds: dict[str, int] = {}
    for item in outcome.queue:
        kinds[item["kind"]] = kinds.get(item["kind"], 0) + 1
    for kind, count in sorted(kinds.items()):
        table.add_row(kind.replace("_", " "), str(count))
    if not kinds:
        table.add_row("nothing waits", "")
    return table


def _events(outcome: Outcome) -> Table:
    table = _table("published events", "channel", "events")
    for channel, count in outcome.channels.items():
        table.add_row(channel, f"{count:,}")
    return table


def _measured(played: Performance) -> Table:
    table = _table("measured", "", "")
    table.add_row("commands done", f"{played.acknowledged:,}")
    if played.sent_again:
        table.add_row("requests made again", f"{played.sent_again:,}")
    if played.visible_after:
        table.add_row("done → on the page, median", f"{_milliseconds(played.visible_after, 0.5)} ms")
        slowest = f"slowest of {len(played.visible_after)}"
        table.add_row(slowest, f"{_milliseconds(played.visible_after, 1)} ms")
    return table


def _milliseconds(seconds: list[float], quantile: float) -> float | None:
    """Of a sorted list."""
    if not seconds:
        return None
    if quantile == 0.5:
        return round(statistics.median(seconds) * 1000, 1)
    return round(seconds[min(len(seconds) - 1, int(len(seconds) * quantile))] * 1000, 1)
