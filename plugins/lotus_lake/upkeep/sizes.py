"""How large every table is, and how it grows; kept in `meta.table_sizes`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from lotus_lake.lake import database
from lotus_lake.lake.inlined_rows import InlinedRows, read_inlined
from lotus_lake.lake.session import META, Lake
from lotus_lake.lake.tables import table_totals

# Growth is measured against a report at least this old: a run that is repeated says the same.
GROWTH_HOURS = 20

_CREATE = f"""
CREATE SCHEMA IF NOT EXISTS {META};
CREATE TABLE IF NOT EXISTS {META}.table_sizes (
    recorded_at TIMESTAMPTZ, table_schema VARCHAR, table_name VARCHAR, row_count BIGINT,
    files BIGINT, size_bytes BIGINT, delete_files BIGINT, deleted_rows BIGINT, catalog_rows BIGINT
);
"""


@dataclass(frozen=True, slots=True)
class TableSize:
    """A table.

    Attributes:
        table: Its name, with its schema.
        rows: Rows that a reader sees.
        files: Live data files; of a landing table, Airbyte's objects.
        size_bytes: Their bytes.
        delete_files: Files that say which of their rows are deleted.
        deleted_rows: Those rows.
        catalog_rows: Rows in the catalog: live ones, and versions that snapshots still show.
        new_rows: Rows more than at the last report that is a day old; `None` without one.
        new_bytes: Bytes more.
    """

    table: str
    rows: int
    files: int
    size_bytes: int
    delete_files: int
    deleted_rows: int
    catalog_rows: int
    new_rows: int | None = None
    new_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class LakeSize:
    """The whole lake.

    Attributes:
        tables: Every table, the largest first.
        snapshots: Snapshots that can be asked for.
        files_to_delete: Files that wait to be deleted.
        catalog_bytes: Size of the catalog's database.
    """

    tables: tuple[TableSize, ...]
    snapshots: int
    files_to_delete: int
    catalog_bytes: int

    def totals(self) -> dict[str, int]:
        """The sums."""
        return {
            "tables": len(self.tables),
            "rows": sum(table.rows for table in self.tables),
            "files": sum(table.files for table in self.tables),
            "size_bytes": sum(table.size_bytes for table in self.tables),
            "delete_files": sum(table.delete_files for table in self.tables),
            "snapshots": self.snapshots,
            "files_to_delete": self.files_to_delete,
            "catalog_bytes": self.catalog_bytes,
        }


def read_sizes(lake: Lake) -> LakeSize:
    """Sizes from DuckLake's metadata alone; no file is opened."""
    inlined = read_inlined(lake)
    earlier = _earlier(lake)
    tables = [
        _size(row, inlined.get(int(row[0]), InlinedRows()), earlier.get((row[1], row[2])))
        for row in table_totals(lake)
    ]
    snapshots, files_to_delete = database.counts(lake)
    return LakeSize(
        tuple(sorted(tables, key=lambda table: (-table.size_bytes, table.table))),
        snapshots,
        files_to_delete,
        database.size_bytes(lake),
    )


def record_sizes(lake: Lake, tables: Sequence[TableSize]) -> None:
    """Keep sizes for later reports, in one commit."""
    if not tables:
        return
    names = [table.table.split(".", 1) for table in tables]
    numbers = ("rows", "files", "size_bytes", "delete_files", "deleted_rows", "catalog_rows")

    def unit() -> None:
        if "table_sizes" not in lake.tables("meta"):
            lake.con.execute(_CREATE)
        lake.con.execute(
            f"INSERT INTO {META}.table_sizes SELECT now(), unnest(?::VARCHAR[]), "
            f"unnest(?::VARCHAR[]), {', '.join(['unnest(?::BIGINT[])'] * len(numbers))}",
            [
                [schema for schema, _ in names],
                [name for _, name in names],
                *([asdict(table)[number] for table in tables] for number in numbers),
            ],
        )

    lake.commit("record the sizes of tables", unit)


def _size(row: Sequence[Any], inlined: InlinedRows, before: tuple[int, int] | None) -> TableSize:
    _, schema, name, *numbers = row
    file_rows, files, size_bytes, delete_files, deleted = (int(number) for number in numbers)
    rows = file_rows - deleted - inlined.deletions + inlined.rows
    return TableSize(
        f"{schema}.{name}", rows, files, size_bytes, delete_files, deleted + inlined.deletions,
        inlined.rows + inlined.dead_rows,
        None if before is None else rows - before[0],
        None if before is None else size_bytes - before[1],
    )  # fmt: skip


def _earlier(lake: Lake) -> dict[tuple[str, str], tuple[int, int]]:
    """Rows and bytes of each table in the newest report that is a day old."""
    if "table_sizes" not in lake.tables("meta"):
        return {}
    return {
        (schema, name): (rows, size_bytes)
        for schema, name, rows, size_bytes in lake.rows(
            "SELECT table_schema, table_name, arg_max(row_count, recorded_at), "
            f"arg_max(size_bytes, recorded_at) FROM {META}.table_sizes "
            f"WHERE recorded_at < now() - INTERVAL {GROWTH_HOURS} HOUR GROUP BY ALL"
        )
    }
