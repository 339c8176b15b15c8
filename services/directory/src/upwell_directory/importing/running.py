"""Looking up what a file's plan rests on, and carrying the plan out until it is done or the time is over."""

import asyncio
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date
from typing import Final, Literal
from uuid import UUID, uuid5

import asyncpg

from upwell_directory import contacts
from upwell_directory.aggregates import ORGANISATION, PERSON
from upwell_directory.commands import many_place_facts, up_to_date
from upwell_directory.domain.organisation import OpenUnit
from upwell_directory.domain.person import JoinPerson, MovePerson, PlaceFacts
from upwell_directory.importing.planning import Known, PersonStep, Plan, UnitStep, counts, plan
from upwell_directory.importing.reading import Fault, File, Row, read
from upwell_directory.projections import people_by_unit, unit_tree
from upwell_shared.decider import DomainError
from upwell_shared.errors import IdempotencyKeyReused
from upwell_shared.events import Envelope
from upwell_shared.handling import Handler, Intent
from upwell_shared.web.commands import Body

_CHUNK: Final = 100
_MOST_FAULTS_SHOWN: Final = 1_000
_KEPT_DAYS: Final = 30

_EARLIER = "SELECT fingerprint, report FROM imports WHERE import_id = $1"
_BEGIN = "INSERT INTO imports (import_id, fingerprint) VALUES ($1, $2) ON CONFLICT DO NOTHING"
_END = "UPDATE imports SET report = $2::text::json WHERE import_id = $1"
_FORGET = "DELETE FROM imports WHERE begun_at < now() - make_interval(days => $1)"


class BadRow(Body):
    """What keeps a row from being imported. The line is where the row begins, the header being line 1."""

    line: int
    column: str
    detail: str


class Report(Body):
    """What became of a file. The numbers are of what was still to do when the request came.

    `planned` a dry run · `refused` there are bad rows, and nothing was done · `under_way` send the same request
    again, with the same Idempotency-Key, and it goes on · `done` all that could be is.
    """

    state: Literal["planned", "refused", "under_way", "done"]
    rows_read: int
    create: int
    move: int
    correct: int
    """Rows of which only names or addresses differ."""
    unchanged: int
    units_to_open: int
    remaining: int
    """Rows that still wait."""
    bad: int
    bad_rows: list[BadRow]
    """The first thousand."""


class Import:
    """One file of one caller. Safe to run again under the same id, at once or after a crash: it goes on."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        handler: Handler,
        *,
        envelope: Envelope,
        fingerprint: bytes,
        reach: frozenset[UUID],
        today: date,
    ) -> None:
        """`envelope` and `fingerprint` are of the request; `reach` are the units the caller may act in."""
        self._pool = pool
        self._handler = handler
        self._id = envelope.command_id
        self._envelope = envelope
        self._fingerprint = fingerprint
        self._reach = reach
        self._today = today

    async def dry_run(self, content: bytes) -> Report:
        """What `run` would do. Raises Malformed, Unavailable."""
        file, todo = await self._prepare(content)
        return _report("planned", file, todo, _faults(file, todo))

    async def run(self, content: bytes, *, skip_bad: bool, seconds: float) -> Report:
        """Imports for about so many seconds, and at least one chunk. With bad rows it does nothing, unless they are to be passed over.

        Raises Malformed; IdempotencyKeyReused for another file under the same id; ConcurrentUpdate when others
        changed the same people meanwhile, Unavailable when own tables run too far behind: run it again.
        """
        began = time.monotonic()
        if (earlier := await self._earlier()) is not None:
            return earlier
        file, todo = await self._prepare(content)
        faults = _faults(file, todo)
        if faults and not skip_bad:
            return _report("refused", file, todo, faults)
        await self._pool.execute(_BEGIN, self._id, self._fingerprint)
        refused = await self._open(todo.units)
        chunks = list(_chunks(todo))
        waiting = sum(map(len, chunks))
        for chunk in chunks:
            faults += [_refused(step, refused) for step in chunk if step.place.unit_id in refused]
            faults += await self._apply([step for step in chunk if step.place.unit_id not in refused])
            waiting -= len(chunk)
            # Asked after a chunk, so that every request gets on, however long it took to plan.
            if waiting and time.monotonic() - began > seconds:
                return _report("under_way", file, todo, faults, waiting)
        report = _report("done", file, todo, sorted(faults))
        await self._pool.execute(_END, self._id, report.model_dump_json())
        return report

    async def _earlier(self) -> Report | None:
        row = await self._pool.fetchrow(_EARLIER, self._id)
        if row is None:
            return None
        if row["fingerprint"] != self._fingerprint:
            raise IdempotencyKeyReused
        return None if row["report"] is None else Report.model_validate_json(row["report"])

    async def _prepare(self, content: bytes) -> tuple[File, Plan]:
        # In a thread: a large file takes a second of computing, and others want to be answered meanwhile.
        file = await asyncio.to_thread(read, content)
        known = await self._look_up(file.rows)
        return file, await asyncio.to_thread(plan, file.rows, known)

    async def _look_up(self, rows: Sequence[Row]) -> Known:
        await up_to_date(self._pool)
        units = await unit_tree.open_units_around(self._pool, [*self._reach])
        organisations = {unit.organisation_id for unit in units}
        named = {row.contact.external_id for row in rows}
        named |= {row.manager_external_id for row in rows if row.manager_external_id is not None}
        stored = await contacts.by_external_id(self._pool, [*organisations], [*named])
        return Known(
            import_id=self._id,
            reach=self._reach,
            today=self._today,
            units={unit.unit_id: unit for unit in units},
            grades={
                organisation_id: found[1]
                for organisation_id in organisations
                if (found := await unit_tree.grades(self._pool, organisation_id)) is not None
            },
            contacts=stored,
            people=await people_by_unit.with_all_above(
                self._pool, [person_id for person_id, _ in stored.values()]
            ),
            user_names=await contacts.whose(self._pool, [row.contact.user_name for row in rows]),
        )

    async def _open(self, units: Sequence[UnitStep]) -> dict[UUID, str]:
        """Opens these. Those that a rule refuses, since others have changed the tree meanwhile, with what it says."""
        refused: dict[UUID, str] = {}
        for unit in units:
            if unit.parent_id in refused:
                refused[unit.unit_id] = refused[unit.parent_id]
                continue
            opening = OpenUnit(unit_id=unit.unit_id, parent_id=unit.parent_id, name=unit.name)
            try:
                await self._handler.handle(
                    Intent(ORGANISATION, unit.organisation_id, opening),
                    envelope=self._part(unit.unit_id),
                    fingerprint=self._fingerprint,
                )
            except DomainError as refusal:
                refused[unit.unit_id] = str(refusal)
        return refused

    async def _apply(self, steps: Sequence[PersonStep]) -> list[Fault]:
        """One chunk: names first, then one command for each person. What a rule refuses is a fault of its row."""
        changed = [
            (step.person_id, step.organisation_id, step.contact) for step in steps if step.writes_contact
        ]
        await contacts.write_many(self._pool, changed)
        # Others change people and units, too. Nobody in a chunk stands above another of it: what is known before it
        # holds for each of its rows.
        facts = await many_place_facts(self._pool, [step.place for step in steps])
        found = await asyncio.gather(*map(self._place, steps, facts))
        return [fault for fault in found if fault is not None]

    async def _place(self, step: PersonStep, known: PlaceFacts) -> Fault | None:
        command: JoinPerson | MovePerson
        match step.action:
            case "create":
                command = JoinPerson(
                    person_id=step.person_id,
                    organisation_id=step.organisation_id,
                    place=step.place,
                    known=known,
                    today=self._today,
                )
            case "move":
                command = MovePerson(
                    person_id=step.person_id, place=step.place, known=known, today=self._today
                )
            case _:
                return None  # the names are written already
        try:
            await self._handler.handle(
                Intent(PERSON, step.person_id, command),
                envelope=self._part(step.person_id),
                fingerprint=self._fingerprint,
            )
        except DomainError as refusal:
            return Fault(step.line, "", str(refusal))
        return None

    def _part(self, stream_id: UUID) -> Envelope:
        """Each stream's command has an id of its own that follows from the request's."""
        return replace(self._envelope, command_id=uuid5(self._id, str(stream_id)))


async def forget_imports(pool: asyncpg.Pool) -> bool:
    """Deletes what is known of files as old as the oldest command ids."""
    await pool.execute(_FORGET, _KEPT_DAYS)
    return False


def _chunks(todo: Plan) -> Iterator[Sequence[PersonStep]]:
    """What there is to do, a chunk within one group at a time."""
    for group in todo.groups:
        steps = [step for step in group if step.action != "unchanged"]
        yield from (steps[start : start + _CHUNK] for start in range(0, len(steps), _CHUNK))


def _refused(step: PersonStep, refused: Mapping[UUID, str]) -> Fault:
    return Fault(step.line, "unit", refused[step.place.unit_id])


def _faults(file: File, todo: Plan) -> list[Fault]:
    return sorted([*file.faults, *todo.faults])


def _report(
    state: Literal["planned", "refused", "under_way", "done"],
    file: File,
    todo: Plan,
    faults: Sequence[Fault],
    remaining: int = 0,
) -> Report:
    bad_lines = {fault.line for fault in faults}
    asked = counts(todo.steps)
    return Report(
        state=state,
        rows_read=len({row.line for row in file.rows} | {fault.line for fault in file.faults}),
        create=asked["create"],
        move=asked["move"],
        correct=asked["correct"],
        unchanged=asked["unchanged"],
        units_to_open=len(todo.units),
        remaining=remaining,
        bad=len(bad_lines),
        bad_rows=[
            BadRow(line=fault.line, column=fault.column, detail=fault.detail)
            for fault in faults[:_MOST_FAULTS_SHOWN]
        ],
    )
