"""How large every table is, and how it grows; kept in `meta.table_sizes`."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from lotus_lake.lake.connection import META, METADATA, Lake
from lotus_lake.lake.inlined_rows import InlinedRows, read_inlined

# Growth is told against what was recorded so long ago: a run that is repeated tells the same.
GROWTH_HOURS = 20

_CREATE = f"""
CREATE SCHEMA IF NOT EXISTS {META};
CREATE TABLE IF NOT EXISTS {META}.table_sizes (
    recorded_at TIMESTAMPTZ, table_schema VARCHAR, table_name VARCHAR, row_count BIGINT,
    files BIGINT, size_bytes BIGINT, delete_files BIGINT, deleted_rows BIGINT, catalog_rows BIGINT
);
"""

log = logging.getLogger(__name__)


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
        for row in lake.metadata_rows(_SIZES)
    ]
    [(snapshots, waiting)] = lake.metadata_rows(_COUNTS)
    [(catalog_bytes,)] = lake.metadata_rows(_CATALOG_BYTES[lake.settings.catalog.kind])
    return LakeSize(
        tuple(sorted(tables, key=lambda table: (-table.size_bytes, table.table))),
        int(snapshots),
        int(waiting),
        int(catalog_bytes),
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


def refresh_statistics(lake: Lake) -> None:
    """Let the catalog's database look at its tables again, so that it plans queries well.

    Postgres analyses DuckLake's tables. SQLite looks at those that have changed much, and its
    write-ahead log is taken into the file.
    """
    if lake.settings.catalog.kind == "postgres":
        names = ", ".join(str(name) for (name,) in lake.metadata_rows(_POSTGRES_TABLES))
        lake.con.execute("CALL postgres_execute(?, ?)", [METADATA, f"ANALYZE {names}"])
        log.info("analysed %s", names)
        return
    for statement in ("PRAGMA optimize", "PRAGMA wal_checkpoint(TRUNCATE)"):
        lake.metadata_rows(statement)


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


_SIZES = """
SELECT tables.table_id, schemas.schema_name, tables.table_name,
coalesce(files.row_count, 0) AS row_count, coalesce(files.files, 0) AS files,
coalesce(files.size_bytes, 0) AS size_bytes, coalesce(deleted.files, 0) AS delete_files,
coalesce(deleted.row_count, 0) AS deleted_rows
FROM ducklake_table AS tables
JOIN ducklake_schema AS schemas ON schemas.schema_id = tables.schema_id
LEFT JOIN (
    SELECT table_id, sum(record_count) AS row_count, count(*) AS files,
    sum(file_size_bytes) AS size_bytes
    FROM ducklake_data_file WHERE end_snapshot IS NULL GROUP BY table_id
) AS files ON files.table_id = tables.table_id
LEFT JOIN (
    SELECT table_id, count(*) AS files, sum(delete_count) AS row_count
    FROM ducklake_delete_file WHERE end_snapshot IS NULL GROUP BY table_id
) AS deleted ON deleted.table_id = tables.table_id
WHERE tables.end_snapshot IS NULL AND schemas.end_snapshot IS NULL
"""
_COUNTS = """
SELECT (SELECT count(*) FROM ducklake_snapshot) AS snapshots,
(SELECT count(*) FROM ducklake_files_scheduled_for_deletion) AS files_to_delete
"""
_CATALOG_BYTES = {
    "sqlite": "SELECT page_count * page_size AS size FROM pragma_page_count(), pragma_page_size()",
    "postgres": "SELECT pg_database_size(current_database())",
}
_POSTGRES_TABLES = """
SELECT oid::regclass::text FROM pg_class WHERE relkind = 'r'
AND starts_with(relname, 'ducklake_') AND NOT starts_with(relname, 'ducklake_inlined_data_')
AND NOT starts_with(relname, 'ducklake_inlined_delete_')
AND relnamespace = (SELECT relnamespace FROM pg_class WHERE oid = 'ducklake_snapshot'::regclass)
ORDER BY relname
"""
