"""DuckLake's own record of data files: what is registered, and what is to be deleted.

DuckLake takes a file out of a table by opening it. An object that is gone, or was replaced, cannot
be opened: `forget` takes its registration out of the metadata instead. It also keeps DuckLake from
deleting, much later, the object that is now at the same address.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Sequence

from lotus_lake.lake.file_list import one_glob
from lotus_lake.lake.session import LAKE, METADATA, Lake
from lotus_lake.lake.tables import LANDING_TABLE_ID
from lotus_lake.sql import json_array, literal

# What is registered in a landing table as of a snapshot; parameters: table, snapshot, snapshot.
# Not `ducklake_list_files`: it holds 1.4 kB a file in memory.
REGISTERED = f"""(
    SELECT path AS data_file FROM {METADATA}.ducklake_data_file
    WHERE table_id = ({LANDING_TABLE_ID})
    AND begin_snapshot <= ? AND (end_snapshot IS NULL OR end_snapshot > ?)
)"""

# The same with the rows of each, less deleted ones; parameters: snapshot, snapshot, table,
# snapshot, snapshot.
REGISTERED_ROWS = f"""(
    SELECT files.path AS data_file, files.record_count - coalesce(deleted.delete_count, 0) AS rows
    FROM {METADATA}.ducklake_data_file AS files
    LEFT JOIN {METADATA}.ducklake_delete_file AS deleted
    ON deleted.data_file_id = files.data_file_id AND ? >= deleted.begin_snapshot
    AND (deleted.end_snapshot IS NULL OR ? < deleted.end_snapshot)
    WHERE files.table_id = ({LANDING_TABLE_ID})
    AND ? >= files.begin_snapshot AND (files.end_snapshot IS NULL OR ? < files.end_snapshot)
)"""

# Landing tables, each with a sum over its data files and their rows, as text; parameters: snapshot,
# four times. A table without data files is left out.
REGISTERED_SUMS = f"""(
    SELECT table_name, sum(
        hash(files.path, files.record_count - coalesce(deleted.delete_count, 0))::HUGEINT
    )::VARCHAR
    FROM {METADATA}.ducklake_data_file AS files
    JOIN {METADATA}.ducklake_table AS tables USING (table_id)
    JOIN {METADATA}.ducklake_schema AS schemas USING (schema_id)
    LEFT JOIN {METADATA}.ducklake_delete_file AS deleted
    ON deleted.data_file_id = files.data_file_id AND ? >= deleted.begin_snapshot
    AND (deleted.end_snapshot IS NULL OR ? < deleted.end_snapshot)
    WHERE schema_name = 'staging' AND tables.end_snapshot IS NULL
    AND ? >= files.begin_snapshot AND (files.end_snapshot IS NULL OR ? < files.end_snapshot)
    GROUP BY tables.table_id, table_name
)"""

# Above every id that DuckLake will ever give: the rows of `schedule_deletion` are ours. Their ids
# are random: counted ones would be the same in two transactions at once.
_FIRST_OWN_ID = 2**62
_OWN_IDS = 2**62
_SCHEDULED = f"{METADATA}.ducklake_files_scheduled_for_deletion"


def register(lake: Lake, table: str, uris: Sequence[str], *, ignore_extra_columns: bool) -> None:
    """Register objects in a landing table, without copying them.

    Args:
        lake: Open lake, in a transaction.
        table: Name of the landing table.
        uris: Addresses of the objects.
        ignore_extra_columns: Leave out columns that the table does not have, instead of failing.
    """
    with one_glob(lake, uris) as pattern:
        lake.con.execute(
            f"""
            CALL ducklake_add_data_files(
                {literal(LAKE)}, ?, ?, schema => 'staging',
                allow_missing => true, ignore_extra_columns => {literal(ignore_extra_columns)}
            )
            """,
            [table, pattern],
        )


def files_of_rows(lake: Lake, table: str, rows: Collection[tuple[int, int]]) -> dict[int, str]:
    """Addresses of the data files of rows of a landing table, by row id; no file is opened.

    Args:
        lake: Open lake.
        table: Name of the landing table.
        rows: Row id of each, and the snapshot in which it landed.
    """
    wanted = sorted(row_id for row_id, _ in rows)
    found: dict[int, str] = {}
    for path, first, count in lake.rows(
        f"""
        SELECT path, row_id_start, record_count FROM {METADATA}.ducklake_data_file
        WHERE table_id = ({LANDING_TABLE_ID}) AND end_snapshot IS NULL
        AND begin_snapshot IN (SELECT unnest(?::JSON::BIGINT[]))
        """,
        [table, json_array({snapshot for _, snapshot in rows})],
    ):
        inside = wanted[bisect_left(wanted, first) : bisect_left(wanted, first + count)]
        found |= dict.fromkeys(inside, path)
    return found


def last_registered(lake: Lake, table: str) -> set[tuple[str, int]]:
    """Address and rows of what this connection's last commit has registered in a landing table.

    A transaction cannot ask this of itself: DuckLake writes its tables when it commits, and to read
    the file names of rows that are not committed opens the footer of every file of the table.
    """
    snapshot = int(lake.value(f"SELECT id FROM {LAKE}.last_committed_snapshot()"))
    table_id = int(lake.value(LANDING_TABLE_ID, [table]))
    query = f"""
        SELECT path, record_count FROM ducklake_data_file
        WHERE table_id = {table_id} AND begin_snapshot = {snapshot}
    """
    return {(path, int(rows)) for path, rows in lake.metadata_rows(query)}


def forget(lake: Lake, table: str, before: Sequence[tuple[str, int]]) -> int:
    """Take registrations out of the metadata; call it outside a transaction.

    Rows of these files leave the landing table at once, and DuckLake will not delete the objects.
    Snapshots of the past lose them too: their content is not there any more.

    Args:
        lake: Open lake.
        table: Name of the landing table.
        before: Address of a data file, and the snapshot before which it was registered: a later
            registration of the same address stays, so that a feeder that is behind undoes nothing.

    Returns:
        How many registrations there were.
    """
    if not before:
        return 0
    uris, snapshots = [uri for uri, _ in before], [snapshot for _, snapshot in before]
    found = [
        data_file_id
        for (data_file_id,) in lake.rows(
            f"""
            SELECT data_file_id FROM {METADATA}.ducklake_data_file AS registered
            JOIN (
                SELECT unnest(?::JSON::VARCHAR[]) AS path, unnest(?::JSON::BIGINT[]) AS before
            ) AS bounds
            ON registered.path = bounds.path AND registered.begin_snapshot < bounds.before
            WHERE table_id = ({LANDING_TABLE_ID}) AND NOT path_is_relative
            """,
            [json_array(uris), json_array(snapshots), table],
        )
    ]
    if found:
        tables = ["ducklake_file_column_stats", "ducklake_data_file"]
        _delete(lake, [f"{METADATA}.{name}" for name in tables], "data_file_id", found)
    if scheduled(lake, uris):
        unschedule(lake, uris)
    return len(found)


def scheduled(lake: Lake, uris: Sequence[str]) -> set[str]:
    """Which of these objects DuckLake will delete once they have waited long enough."""
    return {
        path
        for (path,) in lake.rows(
            f"""
            SELECT path FROM {_SCHEDULED}
            WHERE NOT path_is_relative AND path IN (SELECT unnest(?::JSON::VARCHAR[]))
            """,
            [json_array(uris)],
        )
    }


def scheduled_below(lake: Lake, prefix: str) -> list[str]:
    """All objects below an address that DuckLake will delete, in order."""
    return [
        path
        for (path,) in lake.rows(
            f"""
            SELECT DISTINCT path FROM {_SCHEDULED}
            WHERE NOT path_is_relative AND starts_with(path, ?) ORDER BY path
            """,
            [prefix],
        )
    ]


def schedule_deletion(lake: Lake, uris: Sequence[str]) -> None:
    """Tell DuckLake to delete objects that it never registered, as it deletes those it did."""
    new = sorted(set(uris) - scheduled(lake, uris))
    if new:
        statement = f"""
            INSERT INTO {_SCHEDULED} (data_file_id, path, path_is_relative, schedule_start)
            SELECT ({_FIRST_OWN_ID} + hash(path, uuid()) % {_OWN_IDS})::BIGINT, path, false, now()
            FROM (SELECT unnest(?::JSON::VARCHAR[]) AS path)
        """
        lake.commit_metadata(
            f"schedule the deletion of {len(new)} files", [(statement, [json_array(new)])]
        )


def unschedule(lake: Lake, uris: Sequence[str]) -> None:
    """Take objects off the list of what DuckLake will delete."""
    _delete(lake, [_SCHEDULED], "path", uris)


def known_names(lake: Lake, *, live: bool = False) -> set[str]:
    """Names, without folders, of the lake's own files that the catalog knows.

    Raw objects, which may be millions, are never asked for.

    Args:
        lake: Open lake.
        live: Only those that the newest snapshot reads.
    """
    tables = ["ducklake_data_file", "ducklake_delete_file"]
    if not live:
        tables.append("ducklake_files_scheduled_for_deletion")
    condition = "end_snapshot IS NULL" if live else "true"
    return {
        path.rsplit("/", 1)[-1]
        for table in tables
        for (path,) in lake.rows(
            f"""
            SELECT path FROM {METADATA}.{table}
            WHERE {condition} AND (path_is_relative OR starts_with(path, ?))
            """,
            [lake.settings.data_path],
        )
    }


def _delete(lake: Lake, tables: Sequence[str], column: str, values: Sequence[object]) -> None:
    lake.commit_metadata(
        f"forget {len(values)} data files",
        [
            (f"DELETE FROM {table} WHERE {column} IN (SELECT unnest(?))", [list(values)])
            for table in tables
        ],
    )
