"""Task `cleanup`: retire raw files that are old and consumed.

Retiring deletes a day's rows from the landing table; because whole files go, DuckLake just closes
them. The objects themselves are deleted later, and only through DuckLake, when the snapshots that
can still see them expire (`lake_maintenance`).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from lotus_lake import ledger
from lotus_lake.catalog import LAKE, META, Lake
from lotus_lake.consumers import watermarks
from lotus_lake.ledger import FileEvent
from lotus_lake.sql import identifier
from lotus_lake.streams import Stream

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Retirement:
    """What was retired, and what was old enough but is kept."""

    days: int = 0
    files: int = 0
    kept_days: int = 0
    reason: str | None = None


def retire_files(lake: Lake, stream: Stream, consumers: Sequence[str], run_id: str) -> Retirement:
    """Retire the days older than `retention_days` before the cursor that every consumer has read.

    Args:
        lake: Open lake.
        stream: The stream.
        consumers: Processed models that read the stream; without any, nothing is retired.
        run_id: Who did it, for the ledger.
    """
    old = _old_days(lake, stream)
    if not old:
        return Retirement()
    marks = watermarks(lake, consumers)
    if not marks:
        return Retirement(kept_days=len(old), reason="no processed model reads this stream")
    slowest = min(marks, key=lambda model: marks[model])
    ready = [day for day, newest in old.items() if newest <= marks[slowest]]
    files = 0
    for day in ready:
        files += _retire_day(lake, stream, day, marks[slowest], run_id)
    kept = len(old) - len(ready)
    reason = f"{slowest} has not consumed them" if kept else None
    log.info("retired %d files of %d days, kept %d days: %s", files, len(ready), kept, reason)
    return Retirement(len(ready), files, kept, reason)


def _old_days(lake: Lake, stream: Stream) -> dict[date, int]:
    """Days with registered files past retention, and the newest snapshot each landed in."""
    cursor_date = ledger.read_guard(lake, stream).cursor_date
    if cursor_date is None:
        return {}
    return dict(
        lake.rows(
            f"SELECT partition_date, max(snapshot_id) FROM {META}.feeder_files "
            "WHERE source = ? AND stream = ? AND event = 'registered' AND partition_date < ? "
            "GROUP BY partition_date ORDER BY partition_date",
            [
                stream.source,
                stream.name,
                cursor_date - timedelta(days=stream.feeder.retention_days),
            ],
        )
    )


def _retire_day(lake: Lake, stream: Stream, day: date, consumed: int, run_id: str) -> int:
    def unit() -> int:
        guard = ledger.read_guard(lake, stream)
        files = _registered(lake, stream, day)
        # A file of this day may have landed since the days were chosen.
        if not files or any(snapshot > consumed for *_, snapshot in files):
            return 0
        # Partition columns only: any other condition would read every file of the table.
        lake.con.execute(
            f"DELETE FROM {identifier(LAKE, 'staging', stream.landing_table)} "
            "WHERE year = ? AND month = ? AND day = ?",
            [day.year, f"{day:%m}", f"{day:%d}"],
        )
        events = [
            FileEvent(key, etag, size_bytes, modified, day, "retired", row_count=row_count)
            for key, etag, size_bytes, modified, row_count, _ in files
        ]
        ledger.record(lake, stream, guard, events, run_id=run_id)
        return len(events)

    return lake.commit(f"{stream.id}: retire {day}, run {run_id}", unit)


def _registered(
    lake: Lake, stream: Stream, day: date
) -> list[tuple[str, str, int, datetime, int, int]]:
    return lake.rows(
        "SELECT key, etag, size_bytes, last_modified, row_count, snapshot_id "
        f"FROM {META}.feeder_files WHERE source = ? AND stream = ? AND event = 'registered' "
        "AND partition_date = ? ORDER BY key",
        [stream.source, stream.name, day],
    )
