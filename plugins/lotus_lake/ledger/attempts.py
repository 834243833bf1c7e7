"""Attempts to land files: what was being read when a process died.

A file can crash its reader, and with it every later run. So a batch is noted before its files are
opened; a file that was noted and still waits is opened by a child process the next time.
"""

from __future__ import annotations

from functools import partial

from lotus_lake.config.streams import Stream
from lotus_lake.lake.session import META, Lake

TABLE = f"""
CREATE TABLE IF NOT EXISTS {META}.attempts (
    source VARCHAR, stream VARCHAR, first_position BIGINT, last_position BIGINT,
    started_at TIMESTAMPTZ, dag_run_id VARCHAR
);
"""


def was_attempted(lake: Lake, stream: Stream, first: int, last: int) -> bool:
    """Whether an attempt to land files at these positions of the queue was begun."""
    return bool(
        lake.rows(
            f"""
            SELECT 1 FROM {META}.attempts
            WHERE source = ? AND stream = ? AND first_position <= ? AND last_position >= ? LIMIT 1
            """,
            [stream.source, stream.name, last, first],
        )
    )


def note_attempt(lake: Lake, stream: Stream, first: int, last: int, run_id: str) -> None:
    """Note that the files at these positions are about to be opened."""
    insert = f"INSERT INTO {META}.attempts VALUES (?, ?, ?, ?, now(), ?)"
    values = [stream.source, stream.name, first, last, run_id]
    lake.commit(f"{stream.id}: begin, run {run_id}", partial(lake.con.execute, insert, values))
