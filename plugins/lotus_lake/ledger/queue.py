"""The queue of a stream: discovered files of the ledger that wait to be registered."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime

from lotus_lake.config.streams import Stream
from lotus_lake.lake.session import META, Lake
from lotus_lake.ledger.events import ACCEPTED, files_sql
from lotus_lake.ledger.guard import read_guard

_NO_BOUND = 2**63 - 1
_PENDING_KEYS = f"""source = ? AND stream = ? AND key IN (
    SELECT key FROM {META}.file_events
    WHERE source = ? AND stream = ? AND event = 'discovered' AND position BETWEEN ? AND ?
)"""
# Only files that were queued at these positions are looked at, so that the length of the history
# costs nothing.
_PENDING = f"""(
    FROM ({files_sql(_PENDING_KEYS)}) WHERE event = 'discovered' AND position BETWEEN ? AND ?
)"""


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
        is_accepted: Whether a person has accepted that it changes the landing table.
    """

    position: int
    key: str
    etag: str
    size_bytes: int
    last_modified: datetime
    partition_date: date
    generation_id: int | None
    snapshot_id: int
    is_accepted: bool = False

    @property
    def identity(self) -> tuple[str, str, int]:
        """What distinguishes this version of the object from others."""
        return self.key, self.etag, self.size_bytes


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
        limit: Greatest number of files.
    """
    if first is None:
        first = read_guard(lake, stream).first_pending
    rows = lake.rows(
        f"""
        SELECT position, key, etag, size_bytes, last_modified, partition_date, generation_id,
               snapshot_id, remark IS NOT DISTINCT FROM ? AS is_accepted
        FROM {_PENDING} ORDER BY position LIMIT coalesce(?, {_NO_BOUND})
        """,
        [ACCEPTED, *_positions(stream, first, last), limit],
    )
    return [PendingFile(*row) for row in rows]


def backlog(lake: Lake, stream: Stream) -> tuple[int, int]:
    """Pending files: how many, and how many bytes."""
    count, size_bytes = lake.rows(
        f"SELECT count(*), coalesce(sum(size_bytes), 0)::BIGINT FROM {_PENDING}",
        _positions(stream, read_guard(lake, stream).first_pending),
    )[0]
    return count, size_bytes


def first_pending(lake: Lake, stream: Stream, *, after: int, otherwise: int) -> int:
    """Position of the first file that waits.

    Args:
        lake: Open lake.
        stream: The stream.
        after: No file at a lower position waits.
        otherwise: The answer when none waits at all.
    """
    return int(
        lake.value(
            f"SELECT coalesce(min(position), ?) FROM {_PENDING}",
            [otherwise, *_positions(stream, after)],
        )
    )


def _positions(stream: Stream, first: int | None, last: int | None = None) -> list[object]:
    """Parameters of `_PENDING`."""
    bounds = [first or 0, _NO_BOUND if last is None else last]
    return [stream.source, stream.name, stream.source, stream.name, *bounds, *bounds]
