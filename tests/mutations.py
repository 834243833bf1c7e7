"""`make mutants`: take one protection away at a time, and see the test that is there for it fail.

Works on copies of the tracked files. All tests must pass first with nothing taken away. A
protection whose test still passes then is reported, and the exit code is 1: either the test proves
nothing, or the protection is not needed.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
FEEDER = "plugins/lotus_lake/feeder"


@dataclass(frozen=True)
class Mutation:
    """A protection that is taken away.

    Attributes:
        protection: What it is called.
        file: Where it is.
        old: Its text; it must be there exactly once.
        new: What is put in its place.
        test: The test that must fail then, as pytest takes it.
    """

    protection: str
    file: str
    old: str
    new: str
    test: str


MUTATIONS = (
    Mutation(
        "guard row of the stream",
        "plugins/lotus_lake/ledger/files.py",
        """        f"UPDATE {_guard_table(stream)} SET version = ?, file_count = ?, cursor_path = ?, "
        "cursor_date = ?, first_pending = ? WHERE version = ?",""",
        """        "SELECT 1 WHERE ?::BIGINT > 0 AND ?::BIGINT >= 0 AND (?::VARCHAR IS NULL OR true) "
        "AND (?::DATE IS NULL OR true) AND (?::BIGINT IS NULL OR true) AND ?::BIGINT >= 0",""",
        "tests/integration/test_exactly_once.py::"
        "test_of_two_feeders_with_open_transactions_one_wins",
    ),
    Mutation(
        "place where the queue begins",
        "plugins/lotus_lake/ledger/files.py",
        "    first_pending = _first_pending(lake, stream, guard) if queued else guard.first_pending",
        "    first_pending = guard.file_count + 1 if queued else guard.first_pending",
        "tests/integration/test_bounded_work.py",
    ),
    Mutation(
        "registrations are compared as of the ledger's snapshot",
        "plugins/lotus_lake/ledger/registrations.py",
        "AND begin_snapshot <= ? ",
        "AND (begin_snapshot <= ? OR true) ",
        "tests/integration/test_exactly_once.py::"
        "test_a_file_that_lands_while_all_is_compared_is_not_taken_for_unknown",
    ),
    Mutation(
        "second look at the ledger, in the transaction",
        f"{FEEDER}/register.py",
        "    return [outcome for outcome in outcomes if outcome.file.position in waiting]",
        "    return list(outcomes) if waiting is not None else []",
        "tests/integration/test_exactly_once.py::"
        "test_two_feeders_that_read_the_same_footers_land_each_file_once",
    ),
    Mutation(
        "identity by ETag and size",
        "plugins/lotus_lake/ledger/files.py",
        "    return [item for item in objects if (item.key, item.etag, item.size_bytes) not in known]",
        "    return [item for item in objects if item.key not in {key for key, *_ in known}]",
        "tests/integration/test_replaced_object.py",
    ),
    Mutation(
        "window that reaches behind the cursor",
        "plugins/lotus_lake/bucket/keys.py",
        "        first_day = cursor_date - timedelta(days=lookback_days)",
        "        first_day = cursor_date - timedelta(days=0 * lookback_days)",
        "tests/integration/test_nothing_is_late.py",
    ),
    Mutation(
        "only earlier registrations are forgotten",
        "plugins/lotus_lake/ledger/registrations.py",
        "AND registered.begin_snapshot < bounds.before",
        "AND registered.begin_snapshot <> -bounds.before",
        "tests/integration/test_reload.py::test_a_feeder_that_is_behind_does_not_undo_a_reload",
    ),
    Mutation(
        "earlier registrations of an object are forgotten",
        f"{FEEDER}/register.py",
        "data_files.forget(lake, stream, sorted(before))",
        "len([])",
        "tests/integration/test_reload.py::test_a_reloaded_object_has_its_new_rows_only",
    ),
    Mutation(
        "every value is read before a file lands",
        f"{FEEDER}/decision.py",
        'stream.feeder.validation == "full"',
        'stream.feeder.validation == "never"',
        "tests/integration/test_one_bad_file_stops_nothing.py::"
        "test_a_damaged_body_is_found_before_anybody_reads_it",
    ),
    Mutation(
        "casts must not change a value",
        f"{FEEDER}/copies.py",
        "        elif lost[0]:",
        "        elif lost[0] and not lost:",
        "tests/integration/test_schema_changes.py::"
        "test_another_type_is_quarantined_when_a_value_would_change",
    ),
    Mutation(
        "retention waits for every consumer",
        f"{FEEDER}/cleanup.py",
        "if newest <= marks[slowest]]",
        "if newest >= 0]",
        "tests/integration/test_retirement.py::"
        "test_only_days_that_are_old_and_consumed_by_all_are_retired",
    ),
    Mutation(
        "retention looks again, in the transaction",
        f"{FEEDER}/cleanup.py",
        "            snapshot > consumed for file, snapshot in files if file.event in LANDED",
        "            snapshot < 0 for file, snapshot in files if file.event in LANDED",
        "tests/integration/test_retirement.py::"
        "test_a_file_that_lands_while_its_day_is_chosen_is_not_retired",
    ),
    Mutation(
        "upkeep compares what it deletes with what was retired",
        "plugins/lotus_lake/upkeep/expiry.py",
        "    protected = [*_not_retired(lake), ",
        "    protected = [",
        "tests/integration/test_retirement.py::"
        "test_an_object_that_was_written_anew_is_not_deleted_for_the_one_that_was_retired",
    ),
    Mutation(
        "a generation waits until the old one is gone",
        f"{FEEDER}/overwrite.py",
        '        if event in ("copied", "empty") and not of_newest:',
        "        if event is None and not of_newest:",
        "tests/integration/test_overwrite_streams.py::"
        "test_a_generation_takes_the_place_of_the_one_before_in_one_commit",
    ),
    Mutation(
        "a generation with a bad file does not land",
        f"{FEEDER}/overwrite.py",
        '    if any(outcome.event == "quarantined" for outcome in outcomes):',
        "    if not outcomes:",
        "tests/integration/test_overwrite_streams.py::test_a_bad_file_keeps_the_generation_before",
    ),
    Mutation(
        "one writer at a time on SQLite",
        "plugins/lotus_lake/lake/write_lock.py",
        "        _wait_for_lock(file)\\n",
        "",
        "tests/integration/test_catalog.py",
    ),
    Mutation(
        "newest version wins",
        "include/dbt/dbt_project.yml",
        "DBT_INTERNAL_SOURCE._airbyte_raw_id) > (DBT",
        "DBT_INTERNAL_SOURCE._airbyte_raw_id) is distinct from (DBT",
        "tests/pipeline/test_histories.py::"
        "test_any_order_of_arrival_and_any_batches_lead_to_the_same_tables",
    ),
    Mutation(
        "older versions are left out of a first build",
        "include/dbt/macros/newest_wins.sql",
        "        ) > 1",
        "        ) > 2",
        "tests/property/test_any_order_of_batches.py",
    ),
    Mutation(
        "a row is told from its copies",
        "include/dbt/macros/newest_wins.sql",
        "        on {{ rows }}._lake_row_id = older._lake_row_id and",
        "        on",
        "tests/property/test_any_order_of_batches.py",
    ),
    Mutation(
        "what is new is told by snapshots, not by time",
        "include/dbt/macros/landed_rows.sql",
        """            where snapshot_id > getvariable('landed_from') and year is not null
        )
    {%- else -%}""",
        """            where _airbyte_extracted_at > (
                select max(_airbyte_extracted_at) from {{ this }}
            )
        )
    {%- else -%}""",
        "tests/pipeline/test_histories.py::"
        "test_any_order_of_arrival_and_any_batches_lead_to_the_same_tables",
    ),
    Mutation(
        "two runs of a model conflict",
        "include/dbt/macros/landed_rows.sql",
        "        snapshot_id_to = (select id from {{ this.database }}.current_snapshot()),\\n"
        "        updated_at = now();",
        "        snapshot_id_to = (select id from {{ this.database }}.current_snapshot()),\\n"
        "        updated_at = now() where false;",
        "tests/pipeline/test_crashes.py::test_two_runs_of_a_model_at_once_double_no_row",
    ),
    Mutation(
        "a full refresh does not lose retired rows",
        "include/dbt/macros/landed_rows.sql",
        "        {%- if files -%}",
        "        {%- if files < 0 -%}",
        "tests/pipeline/test_going_back.py::"
        "test_a_full_refresh_that_would_lose_retired_records_is_refused",
    ),
    Mutation(
        "deleted files wait as long as a dump may need them",
        "plugins/lotus_lake/upkeep/expiry.py",
        "    return max(FILE_DAYS, settings.backup_days)",
        "    return FILE_DAYS",
        "tests/pipeline/test_disaster.py::test_a_dump_as_old_as_it_may_be_brings_everything_back",
    ),
    Mutation(
        "no full refresh of a table that was rebuilt from its files",
        "plugins/lotus_lake/repair/rebuild.py",
        '        event="retired",',
        '        event="ignored",',
        "tests/pipeline/test_disaster.py::test_without_a_dump_everything_comes_back_from_files",
    ),
    Mutation(
        "keys of a role are renewed under an open lake",
        "plugins/lotus_lake/lake/connection.py",
        '    if not hasattr(credentials, "refresh_needed"):  # keys that stay, or none',
        "    if credentials is None or credentials:",
        "tests/integration/test_roles.py::"
        "test_a_role_is_enough_and_its_keys_are_renewed_under_an_open_lake",
    ),
)


def main() -> int:
    """Run all mutations, or those whose name holds a word."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("word", nargs="?", default="", help="only protections with this word")
    word = parser.parse_args().word
    chosen = [mutation for mutation in MUTATIONS if word in mutation.protection]
    if not _passes([mutation.test for mutation in chosen]):
        return 1
    survivors = [mutation for mutation in chosen if not _is_killed(mutation)]
    print(f"\n{len(chosen) - len(survivors)} of {len(chosen)} protections are proved by their test")
    return 1 if survivors or not chosen else 0


def _passes(tests: Sequence[str]) -> bool:
    """Whether the tests pass with nothing taken away: one that always fails proves nothing."""
    started = time.monotonic()
    with _copy_of_project() as copy:
        result = _pytest(copy, *dict.fromkeys(tests))
    passes = result.returncode == 0
    verdict = "passed" if passes else "FAILED, so nothing can be proved"
    print(f"nothing taken away: {verdict} ({time.monotonic() - started:.0f} s)", flush=True)
    if not passes:
        print(result.stdout[-2000:], result.stderr[-1000:])
    return passes


def _is_killed(mutation: Mutation) -> bool:
    started = time.monotonic()
    with _copy_of_project() as copy:
        file = copy / mutation.file
        text = file.read_text(encoding="utf-8")
        old, new = mutation.old.replace("\\n", "\n"), mutation.new.replace("\\n", "\n")
        if text.count(old) != 1:
            print(f"{mutation.protection}: STALE, {mutation.file} holds it {text.count(old)} times")
            return False
        file.write_text(text.replace(old, new), encoding="utf-8")
        result = _pytest(copy, mutation.test)
    failed = re.findall(r"^FAILED (\S+)", result.stdout, re.MULTILINE)
    killed = result.returncode == 1 and bool(failed)
    verdict = f"failed {failed[0].split('::')[-1]}" if failed else f"SURVIVED {mutation.test}"
    print(f"{mutation.protection}: {verdict} ({time.monotonic() - started:.0f} s)", flush=True)
    if not killed:
        print(result.stdout[-2000:], result.stderr[-1000:])
    return killed


def _pytest(folder: Path, *tests: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-x", "-q", "--no-header", *tests],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": f"plugins{os.pathsep}."},
        capture_output=True,
        text=True,
        check=False,
    )


@contextmanager
def _copy_of_project() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="lotus-mutant-") as name:
        _copy_project(Path(name))
        yield Path(name)


def _copy_project(target: Path) -> None:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for name in filter(None, listed.split("\0")):
        source = PROJECT / name
        if source.is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target / name)


if __name__ == "__main__":
    sys.exit(main())
