"""How far the processed models have read the landing tables.

Each processed model has a one-row table `meta.watermark_{model}` that its own transaction updates
(see the dbt macros): the snapshot up to which the model has consumed its landing table.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lotus_lake.config.streams import Stream
from lotus_lake.lake.connection import LAKE, META, Lake
from lotus_lake.ledger import files as ledger
from lotus_lake.ledger.files import LANDED_SQL
from lotus_lake.sql import identifier


def watermarks(lake: Lake, models: Sequence[str]) -> dict[str, int]:
    """Snapshot id each model has consumed; -1 for a model that never ran."""
    tables = lake.tables("meta")
    marks = {}
    for model in models:
        table = f"watermark_{model}"
        marks[model] = -1
        if table in tables:
            marks[model] = lake.value(
                f"SELECT coalesce(max(snapshot_id_to), -1) FROM {identifier(LAKE, 'meta', table)}"
            )
    return marks


def has_unprocessed(lake: Lake, stream: Stream, models: Sequence[str]) -> bool:
    """Whether rows have landed that some model has not consumed."""
    landed = ledger.landed_snapshot(lake, stream)
    return any(mark < landed for mark in watermarks(lake, models).values())


@dataclass(frozen=True, slots=True)
class FilesRead:
    """Files that all models have read since some snapshot, and the snapshot they are at now."""

    files: int
    rows: int
    snapshot_id: int


def processed_snapshot(lake: Lake, stream: Stream, models: Sequence[str]) -> int:
    """The snapshot up to which every model has read; without a model, what has landed."""
    marks = watermarks(lake, models).values()
    return min(marks, default=ledger.landed_snapshot(lake, stream))


def files_read(lake: Lake, stream: Stream, models: Sequence[str], after: int) -> FilesRead:
    """Count what landed after a snapshot and has been read by every model, whoever landed it."""
    until = processed_snapshot(lake, stream, models)
    [(files, rows)] = lake.rows(
        f"SELECT count(*), coalesce(sum(row_count), 0)::BIGINT FROM {META}.file_events "
        f"WHERE source = ? AND stream = ? AND event IN {LANDED_SQL} "
        "AND snapshot_id > ? AND snapshot_id <= ?",
        [stream.source, stream.name, after, until],
    )
    return FilesRead(files, rows, until)
