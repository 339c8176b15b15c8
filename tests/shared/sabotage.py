"""Proof that the suites would notice: each safeguard of the core taken out, and the tests that fail without it.

`python -m tests.shared.sabotage [word]` copies the chassis, takes one safeguard out of the copy, runs the tests named
beside it against the copy, and prints a table. It ends with status 1 when one of them passes all the same.
"""

import asyncio
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import upwell_shared
from upwell.servers.postgres import EmbeddedPostgres

ROOT = Path(__file__).resolve().parents[2]
SOURCE = Path(upwell_shared.__file__).parent
_LIMIT = 120.0


@dataclass(frozen=True)
class Sabotage:
    """`without` a safeguard, by replacing text in a module: every one of `tests` has to fail."""

    without: str
    module: str
    replace: tuple[tuple[str, str], ...]
    tests: tuple[str, ...]


_APPEND = "migrations/0001_event_store.sql"
_STORE = "tests/shared/test_event_store.py::test_"
_CONSUMING = "tests/shared/test_consuming.py::test_"
_HANDLING = "tests/shared/test_handling.py::test_"
_PROJECTING = "tests/shared/test_projecting.py::test_"
_REBUILDING = "tests/shared/test_rebuilding.py::test_"
_RELAY = "tests/shared/test_relay.py::test_"
_RELAY_FAULTS = "tests/shared/test_relay_faults.py::test_"
_STARTING = "tests/shared/test_starting.py::test_"
_TODOS = "tests/shared/test_todos_timers.py::test_"
_BARRIER = " AND tx < pg_snapshot_xmin(pg_current_snapshot())\nORDER BY tx, position"

_ALL_RECORDED = """
    recorded := ARRAY(SELECT c.command_id FROM unnest(a_command) c WHERE c.command <> ALL (conflicts));
"""

SABOTAGES = (
    Sabotage(
        "the readers' barrier",
        "tail.py",
        ((_BARRIER, "\nORDER BY tx, position"),),
        (
            f"{_STORE}a_reader_waits_for_an_older_open_append_and_then_reads_in_order",
            f"{_STORE}sixteen_writers_and_a_reader_miss_nothing_and_keep_every_stream_in_order",
            f"{_PROJECTING}a_projector_waits_for_an_older_open_append",
        ),
    ),
    Sabotage(
        "the order of commits in reading",
        "tail.py",
        ((_BARRIER, _BARRIER.replace("BY tx, position", "BY position DESC")),),
        (
            f"{_STORE}sixteen_writers_and_a_reader_miss_nothing_and_keep_every_stream_in_order",
            f"{_PROJECTING}a_projector_reads_page_by_page_until_it_has_caught_up",
        ),
    ),
    Sabotage(
        "the position in the place a reader goes on from",
        "tail.py",
        (("(tx, position) > ($1, $2)", "tx > $1 AND $2::bigint IS NOT NULL"),),
        (f"{_PROJECTING}a_page_may_end_in_the_middle_of_a_transaction",),
    ),
    Sabotage(
        "the first-write guard",
        _APPEND,
        (("IF pg_current_xact_id_if_assigned() IS NOT NULL THEN", "IF false THEN"),),
        (f"{_STORE}an_append_after_another_write_of_its_transaction_is_refused",),
    ),
    Sabotage(
        "the version check",
        _APPEND,
        (("WHERE coalesce(held.version, 0) <> s.expected", "WHERE false"),),
        (
            f"{_HANDLING}who_is_overtaken_decides_again_on_what_is_there_now",
            f"{_HANDLING}two_processes_together_give_away_no_seat_twice",
        ),
    ),
    Sabotage(
        "the lock on streams",
        _APPEND,
        (("= s.stream_id FOR UPDATE)", "= s.stream_id)"),),
        (f"{_HANDLING}two_processes_together_give_away_no_seat_twice",),
    ),
    Sabotage(
        "the command's id",
        _APPEND,
        (
            ("WHERE c.command <> ALL (conflicts)\n        ON CONFLICT", "WHERE false\n        ON CONFLICT"),
            ("INTO recorded FROM inserted;", f"INTO recorded FROM inserted;\n{_ALL_RECORDED}"),
        ),
        (
            f"{_HANDLING}a_repeated_command_that_would_do_more_now_does_nothing",
            f"{_HANDLING}an_append_whose_answer_was_lost_is_recognised_when_asked_again",
            f"{_HANDLING}a_process_that_dies_anywhere_in_a_command_leaves_it_done_or_not_done",
            f"{_STORE}a_known_command_id_writes_nothing_again",
        ),
    ),
    Sabotage(
        "the deletion of a to-do with its append",
        _APPEND,
        (("WHERE c.command <> ALL (conflicts));\n\n    RETURN", "WHERE false);\n\n    RETURN"),),
        (f"{_TODOS}a_todo_is_carried_out_and_tells_where_it_comes_from",),
    ),
    Sabotage(
        "the first answer for who would be refused now",
        "handling.py",
        (
            (
                "if (earlier := await self.repeated(envelope, fingerprint)) is not None:",
                "if earlier := None:",
            ),
        ),
        (f"{_HANDLING}a_repeated_command_that_would_be_refused_now_is_given_the_first_answer",),
    ),
    Sabotage(
        "the comparison of fingerprints",
        "handling.py",
        (("if answer.fingerprint != fingerprint:", "if False:"),),
        (f"{_HANDLING}the_same_id_for_another_request_is_a_mistake",),
    ),
    Sabotage(
        "the settling of a to-do done before",
        "todos.py",
        (("if outcome.repeated:", "if False:"),),
        (f"{_TODOS}a_todo_promised_again_after_it_was_done_is_done",),
    ),
    Sabotage(
        "what is not the command's fault",
        "todos.py",
        (("if is_transient(error) or isinstance(error, UnknownEvent):", "if False:"),),
        (f"{_TODOS}a_todo_that_fails_without_fault_of_its_own_stays_open_with_those_behind_it",),
    ),
    Sabotage(
        "the order of what is due",
        "timers.py",
        (("WHERE due_at <= $1 ORDER BY due_at LIMIT", "WHERE due_at <= $1 LIMIT"),),
        (f"{_TODOS}after_a_week_without_a_ticker_everything_due_happens_once_and_in_due_order",),
    ),
    Sabotage(
        "the projector's compare-and-set",
        "projecting.py",
        (("AND tx = $5 AND position = $6", "AND $5::xid8 IS NOT NULL AND $6::bigint IS NOT NULL"),),
        (
            f"{_PROJECTING}a_projector_overtaken_anywhere_doubles_nothing",
            f"{_PROJECTING}two_projectors_at_once_double_nothing",
        ),
    ),
    Sabotage(
        "the transaction around page and cursor",
        "projecting.py",
        (
            (
                "        async with connection.transaction():\n            moved",
                "        if True:\n            moved",
            ),
            ('|| \', public\', true)\n"""\n\n_ENTER', '|| \', public\', false)\n"""\n\n_ENTER'),
        ),
        (f"{_PROJECTING}a_page_that_fails_leaves_no_trace",),
    ),
    Sabotage(
        "the last pages before the switch",
        "projecting.py",
        (
            (
                "            if await self._cursor(connection, generation) < goal:\n",
                "            return True\n            if False:\n",
            ),
        ),
        (f"{_PROJECTING}a_rebuild_overtaken_by_appends_and_the_live_projector_anywhere_misses_nothing",),
    ),
    Sabotage(
        "one at a time at making and switching tables",
        "migrating.py",
        (('"SELECT pg_advisory_xact_lock($1)"', '"SELECT $1::bigint"'),),
        (
            f"{_PROJECTING}tables_are_made_once_by_several_at_once",
            f"{_PROJECTING}a_rebuild_overtaken_by_another_anywhere_leaves_one_sound_generation",
        ),
    ),
    Sabotage(
        "reading back what is written",
        "events.py",
        (("self._adapters[name].validate_json(data) == event", "True"),),
        ("tests/shared/test_events.py::test_a_number_json_has_no_word_for_is_not_written",),
    ),
    Sabotage(
        "the check for a logical restore",
        "event_store/starting.py",
        (("if await connection.fetchval(_FROM_ELSEWHERE):", "if False:"),),
        (f"{_STARTING}a_young_server_is_refused_with_a_dump_with_fsync_off_and_as_a_replica",),
    ),
    Sabotage(
        "the epoch in the relay's advance",
        "relay.py",
        (
            (
                "WHERE name = $1 AND epoch = $2 RETURNING true",
                "WHERE name = $1 AND $2::bigint > 0 RETURNING true",
            ),
        ),
        (f"{_RELAY}a_relay_of_an_earlier_epoch_cannot_move_the_cursor[tansu]",),
    ),
    Sabotage(
        "the epoch in the relay's beginning of a log",
        "relay.py",
        (
            (
                "WHERE name = $1 AND epoch = $2\nRETURNING true",
                "WHERE name = $1 AND $2::bigint > 0\nRETURNING true",
            ),
        ),
        (f"{_RELAY}a_replaced_relay_cannot_begin_another_log[tansu]",),
    ),
    Sabotage(
        "the relay's look at the log",
        "relay.py",
        (("        if reason is None:\n", '        if reason != "first_start":\n'),),
        (f"{_RELAY_FAULTS}a_log_lost_while_no_relay_runs_is_filled_again[tansu-emptied_disks]",),
    ),
    Sabotage(
        "the name in the relay's look at the log",
        "relay.py",
        (("if await read_log_id(cluster, seen, self._owner) != cursor.log_id:", "if False:"),),
        (f"{_RELAY}garbage_in_the_meta_channel_is_answered_with_a_new_log[tansu]",),
    ),
    Sabotage(
        "the offset that tells a log was lost",
        "producing.py",
        (("    if answer.offset <= after:\n", "    if False:\n"),),
        ("tests/shared/test_lost_log.py::test_an_offset_given_out_twice_begins_a_new_log_at_once[tansu]",),
    ),
    Sabotage(
        "the compare-and-set of the consumer's offset",
        "consuming/applying.py",
        (("AND partition = $4 AND next_offset = $5", "AND partition = $4 AND $5::bigint >= 0"),),
        (f"{_CONSUMING}a_member_that_lost_its_partition_changes_nothing",),
    ),
    Sabotage(
        "the compare-and-set of a stream's progress",
        "consuming/applying.py",
        (
            (
                "WHERE (p.stream_id, p.sequence, p.letters) IN (SELECT * FROM unnest($3::uuid[], $7::int[], $8::int[]))",
                "WHERE $7::int[] IS NOT NULL AND $8::int[] IS NOT NULL",
            ),
        ),
        (f"{_CONSUMING}two_members_on_different_logs_do_not_apply_an_event_twice",),
    ),
    Sabotage(
        "the sequence of an event",
        "consuming/sequencing.py",
        (
            (
                "        if stream.has(sequence, read.event_id):\n",
                "        stream.sequence = sequence - 1\n        if False:\n",
            ),
        ),
        (f"{_CONSUMING}records_that_come_again_are_dropped",),
    ),
    Sabotage(
        "the log a record says it is of",
        "consuming/applying.py",
        (("if log_id is None or log_id == batch.log_id:", "if True:"),),
        (f"{_CONSUMING}records_of_another_log_have_no_effect_here",),
    ),
    Sabotage(
        "the live consumer's progress as the limit of a rebuild",
        "consuming/filling.py",
        (("if name is not None and name[1] > applied.get(name[0], 0):", "if False:"),),
        (
            f"{_REBUILDING}a_rebuild_from_a_log_that_is_being_filled_again_waits_for_it_and_loses_nothing[tansu]",
        ),
    ),
    Sabotage(
        "the comparison of all streams before the switch",
        "consuming/rebuilding.py",
        (("await self._pool.fetch(_BEHIND, *self._names, self._channels, _FEW_STREAMS + 1)", "[]"),),
        (f"{_REBUILDING}a_rebuild_does_not_wait_for_ever_for_what_the_log_does_not_hold[another history]",),
    ),
    Sabotage(
        "the last look before the switch",
        "consuming/rebuilding.py",
        (("        goals = await self._goals(connection)\n", "        return True\n        goals = {}\n"),),
        (f"{_REBUILDING}a_rebuild_overtaken_by_the_live_consumer_before_the_switch_misses_nothing",),
    ),
)


@contextmanager
def taken_out(sabotage: Sabotage) -> Iterator[str]:
    """A folder with a copy of the chassis that lacks the safeguard."""
    with tempfile.TemporaryDirectory(prefix="sabotage-") as folder:
        copy = Path(folder) / SOURCE.name
        shutil.copytree(SOURCE, copy, ignore=shutil.ignore_patterns("__pycache__"))
        module = copy / sabotage.module
        text = module.read_text("utf-8")
        for old, new in sabotage.replace:
            if old not in text:
                raise LookupError(f"{sabotage.module} no longer holds {old!r}")
            text = text.replace(old, new, 1)
        module.write_text(text, "utf-8")
        yield folder


def unnoticed(sabotage: Sabotage, postgres_dsn: str) -> list[str]:
    """The tests that pass without the safeguard."""
    with taken_out(sabotage) as folder:
        return [test for test in sabotage.tests if _passes(test, folder, postgres_dsn)]


def _passes(test: str, folder: str, postgres_dsn: str) -> bool:
    environment = os.environ | {"PYTHONPATH": folder, "UPWELL_TEST_POSTGRES": postgres_dsn}
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "--timeout=60", test],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=_LIMIT,
        check=False,
    )
    # An error before the test, as from SQL that no longer parses, is a mistake here and proves nothing.
    outcome = re.search(r"^(\d+ failed|\d+ passed)[^\n]* in [^\n]*$", run.stdout, re.MULTILINE)
    if outcome is None:
        raise LookupError(f"{test} did not run:\n{run.stdout}{run.stderr}")
    return "failed" not in outcome[1]


def main(word: str = "") -> int:
    """Prints a line for each safeguard; how many sabotages went unnoticed."""
    chosen = [sabotage for sabotage in SABOTAGES if word in sabotage.without]
    failures = 0
    with tempfile.TemporaryDirectory(prefix="sabotage-postgres-") as folder:
        server = EmbeddedPostgres(Path(folder))
        with asyncio.Runner() as runner:
            dsn = runner.run(server.start())
            try:
                for sabotage in chosen:
                    began = time.perf_counter()
                    missed = unnoticed(sabotage, dsn)
                    failures += bool(missed)
                    noticed = f"{len(sabotage.tests) - len(missed)}/{len(sabotage.tests)} tests fail"
                    print(
                        f"{sabotage.without:<50} {noticed:<18} {time.perf_counter() - began:5.1f} s",
                        flush=True,
                    )
                    for test in missed:
                        print(f"    passes all the same: {test}", flush=True)
            finally:
                runner.run(server.stop())
    return failures


if __name__ == "__main__":
    sys.exit(1 if main(*sys.argv[1:2]) else 0)
