"""Task `register`: one batch into the landing table, in one commit with its ledger rows.

Footers are read first, all at once: that tells row counts, shapes and broken files, and fills
DuckDB's HTTP cache, so that the registration itself asks S3 for nothing more (14 against 80 ms a
file at 30 ms round trip).
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import duckdb

from lotus_lake import landing, ledger
from lotus_lake.catalog import LAKE, Lake, is_conflict
from lotus_lake.errors import (
    CatalogUnavailableError,
    CommitConflictError,
    StorageUnavailableError,
)
from lotus_lake.feeder.batching import Batch
from lotus_lake.keys import natural_order
from lotus_lake.landing import Evolution
from lotus_lake.ledger import FileEvent, PendingFile
from lotus_lake.sql import literal
from lotus_lake.streams import Stream

FOOTER_THREADS = 16
_ERROR_CHARS = 600

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Registration:
    """What became of the files of a batch."""

    registered: int = 0
    empty: int = 0
    quarantined: int = 0
    row_count: int = 0

    def __add__(self, other: Registration) -> Registration:
        return Registration(
            self.registered + other.registered,
            self.empty + other.empty,
            self.quarantined + other.quarantined,
            self.row_count + other.row_count,
        )


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What is to be written about a file."""

    file: PendingFile
    event: str
    row_count: int | None = None
    note: str | None = None


@dataclass(frozen=True, slots=True)
class _Footer:
    file: PendingFile
    row_count: int
    shape: str


class _RefusedError(Exception):
    """DuckLake refused to register a file."""


def register_batch(lake: Lake, stream: Stream, batch: Batch, run_id: str) -> Registration:
    """Register what still waits of a batch; running it again changes nothing.

    Raises:
        StorageUnavailableError: The object store failed; nothing is half done.
        CatalogUnavailableError: The catalog failed; nothing is half done.
        CommitConflictError: Other feeders of the stream won every time.
    """
    waiting = ledger.pending_files(lake, stream, batch.first_position, batch.last_position)
    if not waiting:
        log.info("%s: nothing waits any more", batch.label)
        return Registration()
    footers, outcomes = _inspect(lake, waiting)
    outcomes += _fit(lake, stream, footers)
    result = _commit(lake, stream, outcomes, run_id)
    log.info("%s: %s", batch.label, result)
    return result


def _inspect(lake: Lake, files: Sequence[PendingFile]) -> tuple[list[_Footer], list[_Outcome]]:
    """Read all footers; files that have none become quarantined outcomes."""
    lake.con.execute(f"SET threads = {max(FOOTER_THREADS, lake.settings.threads)}")
    lake.con.execute("SET enable_http_metadata_cache = true")
    try:
        return _isolate(files, lambda some: _read_footers(lake, some))
    finally:
        lake.con.execute(f"SET threads = {lake.settings.threads}")


def _read_footers(lake: Lake, files: Sequence[PendingFile]) -> list[_Footer]:
    by_uri = {lake.settings.uri(file.key): file for file in files}
    rows = lake.rows(
        "SELECT parquet_file_metadata[1].file_name, parquet_file_metadata[1].num_rows, "
        "md5(list_transform(parquet_schema, lambda leaf: struct_pack(n := leaf.name, "
        "t := leaf.type, r := leaf.repetition_type, c := leaf.num_children, "
        "k := leaf.converted_type, l := leaf.logical_type, s := leaf.scale, "
        "p := leaf.precision))::VARCHAR) FROM parquet_full_metadata(?)",
        [list(by_uri)],
    )
    return [_Footer(by_uri[uri], row_count, shape) for uri, row_count, shape in rows]


def _isolate(
    files: Sequence[PendingFile], read: Callable[[Sequence[PendingFile]], list[_Footer]]
) -> tuple[list[_Footer], list[_Outcome]]:
    """Read all at once; when that fails, halve until the broken files stand alone."""
    try:
        return read(files), []
    except duckdb.Error as error:
        if _is_of_store(error):
            raise _storage_error(error) from error
        if len(files) == 1:
            return [], [_Outcome(files[0], "quarantined", note=_text(error))]
    middle = len(files) // 2
    (left, left_bad), (right, right_bad) = (
        _isolate(files[:middle], read),
        _isolate(files[middle:], read),
    )
    return left + right, left_bad + right_bad


def _fit(lake: Lake, stream: Stream, footers: Sequence[_Footer]) -> list[_Outcome]:
    """Decide per shape of file what the stream's `on_schema_change` says."""
    outcomes = []
    shapes: dict[str, list[_Footer]] = defaultdict(list)
    for footer in footers:
        shapes[footer.shape].append(footer)
    for group in shapes.values():
        arriving = _columns(lake, group[0].file)
        problem, note = _accept(lake, stream, arriving)
        for footer in group:
            if problem:
                outcomes.append(_Outcome(footer.file, "quarantined", note=problem))
            elif footer.row_count == 0:
                outcomes.append(_Outcome(footer.file, "empty", row_count=0))
            else:
                outcomes.append(_Outcome(footer.file, "registered", footer.row_count, note))
    return outcomes


def _columns(lake: Lake, file: PendingFile) -> dict[str, Any]:
    uri = literal(lake.settings.uri(file.key))
    try:
        return landing.describe(
            lake.con, f"DESCRIBE SELECT * FROM read_parquet({uri}, hive_partitioning = false)"
        )
    except duckdb.IOException as error:  # even a missing object: its footer was there just now
        raise _storage_error(error) from error


def _accept(lake: Lake, stream: Stream, arriving: dict[str, Any]) -> tuple[str | None, str | None]:
    """Make the table fit a shape. Returns the problem that forbids it, and a remark."""
    evolution = landing.plan_evolution(landing.table_types(lake, stream), arriving)
    problems = list(evolution.problems)
    if hive := landing.hive_problem(arriving):
        problems.append(hive)
    new_columns = ", ".join(f"{'.'.join(path)} {kind}" for path, kind in evolution.added)
    policy = stream.feeder.on_schema_change
    if new_columns and policy == "fail":
        problems.append(f"new columns {new_columns}, and on_schema_change is fail")
    if problems:
        return "; ".join(problems), None
    if new_columns and policy == "freeze":
        landing.apply(lake, stream, Evolution(widened=evolution.widened))
        return None, f"columns left out by on_schema_change freeze: {new_columns}"
    landing.apply(lake, stream, evolution)
    return None, None


def _commit(lake: Lake, stream: Stream, outcomes: Sequence[_Outcome], run_id: str) -> Registration:
    """Commit outcomes; when DuckLake refuses a file, halve until that file stands alone."""
    if not outcomes:
        return Registration()
    try:
        return _commit_once(lake, stream, outcomes, run_id)
    except _RefusedError as error:
        if len(outcomes) == 1:
            refused = replace(outcomes[0], event="quarantined", row_count=None, note=str(error))
            return _commit_once(lake, stream, [refused], run_id)
    middle = len(outcomes) // 2
    return _commit(lake, stream, outcomes[:middle], run_id) + _commit(
        lake, stream, outcomes[middle:], run_id
    )


def _commit_once(
    lake: Lake, stream: Stream, outcomes: Sequence[_Outcome], run_id: str
) -> Registration:
    """The transaction of a batch: look again, register, ledger, guard and cursor, commit."""
    expected_version = -1

    def unit() -> Registration:
        nonlocal expected_version
        guard = ledger.read_guard(lake, stream)
        positions = [outcome.file.position for outcome in outcomes]
        still = ledger.pending_files(lake, stream, min(positions), max(positions))
        waiting = {file.position for file in still}
        current = [outcome for outcome in outcomes if outcome.file.position in waiting]
        if not current:
            expected_version = guard.version
            return Registration()
        files = [outcome.file for outcome in current if outcome.event == "registered"]
        _add_data_files(lake, stream, files)
        ledger.record(
            lake, stream, guard, [_event(outcome) for outcome in current],
            run_id=run_id, cursor=_cursor(guard, files),
        )  # fmt: skip
        expected_version = guard.version + 1
        return _summary(current)

    try:
        result = lake.commit(f"{stream.id}: register {len(outcomes)} files, run {run_id}", unit)
        version = ledger.read_guard(lake, stream).version
    except duckdb.Error as error:
        raise CatalogUnavailableError(
            f"{stream.id}: registering {len(outcomes)} files failed: {_text(error)}",
            hint="nothing is half done: run it again",
        ) from error
    if version < expected_version:
        raise CommitConflictError(
            f"{stream.id}: the guard is at {version} after the commit of {expected_version}"
        )
    return result


def _add_data_files(lake: Lake, stream: Stream, files: Sequence[PendingFile]) -> None:
    if not files:
        return
    freeze = stream.feeder.on_schema_change == "freeze"
    try:
        lake.con.execute(
            f"CALL ducklake_add_data_files({literal(LAKE)}, ?, ?::VARCHAR[], schema => 'staging', "
            f"allow_missing => true, ignore_extra_columns => {literal(freeze)})",
            [stream.landing_table, [lake.settings.uri(file.key) for file in files]],
        )
    except duckdb.Error as error:
        if _is_of_store(error):
            raise _storage_error(error) from error
        # A catalog that goes away has the same type of error, but names no file.
        names = [file.key.rsplit("/", 1)[-1] for file in files]
        if not is_conflict(error) and any(name in str(error) for name in names):
            raise _RefusedError(_text(error)) from error
        raise


def _cursor(guard: ledger.Guard, files: Sequence[PendingFile]) -> tuple[str, Any] | None:
    """The furthest registered file; a late one does not move the cursor back."""
    if not files:
        return None
    last = max(files, key=lambda file: (file.partition_date, natural_order(file.key)))
    if guard.cursor_date is not None and guard.cursor_path is not None:
        reached = (guard.cursor_date, natural_order(guard.cursor_path))
        if (last.partition_date, natural_order(last.key)) < reached:
            return guard.cursor_path, guard.cursor_date
    return last.key, last.partition_date


def _event(outcome: _Outcome) -> FileEvent:
    file = outcome.file
    return FileEvent(
        key=file.key,
        etag=file.etag,
        size_bytes=file.size_bytes,
        last_modified=file.last_modified,
        partition_date=file.partition_date,
        event=outcome.event,
        row_count=outcome.row_count,
        error=outcome.note,
    )


def _summary(outcomes: Sequence[_Outcome]) -> Registration:
    counts: dict[str, int] = defaultdict(int)
    for outcome in outcomes:
        counts[outcome.event] += 1
    return Registration(
        counts["registered"],
        counts["empty"],
        counts["quarantined"],
        sum(o.row_count or 0 for o in outcomes if o.event == "registered"),
    )


def _is_of_store(error: duckdb.Error) -> bool:
    """Whether an error tells about the object store: a missing object tells about itself only."""
    if isinstance(error, duckdb.HTTPException):
        return bool(error.status_code != 404)
    return isinstance(error, duckdb.IOException) and "No files found" not in str(error)


def _storage_error(error: duckdb.Error) -> StorageUnavailableError:
    return StorageUnavailableError(
        f"reading raw files failed: {_text(error)}",
        hint="check the endpoint, the credentials and s3:GetObject on the raw prefix",
    )


def _text(error: Exception) -> str:
    return " ".join(str(error).split())[:_ERROR_CHARS]
