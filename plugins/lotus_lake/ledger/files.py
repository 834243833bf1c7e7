"""The file ledger: every raw file ever seen and what became of it, kept inside the lake.

`meta.file_events` is append-only, so that streams never conflict with each other; the view
`meta.feeder_files` shows the latest event of each file. A file is (key, etag, size_bytes), never
the key alone. Each stream has a one-row table, its guard, that every transaction of its feeder
updates: two feeders of one stream then conflict, DuckLake lets one win, and the loser looks again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime

from lotus_lake.bucket.objects import RawObject
from lotus_lake.config.streams import Stream
from lotus_lake.errors import CommitConflictError
from lotus_lake.lake.connection import LAKE, META, Lake
from lotus_lake.sql import identifier, listed

EVENTS = (
    "discovered",  # waits in the queue
    "registered",  # its rows are in the landing table, read from the object itself
    "copied",  # its rows are in the landing table, read from a copy that the lake owns
    "empty",  # it is fine and has no rows
    "quarantined",  # it cannot land; `error` says why
    "ignored",  # it was decided that it does not land
    "retired",  # its rows were consumed and have left the landing table
    "replaced",  # a newer version of its object has taken its place, in the landing table as well
    "missing",  # its rows are, or were, in the landing table, and its object is gone
)
LANDED = ("registered", "copied")
LANDED_SQL = "('registered', 'copied')"


def files_sql(where: str = "true") -> str:
    """Query of all that is known of the files with events that satisfy a condition.

    The condition has to choose files as a whole, such as by their keys. It is asked before events
    are grouped, so that time and memory go with what is chosen; a condition on the view is asked
    after that unless it compares a column of its key with constants.
    """
    # One aggregate a column, not one of a struct: a query that wants few of them then computes no
    # more (the backlog of a ledger of 2,000,000 events: 0.6 instead of 1.4 s, 360, not 590 MB).
    return f"""
SELECT source, stream, key, etag, size_bytes, max(last_modified) AS last_modified,
       max(partition_date) AS partition_date, max(position) AS position,
       max(generation_id) AS generation_id, min(recorded_at) AS discovered_at,
       arg_max_null(event, version) AS event, arg_max_null(row_count, version) AS row_count,
       arg_max_null(error, version) AS error, arg_max_null(data_file, version) AS data_file,
       max(version) AS version, arg_max_null(recorded_at, version) AS updated_at,
       arg_max_null(dag_run_id, version) AS dag_run_id,
       arg_max_null(snapshot_id, version) AS snapshot_id
FROM {META}.file_events
WHERE {where}
GROUP BY source, stream, key, etag, size_bytes"""


_TABLES = f"""
CREATE SCHEMA IF NOT EXISTS {META};
CREATE SCHEMA IF NOT EXISTS {LAKE}.staging;
CREATE TABLE IF NOT EXISTS {META}.file_events (
    source VARCHAR, stream VARCHAR, key VARCHAR, etag VARCHAR, size_bytes BIGINT,
    last_modified TIMESTAMPTZ, partition_date DATE,
    event VARCHAR, position BIGINT, row_count BIGINT, error VARCHAR, data_file VARCHAR,
    generation_id BIGINT, version BIGINT, recorded_at TIMESTAMPTZ, dag_run_id VARCHAR
);
CREATE TABLE IF NOT EXISTS {META}.cursor_events (
    source VARCHAR, stream VARCHAR, cursor_path VARCHAR, version BIGINT, recorded_at TIMESTAMPTZ,
    dag_run_id VARCHAR
);
ALTER TABLE {META}.file_events ADD COLUMN IF NOT EXISTS data_file VARCHAR;
ALTER TABLE {META}.file_events ADD COLUMN IF NOT EXISTS generation_id BIGINT;
CREATE OR REPLACE VIEW {META}.feeder_files AS {files_sql()};
CREATE OR REPLACE VIEW {META}.feeder_cursors AS
SELECT cursors.source, cursors.stream, cursors.cursor_path, cursors.updated_at,
       coalesce(pending.backlog, 0) AS backlog
FROM (
    SELECT source, stream, arg_max(cursor_path, version) AS cursor_path,
           max(recorded_at) AS updated_at
    FROM {META}.cursor_events GROUP BY source, stream
) AS cursors
LEFT JOIN (
    SELECT source, stream, count(*) AS backlog FROM {META}.feeder_files
    WHERE event = 'discovered' GROUP BY source, stream
) AS pending USING (source, stream);
"""


# What a `FileEvent` is made of again, without place in the queue and remark.
EVENT_COLUMNS = (
    "key, etag, size_bytes, last_modified, partition_date, event, NULL, row_count, NULL, "
    "data_file, generation_id"
)
_NO_BOUND = 2**63 - 1
# Only files that were queued at these positions are looked at, so that the length of the history
# costs nothing.
_PENDING = (
    "(FROM ("
    + files_sql(
        "source = ? AND stream = ? AND key IN ("
        f"SELECT key FROM {META}.file_events WHERE source = ? AND stream = ? "
        "AND event = 'discovered' AND position BETWEEN ? AND ?)"
    )
    + ") WHERE event = 'discovered' AND position BETWEEN ? AND ?)"
)


@dataclass(frozen=True, slots=True)
class Guard:
    """The guard row of a stream.

    Attributes:
        version: Its commits so far.
        file_count: Files that were ever put into the queue; the place of the last one.
        cursor_path: Key of the last file in natural order that has landed.
        cursor_date: Its day.
        first_pending: No file in front of this place of the queue waits any more.
    """

    version: int
    file_count: int
    cursor_path: str | None
    cursor_date: date | None
    first_pending: int | None = None


@dataclass(frozen=True, slots=True)
class PendingFile:
    """A discovered file that waits to be registered.

    Attributes:
        position: Its place in the queue.
        key: Key of the object.
        etag: ETag of the object, without quotes.
        size_bytes: Size of the object.
        last_modified: When the object was written.
        partition_date: Day of its key.
        generation_id: Airbyte's generation, in a stream whose generations replace each other.
        snapshot_id: Snapshot in which it was put into the queue.
    """

    position: int
    key: str
    etag: str
    size_bytes: int
    last_modified: datetime
    partition_date: date
    generation_id: int | None
    snapshot_id: int


@dataclass(frozen=True, slots=True)
class FileEvent:
    """What became of a file.

    `error` also carries a remark on a file that is fine otherwise; `data_file` is the address that
    DuckLake reads the rows of a landed file from.
    """

    key: str
    etag: str
    size_bytes: int
    last_modified: datetime
    partition_date: date | None
    event: str
    position: int | None = None
    row_count: int | None = None
    error: str | None = None
    data_file: str | None = None
    generation_id: int | None = None


def initialise(lake: Lake, stream: Stream) -> None:
    """Create the ledger and the stream's guard where they are missing."""
    if not missing(lake, stream):
        return

    def create() -> None:
        lake.con.execute(_TABLES)
        lake.con.execute(
            f"CREATE TABLE IF NOT EXISTS {_guard_table(stream)} AS SELECT 0::BIGINT AS version, "
            "0::BIGINT AS file_count, NULL::VARCHAR AS cursor_path, NULL::DATE AS cursor_date"
        )
        lake.con.execute(
            f"ALTER TABLE {_guard_table(stream)} ADD COLUMN IF NOT EXISTS first_pending BIGINT"
        )

    lake.commit(f"{stream.id}: create the ledger", create)


def missing(lake: Lake, stream: Stream) -> list[str]:
    """What `initialise` would create or bring up to date, for people."""
    wanted = ("file_events", "cursor_events", f"guard_{stream.id}")
    there = lake.tables("meta")
    tables = [f"table meta.{name}" for name in wanted if name not in there]
    guard = f"guard_{stream.id}"
    if guard in there and "first_pending" not in _columns(lake, f"{META}.{identifier(guard)}"):
        tables.append(f"column first_pending of meta.{guard}")
    if {"file_events", "cursor_events"} <= there and _is_current(lake):
        return tables
    return [*tables, "views meta.feeder_files and meta.feeder_cursors"]


def _is_current(lake: Lake) -> bool:
    """Whether the ledger has the columns of this release; earlier ones had fewer."""
    return {"data_file", "generation_id"} <= _columns(lake, f"{META}.feeder_files")


def _columns(lake: Lake, relation: str) -> set[str]:
    return {row[0] for row in lake.rows(f"DESCRIBE {relation}")}


def is_initialised(lake: Lake, stream: Stream) -> bool:
    """Whether the stream has a guard, that is, whether it was ever fed."""
    return f"guard_{stream.id}" in lake.tables("meta")


def read_guard(lake: Lake, stream: Stream) -> Guard:
    """The guard row."""
    # Not by name: the guard of an earlier release has no `first_pending` yet.
    rows = lake.rows(f"SELECT * FROM {_guard_table(stream)}")
    if len(rows) != 1:
        raise AssertionError(f"{_guard_table(stream)} has {len(rows)} rows, not one")
    return Guard(*rows[0])


def unknown(lake: Lake, stream: Stream, objects: Sequence[RawObject]) -> list[RawObject]:
    """The objects whose identity the ledger does not hold, or that it holds to be gone."""
    if not objects:
        return []
    known = {
        (key, etag, size_bytes)
        for key, etag, size_bytes in lake.rows(
            f"SELECT key, etag, size_bytes FROM {META}.file_events "
            "WHERE source = ? AND stream = ? AND key BETWEEN ? AND ? "
            "GROUP BY key, etag, size_bytes "
            "HAVING arg_max(event, version) NOT IN ('missing', 'replaced')",
            [stream.source, stream.name, min(objects).key, max(objects).key],
        )
    }
    return [item for item in objects if (item.key, item.etag, item.size_bytes) not in known]


def known_versions(lake: Lake, stream: Stream, keys: Sequence[str]) -> dict[str, list[FileEvent]]:
    """Every version that the ledger holds of each key, with its latest event; oldest first."""
    versions: dict[str, list[FileEvent]] = {}
    chosen = files_sql(
        "source = ? AND stream = ? AND key BETWEEN ? AND ? "
        "AND key IN (SELECT unnest(?::JSON::VARCHAR[]))"
    )
    for row in lake.rows(
        f"SELECT {EVENT_COLUMNS} FROM ({chosen}) ORDER BY version",
        [stream.source, stream.name, min(keys), max(keys), listed(keys)],
    ):
        versions.setdefault(row[0], []).append(FileEvent(*row))
    return versions


def files_with(
    lake: Lake, stream: Stream, events: Sequence[str], keys: tuple[str, str | None] = ("", None)
) -> list[FileEvent]:
    """Files whose latest event is one of these, in key order.

    Args:
        lake: Open lake.
        stream: The stream.
        events: Names of events.
        keys: Only keys of this range, as (after, up to); no upper bound when `None`.
    """
    rows = lake.rows(
        f"SELECT {EVENT_COLUMNS} FROM {META}.feeder_files WHERE source = ? AND stream = ? "
        "AND event IN (SELECT unnest(?)) AND key > ? AND (?::VARCHAR IS NULL OR key <= ?) "
        "ORDER BY key, version",
        [stream.source, stream.name, list(events), keys[0], keys[1], keys[1]],
    )
    return [FileEvent(*row) for row in rows]


def files_of_day(
    lake: Lake, stream: Stream, events: Sequence[str], day: date
) -> list[tuple[FileEvent, int]]:
    """Files of a day whose latest event is one of these, each with the snapshot of that event."""
    rows = lake.rows(
        f"SELECT {EVENT_COLUMNS}, snapshot_id FROM {META}.feeder_files WHERE source = ? "
        "AND stream = ? AND event IN (SELECT unnest(?)) AND partition_date = ? ORDER BY key",
        [stream.source, stream.name, list(events), day],
    )
    return [(FileEvent(*row[:-1]), row[-1]) for row in rows]


def landed_data_files(lake: Lake, stream: Stream, keys: Sequence[str]) -> list[tuple[str, str]]:
    """Key and address of every data file that any version of these keys ever landed in."""
    return lake.rows(
        f"SELECT DISTINCT key, data_file FROM {META}.file_events WHERE source = ? AND stream = ? "
        "AND key BETWEEN ? AND ? AND key IN (SELECT unnest(?::JSON::VARCHAR[])) "
        "AND data_file IS NOT NULL",
        [stream.source, stream.name, min(keys), max(keys), listed(keys)],
    )


def key_ranges(lake: Lake, stream: Stream, events: int) -> list[tuple[str, str]]:
    """First and last key of ranges that hold at most so many events each, or those of one key."""
    return lake.rows(
        "SELECT min(key), max(key) FROM (SELECT key, rank() OVER (ORDER BY key) // ? AS part "
        f"FROM {META}.file_events WHERE source = ? AND stream = ?) GROUP BY part ORDER BY part",
        [events, stream.source, stream.name],
    )


def pending_files(
    lake: Lake,
    stream: Stream,
    first: int | None = None,
    last: int | None = None,
    limit: int | None = None,
) -> list[PendingFile]:
    """Discovered files that nothing has become of yet, in queue order.

    Args:
        lake: Open lake.
        stream: The stream.
        first: Lowest position in the queue; where the guard says that files wait when missing.
        last: Highest position; no bound when missing.
        limit: At most so many files.
    """
    if first is None:
        first = read_guard(lake, stream).first_pending
    rows = lake.rows(
        "SELECT position, key, etag, size_bytes, last_modified, partition_date, generation_id, "
        f"snapshot_id FROM {_PENDING} ORDER BY position LIMIT coalesce(?, {_NO_BOUND})",
        [*_positions(stream, first, last), limit],
    )
    return [PendingFile(*row) for row in rows]


def backlog(lake: Lake, stream: Stream) -> tuple[int, int]:
    """Pending files: how many, and how many bytes."""
    count, size_bytes = lake.rows(
        f"SELECT count(*), coalesce(sum(size_bytes), 0)::BIGINT FROM {_PENDING}",
        _positions(stream, read_guard(lake, stream).first_pending),
    )[0]
    return count, size_bytes


def _first_pending(lake: Lake, stream: Stream, guard: Guard) -> int:
    """Where the queue begins; behind its end when nothing waits."""
    return int(
        lake.value(
            f"SELECT coalesce(min(position), ?) FROM {_PENDING}",
            [guard.file_count + 1, *_positions(stream, guard.first_pending)],
        )
    )


def _positions(stream: Stream, first: int | None, last: int | None = None) -> list[object]:
    """Parameters of `_PENDING`."""
    bounds = [first or 0, _NO_BOUND if last is None else last]
    return [stream.source, stream.name, stream.source, stream.name, *bounds, *bounds]


def landed_snapshot(lake: Lake, stream: Stream) -> int:
    """Snapshot id of the stream's latest registration; -1 when nothing was ever registered."""
    return int(
        lake.value(
            f"SELECT coalesce(max(snapshot_id), -1) FROM {META}.file_events "
            f"WHERE source = ? AND stream = ? AND event IN {LANDED_SQL}",
            [stream.source, stream.name],
        )
    )


def record(
    lake: Lake,
    stream: Stream,
    guard: Guard,
    events: Sequence[FileEvent],
    *,
    run_id: str,
    cursor: tuple[str, date] | tuple[None, None] | None = None,
) -> None:
    """Append events and move the guard on; call it inside `Lake.commit`.

    Args:
        lake: Open lake.
        stream: The stream.
        guard: The guard as read in this transaction.
        events: What to append.
        run_id: Dag run, or whatever else tells who did it.
        cursor: Key and day of the last registered file, when the cursor moves; both `None` send
            it back to the start.

    Raises:
        CommitConflictError: The guard row has gone; nothing may be committed without it.
    """
    version = guard.version + 1
    queued = sum(1 for event in events if event.position is not None)
    first_pending = _first_pending(lake, stream, guard) if queued else guard.first_pending
    cursor_path, cursor_date = cursor or (guard.cursor_path, guard.cursor_date)
    columns = [
        listed(getattr(event, name) for event in events)
        for name in (
            "key", "etag", "size_bytes", "last_modified", "partition_date",
            "event", "position", "row_count", "error", "data_file", "generation_id",
        )
    ]  # fmt: skip
    if events:
        lake.con.execute(
            f"INSERT INTO {META}.file_events (source, stream, key, etag, size_bytes, last_modified,"
            " partition_date, event, position, row_count, error, data_file, generation_id, version,"
            " recorded_at, dag_run_id) "
            "SELECT ?, ?, unnest(?::JSON::VARCHAR[]), unnest(?::JSON::VARCHAR[]), "
            "unnest(?::JSON::BIGINT[]), unnest(?::JSON::TIMESTAMPTZ[]), unnest(?::JSON::DATE[]), "
            "unnest(?::JSON::VARCHAR[]), unnest(?::JSON::BIGINT[]), unnest(?::JSON::BIGINT[]), "
            "unnest(?::JSON::VARCHAR[]), unnest(?::JSON::VARCHAR[]), unnest(?::JSON::BIGINT[]), "
            "?, now(), ?",
            [stream.source, stream.name, *columns, version, run_id],
        )
    if cursor is not None:
        lake.con.execute(
            f"INSERT INTO {META}.cursor_events VALUES (?, ?, ?, ?, now(), ?)",
            [stream.source, stream.name, cursor_path, version, run_id],
        )
    changed = lake.value(
        f"UPDATE {_guard_table(stream)} SET version = ?, file_count = ?, cursor_path = ?, "
        "cursor_date = ?, first_pending = ? WHERE version = ?",
        [
            version,
            guard.file_count + queued,
            cursor_path,
            cursor_date,
            first_pending,
            guard.version,
        ],
    )
    if changed != 1:  # an UPDATE of no row protects nothing
        raise CommitConflictError(f"{stream.id}: the guard row moved or vanished")


def _guard_table(stream: Stream) -> str:
    return identifier(LAKE, "meta", f"guard_{stream.id}")
