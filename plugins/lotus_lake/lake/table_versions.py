"""What DuckLake knows of its tables: when each one changed, and its size."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from lotus_lake.lake.inlined_rows import inlined_in
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

# What DuckLake notes of a commit that changes a table, with its id.
_CHANGED = re.compile(
    "(?:inserted_into_table|deleted_from_table|inlined_insert|inlined_delete|altered_table)"
    r":(\d+)"
)


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


def table_ids(lake: Lake, schema: str) -> dict[str, int]:
    """Id of each committed table of a schema, by name."""
    return dict(
        lake.rows(
            f"""
            SELECT table_name, table_id FROM {METADATA}.ducklake_table AS tables
            JOIN {METADATA}.ducklake_schema AS schemas USING (schema_id)
            WHERE tables.end_snapshot IS NULL AND schemas.end_snapshot IS NULL AND schema_name = ?
            """,
            [schema],
        )
    )


@dataclass(frozen=True, slots=True)
class Written:
    """What was written to a table, or read for it."""

    rows: int
    size_bytes: int
    files: int


def written_in(lake: Lake, schema: str, table: str, snapshots: Collection[int]) -> Written:
    """What some snapshots have added to a table. Reads DuckLake's metadata alone.

    Args:
        lake: Open lake.
        schema: Of the table.
        table: Its name.
        snapshots: Their ids.
    """
    table_id = table_ids(lake, schema)[table]
    [(rows, size_bytes, files)] = lake.rows(
        f"""
        SELECT coalesce(sum(record_count), 0)::BIGINT,
               coalesce(sum(file_size_bytes), 0)::BIGINT, count(*)
        FROM {METADATA}.ducklake_data_file
        WHERE table_id = ? AND begin_snapshot IN (SELECT unnest(?::BIGINT[]))
        """,
        [table_id, sorted(snapshots)],
    )
    return Written(rows + inlined_in(lake, table_id, snapshots), size_bytes, files)


def oldest_snapshot(lake: Lake) -> int:
    """The oldest snapshot that has not expired."""
    return int(lake.value(f"SELECT min(snapshot_id) FROM {METADATA}.ducklake_snapshot"))


def changed_tables(lake: Lake, name: str, after: int) -> frozenset[int]:
    """Ids of the tables that were made after a snapshot, or whose columns or rows were changed.

    Compaction changes neither.

    Args:
        lake: Open lake.
        name: What it, or a branch beside it, is attached as.
        after: A snapshot; those after it must not have expired.
    """
    metadata = f"__ducklake_metadata_{name}"
    made = lake.rows(
        f"SELECT table_id FROM {metadata}.ducklake_table "
        "GROUP BY table_id HAVING min(begin_snapshot) > ?",
        [after],
    )
    changes = lake.rows(
        f"SELECT changes_made FROM {metadata}.ducklake_snapshot_changes WHERE snapshot_id > ?",
        [after],
    )
    changed = {int(number) for (text,) in changes for number in _CHANGED.findall(text)}
    return frozenset(changed | {table_id for (table_id,) in made})
