"""Changes of landing tables: which column came or was widened, when, and which file asked for it.

Snapshots expire, and with them what they say of a table's past. This table does not.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from lotus_lake.config.streams import Stream
from lotus_lake.lake.session import META, Lake
from lotus_lake.sql import json_array

Kind = Literal["added", "widened"]

TABLE = f"""
CREATE TABLE IF NOT EXISTS {META}.schema_changes (
    source VARCHAR, stream VARCHAR, column_path VARCHAR, change VARCHAR, type VARCHAR,
    key VARCHAR, recorded_at TIMESTAMPTZ
);
"""


# A transaction notes the time at which it began, and is seen when it has committed.
_LONGEST_COMMIT = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class SchemaChange:
    """A change of a landing table.

    Attributes:
        column_path: The column; of a nested field, its path with dots.
        change: Whether it was added, or given a wider type.
        type: Its type since.
        key: Object that asked for it; `None` when the stream config did.
        recorded_at: When.
    """

    column_path: str
    change: Kind
    type: str
    key: str | None
    recorded_at: datetime


@dataclass(frozen=True, slots=True)
class NewChange:
    """A change of the landing table of a stream."""

    source: str
    stream: str
    change: SchemaChange

    @property
    def words(self) -> str:
        """The change in words."""
        asked = self.change.key or "the stream config"
        done = "was added to" if self.change.change == "added" else "was widened in"
        return f"{self.change.column_path} {self.change.type} {done} the table for {asked}"


@dataclass(frozen=True, slots=True)
class ChangesSeen:
    """Up to where the changes of all tables have been seen: a snapshot, and its time.

    The time tells changes from older ones whose rows were written anew, such as by a renaming.
    """

    snapshot_id: int
    at: datetime


def changes_since(
    lake: Lake, seen: ChangesSeen | None, now: datetime
) -> tuple[list[NewChange], ChangesSeen]:
    """Changes of landing tables that were not seen yet, and up to where they have been seen now.

    Args:
        lake: Open lake; read-only will do.
        seen: What the last call returned; without it, everything has been seen.
        now: The time.
    """
    with lake.snapshot() as snapshot:
        now_seen = ChangesSeen(snapshot, now)
        if seen is None or "schema_changes" not in lake.tables("meta"):
            return [], now_seen
        rows = lake.rows(
            f"""
            SELECT source, stream, column_path, change, type, key, recorded_at
            FROM {META}.schema_changes WHERE snapshot_id > ? AND recorded_at > ?
            ORDER BY source, stream, recorded_at, column_path
            """,
            [seen.snapshot_id, seen.at - _LONGEST_COMMIT],
        )
    found = [NewChange(source, stream, SchemaChange(*rest)) for source, stream, *rest in rows]
    return found, now_seen


def note_changes(
    lake: Lake, stream: Stream, changes: Iterable[tuple[str, Kind, str]], key: str | None
) -> None:
    """Note changes, in the transaction that makes them.

    Args:
        lake: Open lake, in a transaction.
        stream: The stream whose table changes.
        changes: Path, kind and new type of each.
        key: Object that asked for them; `None` when the stream config did.
    """
    columns = list(zip(*changes, strict=True))
    lake.con.execute(TABLE)
    lake.con.execute(
        f"""
        INSERT INTO {META}.schema_changes
        SELECT ?, ?, unnest(?::JSON::VARCHAR[]), unnest(?::JSON::VARCHAR[]),
               unnest(?::JSON::VARCHAR[]), ?, now()
        """,
        [stream.source, stream.name, *map(json_array, columns), key],
    )


def read_changes(lake: Lake, stream: Stream) -> list[SchemaChange]:
    """Changes of the landing table of a stream, the newest first."""
    if "schema_changes" not in lake.tables("meta"):
        return []
    rows = lake.rows(
        f"""
        SELECT column_path, change, type, key, recorded_at FROM {META}.schema_changes
        WHERE source = ? AND stream = ? ORDER BY recorded_at DESC, column_path
        """,
        [stream.source, stream.name],
    )
    return [SchemaChange(*row) for row in rows]
