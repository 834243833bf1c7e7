"""Upkeep is the origin's alone."""

from __future__ import annotations

from lotus_lake.errors import UpkeepRefusedError
from lotus_lake.lake.session import Lake


def refuse_on_branch(lake: Lake) -> None:
    """Refuse upkeep of a branch, most of whose files are its origin's.

    Raises:
        UpkeepRefusedError: The lake is a branch.
    """
    if lake.settings.branch:
        raise UpkeepRefusedError(
            f"LAKE_BRANCH={lake.settings.branch}: a branch shares the files of its origin, and has "
            "no upkeep",
            hint=f"`lotus-lake branch {lake.settings.branch} --drop` removes it and its own files",
        )
