"""`make mutants`: take one protection away at a time, and see the test that is there for it fail.

Works on copies of the tracked files. All tests must pass first with nothing taken away. A
protection whose test still passes then is reported, and the exit code is 1: either the test proves
nothing, or the protection is not needed.

A mutation says what it looks for, and not where: it is looked for in the whole library, or in the
whole dbt project, so that code may move and be laid out anew. It has to be there exactly once;
`tests/unit/test_mutations.py` sees to that.
"""

from __future__ import annotations

import argparse
import ast
import functools
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
from typing import Any, Protocol

PROJECT = Path(__file__).resolve().parents[1]


class Change(Protocol):
    """What is taken away."""

    def places(self, project: Path) -> list[tuple[Path, str]]:
        """Every file in which it can be taken away, and what the file holds then."""


@dataclass(frozen=True)
class Code:
    """An expression or a statement of the library is replaced by another one.

    Attributes:
        old: As Python; `...` as the last argument of a call stands for all others.
        new: What is put in its place.
    """

    old: str
    new: str

    def places(self, project: Path) -> list[tuple[Path, str]]:
        """Every place where the syntax tree is the same, whatever it looks like."""
        (wanted,) = ast.parse(self.old).body
        pattern = wanted.value if isinstance(wanted, ast.Expr) else wanted
        new = f"({self.new})" if isinstance(wanted, ast.Expr) else self.new
        return [
            (file, _splice(source, node, new))
            for file in sorted((project / "plugins" / "lotus_lake").rglob("*.py"))
            for source in [file.read_text(encoding="utf-8")]
            for node in _nodes(source)
            if _same(pattern, node)
        ]


@dataclass(frozen=True)
class Text:
    """A text of the library or of the dbt project, such as SQL, is replaced by another one.

    Attributes:
        old: White space stands for any white space.
        new: What is put in its place.
    """

    old: str
    new: str

    def places(self, project: Path) -> list[tuple[Path, str]]:
        """Every place that holds the text."""
        pattern = re.compile(r"\s+".join(map(re.escape, self.old.split())))
        return [
            (file, f"{text[: found.start()]}{self.new}{text[found.end() :]}")
            for file in _texts(project)
            for text in [file.read_text(encoding="utf-8")]
            for found in pattern.finditer(text)
        ]


@dataclass(frozen=True)
class Mutation:
    """A protection that is taken away.

    Attributes:
        protection: What it is called.
        change: How it is taken away.
        test: The test that must fail then, as pytest takes it.
    """

    protection: str
    change: Change
    test: str


_DELETES = "tests/property/test_deletes.py::"
_HISTORY = "tests/property/test_history.py::"
MUTATIONS = (
    Mutation(
        "guard row of the stream",
        Code("changed = lake.value(...)", "changed = 1"),
        "tests/integration/test_exactly_once.py::"
        "test_of_two_feeders_with_open_transactions_one_wins",
    ),
    Mutation(
        "place where the queue begins",
        Code("first_pending(lake, stream, ...)", "guard.file_count + 1"),
        "tests/integration/test_bounded_work.py",
    ),
    Mutation(
        "registrations are compared as of the ledger's snapshot",
        Text("begin_snapshot <= ?", "(begin_snapshot <= ? OR true)"),
        "tests/integration/test_exactly_once.py::"
        "test_a_file_that_lands_while_all_is_compared_is_not_taken_for_unknown",
    ),
    Mutation(
        "a stream that asks lets no file change its table",
        Code('on_schema_change == "ask"', "False"),
        "tests/integration/test_approvals.py::"
        "test_others_land_and_one_question_names_those_that_wait",
    ),
    Mutation(
        "keys of notifications are decoded",
        Code("unquote_plus(key)", "key"),
        "tests/unit/bucket/test_notifications.py::test_a_key_is_read_however_it_came",
    ),
    Mutation(
        "a notification of another bucket wakes nobody",
        Code("bucket == self._bucket", "True"),
        "tests/dags/test_events.py::"
        "test_a_forged_message_costs_one_listing_of_the_stream_that_it_names",
    ),
    Mutation(
        "streams are polled while the queue does not answer",
        Code("max(listed_at + seconds, self._heard_at + _SILENCE_SECONDS)", "float('inf')"),
        "tests/dags/test_events.py::"
        "test_while_the_queue_does_not_work_the_bucket_is_polled_and_the_log_says_why_once",
    ),
    Mutation(
        "what a person has accepted may change the table",
        Code('"evolve" if is_accepted else options.on_schema_change', "options.on_schema_change"),
        "tests/integration/test_approvals.py::"
        "test_what_is_accepted_lands_and_so_does_what_comes_after",
    ),
    Mutation(
        "a run of the stream follows an operation",
        Code('form["operation"] in _FOR_THE_NEXT_RUN', "False"),
        "tests/dags/test_operations.py::"
        "test_the_stream_runs_after_an_operation_and_not_after_a_dry_run",
    ),
    Mutation(
        "a run fails whose stream could not be reconciled",
        Code("[reconciled, run_streams(landed)] >> fail()", "run_streams(landed)"),
        "tests/dags/test_alerts.py::test_upkeep_that_fails_is_told_once_and_so_is_its_end",
    ),
    Mutation(
        "a stream takes no file of another one",
        Code("self.has_own_folder or is_of(self.pattern, key)", "True"),
        "tests/integration/test_layouts.py::"
        "test_streams_of_one_folder_leave_each_other_their_files",
    ),
    Mutation(
        "objects of an earlier path format are not missing",
        Code("file.key.startswith(prefix)", "True"),
        "tests/integration/test_layouts.py::test_another_path_format_takes_nothing_for_missing",
    ),
    Mutation(
        "rows whose key has no day are not the row of NULLs",
        Code('"(rowid > 0 OR year IS NOT NULL)"', '"year IS NOT NULL"'),
        "tests/integration/test_layouts.py::"
        "test_rows_without_a_day_are_counted_and_never_taken_for_the_row_of_nulls",
    ),
    Mutation(
        "a day is retired by its files",
        Text("{pruned}filename IN (", "{pruned}true OR filename IN ("),
        "tests/integration/test_layouts.py::"
        "test_without_a_day_in_the_key_the_day_is_that_of_the_object",
    ),
    Mutation(
        "folders of a key that are named as a field",
        Code("folders.difference(HIVE_COLUMNS)", "set()"),
        "tests/integration/test_layouts.py::"
        "test_a_folder_that_is_named_as_a_field_does_not_take_its_place",
    ),
    Mutation(
        "rows of a copy are counted",
        Code("counts[0] != footer.row_count", "False"),
        "tests/integration/test_formats.py::test_rows_of_a_copy_are_counted",
    ),
    Mutation(
        "a CSV without a header is refused",
        Code('{"_airbyte_raw_id", "_airbyte_ab_id"} & set(names)', "True"),
        "tests/integration/test_formats.py::"
        "test_a_file_with_a_bad_line_is_quarantined_with_the_reason",
    ),
    Mutation(
        "lines that JSON columns cannot hold are kept whole",
        Text("THEN {text} END AS {WHOLE_LINE}", "THEN NULL::VARCHAR END AS {WHOLE_LINE}"),
        "tests/integration/test_formats.py::"
        "test_a_line_that_json_columns_cannot_hold_is_kept_whole",
    ),
    Mutation(
        "second look at the ledger, in the transaction",
        Code("outcome.file.position in waiting", "True"),
        "tests/integration/test_exactly_once.py::"
        "test_two_feeders_that_read_the_same_footers_land_each_file_once",
    ),
    Mutation(
        "registrations that come while a stream is removed are forgotten, too",
        Code("_registered(self.lake, self.stream)", "False"),
        "tests/integration/test_removal.py::test_a_file_that_lands_meanwhile_is_not_deleted_either",
    ),
    Mutation(
        "files of a removed stream are unknown again",
        Code("Change(events, Cursor())", "Change((), Cursor())"),
        "tests/integration/test_removal.py::"
        "test_no_object_of_a_removed_stream_is_deleted_and_all_land_again",
    ),
    Mutation(
        "an incremental enriched model works out again what belonged to a changed campaign",
        Text(
            "where changed_campaigns.campaign_id is not null or changed_profiles.profile_id",
            "where changed_profiles.profile_id",
        ),
        "tests/pipeline/test_histories.py::"
        "test_late_inputs_of_an_incremental_enriched_model_lead_to_what_a_full_build_gives",
    ),
    Mutation(
        "a forked dbt has the environment that it is given",
        Text("os.environ.clear()", ""),
        "tests/dags/test_dbt_process.py::"
        "test_a_forked_dbt_has_what_it_is_given_and_nothing_of_the_task",
    ),
    Mutation(
        "a forked dbt has no open file of the task",
        Text("os.dup2(nothing, int(name), inheritable=False)", "pass"),
        "tests/dags/test_dbt_process.py::"
        "test_a_forked_dbt_has_what_it_is_given_and_nothing_of_the_task",
    ),
    Mutation(
        "streams of the task close no descriptor of a forked dbt",
        Text("_of_the_task.extend((sys.stdin, sys.stdout, sys.stderr))", ""),
        "tests/dags/test_dbt_process.py::"
        "test_a_forked_dbt_has_what_it_is_given_and_nothing_of_the_task",
    ),
    Mutation(
        "a forked dbt ends with its task",
        Text("ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)", "pass"),
        "tests/dags/test_dbt_process.py::test_dbt_ends_with_a_task_that_is_killed",
    ),
    Mutation(
        "dbt is not forked from a process with other threads",
        Text('and len(os.listdir("/proc/self/task")) == 1', ""),
        "tests/dags/test_dbt_process.py::test_the_program_runs_where_a_fork_would_not_be_sound",
    ),
    Mutation(
        "dbt tells views from tables as its adapter does",
        Text("anti join views using (table_name, schema_name)", ""),
        "tests/pipeline/test_relations.py",
    ),
    Mutation(
        "comments are written only when they change",
        Text("and present.get(name | lower, '') != column.description", ""),
        "tests/pipeline/test_comments.py",
    ),
    Mutation(
        "the balance sheet compares rows file by file",
        Code("ledger_rows != table_rows", "False"),
        "tests/integration/test_balance.py::"
        "test_rows_that_somebody_deleted_are_named_by_their_file",
    ),
    Mutation(
        "what was registered is compared with the ledger",
        Code("landed ^ data_files.last_registered(...)", "set()"),
        "tests/integration/test_file_list.py::"
        "test_a_lake_that_registers_less_than_the_ledger_says_is_an_error",
    ),
    Mutation(
        "addresses of a glob are those of the list",
        Text("return self._uris", "return self._uris[:-1]"),
        "tests/integration/test_file_list.py::"
        "test_ducklake_writes_for_the_glob_what_it_writes_for_the_list",
    ),
    Mutation(
        "the Lake page shows only Dags that the user may read",
        Code('row["stream_id"] in readable', "True"),
        "tests/unit/airflow/test_filters.py::"
        "test_streams_of_dags_that_are_not_readable_are_not_counted",
    ),
    Mutation(
        "the Lake page asks for a user",
        Code("[Depends(requires_authenticated())]", "[]"),
        "tests/dags/test_lake_page.py::test_nobody_sees_anything",
    ),
    Mutation(
        "what others wrote is text on the Lake page",
        Text("autoescape=True", "autoescape=False"),
        "tests/dags/test_lake_page.py::test_what_others_wrote_is_text_and_no_secret_is_shown",
    ),
    Mutation(
        "a description cannot end the script of the data dictionary",
        Code('json.dumps(data).replace("<", "\\\\u003c")', "json.dumps(data)"),
        "tests/dags/test_lake_page.py::test_the_dictionary_can_do_nothing_but_show_tables",
    ),
    Mutation(
        "the data dictionary has no access to Airflow",
        Text("; sandbox allow-scripts", ""),
        "tests/dags/test_lake_page.py::test_the_dictionary_can_do_nothing_but_show_tables",
    ),
    Mutation(
        "Cosmos makes no events, and copies nothing into the task's process",
        Code("operator.calculate_openlineage_events_completes = lambda *_: False", "pass"),
        "tests/dags/test_runs.py::"
        "test_files_that_arrive_while_a_run_waits_are_fed_processed_and_published",
    ),
    Mutation(
        "no thread of DuckDB is lost in a fork",
        Code("duckdb.default_connection().close()", "None"),
        "tests/dags/test_warm.py::"
        "test_a_forked_process_has_what_its_parent_loaded_and_no_thread_or_socket_of_it",
    ),
    Mutation(
        "a module that cannot be loaded stops no part of Airflow",
        Text("except Exception:  # the process that needs it", "except ZeroDivisionError:  #"),
        "tests/dags/test_warm.py::"
        "test_a_module_that_cannot_be_imported_is_logged_and_stops_nothing",
    ),
    Mutation(
        "identity by ETag and size",
        Code("item.identity not in known", "item.key not in {key for key, *_ in known}"),
        "tests/integration/test_replaced_object.py",
    ),
    Mutation(
        "a listing judges no key of which the ledger has learned since",
        Code("item.key not in newer", "True"),
        "tests/integration/test_listing_and_landing_at_once.py::"
        "test_an_object_that_is_replaced_beside_a_listing_is_not_judged_by_it",
    ),
    Mutation(
        "what lands while all is listed is not missing",
        Text("?::BIGINT IS NULL OR version <= ?", "?::BIGINT IS NULL OR version <> -?"),
        "tests/integration/test_listing_and_landing_at_once.py::"
        "test_what_lands_beside_a_reconcile_is_not_missing",
    ),
    Mutation(
        "a repair takes out what was registered when it looked",
        Code("(str(file.data_file), snapshot + 1)", "(str(file.data_file), 2**62)"),
        "tests/integration/test_listing_and_landing_at_once.py::"
        "test_an_object_that_came_back_beside_a_repair_stays",
    ),
    Mutation(
        "window that reaches behind the cursor",
        Code("timedelta(days=lookback_days)", "timedelta(0)"),
        "tests/integration/test_nothing_is_late.py",
    ),
    Mutation(
        "only earlier registrations are forgotten",
        Text(
            "registered.begin_snapshot < bounds.before",
            "registered.begin_snapshot <> -bounds.before",
        ),
        "tests/integration/test_reload.py::test_a_feeder_that_is_behind_does_not_undo_a_reload",
    ),
    Mutation(
        "earlier registrations of an object are forgotten",
        Code("data_files.forget(...)", "0"),
        "tests/integration/test_reload.py::test_a_file_that_somebody_registered_by_hand_lands_once",
    ),
    Mutation(
        "generations that start again are asked about",
        Code("self._ask_about_restart(lake)", "None"),
        "tests/integration/test_overwrite_streams.py::"
        "test_generations_that_start_again_are_asked_about_and_land",
    ),
    Mutation(
        "parts without a generation do not delete each other's rows",
        Code("file.generation_id == newest", "file.generation_id == newest is not None"),
        "tests/integration/test_overwrite_streams.py::"
        "test_parts_without_a_generation_are_one_table",
    ),
    Mutation(
        "models follow a generation without rows",
        Text("OR ? AND (event = 'empty' OR remark = ?)", "OR ? AND false AND remark = ?"),
        "tests/pipeline/test_overwrite.py::"
        "test_the_processed_table_is_empty_once_the_generation_is",
    ),
    Mutation(
        "only who knows that a source is empty empties its table",
        Code("repair and divisible", "repair"),
        "tests/integration/test_overwrite_streams.py::"
        "test_nothing_depends_on_the_objects_once_they_have_landed",
    ),
    Mutation(
        "a state is alerted once",
        Code("condition not in told", "True"),
        "tests/dags/test_alerts.py::test_a_change_of_state_is_told_once_and_so_is_its_end",
    ),
    Mutation(
        "rows out of balance are alerted",
        Code("unbalanced.get(name)", "None"),
        "tests/dags/test_alerts.py::test_rows_out_of_balance_are_told_once",
    ),
    Mutation(
        "a rewind waits until somebody confirms it",
        Code('form["operation"] in _CONFIRMED', "False"),
        "tests/dags/test_operations.py::test_a_rewind_is_shown_and_waits_until_it_is_confirmed",
    ),
    Mutation(
        "what was acknowledged is not alerted",
        Code("condition in subject.acknowledged", "False"),
        "tests/dags/test_alerts.py::test_what_somebody_has_seen_is_silent_until_there_is_more",
    ),
    Mutation(
        "commits that conflict are counted",
        Code('incr("lotus_lake.commit_conflicts", tags={"dag_id": dag_id})', "None"),
        "tests/dags/test_metrics.py::test_the_state_of_each_stream_reaches_the_collector",
    ),
    Mutation(
        "failed upkeep is alerted once",
        Code("Variable.get(FAILED + name, default=None) is None", "True"),
        "tests/dags/test_alerts.py::test_upkeep_that_fails_is_told_once_and_so_is_its_end",
    ),
    Mutation(
        "what the store would not give is tried again",
        Code('event == "quarantined" and is_due', "False"),
        "tests/integration/test_refused_objects.py::test_a_passing_404_lands_without_anybody",
    ),
    Mutation(
        "and again after growing pauses",
        Text("pow(4, count(*) FILTER (remark = ?) - 1)", "pow(1, count(*) FILTER (remark = ?))"),
        "tests/integration/test_refused_objects.py::test_the_pauses_grow_up_to_a_day",
    ),
    Mutation(
        "an object that the store fails on stops no other",
        Code("any(_gives_whole(lake, key) for key in dict.fromkeys((one, another)))", "False"),
        "tests/integration/test_poison.py::test_an_object_that_the_store_fails_on_stops_no_other",
    ),
    Mutation(
        "an answer of the store that never ends is given up",
        Code("thread.join(seconds)", "thread.join()"),
        "tests/unit/bucket/test_answers.py",
    ),
    Mutation(
        "a task that waits for a frozen catalog ends",
        Code("faulthandler.dump_traceback_later(...)", "None"),
        "tests/dags/test_time_limits.py",
    ),
    Mutation(
        "no snapshot expires that an open transaction needs",
        Code("min(moment, began - MAX_SKEW)", "moment"),
        "tests/integration/test_expiry_beside_feeders.py",
    ),
    Mutation(
        "ids of scheduled deletions are random",
        Text("hash(path, uuid())", "hash(path)"),
        "tests/integration/test_orphans.py::"
        "test_two_that_schedule_one_deletion_at_once_give_two_ids",
    ),
    Mutation(
        "objects are deleted on the condition of their ETag",
        Text(", IfMatch=f'\"{item.etag}\"'", ""),
        "tests/integration/test_retirement.py::"
        "test_an_object_that_is_written_just_before_the_delete_stays",
    ),
    Mutation(
        "rows of a replaced object leave the landing table when it is noticed",
        Code("(taken_out := forget(...))", "taken_out := 0"),
        "tests/integration/test_replaced_before_processing.py::"
        "test_the_table_stays_readable_and_the_others_go_on",
    ),
    Mutation(
        "every value is read before a file lands",
        Code('stream.feeder.validation == "full"', "False"),
        "tests/integration/test_one_bad_file_stops_nothing.py::"
        "test_a_damaged_body_is_found_before_anybody_reads_it",
    ),
    Mutation(
        "what was not published is work",
        Code("is_published(consumers, look.processed_snapshot_id)", "True"),
        "tests/dags/test_runs.py::"
        "test_an_update_that_never_reached_airflow_is_published_by_the_next_run",
    ),
    Mutation(
        "a merge on text asks DuckLake for no keys",
        Text("not is_incremental() or has_text_key()", "false"),
        "tests/pipeline/test_scaffolded.py::test_a_discovered_stream_runs_at_once",
    ),
    Mutation(
        "large numbers are no seconds",
        Text("< 1e11 then", "< 1e300 then"),
        "tests/unit/test_newest_wins.py::test_numbers_of_any_size_are_times_in_their_order",
    ),
    Mutation(
        "a version whose test fails is not published",
        Text("{{ refuse_to_publish(failed) }}", ""),
        "tests/pipeline/test_audit.py::"
        "test_a_version_whose_test_fails_is_seen_by_nobody_until_rule_or_data_is_mended",
    ),
    Mutation(
        "what builds an enriched table is one transaction",
        Text('+pre-hook: "{{ note_build() }}"', ""),
        "tests/pipeline/test_audit.py::"
        "test_a_model_that_dbt_would_commit_at_once_is_tested_before_it_is_seen",
    ),
    Mutation(
        "failed rows outlive the transaction that they fail",
        Text("{%- do run_query('rollback') -%}", ""),
        "tests/pipeline/test_audit.py::test_at_most_a_hundred_rows_of_a_test_are_kept",
    ),
    Mutation(
        "what may be the store's or the catalog's fault is tried again",
        Code(
            "bool(_SAME_AGAIN.search(said)) and not is_gone(said) and 's3://' not in said",
            "bool(_SAME_AGAIN.search(said))",
        ),
        "tests/unit/project/test_run_results.py::"
        "test_an_error_of_sql_or_values_fails_again_and_one_of_the_world_may_not",
    ),
    Mutation(
        "failed models rest before the next run",
        Code("end if end > time.time() else None", "None"),
        "tests/dags/test_sensor.py::test_models_rest_for_some_minutes_after_a_run_that_failed",
    ),
    Mutation(
        "a test has its own settings, and not the model's",
        Text("{%- do context.update({'config': dict(test.config, store_failures=true)}) -%}", ""),
        "tests/pipeline/test_audit.py::test_every_kind_of_test_is_run_with_its_own_settings",
    ),
    Mutation(
        "a query calls only table functions that read",
        Code("_TABLE_FUNCTIONS.fullmatch(name)", "True"),
        "tests/integration/test_query.py::test_sql_that_is_only_to_read_cannot_write",
    ),
    Mutation(
        "a query is one SELECT",
        Code('serialized["error"] or len(serialized["statements"]) != 1', "False"),
        "tests/integration/test_query.py::test_sql_that_is_only_to_read_cannot_write",
    ),
    Mutation(
        "a query reads no files but the lake's",
        Code("confine(lake.con, lake.settings)", "None"),
        "tests/integration/test_query.py::test_sql_that_is_only_to_read_reads_nothing_but_the_lake",
    ),
    Mutation(
        "casts must not change a value",
        Code("[losses(lake, rows, plan.lost)]", "[Losses(0, {})]"),
        "tests/integration/test_schema_changes.py::"
        "test_another_type_is_quarantined_when_a_value_would_change",
    ),
    Mutation(
        "a value that does not fit is rescued",
        Text("with_rescued=bool(found.rows)", "with_rescued=False"),
        "tests/integration/test_rescue.py::test_a_file_of_another_type_lands_with_every_row",
    ),
    Mutation(
        "the bounds of many columns are read in portions",
        Text("_COLUMNS_AT_ONCE = 250", "_COLUMNS_AT_ONCE = 10_000"),
        "tests/integration/test_rescue.py::test_of_many_columns_those_are_rescued_that_do_not_fit",
    ),
    Mutation(
        "nothing is fed under a name that a stream is about to give up",
        Code("refuse_while_renamed(lake, stream)", "None"),
        "tests/integration/test_renaming.py::"
        "test_nothing_is_fed_under_the_old_name_before_the_project_has_the_new_one",
    ),
    Mutation(
        "objects of a renamed stream keep their keys",
        Text('"stream_name": stream.stream_name}', '"stream_name": name}'),
        "tests/unit/scaffold/test_stream_renaming.py::test_nothing_of_a_project_has_the_old_name",
    ),
    Mutation(
        "a table that lacks the column of rescued values gets it before the copy",
        Code("RESCUED not in table_types(lake, stream)", "False"),
        "tests/integration/test_rescue.py::"
        "test_a_table_that_lost_the_column_since_it_was_looked_at_gets_it",
    ),
    Mutation(
        "scaffolded models carry what was rescued",
        Text('RESCUED: "",', ""),
        "tests/integration/test_reading_rescued.py::"
        "test_versions_that_differ_only_in_what_was_rescued_are_versions",
    ),
    Mutation(
        "a model is advised to carry what was rescued",
        Code("columns is not None and RESCUED not in columns", "False"),
        "tests/unit/validation/test_validation.py::test_a_model_is_advised_to_carry_rescued_values",
    ),
    Mutation(
        "a copy has all rows of its file",
        Code("counts[0] != footer.row_count", "False"),
        "tests/integration/test_rescue.py::test_a_copy_has_as_many_rows_as_its_file_says",
    ),
    Mutation(
        "a fraction that an integer does not have is rescued",
        Text("regexp_full_match({text}, {literal(pattern)})", "true"),
        "tests/unit/landing/test_conversion.py::"
        "test_text_is_in_its_column_exactly_if_it_says_such_a_value",
    ),
    Mutation(
        "JSON whose numbers DuckDB would change stays text",
        Text("IS NOT DISTINCT FROM {back})", "IS NOT DISTINCT FROM {back} OR true)"),
        "tests/unit/landing/test_conversion.py::test_long_numbers_of_json_are_not_changed",
    ),
    Mutation(
        "a file that crashed its process is opened by a child",
        Code("was_attempted(lake, stream, waiting[0].position, waiting[-1].position)", "False"),
        "tests/integration/test_poison.py::test_a_file_that_crashes_its_reader_is_quarantined_alone",
    ),
    Mutation(
        "an error of HTTP is not taken for that of the store",
        Code("not _store_gives(lake, error, suspects, batch)", "True"),
        "tests/integration/test_damaged_files.py::test_no_damaged_file_stops_another",
    ),
    Mutation(
        "lists in lists have a limit",
        Code("deepest.lists <= _LISTS", "True"),
        "tests/integration/test_poison.py::test_a_file_that_cannot_be_read_is_quarantined_alone",
    ),
    Mutation(
        "bytes become text as UTF-8, not as escapes",
        Text('f"TRY(decode({it}))" if source.id == "blob" else', ""),
        "tests/integration/test_every_type_lands.py::"
        "test_bytes_without_annotation_land_as_the_text_that_they_are",
    ),
    Mutation(
        "a time of day lands as DuckLake reads it",
        Code('"TIME" if str(kind) == "TIME WITH TIME ZONE" else str(kind)', "str(kind)"),
        "tests/integration/test_every_type_lands.py::test_every_type_lands_with_its_value",
    ),
    Mutation(
        "a field hides no column of every landing table",
        Code('f"source_{name}" if folded(name) in taken else name', "name"),
        "tests/integration/test_schema_changes.py::"
        "test_a_field_under_a_name_that_is_taken_lands_under_another",
    ),
    Mutation(
        "a column whose name another one has is rescued",
        Code("owners.get(folded(column.name or '')) is column", "True"),
        "tests/integration/test_rescue.py::test_values_whose_name_another_column_has_are_rescued",
    ),
    Mutation(
        "files of a schema that DuckLake refuses are copied at once",
        Code('"Failed to map column" not in said', "True"),
        "tests/integration/test_every_type_lands.py::"
        "test_files_of_one_shape_that_ducklake_refuses_are_copied_together",
    ),
    Mutation(
        "retention waits for every consumer",
        Code("newest <= marks[slowest]", "newest >= 0"),
        "tests/integration/test_retirement.py::"
        "test_only_days_that_are_old_and_consumed_by_all_are_retired",
    ),
    Mutation(
        "retention looks again, in the transaction",
        Code("max(landed) > min(watermarks(lake, consumers).values())", "False"),
        "tests/integration/test_retirement.py::"
        "test_a_file_that_lands_while_its_day_is_chosen_is_not_retired",
    ),
    Mutation(
        "upkeep keeps what was put on its list since a live branch was made",
        Code("min([untouchable_since(lake), *made])", "untouchable_since(lake)"),
        "tests/integration/test_branches.py::test_the_origin_keeps_what_a_live_branch_reads",
    ),
    Mutation(
        "no file of the origin gets on the deletion list of a branch",
        Text("BEGIN SELECT RAISE(IGNORE); END", "BEGIN SELECT 1; END"),
        "tests/integration/test_branches.py::"
        "test_a_branch_deletes_no_file_of_its_origin_whatever_is_asked_of_it",
    ),
    Mutation(
        "the same in Postgres",
        Text("THEN RETURN NULL; END IF;", "THEN RETURN NEW; END IF;"),
        "tests/integration/test_branches.py::"
        "test_a_branch_deletes_no_file_of_its_origin_whatever_is_asked_of_it",
    ),
    Mutation(
        "a branch has no upkeep",
        Text("if lake.settings.branch:\n        raise", "if False:\n        raise"),
        "tests/integration/test_branches.py::test_a_branch_has_no_upkeep_and_retires_nothing",
    ),
    Mutation(
        "a branch retires nothing",
        Text(
            "strategy_of(stream).retires and not lake.settings.branch",
            "strategy_of(stream).retires",
        ),
        "tests/integration/test_branches.py::test_a_branch_has_no_upkeep_and_retires_nothing",
    ),
    Mutation(
        "objects that a live branch may read are not deleted at once",
        Code("[branch.name for branch in read_branches(lake) if branch.is_live]", "[]"),
        "tests/integration/test_branches.py::"
        "test_the_objects_of_a_stream_are_not_deleted_from_a_branch_or_under_one",
    ),
    Mutation(
        "a model whose inputs have changed is built",
        Code("name not in tables or tables[name] in changed", "name not in tables"),
        "tests/integration/test_builds.py::test_whatever_changes_a_table_builds_it",
    ),
    Mutation(
        "a model whose table somebody has changed is built",
        Code("tables[model] in changed_tables(lake, LAKE, built)", "False"),
        "tests/integration/test_builds.py::test_whatever_changes_a_table_builds_it",
    ),
    Mutation(
        "a model is built if changes may have expired",
        Code("oldest_snapshot(lake) > read + 1", "False"),
        "tests/integration/test_builds.py::test_changes_that_have_expired_are_not_known",
    ),
    Mutation(
        "a model with functions such as random() is always built",
        Code("str(names[-1]).lower() in _volatile_functions()", "False"),
        "tests/unit/project/test_fingerprints.py::test_a_model_that_may_differ_every_time_has_none",
    ),
    Mutation(
        "a model that reads other tables is always built",
        Text('and part["table_name"] not in tables | ctes', "and False"),
        "tests/unit/project/test_fingerprints.py::test_a_model_that_may_differ_every_time_has_none",
    ),
    Mutation(
        "a model that was not published is built again",
        Text("if reason is None and not is_published([name], built):", "if False:"),
        "tests/dags/test_runs.py::test_a_model_whose_inputs_have_not_changed_is_skipped_unless_the_run_forces_it",
    ),
    Mutation(
        "a change that loses something is refused",
        Code("lost and refuse_destructive", "False"),
        "tests/integration/test_diff.py::test_what_is_lost_can_be_refused",
    ),
    Mutation(
        "only a branch is migrated",
        Code("settings.branch and migrate", "migrate"),
        "tests/integration/test_upgrade.py::test_the_branch_is_migrated_and_the_lake_is_not",
    ),
    Mutation(
        "a promotion conflicts with a feeder that retires",
        Code("_hold_streams(judge, chosen, run_id)", "None"),
        "tests/integration/test_promotion.py::test_a_promotion_and_retiring_do_not_pass_each_other",
    ),
    Mutation(
        "a promotion takes over no ids of the branch",
        Code("min(int(found), self.source.shared)", "int(found)"),
        "tests/integration/test_promotion.py::test_tables_are_promoted_together_and_go_back",
    ),
    Mutation(
        "a promotion that lacks rows is refused",
        Code("behind and not may_be_behind", "False"),
        "tests/integration/test_promotion.py::test_a_table_that_lacks_what_readers_see_is_refused",
    ),
    Mutation(
        "rows of retired files are not lost by a promotion",
        Text("if lost := self._lost_files(model, stream):", "if lost := 0:"),
        "tests/integration/test_promotion.py::test_rows_that_only_the_table_has_are_not_lost",
    ),
    Mutation(
        "tables that belong together are promoted together",
        Code("self.source.is_changed(parent) and parent not in chosen", "False"),
        "tests/integration/test_promotion.py::test_tables_that_do_not_belong_together_are_refused",
    ),
    Mutation(
        "only whole files are registered again",
        Code("rows == visible[name]", "True"),
        "tests/integration/test_promotion.py::test_rows_are_right_whatever_holds_them",
    ),
    Mutation(
        "files with columns of DuckLake's own are not registered again",
        Text('hive_partitioning => false)") == shape', 'hive_partitioning => false)") is not None'),
        "tests/integration/test_promotion.py::test_rows_are_right_whatever_holds_them",
    ),
    Mutation(
        "tables put in place have files of their own",
        Code('f"{folder}ducklake-{uuid4()}.parquet"', "file"),
        "tests/integration/test_promotion.py::"
        "test_a_table_goes_back_by_itself_and_no_file_is_shared",
    ),
    Mutation(
        "a branch whose files the lake reads is not dropped",
        Code("files_below(lake, folder)", "0"),
        "tests/integration/test_branches.py::"
        "test_a_branch_whose_files_the_lake_reads_is_not_dropped",
    ),
    Mutation(
        "upkeep compares what it deletes with what was retired",
        Code("[*_not_retired(lake), *orphans.adopted(lake)]", "[*orphans.adopted(lake)]"),
        "tests/integration/test_retirement.py::"
        "test_an_object_that_was_written_anew_is_not_deleted_for_the_one_that_was_retired",
    ),
    Mutation(
        "a generation waits until the old one is gone",
        Code('file.event in ("copied", "empty") and file.generation_id != newest', "False"),
        "tests/integration/test_overwrite_streams.py::"
        "test_a_generation_takes_the_place_of_the_one_before_in_one_commit",
    ),
    Mutation(
        "a generation with a bad file does not land",
        Code('any(outcome.event == "quarantined" for outcome in outcomes)', "not outcomes"),
        "tests/integration/test_overwrite_streams.py::test_a_bad_file_keeps_the_generation_before",
    ),
    Mutation(
        "one writer at a time on SQLite",
        Code("_wait_for_lock(file)", "None"),
        "tests/integration/test_catalog.py",
    ),
    Mutation(
        "newest version wins",
        Text(
            "{{ version('arrived') }} > {{ version('merged') }}",
            "{{ version('arrived') }} is distinct from {{ version('merged') }}",
        ),
        "tests/pipeline/test_histories.py::"
        "test_any_order_of_arrival_and_any_batches_lead_to_the_same_tables",
    ),
    Mutation(
        "older versions are left out of a first build",
        Text("_lake_row_id desc ) > 1", "_lake_row_id desc ) > 2"),
        "tests/property/test_any_order_of_batches.py",
    ),
    Mutation(
        "a bad value stops no model",
        Text(
            "try_cast({{ column }} as {{ type }}) as {{ column }}",
            "cast({{ column }} as {{ type }}) as {{ column }}",
        ),
        "tests/unit/scaffold/test_model.py::"
        "test_a_value_that_its_column_cannot_hold_is_null_and_named",
    ),
    Mutation(
        "a delete is remembered",
        Text("{{ version(rows) }} < {{ version('kept_out') }}", "false"),
        "tests/property/test_deletes.py",
    ),
    Mutation(
        "a record that comes back is no longer kept out",
        Text("'merged', 'kept_out') }} )", "'merged', 'kept_out') }} and false )"),
        "tests/property/test_deletes.py",
    ),
    Mutation(
        "a row is told from its copies",
        Text("on {{ rows }}._lake_row_id = older._lake_row_id and", "on"),
        "tests/property/test_any_order_of_batches.py",
    ),
    Mutation(
        "what is new is told by snapshots, not by time",
        Text(
            "getvariable('landed_start'), getvariable('landed_to') ) "
            "where snapshot_id > getvariable('landed_from')",
            "getvariable('landed_start'), getvariable('landed_to')) where _airbyte_extracted_at > "
            "(select max(_airbyte_extracted_at) from {{ this }})",
        ),
        "tests/pipeline/test_histories.py::"
        "test_any_order_of_arrival_and_any_batches_lead_to_the_same_tables",
    ),
    Mutation(
        "two runs of a model conflict",
        Text("updated_at = now();", "updated_at = now() where false;"),
        "tests/pipeline/test_crashes.py::test_two_runs_of_a_model_at_once_double_no_row",
    ),
    Mutation(
        "a full refresh does not lose retired rows",
        Text("{%- if files -%}", "{%- if files < 0 -%}"),
        "tests/pipeline/test_going_back.py::"
        "test_a_full_refresh_that_would_lose_retired_records_is_refused",
    ),
    Mutation(
        "deleted files wait as long as a dump may need them",
        Code("max(FILE_DAYS, settings.backup_days)", "FILE_DAYS"),
        "tests/pipeline/test_disaster.py::test_a_dump_as_old_as_it_may_be_brings_everything_back",
    ),
    Mutation(
        "no full refresh of a table that was rebuilt from its files",
        Text(
            'partition_date=None, event="retired"',
            'partition_date=None, event="ignored"',
        ),
        "tests/pipeline/test_disaster.py::test_without_a_dump_everything_comes_back_from_files",
    ),
    Mutation(
        "keys of a role are renewed under an open lake",
        Code('hasattr(credentials, "refresh_needed")', "False"),
        "tests/integration/test_roles.py::"
        "test_a_role_is_enough_and_its_keys_are_renewed_under_an_open_lake",
    ),
    Mutation(
        "schedules that Airflow refuses",
        Code("schedule not in _SCHEDULE_WORDS", "False"),
        "tests/unit/config/test_streams.py::test_a_bad_document_is_told_precisely",
    ),
    Mutation(
        "a Dag that fails hides no other",
        Code("wanted == dag_id", "True"),
        "tests/dags/test_integrity.py::"
        "test_a_dag_that_airflow_refuses_is_an_import_error_and_hides_no_other",
    ),
    Mutation(
        "models are built from the project as it last parsed",
        Code("copy if copy.exists() else dbt_dir", "dbt_dir"),
        "tests/unit/project/test_manifest.py::"
        "test_a_project_that_does_not_parse_keeps_its_last_good_manifest",
    ),
    Mutation(
        "the last good manifest stays",
        Code("beside = target / _BESIDE", "beside = target"),
        "tests/unit/project/test_manifest.py::"
        "test_a_project_that_does_not_parse_keeps_its_last_good_manifest",
    ),
    Mutation(
        "a model's table has the model's name",
        Text("node.resource_type == 'model' and not node.version", "false"),
        "tests/unit/validation/test_layout.py::test_alias_and_schema_of_a_model_change_nothing",
    ),
    Mutation(
        "domains that start each other are no Dags",
        Code("domain_problems(all_models).get(domain)", "None"),
        "tests/dags/test_integrity.py::"
        "test_a_domain_that_cannot_be_a_dag_is_an_import_error_and_hides_no_other",
    ),
    Mutation(
        "a domain waits for its inputs",
        Text("sorted({*inputs} - lake.tables", "sorted(set() - lake.tables"),
        "tests/dags/test_runs.py::"
        "test_a_domain_waits_until_every_table_that_it_reads_was_built_once",
    ),
    Mutation(
        "the signature of an extension is checked",
        Text("path = _load_signed(con, name)", "path = wheel or Path()"),
        "tests/unit/lake/test_extensions.py::test_an_extension_with_a_wrong_signature_is_refused",
    ),
    Mutation(
        "an extension that took the place of one that was checked is checked",
        Text(" or not known.is_there():", ":"),
        "tests/unit/lake/test_extensions.py::"
        "test_a_file_that_takes_the_place_of_one_that_was_checked_is_checked",
    ),
    Mutation(
        "a wait gives way to a run that is queued",
        Text('if self.arguments["dag_id"] and time', 'if "" and time'),
        "tests/dags/test_sensor.py::test_a_wait_gives_way_to_a_run_that_is_queued",
    ),
    Mutation(
        "every task has a time limit",
        Text('"execution_timeout": task_timeout(is_long=has_long_tasks),', ""),
        "tests/dags/test_integrity.py::"
        "test_every_task_has_a_time_limit_and_one_setting_changes_all_of_them",
    ),
    Mutation(
        "nothing is retired while the project does not parse",
        Code("Manifest(manifest, False, parsed)", "Manifest(manifest, True, parsed)"),
        "tests/dags/test_integrity.py::"
        "test_a_model_that_does_not_parse_is_one_import_error_and_every_dag_goes_on",
    ),
    Mutation(
        "versions follow the log when they are merged",
        Text("{% if follows_log() %}coalesce({{ relation }}._log_position, ''),{% endif %}", ""),
        f"{_DELETES}test_the_newest_by_the_log_wins_and_so_does_a_delete_in_any_order_of_arrival",
    ),
    Mutation(
        "versions follow the log among those that arrive together",
        Text("{% if follows_log() %}_log_position desc nulls last,{% endif %}", ""),
        f"{_DELETES}test_the_newest_by_the_log_wins_and_so_does_a_delete_in_any_order_of_arrival",
    ),
    Mutation(
        "a refresh is newer than the log before it",
        Text("lpad(coalesce(_airbyte_generation_id, 0)::varchar, 20, '0')", "''"),
        f"{_DELETES}test_the_newest_by_the_log_wins_and_so_does_a_delete_in_any_order_of_arrival",
    ),
    Mutation(
        "a log that began anew is newer than the one before it",
        Text("{%- if restarts -%} {%- set _ = parts", "{%- if false -%} {%- set _ = parts"),
        f"{_DELETES}test_the_newest_by_the_log_wins_and_so_does_a_delete_in_any_order_of_arrival",
    ),
    Mutation(
        "files of a log are ordered by their number",
        Text("nullif({{ file }}, '')", "null"),
        f"{_DELETES}test_the_newest_by_the_log_wins_and_so_does_a_delete_in_any_order_of_arrival",
    ),
    Mutation(
        "a version of a history ends when the next one begins",
        Text("lead(valid_from) over in_order as valid_to", "null::timestamptz as valid_to"),
        f"{_HISTORY}test_a_history_depends_on_the_rows_that_landed_and_on_nothing_else",
    ),
    Mutation(
        "a history keeps the versions that it has",
        Text("{{ known_versions(rows, keys, apart) }}", ""),
        f"{_HISTORY}test_a_history_depends_on_the_rows_that_landed_and_on_nothing_else",
    ),
    Mutation(
        "rows that repeat a version are remembered",
        Text("coalesce(known._lake_repeats, [])", "[]"),
        f"{_HISTORY}test_a_history_depends_on_the_rows_that_landed_and_on_nothing_else",
    ),
    Mutation(
        "a row that repeats a version is none",
        Text("is distinct from _lake_values as", "is not null or true as"),
        f"{_HISTORY}test_a_history_depends_on_the_rows_that_landed_and_on_nothing_else",
    ),
    Mutation(
        "a history is rebuilt from what was written last",
        Text(
            'latest = f"_lake_rows_told = max(_lake_rows_told) OVER (PARTITION BY {key})"',
            'latest = "true"',
        ),
        "tests/pipeline/test_scaffolded.py::"
        "test_a_deleted_record_is_in_no_table_until_it_comes_back",
    ),
)


@functools.cache
def _nodes(source: str) -> tuple[ast.AST, ...]:
    return tuple(ast.walk(ast.parse(source)))


def _texts(project: Path) -> list[Path]:
    dbt = project / "include" / "dbt"
    library = (project / "plugins" / "lotus_lake").rglob("*.py")
    models = (file for kind in ("sql", "yml") for file in dbt.rglob(f"*.{kind}"))
    return sorted(
        file
        for file in (*library, *models)
        if not {"target", "logs"} & set(file.relative_to(project).parts)
    )


def _same(pattern: Any, node: Any) -> bool:
    if isinstance(pattern, ast.Call) and any(map(_is_rest, pattern.args)):
        return (
            isinstance(node, ast.Call)
            and _same(pattern.func, node.func)
            and _same(pattern.args[:-1], node.args[: len(pattern.args) - 1])
        )
    if isinstance(pattern, list):
        return len(pattern) == len(node) and all(map(_same, pattern, node))
    if isinstance(pattern, ast.AST):
        return type(pattern) is type(node) and all(
            _same(getattr(pattern, name), getattr(node, name)) for name in pattern._fields
        )
    return bool(pattern == node)


def _is_rest(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is ...


def _splice(source: str, node: Any, new: str) -> str:
    """Python with another text in the place of a node, whose columns count bytes."""
    lines = source.encode().splitlines(keepends=True)
    start = sum(map(len, lines[: node.lineno - 1])) + node.col_offset
    end = sum(map(len, lines[: node.end_lineno - 1])) + node.end_col_offset
    data = source.encode()
    return (data[:start] + new.encode() + data[end:]).decode()


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
        result = _pytest(copy, *sorted(set(tests)))  # fixtures of a module are made once
    passes = result.returncode == 0
    verdict = "passed" if passes else "FAILED, so nothing can be proved"
    print(f"nothing taken away: {verdict} ({time.monotonic() - started:.0f} s)", flush=True)
    if not passes:
        print(result.stdout[-2000:], result.stderr[-1000:])
    return passes


def _is_killed(mutation: Mutation) -> bool:
    started = time.monotonic()
    with _copy_of_project() as copy:
        places = mutation.change.places(copy)
        if len(places) != 1:
            print(f"{mutation.protection}: STALE, to be found {len(places)} times, and not once")
            return False
        ((file, text),) = places
        file.write_text(text, encoding="utf-8")
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
