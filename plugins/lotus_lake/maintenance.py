"""Upkeep of the lake: expire snapshots, delete the files that nothing sees any more."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from typing import Any

from lotus_lake.catalog import LAKE, Lake, write_lock

# Never younger than the longest transaction: a snapshot that expires under an open one loses the
# conflict that would have stopped a double registration.
SNAPSHOT_DAYS = 2
FILE_DAYS = 2
# DuckLake compares timestamps of a SQLite catalog as text, day by day.
_SQLITE_EXTRA_DAYS = 1

log = logging.getLogger(__name__)


def upkeep(lake: Lake) -> dict[str, Any]:
    """Expire old snapshots, then delete the files that nothing sees any more.

    Snapshots live for two days; a file is deleted two days after the last snapshot that showed it.
    Retired raw files are deleted this way and in no other.

    Returns:
        How many snapshots expired and how many files were deleted.
    """
    extra = _SQLITE_EXTRA_DAYS if lake.settings.catalog.kind == "sqlite" else 0
    with write_lock(lake.settings):
        snapshots = lake.rows(
            f"CALL ducklake_expire_snapshots('{LAKE}', older_than => ?)",
            [_days_ago(SNAPSHOT_DAYS + extra)],
        )
        files = lake.rows(
            f"CALL ducklake_cleanup_old_files('{LAKE}', older_than => ?)",
            [_days_ago(FILE_DAYS + extra)],
        )
    log.info("%d snapshots expired, %d files deleted", len(snapshots), len(files))
    return {"snapshots_expired": len(snapshots), "files_deleted": len(files)}


def _days_ago(days: int) -> datetime:
    return datetime.now(UTC) - timedelta(days=days)
