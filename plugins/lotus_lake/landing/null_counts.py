"""Make DuckLake count the NULLs of columns that a file does not have.

A file without a column is read as NULLs, but the table's statistics do not count them: after a file
that holds the column without NULLs they say that there are none. The optimizer believes it. Then
`column IS NULL` finds nothing, `coalesce(column, x)` gives NULL, and when all other files hold one
value, `column = value` is true for every row. A row of NULLs, committed before the first file and
deleted by another commit, makes the statistics say that there are NULLs, for good; columns
that are added later have no statistics, which is right, too.
"""

from __future__ import annotations

from functools import partial

from lotus_lake.lake.connection import LAKE, METADATA, STAGING_TABLE_ID, Lake
from lotus_lake.sql import identifier


def count_nulls(lake: Lake, table: str) -> None:
    """Prepare a landing table that has no file yet, or mend the statistics of one that has.

    Args:
        lake: Open lake.
        table: Name of the landing table, which has a column `year`.
    """
    name = identifier(LAKE, "staging", table)
    columns, wrong = _statistics(lake, table)
    if not columns:
        insert = f"INSERT INTO {name} (year) VALUES (NULL)"
        lake.commit(f"prepare {table}", partial(lake.con.execute, insert))
    elif wrong:
        statement = (
            f"UPDATE {METADATA}.ducklake_table_column_stats SET contains_null = true "
            f"WHERE table_id = ({STAGING_TABLE_ID})"
        )
        lake.commit_metadata(f"count the NULLs of {table}", [(statement, [table])])
    # Only this row is in a data file that DuckLake has written into the table's own folder; it is
    # still there after a crash, too.
    if not columns or _own_files(lake, table):
        delete = f"DELETE FROM {name} WHERE year IS NULL"
        lake.commit(f"prepare {table}", partial(lake.con.execute, delete))


def counts_nulls(lake: Lake, table: str) -> bool:
    """Whether there is nothing for `count_nulls` to do."""
    columns, wrong = _statistics(lake, table)
    return columns > 0 and not wrong and not _own_files(lake, table)


def _statistics(lake: Lake, table: str) -> tuple[int, int]:
    """Columns that have statistics, and those of them that know of no NULLs."""
    columns, wrong = lake.rows(
        "SELECT count(*), count(*) FILTER (contains_null IS DISTINCT FROM true) "
        f"FROM {METADATA}.ducklake_table_column_stats WHERE table_id = ({STAGING_TABLE_ID})",
        [table],
    )[0]
    return columns, wrong


def _own_files(lake: Lake, table: str) -> int:
    return int(
        lake.value(
            f"SELECT count(*) FROM {METADATA}.ducklake_data_file "
            f"WHERE table_id = ({STAGING_TABLE_ID}) AND path_is_relative AND end_snapshot IS NULL",
            [table],
        )
    )
