"""Upkeep of the lake: expire snapshots, delete the files that nothing sees any more."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from lotus_lake import data_files
from lotus_lake.catalog import LAKE, META, Lake, write_lock
from lotus_lake.settings import Settings
from lotus_lake.storage import list_objects, s3_client

# Never younger than the longest transaction: a snapshot that expires under an open one loses the
# conflict that would have stopped a double registration.
SNAPSHOT_DAYS = 2
FILE_DAYS = 2
# DuckLake compares timestamps of a SQLite catalog as text, day by day.
_SQLITE_EXTRA_DAYS = 1

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Upkeep:
    """What was done, or, in a dry run, would be.

    Attributes:
        snapshots_expired: Snapshots that are too old to be asked for.
        files_deleted: Addresses of the files that nothing sees any more, in order.
        files_protected: Raw objects that were about to be deleted and are not those that were
            retired: somebody has written to their keys since.
    """

    snapshots_expired: int
    files_deleted: tuple[str, ...]
    files_protected: tuple[str, ...]


def upkeep(lake: Lake, *, dry_run: bool = False) -> Upkeep:
    """Expire old snapshots, then delete the files that nothing sees any more.

    Snapshots live for two days; a file is deleted two days, or LAKE_BACKUP_DAYS, after the last
    snapshot that showed it.
    Retired raw files are deleted this way and in no other.

    Args:
        lake: Open lake.
        dry_run: Change nothing.

    Raises:
        StorageUnavailableError: The raw objects could not be listed; no file was deleted.
    """
    extra = _SQLITE_EXTRA_DAYS if lake.settings.catalog.kind == "sqlite" else 0
    protected = _not_retired(lake)
    if not dry_run:
        data_files.unschedule(lake, protected)
        for uri in protected:
            log.warning("%s was retired, and written anew: it is not deleted", uri)
    with write_lock(lake.settings):
        snapshots = lake.rows(
            f"CALL ducklake_expire_snapshots('{LAKE}', older_than => ?, dry_run => ?)",
            [_days_ago(SNAPSHOT_DAYS + extra), dry_run],
        )
        files = lake.rows(
            f"CALL ducklake_cleanup_old_files('{LAKE}', older_than => ?, dry_run => ?)",
            [_days_ago(file_days(lake.settings) + extra), dry_run],
        )
    deleted = sorted({path for (path,) in files} - set(protected))
    result = Upkeep(len(snapshots), tuple(deleted), tuple(protected))
    log.info(
        "%s%d snapshots expired, %d files deleted",
        "dry run: " if dry_run else "", len(snapshots), len(deleted),
    )  # fmt: skip
    return result


def _not_retired(lake: Lake) -> list[str]:
    """Raw objects on DuckLake's list of deletions whose content is not what was retired.

    DuckLake deletes by address. Airbyte numbers the parts of a day from 0 again once they are gone,
    so that another object may have taken the address since.
    """
    listed = data_files.scheduled_below(lake, lake.settings.uri(lake.settings.raw_prefix))
    if not listed:
        return []
    root = lake.settings.uri("")
    keys = [uri.removeprefix(root) for uri in listed]
    client = s3_client(lake.settings.s3)
    present = [
        item
        for folder in sorted({key.rsplit("/", 1)[0] + "/" for key in keys})
        for item in list_objects(client, lake.settings.bucket, folder)
    ]
    retired = {
        tuple(row)
        for row in lake.rows(
            f"SELECT key, etag, size_bytes FROM {META}.feeder_files "
            "WHERE event = 'retired' AND key IN (SELECT unnest(?::VARCHAR[]))",
            [keys],
        )
    }
    wanted = set(keys)
    return [
        root + item.key
        for item in present
        if item.key in wanted and (item.key, item.etag, item.size_bytes) not in retired
    ]


def file_days(settings: Settings) -> int:
    """How long a file stays after the last snapshot that showed it.

    As long as the oldest dump of the catalog that is to be restored: it may need the file.
    """
    return max(FILE_DAYS, settings.backup_days)


def _days_ago(days: int) -> datetime:
    return datetime.now(UTC) - timedelta(days=days)
