"""Task `cursor`: read back from the lake where the stream stands, and say what the run did."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lotus_lake import ledger
from lotus_lake.catalog import META, Lake
from lotus_lake.consumers import has_unprocessed
from lotus_lake.streams import Stream


@dataclass(frozen=True, slots=True)
class StreamState:
    """Where a stream stands, as committed, and what one run added."""

    cursor_path: str | None
    snapshot_id: int
    backlog_files: int
    backlog_bytes: int
    registered: int
    empty: int
    quarantined: int
    row_count: int
    unprocessed: bool


def read_state(lake: Lake, stream: Stream, run_id: str, consumers: Sequence[str]) -> StreamState:
    """Read the state of a stream and the share of one run in it.

    Args:
        lake: Open lake.
        stream: The stream.
        run_id: The run whose files are counted.
        consumers: Processed models that read the stream.
    """
    guard = ledger.read_guard(lake, stream)
    counts = {
        event: (files, rows)
        for event, files, rows in lake.rows(
            f"SELECT event, count(*), coalesce(sum(row_count), 0)::BIGINT FROM {META}.file_events "
            "WHERE source = ? AND stream = ? AND dag_run_id = ? GROUP BY event",
            [stream.source, stream.name, run_id],
        )
    }
    registered, row_count = counts.get("registered", (0, 0))
    backlog_files, backlog_bytes = ledger.backlog(lake, stream)
    landed = ledger.landed_snapshot(lake, stream)
    return StreamState(
        cursor_path=guard.cursor_path,
        snapshot_id=landed,
        backlog_files=backlog_files,
        backlog_bytes=backlog_bytes,
        registered=registered,
        empty=counts.get("empty", (0, 0))[0],
        quarantined=counts.get("quarantined", (0, 0))[0],
        row_count=row_count,
        unprocessed=has_unprocessed(lake, stream, consumers),
    )
