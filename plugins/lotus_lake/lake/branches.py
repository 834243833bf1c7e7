"""The branches of a lake: upkeep deletes no file that a live branch may read.

A branch is noted in its origin before the catalog is copied, so that no file that the copy knows
can be deleted meanwhile, and forgotten once the copy is gone.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from lotus_lake.errors import SettingsError, UpkeepRefusedError
from lotus_lake.lake.session import META, Lake
from lotus_lake.sql import literal

_TABLE = f"""
CREATE TABLE IF NOT EXISTS {META}.branches (
    name VARCHAR, created_at TIMESTAMPTZ, expires_at TIMESTAMPTZ, data_path VARCHAR
)
"""


@dataclass(frozen=True, slots=True)
class Branch:
    """A branch as its origin knows it.

    Attributes:
        name: Its name.
        created_at: Files that were needed at this time stay until the branch expires.
        expires_at: From then on, files that it reads may be deleted.
        data_path: Where it writes its own files.
    """

    name: str
    created_at: datetime
    expires_at: datetime
    data_path: str

    @property
    def is_live(self) -> bool:
        """Whether its files are kept."""
        return datetime.now(UTC) < self.expires_at


def read_branches(lake: Lake) -> list[Branch]:
    """All branches of a lake, by name; on a branch, itself and those that were there before it."""
    if "branches" not in lake.tables("meta"):
        return []
    columns = "name, created_at, expires_at, data_path"
    return [Branch(*row) for row in lake.rows(f"SELECT {columns} FROM {META}.branches ORDER BY 1")]


def refuse_expired(lake: Lake) -> None:
    """Refuse to work on a branch whose files may be gone.

    Raises:
        SettingsError: The branch that is open has expired.
    """
    for branch in read_branches(lake):
        if branch.name == lake.settings.branch and not branch.is_live:
            raise SettingsError(
                f"branch {branch.name} has expired at {branch.expires_at:%Y-%m-%d %H:%M} UTC: "
                "files that it reads may be gone",
                hint=f"without LAKE_BRANCH, `lotus-lake branch {branch.name} --drop`, then make it "
                "again",
            )


def refuse_on_branch(lake: Lake) -> None:
    """Refuse what would delete files, or take them out of the catalog, on a branch.

    Raises:
        UpkeepRefusedError: The lake is a branch, most of whose files are its origin's.
    """
    if lake.settings.branch:
        raise UpkeepRefusedError(
            f"LAKE_BRANCH={lake.settings.branch}: a branch shares the files of its origin, has no "
            "upkeep, and deletes no object",
            hint=f"`lotus-lake branch {lake.settings.branch} --drop` removes it and its own files",
        )


def refuse_under_branches(lake: Lake) -> None:
    """Refuse to delete objects at once, and not by the deletion list, where a branch may read them.

    Raises:
        UpkeepRefusedError: The lake is a branch, or has live ones.
    """
    refuse_on_branch(lake)
    if live := [branch.name for branch in read_branches(lake) if branch.is_live]:
        raise UpkeepRefusedError(
            f"branches of the lake read the objects: {', '.join(live)}",
            hint="drop them first: `lotus-lake branch NAME --drop`",
        )


def note_branch(lake: Lake, branch: Branch) -> None:
    """Note a branch, or another age limit of one that is noted."""
    values = ", ".join(
        literal(value)
        for value in (
            branch.name, branch.created_at.isoformat(), branch.expires_at.isoformat(),
            branch.data_path,
        )
    )  # fmt: skip

    def note() -> None:
        lake.con.execute(f"CREATE SCHEMA IF NOT EXISTS {META}")
        lake.con.execute(_TABLE)
        lake.con.execute(f"DELETE FROM {META}.branches WHERE name = {literal(branch.name)}")
        lake.con.execute(f"INSERT INTO {META}.branches VALUES ({values})")

    lake.commit(f"branch {branch.name}", note)


def forget_branch(lake: Lake, name: str) -> None:
    """Forget a branch: nothing is kept for it any more."""
    statement = f"DELETE FROM {META}.branches WHERE name = {literal(name)}"
    lake.commit(f"drop branch {name}", lambda: lake.con.execute(statement))
