"""How far the processed models have read the landing tables.

Each processed model has a one-row table `meta.watermark_{model}` that its own transaction updates
(see the dbt macros): the snapshot up to which the model has consumed its landing table.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lotus_lake.config.streams import Stream
from lotus_lake.lake.inlined_rows import one_row_values
from lotus_lake.lake.session import LAKE, META, Lake
from lotus_lake.ledger.events import LANDED_SQL, landed_snapshot
from lotus_lake.sql import identifier


@dataclass(frozen=True, slots=True)
class FilesRead:
    """Files that all models have read since some snapshot, and the snapshot they are at now."""

    files: int
    rows: int
    snapshot_id: int


def watermark_table(model: str) -> str:
    """Name of a model's watermark table, quoted."""
    return identifier(LAKE, "meta", f"watermark_{model}")


def watermarks(lake: Lake, models: Sequence[str]) -> dict[str, int]:
    """Snapshot id each model has consumed; -1 for a model that never ran."""
    found = one_row_values(
        lake, "meta", [f"watermark_{model}" for model in models], "snapshot_id_to"
    )
    marks = {model: found.get(f"watermark_{model}") for model in models}
    return {model: -1 if mark is None else mark for model, mark in marks.items()}


def has_unprocessed(lake: Lake, stream: Stream, models: Sequence[str]) -> bool:
    """Whether rows have landed that some model has not consumed."""
    landed = landed_snapshot(lake, stream)
    return any(mark < landed for mark in watermarks(lake, models).values())


def processed_snapshot(lake: Lake, stream: Stream, models: Sequence[str]) -> int:
    """The snapshot up to which every model has read; without a model, what has landed."""
    marks = watermarks(lake, models).values()
    return min(marks, default=landed_snapshot(lake, stream))


def files_read(lake: Lake, stream: Stream, models: Sequence[str], after: int) -> FilesRead:
    """Count what landed after a snapshot and every model has read, in whatever run."""
    until = processed_snapshot(lake, stream, models)
    [(files, rows)] = lake.rows(
        f"""
        SELECT count(*), coalesce(sum(row_count), 0)::BIGINT FROM {META}.file_events
        WHERE source = ? AND stream = ? AND event IN {LANDED_SQL}
        AND snapshot_id > ? AND snapshot_id <= ?
        """,
        [stream.source, stream.name, after, until],
    )
    return FilesRead(files, rows, until)
