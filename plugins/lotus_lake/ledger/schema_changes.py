"""Changes of landing tables: which column came or was widened, when, and which file asked for it.

Snapshots expire, and with them what they say of a table's past. This table does not.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
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
