"""Where every stream stands: files by event, what waits, what no model has read yet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from lotus_lake.config.streams import Stream
from lotus_lake.lake.session import META, Lake
from lotus_lake.ledger.events import LANDED_SQL
from lotus_lake.ledger.schema import was_fed
from lotus_lake.ledger.watermarks import watermarks
from lotus_lake.project.manifest import Model, processed_models


@dataclass(frozen=True, slots=True)
class StreamStatus:
    """Where a stream stands.

    Attributes:
        stream: `source/stream`.
        configured: Whether there is a config that is selected; a ledger outlives its config.
        cursor: Key of the furthest file that landed.
        seen: Files ever seen, each version of an object counted.
        landed: Files whose rows have landed, those included that were retired since.
        copied: Those of them that are in the landing table as a copy.
        empty: Files that are fine and have no rows.
        quarantined: Files that could not land.
        missing: Landed files whose object is gone.
        waiting: Files in the queue.
        waiting_bytes: Their bytes.
        oldest_waiting_at: When the first of them was put into the queue.
        last_landed_at: When rows landed last.
        rows: Rows that have landed.
        rescued: Those of them of which `_lake_rescued` kept values.
        lag_snapshots: Snapshots with landed files that the slowest model has not read; `None` when
            no model is known to read the stream.
        lag_files: Landed files that it has not read.
        unread_since: When the first of them landed.
        slowest_model: That model; `None` when every model has read everything.
        landed_bytes: Bytes of the files that have landed.
    """

    stream: str
    configured: bool
    cursor: str | None = None
    seen: int = 0
    landed: int = 0
    copied: int = 0
    empty: int = 0
    quarantined: int = 0
    missing: int = 0
    waiting: int = 0
    waiting_bytes: int = 0
    oldest_waiting_at: datetime | None = None
    last_landed_at: datetime | None = None
    rows: int = 0
    rescued: int = 0
    lag_snapshots: int | None = None
    lag_files: int | None = None
    unread_since: datetime | None = None
    slowest_model: str | None = None
    landed_bytes: int = 0


def read_status(
    lake: Lake, streams: Sequence[Stream], models: Mapping[str, Model]
) -> list[StreamStatus]:
    """Status of all streams that are configured or were ever fed, in order.

    Four queries, whatever the number of streams, and one for every 400 models.

    Args:
        lake: Open lake; read-only will do.
        streams: The configured streams.
        models: Models of the dbt project, by name.
    """
    configured = {(stream.source, stream.name) for stream in streams}
    if not was_fed(lake):
        return [StreamStatus(f"{source}/{name}", True) for source, name in sorted(configured)]
    slowest = slowest_models(lake, streams, models)
    found = {(row[0], row[1]): row[2:] for row in _counts(lake, slowest)}
    return [
        _status(name, name in configured, found.get(name), slowest.get(name))
        for name in sorted(configured | set(found))
    ]


def slowest_models(
    lake: Lake, streams: Sequence[Stream], models: Mapping[str, Model]
) -> dict[tuple[str, str], tuple[str, int]]:
    """The model of each stream that has read least, with the snapshot it has read up to.

    A model that never ran has read up to -1; streams that no model reads are left out.
    """
    readers = {
        (stream.source, stream.name): [m.name for m in processed_models(models, stream.id)]
        for stream in streams
    }
    marks = watermarks(lake, [name for names in readers.values() for name in names])
    return {
        stream: min(((name, marks[name]) for name in names), key=lambda mark: mark[1])
        for stream, names in readers.items()
        if names
    }


def _counts(lake: Lake, slowest: Mapping[tuple[str, str], tuple[str, int]]) -> list[Any]:
    return lake.rows(
        _COUNTS,
        [
            [source for source, _ in slowest],
            [stream for _, stream in slowest],
            [mark for _, mark in slowest.values()],
        ],
    )


_COUNTS = f"""
WITH marks AS (
    SELECT unnest(?::VARCHAR[]) AS source, unnest(?::VARCHAR[]) AS stream,
           unnest(?::BIGINT[]) AS mark
), last_landed AS (
    SELECT source, stream, max(recorded_at) AS at
    FROM {META}.file_events WHERE event IN {LANDED_SQL} GROUP BY source, stream
), known AS (
    SELECT *, event IN {LANDED_SQL} OR event = 'retired' AS has_landed,
           event IN {LANDED_SQL} AND snapshot_id > mark AS is_unread
    FROM {META}.feeder_files LEFT JOIN marks USING (source, stream)
), files AS (
    SELECT source, stream, count(*) AS seen,
           count(*) FILTER (has_landed) AS landed,
           count(*) FILTER (event = 'copied') AS copied,
           count(*) FILTER (event = 'empty') AS empty,
           count(*) FILTER (event = 'quarantined') AS quarantined,
           count(*) FILTER (event = 'missing') AS missing,
           count(*) FILTER (event = 'discovered') AS waiting,
           coalesce(sum(size_bytes) FILTER (event = 'discovered'), 0)::BIGINT AS waiting_bytes,
           min(updated_at) FILTER (event = 'discovered') AS oldest_waiting_at,
           coalesce(sum(row_count) FILTER (has_landed), 0)::BIGINT AS rows,
           coalesce(sum(rescued_count) FILTER (has_landed), 0)::BIGINT AS rescued,
           -- NULL where no model is known to read the stream.
           CASE WHEN max(mark) IS NOT NULL
                THEN count(DISTINCT snapshot_id) FILTER (is_unread) END AS lag_snapshots,
           CASE WHEN max(mark) IS NOT NULL
                THEN count(*) FILTER (is_unread) END AS lag_files,
           min(updated_at) FILTER (is_unread) AS unread_since,
           coalesce(sum(size_bytes) FILTER (has_landed), 0)::BIGINT AS landed_bytes
    FROM known GROUP BY source, stream
)
SELECT source, stream, cursor_path, seen, landed, copied, empty, quarantined, missing,
       waiting, waiting_bytes, oldest_waiting_at, last_landed.at, rows, rescued,
       lag_snapshots, lag_files, unread_since, landed_bytes
FROM files LEFT JOIN last_landed USING (source, stream)
LEFT JOIN {META}.feeder_cursors USING (source, stream)
"""


def _status(
    name: tuple[str, str],
    configured: bool,
    counts: Sequence[Any] | None,
    slowest: tuple[str, int] | None,
) -> StreamStatus:
    label = "/".join(name)
    if counts is None:
        return StreamStatus(label, configured)
    *counted, unread_since, landed_bytes = counts
    behind = slowest[0] if slowest and unread_since is not None else None
    return StreamStatus(label, configured, *[*counted, unread_since, behind, landed_bytes])
