"""Schema changes that wait for a person (`on_schema_change: ask`), and what accepting one does."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from lotus_lake.config.streams import Stream
from lotus_lake.lake.session import META, Lake
from lotus_lake.ledger.events import WAITS_FOR_APPROVAL
from lotus_lake.ledger.schema import was_fed
from lotus_lake.repair.quarantine import retry

_NAMED_KEYS = 10


@dataclass(frozen=True, slots=True)
class SchemaQuestion:
    """A change of a landing table that quarantined files ask for.

    Attributes:
        source: Source of the stream.
        stream: Name of the stream.
        change: What the table would get, in words; names in it are the source's own.
        files: How many files wait for it.
        keys: The first ten of them.
    """

    source: str
    stream: str
    change: str
    files: int
    keys: tuple[str, ...]

    @property
    def id(self) -> str:
        """The same for the same change of the same stream, so that nobody is asked twice."""
        asked = "\0".join((self.source, self.stream, self.change))
        return hashlib.sha256(asked.encode()).hexdigest()[:24]


def open_questions(lake: Lake) -> list[SchemaQuestion]:
    """Every change that waits for a person, by stream."""
    if not was_fed(lake):
        return []
    rows = lake.rows(
        f"""
        SELECT source, stream, error[?:], count(*), list_sort(list(key))[:?]
        FROM {META}.feeder_files WHERE event = 'quarantined' AND starts_with(error, ?)
        GROUP BY source, stream, error ORDER BY source, stream, error
        """,
        [len(WAITS_FOR_APPROVAL) + 1, _NAMED_KEYS, WAITS_FOR_APPROVAL],
    )
    return [
        SchemaQuestion(source, stream, change, files, tuple(keys))
        for source, stream, change, files, keys in rows
    ]


def accept(lake: Lake, stream: Stream, change: str, run_id: str) -> int:
    """Queue the files that wait for a change; the first that lands makes it.

    Args:
        lake: Open lake.
        stream: The stream.
        change: The change, in the words of its question.
        run_id: Who accepts it, for the ledger.

    Returns:
        How many files were queued; none if somebody has done it before.
    """
    keys = _waiting(lake, stream, change)
    return retry(lake, stream, keys, run_id, accept=True) if keys else 0


def _waiting(lake: Lake, stream: Stream, change: str) -> list[str]:
    rows = lake.rows(
        f"""
        SELECT DISTINCT key FROM {META}.feeder_files
        WHERE source = ? AND stream = ? AND event = 'quarantined' AND error = ? ORDER BY key
        """,
        [stream.source, stream.name, WAITS_FOR_APPROVAL + change],
    )
    return [key for (key,) in rows]
