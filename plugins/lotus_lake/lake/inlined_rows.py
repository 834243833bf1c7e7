"""Rows that DuckLake keeps in its catalog instead of in files, because they are few.

A changed row stays there for the snapshots that showed it, and DuckLake never removes it: a guard
or a watermark that is updated every hour would grow for ever. `purge` removes what no snapshot
shows any more.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeVar

from lotus_lake.lake.connection import METADATA, Lake
from lotus_lake.sql import identifier, literal

# SQLite takes no more than 500 parts of a UNION.
_TABLES_AT_ONCE = 400
_DATA, _DELETE = "ducklake_inlined_data_", "ducklake_inlined_delete_"

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class InlinedRows:
    """What the catalog holds of a table.

    Attributes:
        rows: Rows that are in no file.
        dead_rows: Rows that were changed or deleted, for snapshots of the past.
        deletions: Deletions of rows that are in files.
    """

    rows: int = 0
    dead_rows: int = 0
    deletions: int = 0

    @property
    def waiting(self) -> int:
        """What a flush would write."""
        return self.rows + self.deletions


def read_inlined(lake: Lake) -> dict[int, InlinedRows]:
    """The inlined rows of all tables that have any, by table id; one query for every 400 tables."""
    found: dict[int, InlinedRows] = {}
    for some in _portions(_places(lake)):
        union = " UNION ALL ".join(_counting(table_id, place) for table_id, place in some)
        for row in lake.metadata_rows(union):
            table_id, rows, dead_rows, deletions = (int(number) for number in row)
            known = found.get(table_id, InlinedRows())
            found[table_id] = InlinedRows(
                known.rows + rows, known.dead_rows + dead_rows, known.deletions + deletions
            )
    return {table_id: rows for table_id, rows in found.items() if rows != InlinedRows()}


def _counting(table_id: int, place: str) -> str:
    if place.startswith(_DELETE):
        # Deletions of a file that has ended are there for snapshots of the past.
        columns = "0 AS live, 0 AS dead, count(*) AS deletions"
        condition = f"WHERE file_id IN ({_files_of(table_id)} AND end_snapshot IS NULL)"
    else:
        columns = "count(*) - count(end_snapshot) AS live, count(end_snapshot) AS dead, 0 AS gone"
        condition = ""
    return f"SELECT {table_id} AS table_id, {columns} FROM {identifier(place)} {condition}"


def purge(lake: Lake) -> int:
    """Remove rows that no snapshot shows any more; returns how many."""
    oldest = int(lake.value(f"SELECT min(snapshot_id) FROM {METADATA}.ducklake_snapshot"))
    dead: list[tuple[int, str, int]] = []
    for some in _portions(_places(lake)):
        union = " UNION ALL ".join(
            f"SELECT {table_id} AS table_id, {literal(place)} AS place, count(*) AS dead "
            f"FROM {identifier(place)} WHERE {_unseen(table_id, place, oldest)}"
            for table_id, place in some
        )
        dead += [(int(i), place, int(n)) for i, place, n in lake.metadata_rows(union) if int(n)]
    for portion in _portions(dead):
        lake.commit_metadata(
            f"remove {sum(count for *_, count in portion)} rows that no snapshot shows",
            [
                (
                    f"DELETE FROM {METADATA}.{identifier(place)} "
                    f"WHERE {_unseen(table_id, place, oldest, f'{METADATA}.')}",
                    [],
                )
                for table_id, place, _ in portion
            ],
        )
    return sum(count for *_, count in dead)


def _unseen(table_id: int, place: str, oldest: int, database: str = "") -> str:
    """The condition for what is older than every snapshot."""
    if place.startswith(_DELETE):
        return f"file_id NOT IN ({_files_of(table_id, database)})"
    # What ended in the oldest snapshot is what its change feed still tells as deleted.
    return f"end_snapshot < {oldest}"


def _files_of(table_id: int, database: str = "") -> str:
    return f"SELECT data_file_id FROM {database}ducklake_data_file WHERE table_id = {table_id}"


def _places(lake: Lake) -> list[tuple[int, str]]:
    """Every table of the catalog that holds inlined rows, with the id of the table they are of."""
    listing = {
        "sqlite": "SELECT name FROM sqlite_master WHERE type = 'table'",
        "postgres": "SELECT relname::text AS name FROM pg_class WHERE relkind = 'r' "
        "AND relnamespace = (SELECT relnamespace FROM pg_class "
        "WHERE oid = 'ducklake_snapshot'::regclass)",
    }[lake.settings.catalog.kind]
    names = sorted(name for (name,) in lake.metadata_rows(listing))
    return [
        (int(name.removeprefix(prefix).split("_")[0]), name)
        for name in names
        for prefix in (_DATA, _DELETE)
        if name.startswith(prefix) and name[len(prefix) :].replace("_", "").isdecimal()
    ]


def _portions(values: Iterable[Value]) -> list[list[Value]]:
    every = list(values)
    return [every[at : at + _TABLES_AT_ONCE] for at in range(0, len(every), _TABLES_AT_ONCE)]
