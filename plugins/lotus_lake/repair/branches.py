"""Branches: writable copies of the lake that share its files and cannot harm it."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from lotus_lake.bucket.objects import delete_version, list_objects, s3_client
from lotus_lake.config.settings import Settings
from lotus_lake.errors import SettingsError
from lotus_lake.lake.branch_catalog import copy_catalog, drop_catalog, files_below, has_catalog
from lotus_lake.lake.branches import Branch, forget_branch, note_branch, read_branches
from lotus_lake.lake.session import Lake
from lotus_lake.quantities import counted

DAYS = 14.0
MAX_DAYS = 90.0
_DELETING_THREADS = 16


@dataclass(frozen=True, slots=True)
class BranchState:
    """A branch and what became of it.

    Attributes:
        branch: As its origin knows it.
        state: `live`; `expired`, when upkeep keeps nothing for it any more; `incomplete`, when it
            was not made, or dropped, to its end.
    """

    branch: Branch
    state: Literal["live", "expired", "incomplete"]


def list_branches(lake: Lake) -> list[BranchState]:
    """The branches of an open lake, by name."""
    return [BranchState(branch, _state(lake, branch)) for branch in read_branches(lake)]


def create_branch(lake: Lake, name: str, days: float = DAYS) -> Branch:
    """Make a branch of an open lake; one that was not made to its end is made anew.

    Args:
        lake: The origin, open.
        name: Name of the branch.
        days: How long upkeep of the origin keeps the files that the branch reads.

    Raises:
        SettingsError: There is a branch of this name, or it cannot have this name.
    """
    target = lake.settings.of_branch(name)
    if has_catalog(lake, target):
        raise SettingsError(
            f"there is a branch {name}", hint=f"`lotus-lake branch {name} --drop` removes it"
        )
    now = datetime.now(UTC)
    made = Branch(name, now, now + timedelta(days=days), target.data_path)
    note_branch(lake, made)  # from here on, nothing is deleted that the copy may know
    copy_catalog(lake, target)
    return made


def drop_branch(lake: Lake, name: str) -> int:
    """Delete a branch: its catalog, then its own files; returns how many files.

    Raises:
        SettingsError: There is no branch of this name, or the lake reads files of it.
        StorageUnavailableError: Its files could not be deleted; doing it again goes on.
    """
    known = {branch.name: branch for branch in read_branches(lake)}
    if name not in known:
        raise SettingsError(f"there is no branch {name}", hint="`lotus-lake branch` lists them")
    folder = known[name].data_path
    if shared := files_below(lake, folder):
        raise SettingsError(
            f"{counted(shared, 'data file')} of the lake lie in {folder}, the folder of branch "
            f"{name}, and would be deleted with it",
            hint="rebuild the tables of the lake that read them first",
        )
    drop_catalog(lake, lake.settings.of_branch(name))
    deleted = _delete_below(lake.settings, folder)
    forget_branch(lake, name)
    return deleted


def _state(lake: Lake, branch: Branch) -> Literal["live", "expired", "incomplete"]:
    if not has_catalog(lake, lake.settings.of_branch(branch.name)):
        return "incomplete"
    return "live" if branch.is_live else "expired"


def _delete_below(settings: Settings, folder: str) -> int:
    """Delete all files of a folder."""
    if not folder.startswith("s3://"):
        count = sum(path.is_file() for path in Path(folder).rglob("*"))
        if count or Path(folder).exists():
            shutil.rmtree(folder)
        return count
    parts = urlsplit(folder)
    client = s3_client(settings.s3)
    items = list(list_objects(client, parts.netloc, parts.path.lstrip("/")))
    with ThreadPoolExecutor(_DELETING_THREADS) as pool:
        list(pool.map(partial(delete_version, client, parts.netloc), items))
    return len(items)
