"""Rows that DuckLake keeps in its catalog instead of in files, because they are few.

A changed row stays there for the snapshots that showed it, and DuckLake never removes it: a guard
or a watermark that is updated every hour would grow without end. `purge` removes what no snapshot
shows any more.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TypeVar

from lotus_lake.lake.session import LAKE, METADATA, Lake
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
    for some in _batched(_inlined_tables(lake)):
        union = " UNION ALL ".join(_count_query(table_id, name) for table_id, name in some)
        for row in lake.metadata_rows(union):
            table_id, rows, dead_rows, deletions = (int(number) for number in row)
            known = found.get(table_id, InlinedRows())
            found[table_id] = InlinedRows(
                known.rows + rows, known.dead_rows + dead_rows, known.deletions + deletions
            )
    return {table_id: rows for table_id, rows in found.items() if rows != InlinedRows()}


def one_row_values(
    lake: Lake, schema: str, tables: Collection[str], column: str
) -> dict[str, int | None]:
    """A number in each of many tables of one row; tables that are not there are left out.

    Such a table is kept inlined in DuckLake's metadata, and is read there, by the database that
    holds it: 1,000 tables take 0.1 s, and three minutes through DuckLake. One query for every 400.
    """
    inlined, in_files = _one_row_tables(lake, schema, set(tables))
    values: dict[str, int | None] = {}
    for some in _batched(inlined):
        union = " UNION ALL ".join(
            f"SELECT {literal(table)} AS name, {identifier(column)} AS value "
            f"FROM {identifier(name)} WHERE end_snapshot IS NULL"
            for table, name in some
        )
        values |= {table: None for table, _ in some if table not in values}
        # A table whose columns have changed has an inlined table for each of its shapes.
        for table, value in lake.metadata_rows(union):
            if value is not None:
                values[table] = int(value)
    for table in in_files:
        values[table] = lake.value(
            f"SELECT max({identifier(column)}) FROM {identifier(LAKE, schema, table)}"
        )
    return values


def inlined_in(lake: Lake, table_id: int, snapshots: Collection[int]) -> int:
    """How many rows of a table some snapshots have put into the catalog, live or not."""
    tables = lake.rows(
        f"SELECT table_name FROM {METADATA}.ducklake_inlined_data_tables WHERE table_id = ?",
        [table_id],
    )
    return sum(
        int(
            lake.value(
                f"SELECT count(*) FROM {METADATA}.{identifier(name)} "
                "WHERE begin_snapshot IN (SELECT unnest(?::BIGINT[]))",
                [sorted(snapshots)],
            )
        )
        for (name,) in tables
    )


def purge(lake: Lake) -> int:
    """Remove rows that no snapshot shows any more; returns how many."""
    oldest = int(lake.value(f"SELECT min(snapshot_id) FROM {METADATA}.ducklake_snapshot"))
    dead: list[tuple[int, str, int]] = []
    for some in _batched(_inlined_tables(lake)):
        union = " UNION ALL ".join(
            f"SELECT {table_id} AS table_id, {literal(name)} AS name, count(*) AS dead "
            f"FROM {identifier(name)} WHERE {_is_dead(table_id, name, oldest)}"
            for table_id, name in some
        )
        dead += [(int(i), name, int(n)) for i, name, n in lake.metadata_rows(union) if int(n)]
    for batch in _batched(dead):
        lake.commit_metadata(
            f"remove {sum(count for *_, count in batch)} rows that no snapshot shows",
            [
                (
                    f"DELETE FROM {METADATA}.{identifier(name)} "
                    f"WHERE {_is_dead(table_id, name, oldest, f'{METADATA}.')}",
                    [],
                )
                for table_id, name, _ in batch
            ],
        )
    return sum(count for *_, count in dead)


def _count_query(table_id: int, name: str) -> str:
    if name.startswith(_DELETE):
        # Deletions of a file that has ended are there for snapshots of the past.
        columns = "0 AS live, 0 AS dead, count(*) AS deletions"
        condition = f"WHERE file_id IN ({_files_of(table_id)} AND end_snapshot IS NULL)"
    else:
        columns = "count(*) - count(end_snapshot) AS live, count(end_snapshot) AS dead, 0 AS gone"
        condition = ""
    return f"SELECT {table_id} AS table_id, {columns} FROM {identifier(name)} {condition}"


def _is_dead(table_id: int, name: str, oldest: int, database: str = "") -> str:
    """The condition for what is older than every snapshot."""
    if name.startswith(_DELETE):
        return f"file_id NOT IN ({_files_of(table_id, database)})"
    # The change feed of the oldest snapshot still reports as deleted what ended in it.
    return f"end_snapshot < {oldest}"


def _files_of(table_id: int, database: str = "") -> str:
    return f"SELECT data_file_id FROM {database}ducklake_data_file WHERE table_id = {table_id}"


def _inlined_tables(lake: Lake) -> list[tuple[int, str]]:
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


def _one_row_tables(
    lake: Lake, schema: str, wanted: set[str]
) -> tuple[list[tuple[str, str]], list[str]]:
    """Tables with the names of their inlined tables, and tables that have files, or neither."""
    rows = lake.rows(
        f"""
        SELECT tables.table_name, inlined.table_name, tables.table_id IN (
            SELECT table_id FROM {METADATA}.ducklake_data_file
        ) AS has_files
        FROM {METADATA}.ducklake_table AS tables
        JOIN {METADATA}.ducklake_schema AS schemas USING (schema_id)
        LEFT JOIN {METADATA}.ducklake_inlined_data_tables AS inlined USING (table_id)
        WHERE tables.end_snapshot IS NULL AND schemas.end_snapshot IS NULL AND schema_name = ?
        ORDER BY tables.table_name, inlined.table_name
        """,
        [schema],
    )
    inlined = [(t, name) for t, name, files in rows if t in wanted and name and not files]
    others = {t for t, name, files in rows if t in wanted and (files or not name)}
    return inlined, sorted(others)


def _batched(values: Sequence[Value]) -> list[Sequence[Value]]:
    return [values[at : at + _TABLES_AT_ONCE] for at in range(0, len(values), _TABLES_AT_ONCE)]
