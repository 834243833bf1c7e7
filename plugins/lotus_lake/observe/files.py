"""Queries of the ledger: files, the file that a row came from, cursors and their history."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date, datetime

import duckdb

from lotus_lake.config.streams import Stream, expect_known, known_streams
from lotus_lake.error_translation import one_line
from lotus_lake.errors import PermanentError, StorageUnavailableError
from lotus_lake.lake.session import META, STAGING, Lake
from lotus_lake.ledger.events import LANDED_SQL
from lotus_lake.ledger.schema import was_fed
from lotus_lake.sql import identifier, json_array

# One stream, all of a source, or all.
_CHOSEN = "(?::VARCHAR IS NULL OR source = ?) AND (?::VARCHAR IS NULL OR stream = ?)"


@dataclass(frozen=True, slots=True)
class LedgerFile:
    """A version of an object, and what became of it last."""

    source: str
    stream: str
    key: str
    event: str
    size_bytes: int
    row_count: int | None
    partition_date: date | None
    updated_at: datetime
    snapshot_id: int
    dag_run_id: str
    error: str | None
    remark: str | None
    rescued_count: int | None


@dataclass(frozen=True, slots=True)
class Origin:
    """A data file that holds rows asked for.

    Attributes:
        key: Object whose rows they are; `None` when the ledger does not know the data file.
        matching_rows: How many of the rows are in it.
        snapshot_id: Snapshot of the lake in which it landed.
        dag_run_id: Run that landed it.
        landed_at: When.
        data_file: What DuckLake reads: the object itself, or the lake's copy of it.
    """

    key: str | None
    matching_rows: int
    snapshot_id: int | None
    dag_run_id: str | None
    landed_at: datetime | None
    data_file: str


@dataclass(frozen=True, slots=True)
class Landing:
    """How a file landed: its object, the snapshot, the run that did it, and when."""

    key: str
    etag: str
    snapshot_id: int
    dag_run_id: str
    landed_at: datetime


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where the cursor of a stream is, or was."""

    source: str
    stream: str
    cursor_path: str | None
    updated_at: datetime
    backlog: int | None = None
    dag_run_id: str | None = None


def expect_stream(lake: Lake, source: str | None, stream: str | None = None) -> None:
    """Refuse a name that neither a stream config nor the ledger knows.

    Raises:
        StreamConfigError: It is unknown; the hint names the nearest that is known.
    """
    known = known_streams(lake.settings.streams_dir)
    if was_fed(lake):
        rows = lake.rows(f"SELECT DISTINCT source, stream FROM {META}.feeder_files")
        known |= {(row[0], row[1]) for row in rows}
    expect_known(known, source, stream)


def find_files(
    lake: Lake,
    source: str | None = None,
    stream: str | None = None,
    *,
    event: str | None = None,
    key_prefix: str | None = None,
    day: date | None = None,
    limit: int = 100,
    offset: int = 0,
) -> list[LedgerFile]:
    """Files of the ledger, those that something happened to last first.

    Args:
        lake: Open lake.
        source: Only this source.
        stream: Only streams of this name.
        event: Only files whose latest event is this one.
        key_prefix: Only keys that begin so, or whose part below the stream's prefix does.
        day: Only files whose key is of this day.
        limit: Greatest number of files.
        offset: Files of the order that are left out first.
    """
    if not was_fed(lake):
        return []
    rows = lake.rows(
        f"""
        SELECT source, stream, key, event, size_bytes, row_count, partition_date, updated_at,
               snapshot_id, dag_run_id, error, remark, rescued_count
        FROM {META}.feeder_files
        WHERE {_CHOSEN} AND (?::VARCHAR IS NULL OR event = ?)
        AND (?::VARCHAR IS NULL OR starts_with(key, ?)
             OR starts_with(key, ? || source || '/' || stream || '/' || ?))
        AND (?::DATE IS NULL OR partition_date = ?)
        ORDER BY updated_at DESC, key DESC LIMIT ? OFFSET ?
        """,
        [
            source, source, stream, stream, event, event,
            key_prefix, key_prefix, lake.settings.raw_prefix, key_prefix, day, day, limit, offset,
        ],
    )  # fmt: skip
    return [LedgerFile(*row) for row in rows]


def find_origins(lake: Lake, stream: Stream, condition: str, limit: int = 100) -> list[Origin]:
    """The data files that hold the rows of a landing table that fulfil a condition.

    Args:
        lake: Open lake; open it read-only, for the condition is taken as it is.
        stream: The stream.
        condition: SQL of an operator, over the columns of the landing table.
        limit: Greatest number of data files.

    Raises:
        PermanentError: The stream was never fed, or the condition is no SQL of this table.
        StorageUnavailableError: A data file could not be read.
    """
    if stream.landing_table not in lake.tables("staging"):
        raise PermanentError(f"{stream.id} was never fed: there are no rows")
    table = f"{STAGING}.{identifier(stream.landing_table)}"
    try:
        found = lake.rows(
            f"""
            SELECT filename, count(*) FROM {table} WHERE ({condition})
            GROUP BY filename ORDER BY filename LIMIT ?
            """,
            [limit],
        )
    except duckdb.OperationalError as error:
        raise StorageUnavailableError(
            f"reading {stream.landing_table} failed: {one_line(error)}",
            hint="`lotus-lake reconcile SOURCE STREAM` finds objects that are gone",
        ) from error
    except (duckdb.ProgrammingError, duckdb.DataError) as error:
        raise PermanentError(
            f"the condition {condition!r} is not valid for {stream.landing_table}: {error}",
            hint='such as --where "id = 1001"; put text in single quotes',
        ) from error
    known = find_landings(lake, stream.source, stream.name, [file for file, _ in found])
    origins = []
    for data_file, count in found:
        landing = known.get(data_file)
        origins.append(
            Origin(
                landing.key if landing else None,
                count,
                landing.snapshot_id if landing else None,
                landing.dag_run_id if landing else None,
                landing.landed_at if landing else None,
                data_file,
            )
        )
    return origins


def find_landings(
    lake: Lake, source: str, stream: str, data_files: Collection[str]
) -> dict[str, Landing]:
    """How data files of a stream last landed, by their addresses; unknown ones are absent."""
    rows = lake.rows(
        f"""
        SELECT coalesce(data_file, ? || key) AS address, arg_max(key, version),
               arg_max(etag, version), arg_max(snapshot_id, version),
               arg_max(dag_run_id, version), arg_max(recorded_at, version)
        FROM {META}.file_events
        WHERE source = ? AND stream = ? AND event IN {LANDED_SQL}
        AND address IN (SELECT unnest(?::JSON::VARCHAR[])) GROUP BY address
        """,
        [lake.settings.uri(""), source, stream, json_array(data_files)],
    )
    return {row[0]: Landing(*row[1:]) for row in rows}


def find_cursors(lake: Lake, source: str | None = None, stream: str | None = None) -> list[Cursor]:
    """The cursor of each stream that has one."""
    if not was_fed(lake):
        return []
    rows = lake.rows(
        f"""
        SELECT source, stream, cursor_path, updated_at, backlog FROM {META}.feeder_cursors
        WHERE {_CHOSEN} ORDER BY source, stream
        """,
        [source, source, stream, stream],
    )
    return [Cursor(*row) for row in rows]


def find_cursor_history(
    lake: Lake, source: str | None = None, stream: str | None = None, *, count: int
) -> list[Cursor]:
    """The last moves of cursors, and who moved each; newest first.

    Args:
        lake: Open lake.
        source: Only this source.
        stream: Only streams of this name.
        count: So many moves of each stream.
    """
    if not was_fed(lake):
        return []
    rows = lake.rows(
        f"""
        SELECT source, stream, cursor_path, recorded_at, NULL, dag_run_id
        FROM {META}.cursor_events WHERE {_CHOSEN}
        QUALIFY row_number() OVER (PARTITION BY source, stream ORDER BY version DESC) <= ?
        ORDER BY source, stream, version DESC
        """,
        [source, source, stream, stream, count],
    )
    return [Cursor(*row) for row in rows]
