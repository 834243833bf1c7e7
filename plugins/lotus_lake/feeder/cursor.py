"""Task `cursor`: read back from the lake where the stream stands, and report what the run did."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lotus_lake.config.streams import Stream
from lotus_lake.feeder.register import Registration
from lotus_lake.lake.session import META, Lake
from lotus_lake.ledger.events import LANDED, landed_snapshot
from lotus_lake.ledger.guard import read_guard
from lotus_lake.ledger.queue import backlog
from lotus_lake.ledger.watermarks import has_unprocessed, processed_snapshot
from lotus_lake.quantities import counted


@dataclass(frozen=True, slots=True)
class StreamState:
    """Where a stream stands, as committed, and what one run added.

    `registered` counts all files that landed, `copied` those of them that landed as a copy, and
    `rescued` the rows of these of which `_lake_rescued` keeps values;
    every processed model has read the landing table up to `processed_snapshot_id`.
    """

    cursor_path: str | None
    snapshot_id: int
    processed_snapshot_id: int
    backlog_files: int
    backlog_bytes: int
    registered: int
    copied: int
    empty: int
    quarantined: int
    row_count: int
    rescued: int
    unprocessed: bool

    @property
    def summary(self) -> str:
        """What the run did and where the stream stands, in a sentence."""
        # Here copies are among the files that landed; in a Registration they are counted apart.
        done = Registration(
            self.registered - self.copied,
            self.empty,
            self.quarantined,
            self.row_count,
            self.copied,
            self.rescued,
        )
        waiting = f"{counted(self.backlog_files, 'file')} in the queue"
        return f"{done.summary}; {waiting}; the cursor is at {self.cursor_path or 'the start'}"


def read_state(lake: Lake, stream: Stream, run_id: str, consumers: Sequence[str]) -> StreamState:
    """Read the state of a stream and the share of one run in it.

    Args:
        lake: Open lake.
        stream: The stream.
        run_id: The run whose files are counted.
        consumers: Processed models that read the stream.
    """
    counts = {
        event: (files, rows, rescued)
        for event, files, rows, rescued in lake.rows(
            f"""
            SELECT event, count(*), coalesce(sum(row_count), 0)::BIGINT,
                   coalesce(sum(rescued_count), 0)::BIGINT
            FROM {META}.file_events WHERE source = ? AND stream = ? AND dag_run_id = ?
            GROUP BY event
            """,
            [stream.source, stream.name, run_id],
        )
    }
    landed_counts = [counts.get(event, (0, 0, 0)) for event in LANDED]
    backlog_files, backlog_bytes = backlog(lake, stream)
    return StreamState(
        cursor_path=read_guard(lake, stream).cursor.path,
        snapshot_id=landed_snapshot(lake, stream),
        processed_snapshot_id=processed_snapshot(lake, stream, consumers),
        backlog_files=backlog_files,
        backlog_bytes=backlog_bytes,
        registered=sum(files for files, *_ in landed_counts),
        copied=counts.get("copied", (0,))[0],
        empty=counts.get("empty", (0,))[0],
        quarantined=counts.get("quarantined", (0,))[0],
        row_count=sum(rows for _, rows, _ in landed_counts),
        rescued=sum(rescued for *_, rescued in landed_counts),
        unprocessed=has_unprocessed(lake, stream, consumers),
    )
