"""Compaction changes files and never rows, whatever happens to it, and leaves landing alone."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest

from lotus_lake.lake.connection import open_lake
from lotus_lake.lake.inlined_rows import InlinedRows, purge, read_inlined
from lotus_lake.lake.session import LAKE, META, METADATA, STAGING, Lake
from lotus_lake.lake.tables import DataFile
from lotus_lake.ledger.events import landed_snapshot
from lotus_lake.ledger.guard import read_guard
from lotus_lake.ledger.watermarks import files_read
from lotus_lake.upkeep import compaction
from lotus_lake.upkeep.compaction import MIB, Compaction, Step, compact, next_step
from tests import children
from tests.catalogs import on_postgres
from tests.consuming import consume, expire_and_clean
from tests.feeds import Feed

MAIN = f"{LAKE}.main"
ROWS = 40
INSERTS = 10


def make_table(lake: Lake, name: str = "events", schema: str = MAIN) -> str:
    """A table of ten inserts, more rows each than DuckLake keeps in its catalog."""
    table = f"{schema}.{name}"
    lake.con.execute(f"CREATE SCHEMA IF NOT EXISTS {schema}")
    lake.con.execute(f"CREATE TABLE {table} (id BIGINT, part BIGINT, text VARCHAR)")
    for part in range(INSERTS):
        lake.con.execute(
            f"INSERT INTO {table} SELECT {part * ROWS} + range, {part}, 'row ' || range "
            f"FROM range({ROWS})"
        )
    return table


def rows_of(lake: Lake, table: str) -> list[tuple[object, ...]]:
    return lake.rows(f"SELECT * FROM {table} ORDER BY ALL")


def rows_with_snapshots(lake: Lake, table: str) -> list[tuple[object, ...]]:
    return lake.rows(f"SELECT snapshot_id, * FROM {table} ORDER BY ALL")


def live_files(lake: Lake, name: str) -> list[str]:
    return [
        path
        for (path,) in lake.rows(
            f"SELECT files.path FROM {METADATA}.ducklake_data_file AS files "
            f"JOIN {METADATA}.ducklake_table AS tables USING (table_id) "
            "WHERE files.end_snapshot IS NULL AND tables.end_snapshot IS NULL "
            "AND table_name = ? ORDER BY files.path",
            [name],
        )
    ]


def live_delete_files(lake: Lake) -> int:
    return int(
        lake.value(
            f"SELECT count(*) FROM {METADATA}.ducklake_delete_file WHERE end_snapshot IS NULL"
        )
    )


# What a table needs


def small(number: int, deleted_rows: int = 0) -> list[DataFile]:
    return [DataFile(MIB, 100, deleted_rows)] * number


def test_a_table_of_few_clean_files_needs_nothing() -> None:
    assert next_step("main", []) is None
    assert next_step("main", small(compaction.MERGE_FILES - 1)) is None
    assert next_step("main", [DataFile(600 * MIB, 100, 0)] * 50) is None


def test_small_files_are_merged_and_larger_ones_only_with_their_like() -> None:
    assert next_step("main", small(8)) == Step("merge", max_bytes=8 * MIB)
    larger = [DataFile(20 * MIB, 100, 0)]
    assert next_step("main", larger * 7 + small(1)) == Step("merge", max_bytes=64 * MIB)
    assert next_step("main", larger * 7 + small(8)) == Step("merge", max_bytes=8 * MIB)


def test_what_has_deleted_rows_is_rewritten_if_it_is_small_or_much_is_deleted() -> None:
    step = next_step("main", [*small(3), *small(1, deleted_rows=1)])
    assert step is not None
    assert (step.kind, step.threshold) == ("rewrite", pytest.approx(0.01))
    large = DataFile(400 * MIB, 1000, 299)
    assert next_step("main", [large]) is None
    step = next_step("main", [DataFile(400 * MIB, 1000, 300)])
    assert step is not None
    assert step.threshold <= 0.3


def test_a_step_rewrites_no_more_than_its_bytes_and_the_worst_first() -> None:
    shares = [900, 800, 700, 600]
    step = next_step("main", [DataFile(400 * MIB, 1000, share) for share in shares])
    assert step is not None
    assert step.threshold == pytest.approx(0.8)
    step = next_step("main", [DataFile(4096 * MIB, 1000, 900)])  # more than a step: still one step
    assert step is not None
    assert step.kind == "rewrite"


def test_tables_of_the_ledger_are_never_rewritten() -> None:
    assert next_step("meta", small(7, deleted_rows=50)) is None
    assert next_step("meta", small(8)) == Step("merge", max_bytes=8 * MIB)


def test_rows_in_the_catalog_are_written_when_they_are_many_or_in_the_way() -> None:
    assert next_step("main", small(1), InlinedRows(rows=1, dead_rows=900)) is None
    assert next_step("main", small(1), InlinedRows(rows=100)) == Step("flush")
    assert next_step("main", small(8), InlinedRows(deletions=1)) == Step("flush")
    assert next_step("main", small(8), InlinedRows(dead_rows=5)) == Step("merge", max_bytes=8 * MIB)


# What DuckLake makes of it


def test_small_files_become_one_and_every_row_keeps_its_snapshot(lake: Lake) -> None:
    table = make_table(lake)
    lake.con.execute(f"INSERT INTO {table} VALUES (-1, -1, 'in the catalog')")
    before, start = (
        rows_with_snapshots(lake, table),
        lake.value("SELECT id FROM lakehouse.current_snapshot()") - 4,
    )
    window = (
        f"SELECT snapshot_id, id FROM ducklake_table_insertions('{LAKE}', 'main', 'events', "
        f"{start}, {start + 2}) ORDER BY ALL"
    )
    seen = lake.rows(window)
    assert len(seen) == 3 * ROWS
    dry = compact(lake, dry_run=True)
    assert [work.steps for work in dry.tables] == [("flush",)]
    assert len(live_files(lake, "events")) == INSERTS
    done = compact(lake)
    assert [(work.table, work.steps) for work in done.tables] == [
        ("main.events", ("flush", "merge"))
    ]
    assert (done.tables[0].files_before, done.tables[0].files_after) == (INSERTS, 1)
    assert len(live_files(lake, "events")) == 1
    assert rows_with_snapshots(lake, table) == before
    assert lake.rows(window) == seen
    assert compact(lake) == Compaction((), ())
    expire_and_clean(lake)
    assert rows_with_snapshots(lake, table) == before


def test_deleted_rows_leave_the_files_and_a_snapshot_of_the_past_still_shows_them(
    lake: Lake,
) -> None:
    table = make_table(lake)
    everything, then = (
        rows_of(lake, table),
        lake.value("SELECT id FROM lakehouse.current_snapshot()"),
    )
    lake.con.execute(f"DELETE FROM {table} WHERE id % 2 = 0")
    lake.con.execute(f"DELETE FROM {table} WHERE id = 1")  # few: DuckLake keeps it in the catalog
    left = rows_of(lake, table)
    assert len(left) == ROWS * INSERTS // 2 - 1
    assert live_delete_files(lake) == INSERTS
    [work] = compact(lake).tables
    assert "rewrite" in work.steps
    assert work.files_after == len(live_files(lake, "events")) < compaction.MERGE_FILES
    assert live_delete_files(lake) == 0
    assert rows_of(lake, table) == left
    with open_lake(lake.settings) as other:  # which has nothing of this in its caches
        assert rows_of(other, f"{table} AT (VERSION => {then})") == everything
    assert compact(lake) == Compaction((), ())


@on_postgres
def test_bounds_are_not_restored_over_those_of_somebody_else(lake: Lake) -> None:
    table = make_table(lake)
    lake.con.execute(f"DELETE FROM {table} WHERE id % 2 = 0")
    written: list[int] = []

    def write(statement: str) -> None:
        if "ducklake_table_column_stats AS stats" in statement and not written:
            with open_lake(lake.settings) as other:
                other.con.execute(f"INSERT INTO {table} VALUES (-7, 7, 'far'), (9999, 7, 'away')")
            written.append(2)

    compact(Lake(children.Watched(lake.con, write), lake.settings))  # type: ignore[arg-type]
    assert written
    with open_lake(lake.settings) as other:
        ids = [row[0] for row in rows_of(other, table)]
    assert ids == [-7, *range(1, ROWS * INSERTS, 2), 9999]


def test_a_landing_table_is_never_compacted(feed: Feed, lake: Lake) -> None:
    for part in range(INSERTS):
        feed.put(f"part_{part}.parquet")
        feed.run(lake)
    name = feed.stream.landing_table
    # Whatever its options say.
    lake.con.execute(
        f"CALL {LAKE}.set_option('auto_compact', true, schema => 'staging', table_name => '{name}')"
    )
    files, landed = live_files(lake, name), feed.landed(lake)
    registered = {path for path in files if path.startswith("s3://")}
    assert len(registered) == INSERTS
    assert not [w for w in compact(lake).tables if w.table.startswith("staging.")]
    # Nor is a table of another schema that has somebody else's files.
    lake.con.execute(f"CREATE TABLE {MAIN}.taken AS FROM {STAGING}.{name} LIMIT 0")
    for path in sorted(registered):
        lake.con.execute(
            f"CALL ducklake_add_data_files('{LAKE}', 'taken', ?, schema => 'main', "
            "allow_missing => true)",
            [path],
        )
    assert not [w for w in compact(lake).tables if w.table == "main.taken"]
    assert live_files(lake, name) == files
    assert feed.landed(lake) == landed
    assert feed.objects() == set(feed.sent)


def test_the_ledger_counts_the_same_after_it_was_compacted(feed: Feed, lake: Lake) -> None:
    for part in range(INSERTS):
        for piece in "ab":  # more than ten events at a time are in a file
            for number in range(6):
                feed.put(f"part_{part}_{piece}{number}.parquet", rows=1)
        feed.run(lake)
        if part == INSERTS // 2:
            consume(feed, lake, "int_orders")
            middle = landed_snapshot(lake, feed.stream)
    consume(feed, lake, "int_lines", "int_orders")
    models = ["int_orders", "int_lines"]

    def told() -> list[object]:
        return [
            lake.rows(f"SELECT * FROM {META}.feeder_files ORDER BY ALL"),
            landed_snapshot(lake, feed.stream),
            files_read(lake, feed.stream, models, after=middle),
            files_read(lake, feed.stream, models, after=-1),
        ]

    before = told()
    assert files_read(lake, feed.stream, models, after=middle).files == 12 * 4
    done = compact(lake)
    assert "meta.file_events" in {work.table for work in done.tables}
    assert told() == before
    expire_and_clean(lake)
    purge(lake)
    assert told() == before
    feed.put("one_more.parquet")
    assert feed.run(lake).total.registered == 1


def test_rows_that_no_snapshot_shows_leave_the_catalog(feed: Feed, lake: Lake) -> None:
    for part in range(6):
        feed.put(f"part_{part}.parquet")
        feed.run(lake)
    guard = read_guard(lake, feed.stream)
    seen = sum(rows.dead_rows for rows in read_inlined(lake).values())
    assert seen > 6
    assert purge(lake) == 0  # snapshots show all of them
    expire_and_clean(lake)
    assert purge(lake) >= seen - 2
    assert sum(rows.dead_rows for rows in read_inlined(lake).values()) <= 2
    assert read_guard(lake, feed.stream) == guard
    feed.put("one_more.parquet")
    assert feed.run(lake).total.registered == 1


def test_a_table_that_is_all_in_the_catalog_is_written_to_a_file_when_it_has_grown(
    lake: Lake,
) -> None:
    table = f"{MAIN}.notes"
    lake.con.execute(f"CREATE TABLE {table} (id BIGINT)")
    for start in range(0, compaction.FLUSH_ROWS, 10):
        assert compact(lake) == Compaction((), ())
        lake.con.execute(f"INSERT INTO {table} SELECT {start} + range FROM range(10)")
    before = rows_with_snapshots(lake, table)
    assert live_files(lake, "notes") == []
    assert [work.steps for work in compact(lake).tables] == [("flush",)]
    assert len(live_files(lake, "notes")) == 1
    assert rows_with_snapshots(lake, table) == before


def test_a_spent_budget_leaves_the_rest_to_the_next_run(lake: Lake) -> None:
    for name in ("a", "b"):
        make_table(lake, name)
    assert compact(lake, budget_seconds=-1) == Compaction((), ("main.a", "main.b"))
    assert len(compact(lake).tables) == 2


def test_a_table_that_cannot_be_read_does_not_keep_the_others_from_it(lake: Lake) -> None:
    for name in ("a", "b"):
        make_table(lake, name)
    Path(lake.settings.data_path, "main", "a", live_files(lake, "a")[0]).unlink()
    with pytest.raises(duckdb.IOException, match="No such file"):
        compact(lake)
    assert len(live_files(lake, "a")) == INSERTS
    assert len(live_files(lake, "b")) == 1


# Beside others


@on_postgres
@pytest.mark.parametrize(
    "beside", ["INSERT INTO {} VALUES (-1, -1, 'x')", "DELETE FROM {} WHERE id % 3 = 0"]
)
@pytest.mark.parametrize("before", ["CALL ducklake_merge", "CALL ducklake_flush", "COMMIT"])
def test_whoever_writes_meanwhile_is_not_undone(lake: Lake, beside: str, before: str) -> None:
    table = make_table(lake)
    lake.con.execute(f"INSERT INTO {table} VALUES (-2, -2, 'in the catalog')")
    expected: list[tuple[object, ...]] = []

    def write(statement: str) -> None:
        if statement.startswith(before) and not expected:
            with open_lake(lake.settings) as other:
                other.con.execute(beside.format(table))
                expected.extend(rows_of(other, table))

    watched = Lake(children.Watched(lake.con, write), lake.settings)  # type: ignore[arg-type]
    compact(watched)
    assert expected
    assert rows_of(lake, table) == expected


@on_postgres
def test_a_model_that_is_replaced_meanwhile_is_left_alone(lake: Lake) -> None:
    table = make_table(lake, "fct")
    replaced: list[str] = []

    def replace(statement: str) -> None:
        if statement.startswith("COMMIT") and not replaced:
            replaced.append(statement)
            with open_lake(lake.settings) as other:
                other.con.execute(f"CREATE TABLE {MAIN}.tmp AS SELECT 1 AS id")
                other.con.execute(f"DROP TABLE {table}; ALTER TABLE {MAIN}.tmp RENAME TO fct")

    watched = Lake(children.Watched(lake.con, replace), lake.settings)  # type: ignore[arg-type]
    assert compact(watched) == Compaction((), ())
    assert replaced
    assert rows_of(lake, table) == [(1,)]


def compact_in_child(settings: object, hook: children.Hook) -> None:
    """Child: one run of compaction."""
    with open_lake(settings) as opened:  # type: ignore[arg-type]
        compact(Lake(children.Watched(opened.con, hook), opened.settings))  # type: ignore[arg-type]


def test_a_compaction_that_is_killed_before_any_statement_changes_no_row(lake: Lake) -> None:
    """Killed before each statement in turn, it goes on each time from where it was."""
    table = make_table(lake)
    lake.con.execute(f"DELETE FROM {table} WHERE id % 5 = 0")
    lake.con.execute(f"INSERT INTO {table} VALUES (-2, -2, 'in the catalog')")
    before = rows_of(lake, table)
    kills = 0
    for number in range(1, 60):
        code = children.run(compact_in_child, lake.settings, children.KillBefore(number))
        assert rows_of(lake, table) == before
        if code == 0:
            break
        assert code == children.KILLED
        kills += 1
    assert kills >= 5
    assert compact(lake) == Compaction((), ())
    assert len(live_files(lake, "events")) < compaction.MERGE_FILES
    assert live_delete_files(lake) == 0


@pytest.mark.parametrize("seconds", [0.0, 0.005, 0.02])
def test_a_compaction_that_is_killed_within_a_commit_changes_no_row(
    lake: Lake, seconds: float
) -> None:
    table = make_table(lake)
    before = rows_with_snapshots(lake, table)
    hook = children.KillWithin(1, seconds)
    assert children.run(compact_in_child, lake.settings, hook) in (0, children.KILLED)
    assert rows_with_snapshots(lake, table) == before
    compact(lake)
    assert rows_with_snapshots(lake, table) == before
    assert len(live_files(lake, "events")) == 1
