"""Keep tables in few files: flush inlined rows, rewrite files with deleted rows, merge small files.

Only tables of the lake's own files: never a landing table, whose files are Airbyte's objects. Every
step is one DuckLake commit, so that a kill, a full budget or a lost race leaves the table as it was
before the step, and the next run continues from there.

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
from lotus_lake.lake.branches import refuse_on_branch
from lotus_lake.lake.column_statistics import Bounds, read_bounds, restore_bounds
from lotus_lake.lake.inlined_rows import InlinedRows, read_inlined
from lotus_lake.lake.session import LAKE, Lake
from lotus_lake.lake.tables import DataFile, Table, is_live, own_files, own_tables
from lotus_lake.sql import literal

MIB = 1024**2
# This many files below one of these sizes are merged: a row is rewritten once for each of the
# sizes, however large its table becomes.
MERGE_FILES = 8
MERGE_SIZES = (8 * MIB, 64 * MIB, 512 * MIB)
# A file is rewritten when this share of its rows is deleted, or when it is small: a file with
# deleted rows cannot be merged.
HEAVY_SHARE = 0.3
SMALL_FILE = MERGE_SIZES[1]
REWRITE_BYTES = 1024 * MIB
# One-row tables live in the catalog (guards, watermarks) and stay there.
FLUSH_ROWS = 100
BUDGET_SECONDS = 1800.0

log = logging.getLogger(__name__)


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


def compact(
    lake: Lake, *, budget_seconds: float = BUDGET_SECONDS, dry_run: bool = False
) -> Compaction:
    """Compact the tables that need it, those with most files first, one commit a step.

    Args:
        lake: Open lake.
        budget_seconds: No step starts later than this after the beginning.
        dry_run: Change nothing.

    Raises:
        LotusLakeError: A table could not be compacted; the others were.
        duckdb.Error: The same, if its meaning is unknown.
    """
    refuse_on_branch(lake)
    deadline = time.monotonic() + budget_seconds
    inlined = read_inlined(lake)
    needy = [
        (table, files)
        for table, files in _candidates(lake, inlined).items()
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
            if is_live(lake, table):  # else dbt has replaced it
                log.warning("%s could not be compacted: %s", table, error)
                failed = error
            continue
        done.append(work)
        if not finished:
            postponed.append(str(table))
    for name in postponed:
        log.info("%s is left for the next run: the time budget is used up", name)
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
    table: Table,
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
        if step.kind == "flush":  # which does not report the deletions that it has written
            inlined = None
        elif not did_something:
            break  # DuckLake finds nothing to do, such as files of different partitions
        steps.append(step.kind)
        files = own_files(lake, table.table_id).get(table, [])
    log.info("%s: %s; %d files, %d before", table, ", ".join(steps), len(files), before)
    return TableWork(str(table), tuple(steps), before, len(files)), finished


def _run(lake: Lake, table: Table, step: Step) -> bool:
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

    def unit() -> tuple[bool, Bounds]:
        if not is_live(lake, table):
            raise CommitConflictError(f"{table} was replaced")
        bounds = read_bounds(lake, table.table_id)
        return bool(lake.rows(f"CALL {function}({literal(LAKE)}, {arguments})", name)), bounds

    did_something, bounds = lake.commit(f"{step.kind} {table}", unit)
    if did_something and step.kind == "rewrite":
        restore_bounds(lake, bounds)
    return did_something


def _candidates(lake: Lake, inlined: dict[int, InlinedRows]) -> dict[Table, list[DataFile]]:
    """The tables that may be compacted, each with its live files."""
    in_catalog = [table for table in own_tables(lake) if table.table_id in inlined]
    return {**{table: [] for table in in_catalog}, **own_files(lake)}
