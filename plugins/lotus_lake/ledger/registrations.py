"""DuckLake's own record of data files: what is registered, and what is to be deleted.

DuckLake takes a file out of a table by opening it. An object that is gone, or was replaced, cannot
be opened: `forget` takes its registration out of the metadata instead. It also keeps DuckLake from
deleting, much later, the object that is now at the same address.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lotus_lake.config.streams import Stream
from lotus_lake.lake.connection import META, METADATA, STAGING_TABLE_ID, Lake
from lotus_lake.ledger import files as ledger
from lotus_lake.ledger.files import EVENT_COLUMNS, LANDED_SQL, FileEvent
from lotus_lake.sql import listed

# Above every id that DuckLake will ever give: the rows of `schedule_deletion` are ours.
_FIRST_OWN_ID = 2**62
# Events of the ledger whose files are compared at once, with all that is known of them.
_COMPARED_EVENTS = 50_000


def files_without_registration(lake: Lake, stream: Stream) -> list[FileEvent]:
    """Files that the ledger holds to be landed and that the landing table does not have."""
    rows: list[Any] = []
    bucket = lake.settings.uri("")
    raw = lake.settings.uri(stream.prefix(lake.settings.raw_prefix))
    with lake.snapshot() as snapshot:
        for keys in ledger.key_ranges(lake, stream, _COMPARED_EVENTS):
            rows += lake.rows(
                f"SELECT {EVENT_COLUMNS} FROM {META}.feeder_files WHERE source = ? AND stream = ? "
                f"AND key BETWEEN ? AND ? AND event IN {LANDED_SQL} AND "
                f"coalesce(data_file, ? || key) NOT IN (FROM {_LIVE} WHERE {_NEAR}) ORDER BY key",
                [
                    stream.source,
                    stream.name,
                    *keys,
                    bucket,
                    *_live(stream, snapshot),
                    bucket + keys[0],
                    bucket + keys[1],
                    raw,
                ],
            )
    return [FileEvent(*row) for row in rows]


def registered_but_missing(lake: Lake, stream: Stream) -> list[FileEvent]:
    """Files whose object is gone while the landing table still reads from it."""
    of_stream = [stream.source, stream.name]
    files = ledger.files_sql(
        "source = ? AND stream = ? AND key IN (SELECT key "
        f"FROM {META}.file_events WHERE source = ? AND stream = ? AND event = 'missing')"
    )
    with lake.snapshot() as snapshot:
        rows = lake.rows(
            f"SELECT {EVENT_COLUMNS} FROM ({files}) WHERE event = 'missing' "
            f"AND coalesce(data_file, ? || key) IN {_LIVE} ORDER BY key",
            [*of_stream, *of_stream, lake.settings.uri(""), *_live(stream, snapshot)],
        )
    return [FileEvent(*row) for row in rows]


def count_unknown(lake: Lake, stream: Stream) -> int:
    """Registrations of the landing table that the ledger knows nothing of, or that are doubled."""
    of_stream = [stream.source, stream.name]
    events = lake.value(
        f"SELECT count(*) FROM {META}.file_events WHERE source = ? AND stream = ?", of_stream
    )
    parts = 1 + events // (4 * _COMPARED_EVENTS)
    with lake.snapshot() as snapshot:
        return sum(
            int(
                lake.value(
                    "SELECT count(*) - count(DISTINCT data_file) FILTER (data_file IN ("
                    "SELECT known FROM (SELECT coalesce(data_file, ? || key) AS known "
                    f"FROM {META}.file_events WHERE source = ? AND stream = ?) "
                    f"WHERE hash(known) % ? = ?)) FROM {_LIVE} WHERE hash(data_file) % ? = ?",
                    [
                        lake.settings.uri(""),
                        *of_stream,
                        parts,
                        part,
                        *_live(stream, snapshot),
                        parts,
                        part,
                    ],
                )
            )
            for part in range(parts)
        )


def forget(lake: Lake, stream: Stream, before: Sequence[tuple[str, int]]) -> int:
    """Take registrations out of the metadata; call it outside a transaction.

    Rows of these files leave the landing table at once, and DuckLake will not delete the objects.
    Snapshots of the past lose them too: their content is not there any more.

    Args:
        lake: Open lake.
        stream: The stream.
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
            f"SELECT data_file_id FROM {METADATA}.ducklake_data_file AS registered "
            "JOIN (SELECT unnest(?::JSON::VARCHAR[]) AS path, "
            "unnest(?::JSON::BIGINT[]) AS before) AS bounds "
            "ON registered.path = bounds.path AND registered.begin_snapshot < bounds.before "
            f"WHERE table_id = ({STAGING_TABLE_ID}) AND NOT path_is_relative",
            [listed(uris), listed(snapshots), stream.landing_table],
        )
    ]
    if found:
        _delete(lake, ["ducklake_file_column_stats", "ducklake_data_file"], "data_file_id", found)
    if scheduled(lake, uris):
        unschedule(lake, uris)
    return len(found)


def scheduled(lake: Lake, uris: Sequence[str]) -> set[str]:
    """Which of these objects DuckLake will delete once they have waited long enough."""
    return {
        path
        for (path,) in lake.rows(
            f"SELECT path FROM {METADATA}.ducklake_files_scheduled_for_deletion "
            "WHERE NOT path_is_relative AND path IN (SELECT unnest(?::JSON::VARCHAR[]))",
            [listed(uris)],
        )
    }


def scheduled_below(lake: Lake, prefix: str) -> list[str]:
    """All objects below an address that DuckLake will delete, in order."""
    return [
        path
        for (path,) in lake.rows(
            f"SELECT DISTINCT path FROM {METADATA}.ducklake_files_scheduled_for_deletion "
            "WHERE NOT path_is_relative AND starts_with(path, ?) ORDER BY path",
            [prefix],
        )
    ]


def schedule_deletion(lake: Lake, uris: Sequence[str]) -> None:
    """Tell DuckLake to delete objects that it never registered, as it deletes those it did."""
    new = sorted(set(uris) - scheduled(lake, uris))
    if new:
        table = f"{METADATA}.ducklake_files_scheduled_for_deletion"
        statement = (
            f"INSERT INTO {table} (data_file_id, path, path_is_relative, schedule_start) "
            f"SELECT (SELECT greatest(coalesce(max(data_file_id), 0) + 1, {_FIRST_OWN_ID}) "
            f"FROM {table}) + generate_subscripts(list, 1), unnest(list), false, now() "
            "FROM (SELECT ?::JSON::VARCHAR[] AS list)"
        )
        lake.commit_metadata(
            f"schedule the deletion of {len(new)} files", [(statement, [listed(new)])]
        )


def unschedule(lake: Lake, uris: Sequence[str]) -> None:
    """Take objects off the list of what DuckLake will delete."""
    _delete(lake, ["ducklake_files_scheduled_for_deletion"], "path", uris)


def _delete(lake: Lake, tables: Sequence[str], column: str, values: Sequence[object]) -> None:
    lake.commit_metadata(
        f"forget {len(values)} data files",
        [
            (
                f"DELETE FROM {METADATA}.{table} WHERE {column} IN (SELECT unnest(?))",
                [list(values)],
            )
            for table in tables
        ],
    )


# What is registered as of a snapshot. Not `ducklake_list_files`: it holds 1.4 kB a file in memory.
_LIVE = (
    f"(SELECT path AS data_file FROM {METADATA}.ducklake_data_file "
    f"WHERE table_id = ({STAGING_TABLE_ID}) AND begin_snapshot <= ? "
    "AND (end_snapshot IS NULL OR end_snapshot > ?))"
)

# Of a range of addresses, and of copies, which are not below the stream's prefix. The empty text
# keeps the comparison from the catalog's server, which may order texts in another way.
_NEAR = "(data_file || '' BETWEEN ? AND ? OR NOT starts_with(data_file, ?))"


def _live(stream: Stream, snapshot: int) -> tuple[str, int, int]:
    """Parameters of `_LIVE`."""
    return stream.landing_table, snapshot, snapshot
