"""What DuckLake knows of its tables: when each one changed, and its size."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from lotus_lake.lake.session import METADATA, Lake

_TABLES = f"""
WITH changes AS (
    SELECT table_id, max(begin_snapshot) AS snapshot_id
    FROM {METADATA}.ducklake_data_file WHERE end_snapshot IS NULL
    GROUP BY table_id
),
found AS (
    SELECT
        table_name,
        greatest(tables.begin_snapshot, changes.snapshot_id) AS snapshot_id,
        coalesce(file_size_bytes, 0) AS size_bytes
    FROM {METADATA}.ducklake_table AS tables
    JOIN {METADATA}.ducklake_schema AS schemas USING (schema_id)
    LEFT JOIN {METADATA}.ducklake_table_stats USING (table_id)
    LEFT JOIN changes USING (table_id)
    WHERE tables.end_snapshot IS NULL AND schemas.end_snapshot IS NULL AND schema_name = ?
)
SELECT table_name, snapshot_id, CAST(snapshot_time AS TIMESTAMPTZ), size_bytes
FROM found LEFT JOIN {METADATA}.ducklake_snapshot USING (snapshot_id)
"""


@dataclass(frozen=True, slots=True)
class LakeTable:
    """A table.

    Attributes:
        snapshot_id: Snapshot that made it, or its newest file.
        changed_at: When that was; `None` once the snapshot has expired.
        size_bytes: Size of the data files.
    """

    snapshot_id: int
    changed_at: datetime | None
    size_bytes: int


def read_tables(lake: Lake, schema: str) -> dict[str, LakeTable]:
    """The tables of a schema, by name. Reads DuckLake's metadata alone."""
    return {name: LakeTable(*row) for name, *row in lake.rows(_TABLES, [schema])}


def created_in(lake: Lake, schema: str) -> dict[str, int]:
    """The snapshot in which each table of a schema was made, by name: dbt makes most anew."""
    return dict(
        lake.rows(
            f"""
            SELECT arg_max(table_name, tables.begin_snapshot), min(tables.begin_snapshot)
            FROM {METADATA}.ducklake_table AS tables
            JOIN {METADATA}.ducklake_schema AS schemas USING (schema_id)
            WHERE schemas.end_snapshot IS NULL AND schema_name = ?
            GROUP BY table_id HAVING bool_or(tables.end_snapshot IS NULL)
            """,
            [schema],
        )
    )
