"""Expire snapshots, and delete the files that no snapshot shows any more, raw objects included."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial

from lotus_lake.bucket.objects import PAGE_KEYS, delete_version, present, s3_client
from lotus_lake.config.settings import Settings
from lotus_lake.lake.branches import read_branches, refuse_on_branch
from lotus_lake.lake.data_files import scheduled_below, unschedule
from lotus_lake.lake.database import oldest_transaction
from lotus_lake.lake.inlined_rows import purge
from lotus_lake.lake.session import LAKE, META, Lake
from lotus_lake.lake.write_lock import write_lock
from lotus_lake.upkeep import orphans
from lotus_lake.upkeep.clock import MAX_SKEW, check_clock

# Longer than any transaction should take. None is trusted to: see `_oldest_needed`.
SNAPSHOT_DAYS = 2
FILE_DAYS = 2
_DELETING_THREADS = 16

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Upkeep:
    """What was done, or, in a dry run, would be.

    Attributes:
        snapshots_expired: Snapshots that are too old to be asked for.
        files_deleted: Addresses of the files that nothing sees any more, in order.
        files_protected: Files that were about to be deleted and stay: raw objects that are not
            those that were retired, because somebody has written to their keys since, and files
            that are in a table again.
    """

    snapshots_expired: int
    files_deleted: tuple[str, ...]
    files_protected: tuple[str, ...]


def untouchable_since(lake: Lake, days: float | None = None) -> datetime:
    """The moment after which nothing may be expired, deleted or taken for an orphan.

    Args:
        lake: Open lake.
        days: Longer than any transaction, and than any reader looks at one snapshot; by default as
            long as files stay.
    """
    days = file_days(lake.settings) if days is None else days
    return datetime.now(UTC) - timedelta(days=days)


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
    expired = expire(lake, dry_run=dry_run)
    deleted, protected = delete(lake, dry_run=dry_run)
    return Upkeep(expired, deleted, protected)


def expire(lake: Lake, *, dry_run: bool = False) -> int:
    """Expire snapshots that are too old to be asked for; returns how many.

    Files that no other snapshot shows are put on the deletion list, and versions of
    rows in the catalog that no other shows are removed.

    Raises:
        UpkeepRefusedError: The clocks of this machine, the store and the catalog differ.
    """
    refuse_on_branch(lake)
    check_clock(lake)
    with write_lock(lake.settings):
        snapshots = lake.rows(
            f"CALL ducklake_expire_snapshots('{LAKE}', older_than => ?, dry_run => ?)",
            [_as_compared(lake, _oldest_needed(lake)), dry_run],
        )
    rows = 0 if dry_run else purge(lake)
    log.info("%s%d snapshots expired, %d rows of the catalog removed", _dry(dry_run),
             len(snapshots), rows)  # fmt: skip
    return len(snapshots)


def delete(lake: Lake, *, dry_run: bool = False) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Delete the files that have waited long enough since the last snapshot that showed them.

    Returns:
        Addresses of the files, and of those that were on the list and stay, because they are not
        what was put there, or are in a table again.

    Raises:
        StorageUnavailableError: The raw objects could not be listed; no file was deleted.
        UpkeepRefusedError: The clocks of this machine, the store and the catalog differ.
    """
    refuse_on_branch(lake)
    check_clock(lake)
    protected = [*_not_retired(lake), *orphans.adopted(lake)]
    if not dry_run:
        unschedule(lake, protected)
        for uri in protected:
            log.warning("%s was on the deletion list, and is in use again: it stays", uri)
    moment = _as_compared(lake, _unneeded_since(lake))
    due = _cleanup(lake, moment, dry_run=True) - set(protected)
    if not dry_run:
        changed = _delete_raw(lake, sorted(due))
        due = (due | _cleanup(lake, moment, dry_run=False)) - set(changed)
        protected += changed
    log.info("%s%d files deleted", _dry(dry_run), len(due))
    return tuple(sorted(due)), tuple(protected)


def _cleanup(lake: Lake, moment: datetime, *, dry_run: bool) -> set[str]:
    """Let DuckLake delete, or name, what has been on its list since before a moment."""
    statement = f"CALL ducklake_cleanup_old_files('{LAKE}', older_than => ?, dry_run => ?)"
    with write_lock(lake.settings):
        return {path for (path,) in lake.rows(statement, [moment, dry_run])}


def _delete_raw(lake: Lake, due: Sequence[str]) -> list[str]:
    """Delete raw objects that are still the version that was retired; returns the others.

    DuckLake deletes by address, even an object written a moment ago. So they are checked once
    more, deleted on the condition of their ETag, and taken off DuckLake's list.
    """
    settings, root = lake.settings, lake.settings.uri("")
    raw = [uri for uri in due if uri.startswith(settings.uri(settings.raw_prefix))]
    client = s3_client(settings.s3)
    changed: list[str] = []
    with ThreadPoolExecutor(_DELETING_THREADS) as pool:
        for first in range(0, len(raw), PAGE_KEYS):
            uris = raw[first : first + PAGE_KEYS]
            keys = [uri.removeprefix(root) for uri in uris]
            retired = _retired(lake, keys)
            seen = present(client, settings.bucket, keys)
            items = [item for item in seen if item.identity in retired]
            done = pool.map(partial(delete_version, client, settings.bucket), items)
            gone = {item.key for item, was in zip(items, done, strict=True) if was}
            changed += [root + item.key for item in seen if item.key not in gone]
            unschedule(lake, uris)
    for uri in changed:
        log.warning("%s has another version now: it stays", uri)
    return changed


def _dry(dry_run: bool) -> str:
    return "dry run: " if dry_run else ""


def _oldest_needed(lake: Lake) -> datetime:
    """The moment after which no snapshot may expire.

    One that expires under an open transaction takes the conflict with it that would have stopped a
    double registration. On SQLite the write lock keeps the two apart.
    """
    moment, began = untouchable_since(lake, SNAPSHOT_DAYS), oldest_transaction(lake)
    return moment if began is None else min(moment, began - MAX_SKEW)


def _unneeded_since(lake: Lake) -> datetime:
    """The moment before which a file must be on the deletion list to be deleted.

    What was put there since a live branch was made may be a file that the branch reads.
    """
    made = [branch.created_at - MAX_SKEW for branch in read_branches(lake) if branch.is_live]
    return min([untouchable_since(lake), *made])


def _as_compared(lake: Lake, moment: datetime) -> datetime:
    """DuckLake compares timestamps of a SQLite catalog as text, day by day: a day more is safe."""
    return moment - timedelta(days=1) if lake.settings.catalog.kind == "sqlite" else moment


def _not_retired(lake: Lake) -> list[str]:
    """Raw objects on DuckLake's list of deletions whose content is not what was retired.

    DuckLake deletes by address. Airbyte numbers the parts of a day from 0 again once they are gone,
    so that another object may have taken the address since.
    """
    listed = scheduled_below(lake, lake.settings.uri(lake.settings.raw_prefix))
    if not listed:
        return []
    root = lake.settings.uri("")
    keys = [uri.removeprefix(root) for uri in listed]
    retired = _retired(lake, keys)
    return [
        root + item.key
        for item in present(s3_client(lake.settings.s3), lake.settings.bucket, keys)
        if item.identity not in retired
    ]


def _retired(lake: Lake, keys: Sequence[str]) -> set[tuple[object, ...]]:
    """Versions of these keys that were retired."""
    return {
        tuple(row)
        for row in lake.rows(
            f"""
            SELECT key, etag, size_bytes FROM {META}.feeder_files
            WHERE event = 'retired' AND key IN (SELECT unnest(?::VARCHAR[]))
            """,
            [keys],
        )
    }


def file_days(settings: Settings) -> int:
    """How long a file stays after the last snapshot that showed it.

    As long as the oldest dump of the catalog that is to be restored: it may need the file.
    """
    return max(FILE_DAYS, settings.backup_days)
