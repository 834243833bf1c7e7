"""Files under `LAKE_DATA_PATH` that no catalog knows, left behind by killed transactions.

Orphans are not deleted here. They are put on DuckLake's deletion list, and deleted when they have
waited as long as every other file (see expiry.py): for days, everybody can see what will be
deleted, and take it off the list. Files with names that the lake does not give are never touched.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

from lotus_lake.bucket.objects import list_objects, s3_client
from lotus_lake.config.settings import Settings, check_apart
from lotus_lake.errors import UpkeepRefusedError
from lotus_lake.lake.branches import refuse_on_branch
from lotus_lake.lake.data_files import known_names, schedule_deletion, scheduled_below
from lotus_lake.lake.session import Lake

MAX_SHARE = 0.1
# So few are no sign of anything, in a lake that is not much larger itself.
_FEW = 10
_UUID = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
# What DuckLake writes, and the copies that the feeder writes.
_OWN_NAME = re.compile(
    rf"(.*/)?(tmp_)?ducklake-{_UUID}(-delete)?\.parquet|copies/.*/(tmp_)?[0-9a-f]{{32}}\.parquet"
)

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LakeFile:
    """A file under `LAKE_DATA_PATH`."""

    address: str
    size_bytes: int
    modified_at: datetime

    @property
    def name(self) -> str:
        """Its name without folders, which identifies it, because it contains a UUID."""
        return self.address.rsplit("/", 1)[-1]


@dataclass(frozen=True, slots=True)
class Orphans:
    """What was found.

    Attributes:
        listed: Files under `LAKE_DATA_PATH` that are named as the lake names its own.
        listed_bytes: Their bytes.
        foreign: Files with other names, which are left alone.
        young: Orphans that are too young to be touched: a transaction may be writing them.
        files_bytes: Bytes of the orphans that are old enough.
        files: Their addresses, in order.
    """

    listed: int
    listed_bytes: int
    foreign: int
    young: int
    files_bytes: int
    files: tuple[str, ...]


def find_orphans(lake: Lake, older_than: datetime) -> Orphans:
    """Look for orphans.

    Args:
        lake: Open lake.
        older_than: Younger files are left alone.

    Raises:
        SettingsError: `LAKE_DATA_PATH` and the raw prefix overlap.
        StorageUnavailableError: The files could not be listed.
    """
    check_apart(lake.settings.raw_uri, lake.settings.data_path)
    # Listed first: whatever commits from here on is known when the catalog is asked.
    listed = list(_list_files(lake.settings))
    own = [file for file in listed if _is_own(lake.settings, file.address)]
    known = known_names(lake)
    unknown = [file for file in own if file.name not in known]
    old = [file for file in unknown if file.modified_at < older_than]
    return Orphans(
        listed=len(own),
        listed_bytes=sum(file.size_bytes for file in own),
        foreign=len(listed) - len(own),
        young=len(unknown) - len(old),
        files_bytes=sum(file.size_bytes for file in old),
        files=tuple(sorted(file.address for file in old)),
    )


def schedule_orphans(
    lake: Lake, older_than: datetime, *, max_share: float = MAX_SHARE, dry_run: bool = False
) -> Orphans:
    """Find orphans, and put them on the deletion list, where they wait like other files.

    Args:
        lake: Open lake.
        older_than: Younger files are left alone.
        max_share: Refuse if more than this share of all files are orphans.
        dry_run: Change nothing.

    Raises:
        UpkeepRefusedError: Too many are orphans: the data may be another lake's.
        SettingsError: `LAKE_DATA_PATH` and the raw prefix overlap.
        StorageUnavailableError: The files could not be listed.
    """
    refuse_on_branch(lake)
    found = find_orphans(lake, older_than)
    for address in found.files:
        log.info("orphan: %s", address)
    _refuse_too_many(lake, found, max_share)
    if found.files and not dry_run:
        schedule_deletion(lake, found.files)
    log.info(
        "%d orphans among %d files, %d too young, %d files that are not the lake's",
        len(found.files), found.listed, found.young, found.foreign,
    )  # fmt: skip
    return found


def adopted(lake: Lake) -> list[str]:
    """Files of the lake's own on the list of deletions that a table holds all the same."""
    waiting = scheduled_below(lake, lake.settings.data_path)
    if not waiting:
        return []
    live = known_names(lake, live=True)
    return [address for address in waiting if address.rsplit("/", 1)[-1] in live]


def _refuse_too_many(lake: Lake, found: Orphans, max_share: float) -> None:
    count = len(found.files)
    allowed = max(_FEW, max_share * found.listed) if count * 2 <= found.listed else 0
    if count > allowed and max_share < 1:
        raise UpkeepRefusedError(
            f"{count} of {found.listed} files under {lake.settings.data_path} belong to no table "
            f"of {lake.settings.catalog.kind}:{lake.settings.catalog.address}: that is too "
            "many to be left-overs of killed processes",
            hint="check that LAKE_CATALOG and LAKE_DATA_PATH belong together, and that the catalog "
            "was not restored from an old dump; to accept them, `lotus-lake maintain "
            "--orphan-share 1`",
        )


def _is_own(settings: Settings, address: str) -> bool:
    return _OWN_NAME.fullmatch(address.removeprefix(settings.data_path)) is not None


def _list_files(settings: Settings) -> Iterator[LakeFile]:
    if settings.data_path.startswith("s3://"):
        parts = urlsplit(settings.data_path)
        for item in list_objects(s3_client(settings.s3), parts.netloc, parts.path.lstrip("/")):
            address = f"s3://{parts.netloc}/{item.key}"
            yield LakeFile(address, item.size_bytes, item.last_modified)
        return
    for folder, _, names in os.walk(settings.data_path):
        for name in names:
            path = Path(folder, name)
            try:
                status = path.stat()
            except FileNotFoundError:  # a transaction was rolled back
                continue
            modified_at = datetime.fromtimestamp(status.st_mtime, UTC)
            yield LakeFile(str(path), status.st_size, modified_at)
