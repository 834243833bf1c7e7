"""Statistics that DuckLake keeps of each column of a table, where they would mislead readers.

A file without a column is read as NULLs, but the table's statistics do not count them: after a file
that holds the column without NULLs they say that there are none. The optimizer believes it. Then
`column IS NULL` finds nothing, `coalesce(column, x)` gives NULL, and when all other files hold one
value, `column = value` is true for every row. A row of NULLs, committed before the first file and
deleted by another commit, makes the statistics say for good that there are NULLs; columns that are
added later have no statistics, which is right, too. Snapshots of the past still show that row:
`LANDED_ROW` tells it from rows that have landed.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from lotus_lake.lake.session import LAKE, METADATA, Lake
from lotus_lake.lake.tables import LANDING_TABLE_ID
from lotus_lake.sql import identifier

# The row of NULLs is the first of its table. Tables of early releases have none, and begin with a
# file of which the key names the day.
LANDED_ROW = "(rowid > 0 OR year IS NOT NULL)"


def insert_nulls(lake: Lake, table: str) -> None:
    """Insert the row of NULLs, in a data file of its own.

    Call it in the transaction that creates the table: two processes cannot both create it, and so
    cannot insert two rows.
    """
    lake.con.execute("SET ducklake_default_data_inlining_row_limit = 0")
    lake.con.execute(f"INSERT INTO {identifier(LAKE, 'staging', table)} (year) VALUES (NULL)")
    lake.con.execute("RESET ducklake_default_data_inlining_row_limit")


def count_nulls(lake: Lake, table: str) -> None:
    """Prepare a landing table that has no file yet, or correct the statistics of one that has.

    Args:
        lake: Open lake.
        table: Name of the landing table, which has a column `year`.
    """
    name = identifier(LAKE, "staging", table)
    columns, wrong = _null_statistics(lake, table)
    if not columns:  # a table of an early release, without a file
        lake.commit(f"prepare {table}", partial(insert_nulls, lake, table))
    elif wrong:
        statement = f"""
            UPDATE {METADATA}.ducklake_table_column_stats SET contains_null = true
            WHERE table_id = ({LANDING_TABLE_ID})
        """
        lake.commit_metadata(f"count the NULLs of {table}", [(statement, [table])])
    # Only this row is in a data file that DuckLake has written into the table's own folder; it is
    # still there after a crash, too.
    if own := _own_rows(lake, table):
        inside = " OR ".join(f"rowid BETWEEN {first} AND {last}" for first, last in own)
        delete = f"DELETE FROM {name} WHERE year IS NULL AND ({inside})"
        lake.commit(f"prepare {table}", partial(lake.con.execute, delete))


def counts_nulls(lake: Lake, table: str) -> bool:
    """Whether there is nothing for `count_nulls` to do."""
    columns, wrong = _null_statistics(lake, table)
    return columns > 0 and not wrong and not _own_rows(lake, table)


@dataclass(frozen=True, slots=True)
class Bounds:
    """Least and greatest value of each column of a table, as of a snapshot."""

    table_id: int
    snapshot_id: int
    columns: list[tuple[int, str | None, str | None]]


def read_bounds(lake: Lake, table_id: int) -> Bounds:
    """The bounds that DuckLake keeps of a table."""
    columns = lake.rows(
        f"""
        SELECT column_id, min_value, max_value FROM {METADATA}.ducklake_table_column_stats
        WHERE table_id = ?
        """,
        [table_id],
    )
    return Bounds(table_id, lake.current_snapshot(), columns)


def restore_bounds(lake: Lake, bounds: Bounds) -> None:
    """Undo that a rewrite has narrowed the bounds of a table to the rows that are left.

    DuckDB relies on them, and DuckLake keeps one set for all snapshots: a reader of an older one
    would sort and group the rows that are gone by wrong values. Nothing is done when somebody else
    has changed the table meanwhile: the bounds then cover those rows, too.
    """
    statement = f"""
        UPDATE {METADATA}.ducklake_table_column_stats AS stats
        SET min_value = known.least, max_value = known.greatest
        FROM (
            SELECT unnest(?::BIGINT[]) AS column_id, unnest(?::VARCHAR[]) AS least,
                   unnest(?::VARCHAR[]) AS greatest
        ) AS known
        WHERE stats.table_id = ? AND stats.column_id = known.column_id AND 1 = (
            SELECT count(*) FROM {METADATA}.ducklake_snapshot_changes
            WHERE snapshot_id > ? AND regexp_matches(changes_made, ?)
        )
    """
    lake.commit_metadata(
        f"restore the bounds of table {bounds.table_id}",
        [
            (
                statement,
                [
                    *([row[part] for row in bounds.columns] for part in range(3)),
                    bounds.table_id,
                    bounds.snapshot_id,
                    rf":{bounds.table_id}\b",
                ],
            )
        ],
    )


def _null_statistics(lake: Lake, table: str) -> tuple[int, int]:
    """Columns that have statistics, and those of them that know of no NULLs."""
    columns, wrong = lake.rows(
        f"""
        SELECT count(*), count(*) FILTER (contains_null IS DISTINCT FROM true)
        FROM {METADATA}.ducklake_table_column_stats WHERE table_id = ({LANDING_TABLE_ID})
        """,
        [table],
    )[0]
    return columns, wrong


def _own_rows(lake: Lake, table: str) -> list[tuple[int, int]]:
    """First and last row id of each data file that DuckLake has written itself."""
    return lake.rows(
        f"""
        SELECT row_id_start, row_id_start + record_count - 1
        FROM {METADATA}.ducklake_data_file
        WHERE table_id = ({LANDING_TABLE_ID}) AND path_is_relative AND end_snapshot IS NULL
        """,
        [table],
    )
