"""The guard of a stream: one row that every transaction of its feeder updates.

Two feeders of one stream then conflict, DuckLake lets one win, and the loser reads again. The
cursor is part of the row. A guard shared by all streams would make strangers conflict.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime

from lotus_lake.config.streams import Stream
from lotus_lake.lake.session import LAKE, Lake
from lotus_lake.sql import identifier


@dataclass(frozen=True, slots=True)
class Cursor:
    """The last file, in natural order of keys, that has landed; without one, the very start."""

    path: str | None = None
    day: date | None = None

    @property
    def reached(self) -> date | None:
        """Its day, but never one after today: earlier releases let any key move the cursor."""
        return None if self.day is None else min(self.day, datetime.now(UTC).date())


@dataclass(frozen=True, slots=True)
class Guard:
    """The guard row of a stream.

    Attributes:
        version: Its commits so far.
        file_count: Files that were ever put into the queue; the place of the last one.
        cursor: The furthest file that has landed.
        first_pending: No file in front of this place of the queue waits any more.
    """

    version: int
    file_count: int
    cursor: Cursor
    first_pending: int | None = None


def guard_table(stream: Stream) -> str:
    """Name of the table, quoted."""
    return identifier(LAKE, "meta", f"guard_{stream.id}")


def read_guard(lake: Lake, stream: Stream) -> Guard:
    """The guard row."""
    # Not by name: the guard of an earlier release has no `first_pending` yet.
    rows = lake.rows(f"SELECT * FROM {guard_table(stream)}")
    if len(rows) != 1:
        raise AssertionError(f"{guard_table(stream)} has {len(rows)} rows, not one")
    version, file_count, path, day, *first_pending = rows[0]
    return Guard(version, file_count, Cursor(path, day), *first_pending)


def update_guard(lake: Lake, stream: Stream, before: Guard, after: Guard) -> bool:
    """Whether the guard was as it was read, and is updated now."""
    changed = lake.value(
        f"""
        UPDATE {guard_table(stream)} SET version = ?, file_count = ?, cursor_path = ?,
        cursor_date = ?, first_pending = ? WHERE version = ?
        """,
        [
            after.version,
            after.file_count,
            after.cursor.path,
            after.cursor.day,
            after.first_pending,
            before.version,
        ],
    )
    return bool(changed == 1)  # an UPDATE of no row protects nothing
