"""The tables of the lake as DuckLake's metadata has them: ids, files, sizes, partitions."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from lotus_lake.lake.session import METADATA, Lake

# The id of a landing table; its parameter is the table's name.
LANDING_TABLE_ID = f"""
    SELECT max(table_id)
    FROM {METADATA}.ducklake_table AS tables JOIN {METADATA}.ducklake_schema USING (schema_id)
    WHERE table_name = ? AND schema_name = 'staging' AND tables.end_snapshot IS NULL
"""

# `memory.main.lake_comment(schema, table)`: the committed comment of a table, for dbt's macros.
# DuckDB's `duckdb_tables()` looks at every table of the lake: 32 s of CPU for 1,500 tables.
COMMENT_MACRO = f"""
    CREATE OR REPLACE MACRO memory.main.lake_comment(in_schema, of_table) AS (
        SELECT max(value) FROM {METADATA}.ducklake_tag AS tags
        JOIN {METADATA}.ducklake_table AS tables ON tables.table_id = tags.object_id
        JOIN {METADATA}.ducklake_schema AS schemas USING (schema_id)
        WHERE key = 'comment' AND tags.end_snapshot IS NULL AND tables.end_snapshot IS NULL
        AND schemas.end_snapshot IS NULL AND schema_name = in_schema AND table_name = of_table
    )
"""


def tables_with(lake: Lake, schema: str, *columns: str) -> list[str]:
    """Names of the committed tables of a schema that have all of these columns, in order."""
    return [
        name
        for (name,) in lake.rows(
            f"""
            SELECT table_name FROM {METADATA}.ducklake_table AS tables
            JOIN {METADATA}.ducklake_schema AS schemas USING (schema_id)
            JOIN {METADATA}.ducklake_column AS columns USING (table_id)
            WHERE tables.end_snapshot IS NULL AND schemas.end_snapshot IS NULL
            AND columns.end_snapshot IS NULL AND parent_column IS NULL AND schema_name = ?
            AND column_name IN (SELECT unnest(?::VARCHAR[]))
            GROUP BY ALL HAVING count(DISTINCT column_name) = ? ORDER BY table_name
            """,
            [schema, list(columns), len(columns)],
        )
    ]


@dataclass(frozen=True, slots=True)
class Table:
    """A table of the lake."""

    table_id: int
    schema: str
    name: str

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}"


@dataclass(frozen=True, slots=True)
class DataFile:
    """A live file of a table."""

    size_bytes: int
    rows: int
    deleted_rows: int

    @property
    def share(self) -> float:
        """Share of its rows that are deleted."""
        return self.deleted_rows / self.rows if self.rows else 0.0


def own_tables(lake: Lake) -> list[Table]:
    """Tables all of whose files DuckLake has written itself: landing tables are not among them."""
    rows = lake.metadata_rows(_OWN)
    return [Table(int(table_id), schema, name) for table_id, schema, name in rows]


def own_files(lake: Lake, table_id: int | None = None) -> dict[Table, list[DataFile]]:
    """Live files of one of these tables, or of all that have any."""
    condition = "" if table_id is None else f"AND tables.table_id = {table_id}"
    found: dict[Table, list[DataFile]] = {}
    for number, schema, name, *file in lake.metadata_rows(_OWN_FILES.format(condition=condition)):
        table = Table(int(number), schema, name)
        found.setdefault(table, []).append(DataFile(*map(int, file)))
    return found


def is_live(lake: Lake, table: Table) -> bool:
    """Whether the table is still the one that was looked at: dbt replaces tables as a whole."""
    return bool(
        lake.metadata_rows(
            "SELECT 1 FROM ducklake_table WHERE end_snapshot IS NULL "
            f"AND table_id = {table.table_id}"
        )
    )


def partitioned_tables(lake: Lake, names: Collection[str]) -> list[str]:
    """Which of these tables are partitioned, in order."""
    return [
        name
        for (name,) in lake.rows(
            f"""
            SELECT DISTINCT table_name FROM {METADATA}.ducklake_table AS tables
            JOIN {METADATA}.ducklake_partition_info AS parts USING (table_id)
            -- A table that was reset has a partition of no column.
            JOIN {METADATA}.ducklake_partition_column USING (partition_id, table_id)
            WHERE tables.end_snapshot IS NULL AND parts.end_snapshot IS NULL
            AND table_name IN (SELECT unnest(?::VARCHAR[])) ORDER BY table_name
            """,
            [sorted(names)],
        )
    ]


def column_comments(lake: Lake, schema: str, table: str) -> dict[str, str]:
    """Comments of the columns of a table, by column, as `persist_docs` of dbt writes them."""
    return dict(
        lake.rows(
            f"""
            SELECT column_name, value FROM {METADATA}.ducklake_column_tag AS tags
            JOIN {METADATA}.ducklake_column AS columns USING (table_id, column_id)
            JOIN {METADATA}.ducklake_table AS tables USING (table_id)
            JOIN {METADATA}.ducklake_schema AS schemas USING (schema_id)
            WHERE key = 'comment' AND tags.end_snapshot IS NULL AND columns.end_snapshot IS NULL
            AND tables.end_snapshot IS NULL AND schemas.end_snapshot IS NULL
            AND parent_column IS NULL AND schema_name = ? AND table_name = ?
            """,
            [schema, table],
        )
    )


def table_totals(lake: Lake) -> list[Sequence[Any]]:
    """Id, schema, name, file rows, files, bytes, delete files and deleted rows of each table."""
    return lake.metadata_rows(_TOTALS)


# Tables with a file that DuckLake did not write itself are not merged: the file belongs to others.
_OWN = """
SELECT tables.table_id, schemas.schema_name, tables.table_name
FROM ducklake_table AS tables JOIN ducklake_schema AS schemas
ON schemas.schema_id = tables.schema_id
WHERE tables.end_snapshot IS NULL AND schemas.end_snapshot IS NULL
AND schemas.schema_name <> 'staging' AND tables.table_id NOT IN (
    SELECT table_id FROM ducklake_data_file
    WHERE end_snapshot IS NULL AND NOT path_is_relative
)
"""
_OWN_FILES = f"""
SELECT tables.table_id, tables.schema_name, tables.table_name,
files.file_size_bytes, files.record_count, coalesce(deleted.delete_count, 0) AS delete_count
FROM ({_OWN}) AS tables
JOIN ducklake_data_file AS files ON files.table_id = tables.table_id
LEFT JOIN ducklake_delete_file AS deleted
ON deleted.data_file_id = files.data_file_id AND deleted.end_snapshot IS NULL
WHERE files.end_snapshot IS NULL {{condition}}
"""
_TOTALS = """
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
