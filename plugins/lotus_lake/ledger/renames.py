"""Streams that are being renamed: their tables have their new names, their configs not yet.

Nothing may be fed under the old name meanwhile: it would be a stream of which nothing is known, and
all its files would land again.
"""

from __future__ import annotations

from lotus_lake.config.streams import Stream
from lotus_lake.errors import StreamConfigError
from lotus_lake.lake.session import META, Lake

_TABLE = f"""
CREATE TABLE IF NOT EXISTS {META}.renames (source VARCHAR, stream VARCHAR, new_stream VARCHAR)
"""


def new_name(lake: Lake, source: str, name: str) -> str | None:
    """What a stream is being renamed to; `None` if it is not."""
    if "renames" not in lake.tables("meta"):
        return None
    found = lake.value(
        f"SELECT new_stream FROM {META}.renames WHERE source = ? AND stream = ?", [source, name]
    )
    return None if found is None else str(found)


def refuse_while_renamed(lake: Lake, stream: Stream) -> None:
    """Refuse to begin a stream of a name that another one is about to give up.

    Raises:
        StreamConfigError: It is being renamed.
    """
    if name := new_name(lake, stream.source, stream.name):
        raise StreamConfigError(
            f"{stream.id} is being renamed to {stream.source}__{name}, and not yet in the project",
            hint=f"`lotus-lake rename-stream {stream.source} {stream.name} {name}` once more",
        )


def note_rename(lake: Lake, stream: Stream, name: str) -> None:
    """Note that a stream is being renamed; called in the transaction that renames its tables."""
    lake.con.execute(_TABLE)
    lake.con.execute(
        f"INSERT INTO {META}.renames VALUES (?, ?, ?)", [stream.source, stream.name, name]
    )


def forget_rename(lake: Lake, source: str, name: str) -> None:
    """Note that nothing of a stream has its old name any more."""
    statement = f"DELETE FROM {META}.renames WHERE source = ? AND stream = ?"
    lake.commit(f"{source}__{name}: renamed", lambda: lake.con.execute(statement, [source, name]))
