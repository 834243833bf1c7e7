"""Put versions of tables, of a branch or of the past, in the place of tables of the lake.

DuckLake knows a data file once, by its address: a file that two tables share is deleted as soon as
one of them needs it no more. So each gets a copy of its own, which the store makes before the
commit, and the commit registers the copies. That does for files all of whose rows are rows of the
version; of any other, and of rows in the catalog, the rows themselves are written anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from uuid import uuid4

from lotus_lake.bucket.file_copies import can_copy, copy_files
from lotus_lake.lake.session import LAKE, Lake
from lotus_lake.sql import identifier, json_array, literal

# What the other lake, or the other version of the lake, is attached as.
SOURCE = "lake_source"
_METADATA = f"__ducklake_metadata_{SOURCE}"
_THEN = "begin_snapshot <= {at} AND (end_snapshot IS NULL OR end_snapshot > {at})"


@dataclass(frozen=True, slots=True)
class TableCopy:
    """A version of a table, ready to be put in place.

    Attributes:
        table: Its name in the schema `main`, there and here.
        rows: Its rows.
        copies: Address of the copy of each data file that is registered, by that of the file.
        rows_written: Rows that are in none of these files, and are written anew.
        properties: Statements that make the new table what the version was beside its rows.
    """

    table: str
    rows: int
    copies: Mapping[str, str]
    rows_written: int
    properties: tuple[str, ...]


def tables_of_source(lake: Lake, schema: str = "main") -> dict[str, int]:
    """Id of each table of a schema of the attached source, by name."""
    return dict(
        lake.rows(
            f"""
            SELECT tables.table_name, table_id FROM ducklake_table_info('{SOURCE}') AS tables
            JOIN {_METADATA}.ducklake_schema AS schemas USING (schema_id)
            WHERE schema_name = ?
            """,
            [schema],
        )
    )


def count_rows(lake: Lake, table: str) -> int:
    """Rows of a table of the attached source."""
    return int(lake.value(f"SELECT count(*) FROM {_source(table)}"))


def prepare_copy(lake: Lake, table: str, snapshot: int) -> TableCopy:
    """Look at a table of the attached source, and let the store copy the files of its rows.

    Copies that are never registered, because the process dies, are found as orphans.

    Args:
        lake: Open lake, with the source attached as of a snapshot.
        table: Name of the table.
        snapshot: That snapshot.

    Raises:
        StorageUnavailableError: A file could not be copied.
    """
    table_id = tables_of_source(lake)[table]
    parted = _partition(lake, table, table_id, snapshot)
    files = {} if parted else _whole_files(lake, table)
    folder = f"{lake.settings.data_path}main/{table}/"
    copies = {
        file: f"{folder}ducklake-{uuid4()}.parquet" for file in files if can_copy(file, folder)
    }
    copy_files(lake.settings.s3, copies)
    rows = count_rows(lake, table)
    return TableCopy(
        table,
        rows,
        copies,
        rows - sum(files[file] for file in copies),
        (*parted, *_sorting(lake, table, table_id, snapshot)),
    )


def put_in_place(lake: Lake, copy: TableCopy, snapshot: int) -> None:
    """Make the version the table of the lake, in the transaction that is open."""
    target = identifier(LAKE, "main", copy.table)
    lake.con.execute(f"DROP TABLE IF EXISTS {target}")
    lake.con.execute(f"CREATE TABLE {target} AS FROM {_source(copy.table)} WHERE false")
    for statement in copy.properties:
        lake.con.execute(statement)
    if copy.copies:
        lake.con.execute(
            f"CALL ducklake_add_data_files('{LAKE}', ?, ?, schema => 'main', "
            "hive_partitioning => false)",
            [copy.table, list(copy.copies.values())],
        )
    if copy.rows_written:
        lake.con.execute(
            f"INSERT INTO {target} FROM {_source(copy.table)} "
            "WHERE filename NOT IN (SELECT unnest(?::JSON::VARCHAR[]))",
            [json_array(copy.copies)],
        )
    for statement in _comments(lake, copy.table, snapshot):
        lake.con.execute(statement)


def replace_rows(lake: Lake, schema: str, table: str, columns: str = "*") -> None:
    """Make a small table what it is in the source, or drop it, in the transaction that is open."""
    target = identifier(LAKE, schema, table)
    lake.con.execute(f"DROP TABLE IF EXISTS {target}")
    if table in tables_of_source(lake, schema):
        lake.con.execute(
            f"CREATE TABLE {target} AS SELECT {columns} FROM {identifier(SOURCE, schema, table)}"
        )


def _source(table: str) -> str:
    return identifier(SOURCE, "main", table)


def _whole_files(lake: Lake, table: str) -> dict[str, int]:
    """Rows of each data file that is rows of the table, all of them, and nothing else.

    A file that an UPDATE or compaction wrote has columns of DuckLake's own: registered, it can be
    read, and the next UPDATE of the table fails.
    """
    shape = _shape(lake, f"FROM {_source(table)}")
    query = f"SELECT filename, count(*) FROM {_source(table)} GROUP BY filename"
    visible = {name: rows for name, rows in lake.rows(query) if name.endswith(".parquet")}
    if not visible:
        return {}
    held = lake.rows("SELECT file_name, num_rows FROM parquet_file_metadata(?)", [list(visible)])
    return {
        name: rows
        for name, rows in held
        if rows == visible[name]
        and _shape(lake, f"FROM read_parquet({literal(name)}, hive_partitioning => false)") == shape
    }


def _shape(lake: Lake, query: str) -> list[tuple[str, str]]:
    found = lake.con.sql(query)
    return [(n, str(t)) for n, t in zip(found.columns, found.types, strict=True)]


def _partition(lake: Lake, table: str, table_id: int, snapshot: int) -> list[str]:
    keys = [
        identifier(name) if transform == "identity" else f"{transform}({identifier(name)})"
        for name, transform in lake.rows(
            f"""
            SELECT column_name, transform FROM {_METADATA}.ducklake_partition_info AS info
            JOIN {_METADATA}.ducklake_partition_column AS keys USING (partition_id, table_id)
            JOIN (
                SELECT table_id, column_id, column_name FROM {_METADATA}.ducklake_column
                WHERE {_THEN.format(at=snapshot)}
            ) USING (table_id, column_id)
            WHERE table_id = ? AND {_THEN.format(at=snapshot)} ORDER BY partition_key_index
            """,
            [table_id],
        )
    ]
    if not keys:
        return []
    return [f"ALTER TABLE {identifier(LAKE, 'main', table)} SET PARTITIONED BY ({', '.join(keys)})"]


def _sorting(lake: Lake, table: str, table_id: int, snapshot: int) -> list[str]:
    keys = [
        f"{expression} {direction} {nulls.replace('_', ' ')}"
        for expression, direction, nulls in lake.rows(
            f"""
            SELECT expression, sort_direction, null_order
            FROM {_METADATA}.ducklake_sort_info
            JOIN {_METADATA}.ducklake_sort_expression USING (sort_id, table_id)
            WHERE table_id = ? AND {_THEN.format(at=snapshot)} ORDER BY sort_key_index
            """,
            [table_id],
        )
    ]
    if not keys:
        return []
    return [f"ALTER TABLE {identifier(LAKE, 'main', table)} SET SORTED BY ({', '.join(keys)})"]


def _comments(lake: Lake, table: str, snapshot: int) -> list[str]:
    """Statements for the comments of a table and its columns."""
    table_id = tables_of_source(lake)[table]
    target, then = identifier(LAKE, "main", table), _THEN.format(at=snapshot)
    of_table = lake.rows(
        f"SELECT value FROM {_METADATA}.ducklake_tag "
        f"WHERE object_id = ? AND key = 'comment' AND {then}",
        [table_id],
    )
    of_columns = lake.rows(
        f"""
        SELECT column_name, value FROM {_METADATA}.ducklake_column_tag AS tags
        JOIN (
            SELECT column_id, column_name FROM {_METADATA}.ducklake_column
            WHERE table_id = ? AND parent_column IS NULL AND {then}
        ) USING (column_id)
        WHERE table_id = ? AND key = 'comment' AND {then}
        """,
        [table_id, table_id],
    )
    return [
        *(f"COMMENT ON TABLE {target} IS {literal(value)}" for (value,) in of_table),
        *(
            f"COMMENT ON COLUMN {target}.{identifier(name)} IS {literal(value)}"
            for name, value in of_columns
        ),
    ]
