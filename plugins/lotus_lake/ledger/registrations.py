"""Where the ledger and DuckLake's record of data files disagree.

Both are compared as of one snapshot, part by part, so that memory does not grow with history.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lotus_lake.bucket.keys import layout_of
from lotus_lake.config.streams import Stream
from lotus_lake.lake.data_files import REGISTERED, REGISTERED_ROWS, REGISTERED_SUMS
from lotus_lake.lake.session import META, Lake
from lotus_lake.ledger.events import EVENT_COLUMNS, LANDED_SQL, FileEvent, files_sql, key_ranges

# Events of the ledger whose files are compared at once, with all that is known of them.
_COMPARED_EVENTS = 50_000
# Of a range of addresses, and of copies, which are not below the stream's prefix. The empty text
# keeps the comparison from the catalog's server, which may order texts in another way.
_NEAR = "(data_file || '' BETWEEN ? AND ? OR NOT starts_with(data_file, ?))"


@dataclass(frozen=True, slots=True)
class RowDifference:
    """A file whose rows in the ledger and in the landing table are not as many.

    Attributes:
        key: Key of the object.
        ledger_rows: Rows that have landed by the ledger; none if its object is gone.
        table_rows: Rows of the landing table.
    """

    key: str
    ledger_rows: int
    table_rows: int


def files_without_registration(lake: Lake, stream: Stream) -> list[FileEvent]:
    """Files that the ledger holds to be landed and that the landing table does not have."""
    rows: list[Any] = []
    bucket = lake.settings.uri("")
    raw = lake.settings.uri(layout_of(lake.settings, stream).prefix)
    with lake.snapshot() as snapshot:
        for first, last in key_ranges(lake, stream, _COMPARED_EVENTS):
            rows += lake.rows(
                f"""
                SELECT {EVENT_COLUMNS} FROM {META}.feeder_files
                WHERE source = ? AND stream = ? AND key BETWEEN ? AND ? AND event IN {LANDED_SQL}
                AND coalesce(data_file, ? || key) NOT IN (FROM {REGISTERED} WHERE {_NEAR})
                ORDER BY key
                """,
                [
                    stream.source, stream.name, first, last, bucket,
                    *_as_of(stream, snapshot), bucket + first, bucket + last, raw,
                ],
            )  # fmt: skip
    return [FileEvent(*row) for row in rows]


def registered_but_missing(lake: Lake, stream: Stream) -> tuple[list[FileEvent], int]:
    """Files whose object is gone while the landing table still reads from it, as of a snapshot."""
    of_stream = [stream.source, stream.name]
    files = files_sql(
        "source = ? AND stream = ? AND key IN ("
        f"SELECT key FROM {META}.file_events WHERE source = ? AND stream = ? AND event = 'missing')"
    )
    with lake.snapshot() as snapshot:
        rows = lake.rows(
            f"""
            SELECT {EVENT_COLUMNS} FROM ({files})
            WHERE event = 'missing' AND coalesce(data_file, ? || key) IN {REGISTERED} ORDER BY key
            """,
            [*of_stream, *of_stream, lake.settings.uri(""), *_as_of(stream, snapshot)],
        )
    return [FileEvent(*row) for row in rows], snapshot


def count_unknown(lake: Lake, stream: Stream) -> int:
    """Registrations of the landing table that the ledger knows nothing of, or that are doubled."""
    of_stream = [stream.source, stream.name]
    events = lake.value(
        f"SELECT count(*) FROM {META}.file_events WHERE source = ? AND stream = ?", of_stream
    )
    parts = 1 + events // (4 * _COMPARED_EVENTS)
    query = f"""
        SELECT count(*) - count(DISTINCT data_file) FILTER (data_file IN (
            SELECT known FROM (
                SELECT coalesce(data_file, ? || key) AS known FROM {META}.file_events
                WHERE source = ? AND stream = ?
            ) WHERE hash(known) % ? = ?
        )) FROM {REGISTERED} WHERE hash(data_file) % ? = ?
    """
    with lake.snapshot() as snapshot:
        counts = [
            lake.value(
                query,
                [
                    lake.settings.uri(""), *of_stream, parts, part,
                    *_as_of(stream, snapshot), parts, part,
                ],
            )
            for part in range(parts)
        ]  # fmt: skip
    return sum(int(count) for count in counts)


def compare_rows(
    lake: Lake, stream: Stream, snapshot: int, counted: str | None = None
) -> tuple[int, int, list[RowDifference]]:
    """Rows that have landed by the ledger, rows of the landing table, and files that differ.

    Args:
        lake: Open lake, within `snapshot`.
        stream: The stream.
        snapshot: The snapshot that is looked at.
        counted: Relation with `data_file` and `rows` of the table; DuckLake's metadata by default.
    """
    bucket = lake.settings.uri("")
    raw = lake.settings.uri(layout_of(lake.settings, stream).prefix)
    table, of_table = counted or REGISTERED_ROWS, list[object]()
    if counted is None:
        of_table = [snapshot, snapshot, *_as_of(stream, snapshot)]
    total = lake.value(f"SELECT coalesce(sum(rows), 0)::BIGINT FROM {table}", of_table)
    landed, differences = 0, list[RowDifference]()
    for first, last in key_ranges(lake, stream, _COMPARED_EVENTS):
        for key, ledger_rows, table_rows in lake.rows(
            f"""
            SELECT key, ledger.rows, coalesce(registered.rows, 0) FROM (
                SELECT coalesce(data_file, ? || key) AS data_file, any_value(key) AS key,
                       coalesce(sum(row_count) FILTER (event IN {LANDED_SQL}), 0)::BIGINT AS rows
                FROM {META}.feeder_files
                WHERE source = ? AND stream = ? AND key BETWEEN ? AND ?
                AND (event IN {LANDED_SQL} OR event = 'missing') GROUP BY ALL
            ) AS ledger
            LEFT JOIN (FROM {table} WHERE {_NEAR}) AS registered USING (data_file)
            ORDER BY key
            """,
            [
                bucket, stream.source, stream.name, first, last,
                *of_table, bucket + first, bucket + last, raw,
            ],
        ):  # fmt: skip
            landed += ledger_rows
            if ledger_rows != table_rows:
                differences.append(RowDifference(key, ledger_rows, table_rows))
    return landed, total, differences


def suspected_streams(lake: Lake, streams: Sequence[Stream]) -> list[Stream]:
    """The streams whose registrations may not be those of the ledger: `compare_rows` knows.

    Two queries, however many streams there are, and no memory for each file: what is compared is a
    sum over the files of a stream. Files whose object is gone are among the suspected ones as long
    as they are registered.
    """
    with lake.snapshot() as snapshot:
        registered = dict(lake.rows(f"FROM {REGISTERED_SUMS}", [snapshot] * 4))
        landed = {
            (source, name): total
            for source, name, total in lake.rows(
                f"""
                SELECT source, stream,
                       sum(hash(coalesce(data_file, ? || key), row_count)::HUGEINT)::VARCHAR
                FROM {META}.feeder_files WHERE event IN {LANDED_SQL} GROUP BY source, stream
                """,
                [lake.settings.uri("")],
            )
        }
    return [
        stream
        for stream in streams
        if landed.get((stream.source, stream.name)) != registered.get(stream.landing_table)
    ]


def _as_of(stream: Stream, snapshot: int) -> tuple[str, int, int]:
    """Parameters of `REGISTERED`."""
    return stream.landing_table, snapshot, snapshot
