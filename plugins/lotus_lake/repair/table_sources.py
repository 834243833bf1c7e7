"""Where versions of tables come from: a branch of the lake, or a snapshot of its past."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from lotus_lake.errors import PermanentError
from lotus_lake.lake.branch_catalog import branch_point
from lotus_lake.lake.connection import open_beside
from lotus_lake.lake.session import Lake
from lotus_lake.lake.table_copies import SOURCE, tables_of_source
from lotus_lake.lake.table_versions import changed_tables


@dataclass(frozen=True, slots=True)
class Source:
    """An attached version of a lake, as of one snapshot.

    Attributes:
        branch: Name of the branch; `None` for the past of the lake itself.
        snapshot: Its snapshot.
        shared: The last snapshot that it has in common with the lake: ids up to there mean the
            same in both.
        tables: Tables of `main`, with their ids.
        changed: Ids of the tables that are not what they were at that snapshot.
    """

    branch: str | None
    snapshot: int
    shared: int
    tables: Mapping[str, int]
    changed: frozenset[int]

    def is_changed(self, table: str) -> bool:
        """Whether a table of `main` was changed on the branch."""
        return self.tables.get(table) in self.changed


@contextmanager
def open_branch(lake: Lake, name: str) -> Iterator[Source]:
    """Attach a branch beside its origin, as it is now.

    Raises:
        PermanentError: There is no such branch, or an earlier release has made it.
    """
    settings = lake.settings.of_branch(name)
    with open_beside(lake, settings, SOURCE):
        shared = branch_point(lake, SOURCE)
        snapshot = int(lake.value(f"SELECT id FROM {SOURCE}.current_snapshot()"))
    if shared is None:
        raise PermanentError(
            f"branch {name} does not know the snapshot that it was made from: an earlier release "
            "of Lotus Lake has made it",
            hint="make a new branch, and build its tables there",
        )
    with open_beside(lake, settings, SOURCE, snapshot):
        changed = changed_tables(lake, SOURCE, shared)
        yield Source(name, snapshot, shared, tables_of_source(lake), changed)


@contextmanager
def open_past(lake: Lake, snapshot: int) -> Iterator[Source]:
    """Attach the lake beside itself, as of a snapshot.

    Raises:
        SettingsError: There is no such snapshot any more.
    """
    with open_beside(lake, lake.settings, SOURCE, snapshot):
        yield Source(None, snapshot, snapshot, tables_of_source(lake), frozenset())
