"""Keep tables in few files: flush inlined rows, rewrite files with deleted rows, merge small files.

Only tables of the lake's own files: never a landing table, whose files are Airbyte's objects. Every
step is one DuckLake commit, so that a kill, a full budget or a lost race leaves the table as it was
before the step, and the next run goes on from there.

Merging and flushing keep the snapshot id of every row; rewriting gives all rows of a file a new
one. The ledger is counted by these ids, so tables of `meta` are merged and never rewritten.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import duckdb

from lotus_lake.errors import CommitConflictError, LotusLakeError
from lotus_lake.lake.connection import LAKE, METADATA, Lake
from lotus_lake.lake.inlined_rows import InlinedRows, read_inlined
from lotus_lake.sql import literal

MIB = 1024**2
# Files below a size are merged once there are so many of them: a row is written again once for each
# of these sizes, however large its table becomes.
MERGE_FILES = 8
MERGE_SIZES = (8 * MIB, 64 * MIB, 512 * MIB)
# A file is rewritten when so many of its rows are deleted, or when it is small: it cannot be merged
# as long as any of its rows is.
HEAVY_SHARE = 0.3
SMALL_FILE = MERGE_SIZES[1]
REWRITE_BYTES = 1024 * MIB
# One-row tables live in the catalog (guards, watermarks) and stay there.
FLUSH_ROWS = 100
BUDGET_SECONDS = 1800.0

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class DataFile:
    """A live file of a table."""

    size_bytes: int
    rows: int
    deleted_rows: int

    @property
    def share(self) -> float:
        """Share of its rows that are deleted."""
        return self.deleted_rows / self.rows if self.rows else 0.0


@dataclass(frozen=True, slots=True)
class Step:
    """One commit of compaction: what to call, and its arguments."""

    kind: Literal["flush", "rewrite", "merge"]
    threshold: float = 0.0
    max_bytes: int = 0


@dataclass(frozen=True, slots=True)
class TableWork:
    """A table that needs compaction, and what was done, or, in a dry run, is to be done first.

    Attributes:
        table: Its name, with its schema.
        steps: Kinds of the steps, in order.
        files_before: Live files before the first step.
        files_after: Live files after the last one.
    """

    table: str
    steps: tuple[str, ...]
    files_before: int
    files_after: int


@dataclass(frozen=True, slots=True)
class Compaction:
    """What a run of compaction did.

    Attributes:
        tables: Tables that needed it, most files first.
        postponed: Those that the budget did not suffice for.
    """

    tables: tuple[TableWork, ...]
    postponed: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Table:
    table_id: int
    schema: str
    name: str

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}"


def compact(
    lake: Lake, *, budget_seconds: float = BUDGET_SECONDS, dry_run: bool = False
) -> Compaction:
    """Compact the tables that need it, those with most files first, one commit a step.

    Args:
        lake: Open lake.
        budget_seconds: No step is begun later than so long after the start.
        dry_run: Change nothing.

    Raises:
        LotusLakeError: A table could not be compacted; the others were.
        duckdb.Error: The same, where nobody knows what it means.
    """
    deadline = time.monotonic() + budget_seconds
    inlined = read_inlined(lake)
    needy = [
        (table, files)
        for table, files in _tables(lake, inlined).items()
        if next_step(table.schema, files, inlined.get(table.table_id)) is not None
    ]
    done: list[TableWork] = []
    postponed: list[str] = []
    failed: Exception | None = None
    for table, files in sorted(needy, key=lambda item: len(item[1]), reverse=True):
        rows = inlined.get(table.table_id)
        if dry_run:
            step = next_step(table.schema, files, rows)
            done.append(TableWork(str(table), (step.kind,) if step else (), len(files), len(files)))
            continue
        if time.monotonic() > deadline:
            postponed.append(str(table))
            continue
        try:
            work, finished = _compact_table(lake, table, files, rows, deadline)
        except (duckdb.Error, LotusLakeError) as error:
            if _exists(lake, table):  # else dbt has replaced it
                log.warning("%s could not be compacted: %s", table, error)
                failed = error
            continue
        done.append(work)
        if not finished:
            postponed.append(str(table))
    for name in postponed:
        log.info("%s is left to the next run: the budget is spent", name)
    if failed is not None:
        raise failed
    return Compaction(tuple(done), tuple(postponed))


def next_step(
    schema: str, files: Sequence[DataFile], inlined: InlinedRows | None = None
) -> Step | None:
    """What a table needs next; `None` when it is fine.

    Args:
        schema: Schema of the table.
        files: Its live files.
        inlined: Its rows and deletions in the catalog.
    """
    step = _rewrite(files) if schema != "meta" else None
    step = step or _merge(files)
    if inlined and (inlined.waiting >= FLUSH_ROWS or (step and inlined.waiting)):
        return Step("flush")
    return step


def _rewrite(files: Sequence[DataFile]) -> Step | None:
    """Rewrite files that are worth it, as many as fit into `REWRITE_BYTES`, the worst first.

    DuckLake takes a share of deleted rows and rewrites every file that reaches it.
    """
    dirty = [file for file in files if file.deleted_rows]
    worth = [f.share for f in dirty if f.share >= HEAVY_SHARE or f.size_bytes < SMALL_FILE]
    chosen: float | None = None
    for share in sorted(set(worth), reverse=True):
        size = sum(file.size_bytes for file in dirty if file.share >= share)
        if chosen is not None and size > REWRITE_BYTES:
            break
        chosen = share
    # A little less than the share: DuckLake divides, too.
    return None if chosen is None else Step("rewrite", threshold=max(chosen - 1e-9, 1e-9))


def _merge(files: Sequence[DataFile]) -> Step | None:
    clean = [file.size_bytes for file in files if not file.deleted_rows]
    for limit in MERGE_SIZES:
        if sum(size < limit for size in clean) >= MERGE_FILES:
            return Step("merge", max_bytes=limit)
    return None


def _compact_table(
    lake: Lake,
    table: _Table,
    files: list[DataFile],
    inlined: InlinedRows | None,
    deadline: float,
) -> tuple[TableWork, bool]:
    """Step by step until the table is fine; also whether it is, as far as it can be."""
    before, steps = len(files), list[str]()
    finished = True
    while step := next_step(table.schema, files, inlined):
        if steps and time.monotonic() > deadline:
            finished = False
            break
        did_something = _run(lake, table, step)
        if step.kind == "flush":  # which does not tell of the deletions that it has written
            inlined = None
        elif not did_something:
            break  # DuckLake finds nothing to do, such as files of different partitions
        steps.append(step.kind)
        files = _files(lake, table)
    log.info("%s: %s; %d files, %d before", table, ", ".join(steps), len(files), before)
    return TableWork(str(table), tuple(steps), before, len(files)), finished


def _run(lake: Lake, table: _Table, step: Step) -> bool:
    """Do one step in one commit; whether anything was to do."""
    arguments = {
        "flush": "schema_name => ?, table_name => ?",
        "rewrite": f"?, schema => ?, delete_threshold => {step.threshold!r}",
        "merge": f"?, schema => ?, max_compacted_files => 1, max_file_size => {step.max_bytes}",
    }[step.kind]
    function = {
        "flush": "ducklake_flush_inlined_data",
        "rewrite": "ducklake_rewrite_data_files",
        "merge": "ducklake_merge_adjacent_files",
    }[step.kind]
    name = [table.schema, table.name] if step.kind == "flush" else [table.name, table.schema]

    def unit() -> tuple[bool, _Bounds]:
        if not _exists(lake, table):
            raise CommitConflictError(f"{table} was replaced")
        bounds = _read_bounds(lake, table)
        return bool(lake.rows(f"CALL {function}({literal(LAKE)}, {arguments})", name)), bounds

    did_something, bounds = lake.commit(f"{step.kind} {table}", unit)
    if did_something and step.kind == "rewrite":
        _restore_bounds(lake, table, bounds)
    return did_something


@dataclass(frozen=True, slots=True)
class _Bounds:
    """Least and greatest value of each column of a table, as of a snapshot."""

    snapshot_id: int
    columns: list[tuple[int, str | None, str | None]]


def _read_bounds(lake: Lake, table: _Table) -> _Bounds:
    columns = lake.rows(
        f"SELECT column_id, min_value, max_value FROM {METADATA}.ducklake_table_column_stats "
        "WHERE table_id = ?",
        [table.table_id],
    )
    return _Bounds(int(lake.value(f"SELECT id FROM {LAKE}.current_snapshot()")), columns)


def _restore_bounds(lake: Lake, table: _Table, bounds: _Bounds) -> None:
    """Take back that a rewrite has narrowed the bounds of a table to the rows that are left.

    DuckDB relies on them, and DuckLake keeps one set for all snapshots: a reader of an older one
    would sort and group the rows that are gone by wrong values. Nothing is done when somebody else
    has changed the table meanwhile: the bounds are of his rows then, too.
    """
    lake.commit_metadata(
        f"restore the bounds of {table}",
        [
            (
                f"UPDATE {METADATA}.ducklake_table_column_stats AS stats "
                "SET min_value = known.least, max_value = known.greatest "
                "FROM (SELECT unnest(?::BIGINT[]) AS column_id, unnest(?::VARCHAR[]) AS least, "
                "unnest(?::VARCHAR[]) AS greatest) AS known "
                "WHERE stats.table_id = ? AND stats.column_id = known.column_id AND 1 = ("
                f"SELECT count(*) FROM {METADATA}.ducklake_snapshot_changes "
                "WHERE snapshot_id > ? AND regexp_matches(changes_made, ?))",
                [
                    *([row[part] for row in bounds.columns] for part in range(3)),
                    table.table_id,
                    bounds.snapshot_id,
                    rf":{table.table_id}\b",
                ],
            )
        ],
    )


def _tables(lake: Lake, inlined: dict[int, InlinedRows]) -> dict[_Table, list[DataFile]]:
    """The tables that may be compacted, each with its live files."""
    found: dict[_Table, list[DataFile]] = {}
    for table_id, schema, name in lake.metadata_rows(_TABLES):
        table = _Table(int(table_id), schema, name)
        if table.table_id in inlined:
            found[table] = []
    for table_id, schema, name, *file in lake.metadata_rows(_FILES.format(condition="")):
        found.setdefault(_Table(int(table_id), schema, name), []).append(DataFile(*map(int, file)))
    return found


def _files(lake: Lake, table: _Table) -> list[DataFile]:
    rows = lake.metadata_rows(_FILES.format(condition=f"AND tables.table_id = {table.table_id}"))
    return [DataFile(*map(int, file)) for _, _, _, *file in rows]


def _exists(lake: Lake, table: _Table) -> bool:
    """Whether the table is still the one that was looked at: dbt replaces tables as a whole."""
    return bool(
        lake.metadata_rows(
            "SELECT 1 FROM ducklake_table WHERE end_snapshot IS NULL "
            f"AND table_id = {table.table_id}",
        )
    )


# A table with a file that DuckLake did not write itself has somebody else's: those are not merged.
_TABLES = """
SELECT tables.table_id, schemas.schema_name, tables.table_name
FROM ducklake_table AS tables JOIN ducklake_schema AS schemas
ON schemas.schema_id = tables.schema_id
WHERE tables.end_snapshot IS NULL AND schemas.end_snapshot IS NULL
AND schemas.schema_name <> 'staging' AND tables.table_id NOT IN (
    SELECT table_id FROM ducklake_data_file
    WHERE end_snapshot IS NULL AND NOT path_is_relative
)
"""
_FILES = f"""
SELECT tables.table_id, tables.schema_name, tables.table_name,
files.file_size_bytes, files.record_count, coalesce(deleted.delete_count, 0) AS delete_count
FROM ({_TABLES}) AS tables
JOIN ducklake_data_file AS files ON files.table_id = tables.table_id
LEFT JOIN ducklake_delete_file AS deleted
ON deleted.data_file_id = files.data_file_id AND deleted.end_snapshot IS NULL
WHERE files.end_snapshot IS NULL {{condition}}
"""
